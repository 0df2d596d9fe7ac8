"""A folder that `save_to_disk` of the library `datasets` wrote: which of its files are its rows, in their order."""

import json
from pathlib import Path

from compressae_jax.base import files
from compressae_jax.notation import InputError

STATE, SPLITS = "state.json", "dataset_dict.json"
_MOST = 2**24  # bytes of what says so


def data_files(folder: Path) -> list[Path] | None:
    """The Arrow files of a saved Dataset; None of any other folder. What lies beside them is a cache of it.

    Raises:
        InputError: a folder of several splits, an order of rows that was not written out, damage.
    """
    if (folder / SPLITS).is_file():
        splits = ", ".join(repr(str(folder / str(name))) for name in _read(folder / SPLITS).get("splits", []))
        raise InputError(f"{folder} is a saved DatasetDict; give one of its splits: {splits}")
    if not (folder / STATE).is_file():
        return None
    state = _read(folder / STATE)
    if state.get("_indices_data_files") or state.get("_indices_files"):
        raise InputError(f"{folder} keeps an order of rows beside its rows; save it again with flatten_indices()")
    try:
        names = [each["filename"] for each in state["_data_files"]]
        if not names or not all(isinstance(name, str) and Path(name).name == name for name in names):
            raise ValueError
    except (KeyError, TypeError, ValueError):
        raise InputError(f"{folder / STATE} names no files of a saved Dataset") from None
    return [folder / name for name in names]


def _read(path: Path) -> dict:
    try:
        with files.open_regular(path) as file:
            fields = json.loads(file.read(_MOST))
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path} is damaged: {error}") from None
    if not isinstance(fields, dict):
        raise InputError(f"{path} is damaged: no object")
    return fields
