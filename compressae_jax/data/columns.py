"""Columns in Arrow's hands: which one holds vectors, its lists as rows, and a column of ids.

Parquet files, Arrow files and tables in memory share this; pyarrow is imported when one of them is opened.
"""

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import numpy as np

from compressae_jax.codes.ids import Ids, TextIds, joined
from compressae_jax.data.sources import Block, float32
from compressae_jax.notation import InputError, check_choice

_FLOATS = {"halffloat": "float16", "float": "float32", "double": "float64"}
_BYTES = {"int8": "int8", "uint8": "uint8"}


def pyarrow(what: str) -> Any:
    """Arrow itself.

    Raises:
        InputError: it is not installed, and `what` needs it.
    """
    try:
        import pyarrow as arrow
    except ImportError as error:
        raise InputError(f"{what} needs pyarrow: pip install pyarrow") from error
    return arrow


def kinds_of(name: str, schema: Any) -> dict[str, Any]:
    """The type of each column; of tensors of one axis, that of the lists they are stored as."""
    if len(set(schema.names)) < len(schema.names):
        raise InputError(f"{name} has two columns of one name")
    return {field.name: _stored_type(field.type) for field in schema}


def _stored_type(kind: Any) -> Any:
    return getattr(kind, "storage_type", kind) if len(getattr(kind, "shape", (0,))) == 1 else kind


def choose(name: str, column: str | None, kinds: Mapping[str, Any]) -> str:
    """The column that was asked for, or the only one of lists of floats, or else of bytes.

    Raises:
        InputError: there is none, or several, or the one that was asked for holds something else.
    """
    lists = {each: str(kind.value_type) for each, kind in kinds.items() if is_list(kind)}
    floats = [each for each, kind in lists.items() if kind in _FLOATS]
    bytes_ = [each for each, kind in lists.items() if kind in _BYTES]
    usable = floats or bytes_
    if column is None and len(usable) == 1:
        return usable[0]
    others = ", ".join(f"{each} of {kind}" for each, kind in lists.items() if each not in usable)
    if column is None and not usable and others:
        raise InputError(f"{name} has no column of float lists, only lists of others ({others})")
    if column is None:
        found = ", ".join(usable) or f"only {', '.join(kinds)}"
        how = f" (--column={usable[0]}, open_source(…, column={usable[0]!r}))" if usable else ""
        raise InputError(
            f"{name} has {len(usable)} columns of float lists ({found}); give the wanted one as column{how}"
        )
    check_choice(f"column ({name})", column, kinds)
    if column not in floats + bytes_:
        raise InputError(
            f"column {column!r} of {name} must hold lists of floats, int8 or uint8, not {kinds[column]}; "
            f"{', '.join(usable) or 'no column'} does"
        )
    return column


def dtype_of(kind: Any) -> str:
    """What a column's lists hold, as NumPy says it."""
    return {**_FLOATS, **_BYTES}[str(kind.value_type)]


def width_of(name: str, kind: Any, some: Iterable[Any]) -> int:
    """The width of lists: that of their type, or of the first list that is there of some arrays of them."""
    if hasattr(kind, "list_size"):
        return kind.list_size
    for lists in some:
        widths = _widths(stored(lists))
        if (widths >= 0).any():
            return int(widths[widths >= 0][0])
    raise InputError(f"{name}: row 0 is empty, as are all others")


def stored(lists: Any) -> Any:
    """A column's lists, where the column holds tensors."""
    return getattr(lists, "storage", lists)


def rows_of(lists: Any, width: int, first: int, where: Callable[[int], str]) -> Block:
    """An array of lists as rows of this width; `first` is the row number of its first, `where` names a row.

    Raises:
        InputError: another width, an empty row or value, offsets that lead outside.
    """
    lists = stored(lists)
    widths = _widths(lists)
    if (widths != width).any():
        at = int((widths != width).argmax())
        given = "is empty" if widths[at] < 0 else f"has width {widths[at]}"
        raise InputError(f"{where(first + at)} {given}, the first row has {width}")
    flat = lists.flatten()
    if flat.null_count:
        row = first + int(flat.is_null().to_numpy(zero_copy_only=False).argmax()) // width
        raise InputError(f"{where(row)} has an empty value")
    return float32(flat.to_numpy(zero_copy_only=False).reshape(len(lists), width))


def ids_of(name: str, some: Iterable[Any]) -> Ids:
    """Ids that lie in several arrays; `name` is that of their column.

    Raises:
        InputError: an empty one, other types than integers and texts, more than 64 bits, no UTF-8.
    """
    parts = [_ids(name, column) for column in some]
    return joined(parts) if parts else np.empty(0, np.int64)


def is_float(kind: Any) -> bool:
    """Whether a type is one of floats."""
    return str(kind) in _FLOATS


def is_list(kind: Any) -> bool:
    """Whether a type is one of lists."""
    from pyarrow import types

    return types.is_list(kind) or types.is_large_list(kind) or types.is_fixed_size_list(kind)


def _ids(name: str, column: Any) -> Ids:
    """Some ids; texts are taken over as Arrow has them, offsets and UTF-8."""
    arrow = pyarrow("a table")
    types = arrow.types
    if column.null_count:
        raise InputError(f"{name} has empty values")
    if types.is_dictionary(column.type):
        column = column.dictionary_decode()
    if types.is_integer(column.type):
        ids = column.to_numpy(zero_copy_only=False)
        if ids.dtype == np.uint64 and len(ids) and ids.max() >= 2**63:
            raise InputError(f"{name} has {ids.max()}, wanted at most {2**63 - 1}")
        return ids.astype(np.int64)
    texts = (types.is_string, types.is_large_string, getattr(types, "is_string_view", types.is_string))
    if not any(test(column.type) for test in texts):
        raise InputError(f"{name} must hold ints or strs, not {column.type}")
    column = column.cast(arrow.large_string())
    try:
        column.validate(full=True)
    except arrow.ArrowInvalid as error:
        raise InputError(f"{name} must hold UTF-8: {error}") from None
    _, offsets, utf8 = column.buffers()
    ends = np.frombuffer(offsets, np.int64)[column.offset : column.offset + len(column) + 1]
    text = np.frombuffer(utf8 or b"", np.uint8)[ends[0] : ends[-1]]
    return TextIds(ends - ends[0], text)


def _widths(lists: Any) -> np.ndarray:
    """Length of each list; -1 where there is none."""
    from pyarrow import compute

    return compute.fill_null(compute.list_value_length(lists), -1).to_numpy(zero_copy_only=False)
