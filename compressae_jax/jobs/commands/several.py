"""A flag that names several files or folders: a glob, or names with commas between."""

import glob
import os
from collections.abc import Callable
from pathlib import Path

from compressae_jax.base import files
from compressae_jax.notation import InputError


def named(flag: str, text: str, kind: str, out: Path | None, wanted: Callable[[str], bool]) -> list[str]:
    """Those names, a glob's sorted, without `out` itself; `kind` ('folder', 'file') is for messages.

    Raises:
        InputError: a name or glob of nothing that is `wanted`; no name at all, or only that of `out`.
    """
    names: list[str] = []
    for name in filter(None, map(os.path.expanduser, text.split(","))):
        found = [name] if os.path.exists(name) else sorted(filter(wanted, glob.glob(name)))
        if not found:
            raise InputError(f"{flag}: no {kind} is named {name}")
        names += [each for each in found if out is None or files.real(each) != files.real(out)]
    if not names:
        raise InputError(f"{flag} must name at least one {kind} (other than out), not {text!r}")
    return names
