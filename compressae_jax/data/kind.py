"""What a kind of file, or of thing in memory, says about itself; each is a file beside this one, `kinds` lists them."""

from collections.abc import Callable
from typing import Any, NamedTuple

from compressae_jax.data.sources import Source


class Kind(NamedTuple):
    """A kind of file: the endings that tell it, what opens it, and what docs/SOURCES.md says of it.

    `open` takes the file and, by name, those of `options` that were given: `column` and `ids_column` of tables, `key`
    and `ids_key` of files of several arrays. `ranged`: parts of a file that lies elsewhere can be read alone; of other
    kinds such a file is copied first.
    """

    name: str
    endings: tuple[str, ...]
    open: Callable[..., Source]
    holds: str  # what the rows are
    options: frozenset[str] = frozenset()
    ids: str = "given: `ids`"
    scale: str = "given: `scale`"  # of int8 and uint8: where it is found
    access: str = "by number"  # or 'in order'
    ranged: bool = True
    extra: str = ""  # of setup.py, that it needs


class Held(NamedTuple):
    """A kind of thing in memory that holds vectors: what tells it, and what makes a source of it.

    `open` takes the thing and, by name, those of `options` that were given. `is_one` imports nothing.
    """

    name: str
    is_one: Callable[[Any], bool]
    open: Callable[..., Source]
    holds: str
    options: frozenset[str] = frozenset()
    ids: str = "given: `ids`"


def is_of(package: str, *names: str) -> Callable[[Any], bool]:
    """Whether a thing is of one of these classes of a package, or of a class below them, without an import."""

    def is_one(given: Any) -> bool:
        classes = type(given).__mro__
        return any(each.__module__.partition(".")[0] == package and each.__name__ in names for each in classes)

    return is_one
