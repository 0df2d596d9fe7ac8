"""The example of examples/rag.py as a reader would run it; only by launch/test_engines.sh, since it takes a while."""

import os
import pathlib
import subprocess
import sys

import pytest

import compressae_jax as cs

EXAMPLE = pathlib.Path(__file__).resolve().parents[2] / "examples" / "rag.py"
pytestmark = pytest.mark.skipif("COMPRESSAE_ENGINES" not in os.environ, reason="run by launch/test_engines.sh")


def test_the_texts_that_a_question_is_about_come_first(tmp_path):
    texts = cs.data.load("debian").items[::200]
    (tmp_path / "texts.txt").write_text("\n".join([*texts, "", "  ", texts[0], "zoo: keeps a list of penguins"]))
    environment = {**os.environ, "COMPRESSAE_PROGRESS": "0", "HF_HUB_OFFLINE": "1"}
    for question, told in (("penguins", "zoo: keeps a list of penguins"), (texts[7].partition(": ")[2], texts[7])):
        command = [
            sys.executable,
            EXAMPLE,
            f"--folder={tmp_path / 'kept'}",
            f"--texts={tmp_path / 'texts.txt'}",
            question,
        ]
        done = subprocess.run(command, capture_output=True, text=True, env=environment)
        assert done.returncode == 0, done.stderr
        lines = done.stdout.splitlines()
        assert lines[1] == told and len(lines) == 7 and lines[-1] == f"Question: {question}"
        (tmp_path / "texts.txt").unlink(missing_ok=True)  # the second time what was kept is used
    assert len(cs.load_index(tmp_path / "kept" / "index")) == len(texts) + 1
