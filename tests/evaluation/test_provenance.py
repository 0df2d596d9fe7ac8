import json
import subprocess

from compressae_jax.evaluation import provenance


def test_says_with_what_and_is_json():
    made = json.loads(json.dumps(provenance.provenance()))
    assert made["versions"]["jax"] and made["hardware"]["cores"] >= 1 and made["hardware"]["backend"] == "cpu"
    assert made["command"].startswith("python ")


def test_commit_of_a_checkout(tmp_path, monkeypatch):
    module = tmp_path / "package" / "evaluation" / "provenance.py"
    module.parent.mkdir(parents=True)
    module.touch()
    monkeypatch.setattr(provenance, "__file__", str(module))
    assert provenance.commit() is None

    git = ["git", "-C", str(tmp_path), "-c", "user.name=n", "-c", "user.email=n@n"]
    subprocess.run([*git, "init", "-q"], check=True)
    subprocess.run([*git, "add", "."], check=True)
    subprocess.run([*git, "commit", "-qm", "first"], check=True)
    head = subprocess.run([*git, "rev-parse", "HEAD"], check=True, capture_output=True, text=True).stdout.strip()
    assert provenance.commit() == head
    module.write_text("changed")
    assert provenance.commit() == head + "+"
