"""The wheel is whole: modules, shipped data, experiments, types, the command; and it works without a checkout."""

import email
import pathlib
import shutil
import subprocess
import sys
import zipfile

import pytest

ROOT = pathlib.Path(__file__).resolve().parent.parent
FILES = ("setup.py", "pyproject.toml", "MANIFEST.in", "README.md", "CHANGELOG.md", "LICENSE")


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """Built of a copy, so that nothing of an older build gets in, and unpacked."""
    source, unpacked = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("unpacked")
    for name in ("compressae_jax", "configs"):
        shutil.copytree(ROOT / name, source / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in FILES:
        shutil.copy(ROOT / name, source)
    options = ["--no-deps", "--no-build-isolation", "--no-index", "--quiet", f"--wheel-dir={source}/dist"]
    subprocess.run([sys.executable, "-m", "pip", "wheel", *options, str(source)], check=True)
    (path,) = (source / "dist").glob("*.whl")
    with zipfile.ZipFile(path) as archive:
        archive.extractall(unpacked)
    return unpacked


def names(folder):
    files = (path for path in folder.rglob("*") if path.is_file() and "__pycache__" not in path.parts)
    return {str(path.relative_to(folder)) for path in files}


def test_all_of_the_package_is_in_it_and_nothing_else(wheel):
    expected = {f"compressae_jax/{name}" for name in names(ROOT / "compressae_jax")}
    expected |= {f"compressae_jax/shipped_configs/configs/{name}" for name in names(ROOT / "configs")}
    assert {name for name in names(wheel) if ".dist-info/" not in name} == expected
    assert "compressae_jax/py.typed" in expected


def test_what_it_says_of_itself(wheel):
    (folder,) = wheel.glob("*.dist-info")
    about = email.message_from_string((folder / "METADATA").read_text(encoding="utf-8"))
    assert about["Version"] == "0.2.0" and about["Requires-Python"] == ">=3.11" and about["License"] == "MIT"
    assert "compressae = compressae_jax.jobs.door:main" in (folder / "entry_points.txt").read_text()
    assert (folder / "licenses" / "LICENSE").is_file()


def run(wheel, folder, *arguments):
    """The command as an installation has it, in a folder that has no checkout above it."""
    program = "import sys; sys.argv[0] = 'compressae'; from compressae_jax.jobs.door import main; main()"
    environment = {"PYTHONPATH": str(wheel), "PATH": "", "HOME": str(folder), "JAX_PLATFORMS": "cpu"}
    command = [sys.executable, "-P", "-c", program, *arguments]
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)


def test_experiments_by_name_and_help_without_a_checkout(wheel, tmp_path):
    done = run(wheel, tmp_path, "train", "--help")
    assert done.returncode == 0, done.stderr
    assert "  tiny      A few seconds on one core" in done.stdout
    assert "--config.data.source=''  # file, folder, glob" in done.stdout
    assert "--config.train.lr=0.006  # peak learning rate of Adam" in done.stdout
    done = run(wheel, tmp_path, "train", "--config=tiny", "--config.train.steps=-1", "--workdir=run")
    assert (done.returncode, done.stdout) == (2, ""), done.stderr
    assert "steps must be an integer from 0" in done.stderr and not (tmp_path / "run").exists()
