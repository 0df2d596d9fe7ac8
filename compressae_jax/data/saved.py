"""A folder that `save_to_disk` of the library `datasets` wrote: which of its files are its rows, in their order."""

import json
from collections.abc import Callable
from pathlib import PurePosixPath

from compressae_jax.notation import InputError

STATE, SPLITS = "state.json", "dataset_dict.json"


def data_files(folder: str, read: Callable[[str], bytes | None]) -> list[str] | None:
    """The names of the Arrow files of a saved Dataset; None of any other folder. What lies beside them is its cache.

    `read` gives the bytes of a file of the folder, by name, or None where there is no such file.

    Raises:
        InputError: a folder of several splits, an order of rows that was not written out, damage.
    """
    if (fields := _read(folder, SPLITS, read)) is not None:
        names = fields.get("splits")
        splits = ", ".join(repr(f"{folder}/{name}") for name in (names if isinstance(names, list) else ()))
        raise InputError(f"{folder} is a saved DatasetDict; give one of its splits: {splits}")
    if (state := _read(folder, STATE, read)) is None:
        return None
    if state.get("_indices_data_files") or state.get("_indices_files"):
        raise InputError(f"{folder} keeps an order of rows beside its rows; save it again with flatten_indices()")
    try:
        names = [each["filename"] for each in state["_data_files"]]
        if not names or not all(isinstance(name, str) and PurePosixPath(name).name == name for name in names):
            raise ValueError
    except (KeyError, TypeError, ValueError):
        raise InputError(f"{folder}/{STATE} names no files of a saved Dataset") from None
    return names


def _read(folder: str, name: str, read: Callable[[str], bytes | None]) -> dict | None:
    content = read(name)
    if content is None:
        return None
    try:
        fields = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise InputError(f"{folder}/{name} is damaged: {error}") from None
    if not isinstance(fields, dict):
        raise InputError(f"{folder}/{name} is damaged: no object")
    return fields
