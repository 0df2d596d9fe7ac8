"""The one wrapper of numba: loops without Python's lock, kept on disk under a name that no change of a loop outlives.

numba renews what it keeps of a function when that function's own file changes, not when a loop does that it calls from
another file. Here the name of the cache is a hash of all kernel modules (`*kernels.py`) and of the versions of what
compiles them. It lies in the package's `__pycache__`, else in the user's cache folder; where nothing can be written,
loops are compiled anew by each process, which is said once. `NUMBA_CACHE_DIR` is honoured.
"""

import functools
import inspect
import os
import tempfile
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import llvmlite
import numba
import xxhash
from numba.core import caching, config

PACKAGE = Path(__file__).resolve().parent.parent
# Sums may be reordered (that is what vectorises them); infinities and NaN keep their meaning.
FAST = {"reassoc", "nsz", "contract"}


def compiled(function: Callable | None = None, **options: Any) -> Any:
    """Compile a function, less any wrapper around it, to run without Python's lock; with options, a decorator."""
    if function is None:
        return functools.partial(compiled, **options)
    dispatcher = numba.njit(nogil=True, **options)(inspect.unwrap(function))
    folder = _folder()
    if folder is not None:
        dispatcher._cache = _Cache(dispatcher.py_func)
    return dispatcher


def inlined(function: Callable | None = None, **options: Any) -> Any:
    """`compiled`, as a part of each loop that calls it and never by itself.

    A function that stays one exists twice: in the process that compiles it, and as a copy in what is kept on disk of
    each caller. These are optimised apart, so that sums differ in the last bits, and which one runs is a matter of what
    was loaded first.
    """
    return compiled(function, forceinline=True, **options)


@functools.cache
def version() -> str:
    """16 hex digits of all kernel modules and of the compiler's versions."""
    digest = xxhash.xxh3_64(f"{numba.__version__} {llvmlite.__version__}".encode())
    for path in sorted([*PACKAGE.rglob("*kernels.py"), Path(__file__).resolve()]):
        digest.update(str(path.relative_to(PACKAGE)).encode())
        digest.update(path.read_bytes())
    return digest.hexdigest()


@functools.cache
def _folder() -> Path | None:
    """Where compiled loops are kept, seen to be writable; None where no place is."""
    home = os.environ.get("XDG_CACHE_HOME") or os.path.join(os.path.expanduser("~"), ".cache")
    given: str = getattr(config, "CACHE_DIR", "")  # of NUMBA_CACHE_DIR
    places = [Path(given)] if given else [PACKAGE / "__pycache__", Path(home) / "compressae_jax"]
    for place in places:
        folder = place / f"kernels-{version()}"
        try:
            folder.mkdir(parents=True, exist_ok=True)
            tempfile.TemporaryFile(dir=folder).close()
        except OSError:
            continue
        return folder
    warnings.warn(
        f"no place to keep compiled loops, {' and '.join(map(str, places))} cannot be written: each process compiles "
        "them anew; NUMBA_CACHE_DIR names another place",
        stacklevel=2,
    )
    return None


class _Locator(caching._CacheLocator):
    """One folder for the loops of all kernel modules; its name changes when any of them does."""

    def __init__(self, py_func: Any, py_file: str) -> None:
        self._line, self._file = py_func.__code__.co_firstlineno, py_file

    def get_cache_path(self) -> str:
        return str(_folder())

    def get_source_stamp(self) -> str:
        return version()

    def get_disambiguator(self) -> str:
        return f"{self._line}-{xxhash.xxh3_64_hexdigest(os.fsencode(self._file))}"

    @classmethod
    def from_function(cls, py_func: Any, py_file: str) -> "_Locator":
        return cls(py_func, py_file)


class _Implementation(caching.CompileResultCacheImpl):
    _locator_classes = [_Locator]  # noqa: RUF012, as its base has it


class _Cache(caching.FunctionCache):
    _impl_class = _Implementation
