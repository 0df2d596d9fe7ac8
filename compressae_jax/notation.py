"""The letters of the design as array types, and the errors that every door raises.

`d` width of a dense vector, `h` width of a code (latents), `k` nonzeros kept in a row, `n` rows of an index, `b` rows
of a batch, `c` rows of a chunk, `q` queries, `r` results a query (the argument `top`; never `k`).
"""

import difflib
import signal
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Float, Integer

if TYPE_CHECKING:
    import jax

    AnyArray = jax.Array | np.ndarray
else:
    AnyArray = Any  # what has a shape and a dtype: JAX is imported where it is needed

Dense = Float[AnyArray, "b d"]  # vectors, or their reconstructions
PreActivations = Float[AnyArray, "b h"]  # a = x̂ W_e + b_e
Values = Float[AnyArray, "b k"]  # of a code, by falling magnitude
Columns = Integer[AnyArray, "b k"]  # of a code, the latents that the values stand at
EncoderW = Float[AnyArray, "d h"]
EncoderB = Float[AnyArray, " h"]
DecoderW = Float[AnyArray, "h d"]  # rows of unit length
Expanded = Float[AnyArray, "q h"]  # u, one row a query
RowScales = Float[AnyArray, " b"]  # ρ, one number a row
Scores = Float[np.ndarray, "q r"]
Rows = Integer[np.ndarray, "q r"]


class InputError(ValueError):
    """Input that a public door refuses; the message names the argument, the wanted and the given."""


class FolderError(InputError):
    """A model, codes or run folder that is damaged, foreign or newer than this program."""


class BusyError(InputError):
    """A name that another process writes at this moment; the message says which, where, and since when."""


class NonFiniteLossError(InputError):
    """Training met a loss that is NaN or infinite."""


class Stopped(Exception):  # noqa: N818, it is no error
    """Work that a signal ended early, with everything complete kept; the same command continues it.

    `signal`: the signal's number; a program that ends by it exits with 128 more.
    """

    def __init__(self, message: str, signal: int = signal.SIGTERM):
        super().__init__(message)
        self.signal = int(signal)


def check_choice(argument: str, given: object, legal: Iterable[str]) -> None:
    """Raise InputError unless `given` is one of the legal names; a close one is suggested."""
    names = list(legal)
    if given in names:
        return
    close = difflib.get_close_matches(str(given), names, n=1)
    hint = f" (did you mean {close[0]!r}?)" if close else ""
    raise InputError(f"{argument} must be one of {', '.join(map(repr, names))}, not {given!r}{hint}")


def check_range(argument: str, given: object, low: int, high: int) -> None:
    """Raise InputError unless `given` is an integer with low <= given <= high."""
    if isinstance(given, bool) or not isinstance(given, (int, np.integer)) or not low <= given <= high:
        raise InputError(f"{argument} must be an integer from {low} to {high}, not {given!r}")
