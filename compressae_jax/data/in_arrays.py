"""Arrays of any library and lists of rows, in memory; they are neither copied nor converted as a whole."""

from typing import Any

import numpy as np

from compressae_jax.base import arrays
from compressae_jax.data.kind import Held
from compressae_jax.data.sources import InMemory, Source
from compressae_jax.notation import InputError


def open_array(given: Any) -> Source:
    """Rows of numbers; integers without a dtype of their own, in lists, are numbers like others.

    Raises:
        InputError: what no rows of numbers can be made of, among them sparse matrices and values under a mask.
    """
    if hasattr(given, "toarray"):
        raise InputError(f"source must hold dense rows, not {type(given).__name__}: take its toarray()")
    array = arrays.vectors("vectors", given)
    if array.dtype == object and not isinstance(given, np.ndarray):
        from compressae_jax.data import kinds  # which list this file

        held = ", ".join(kind.name for kind in kinds.HELD)
        raise InputError(
            f"source must be a path, a url, the name of a dataset, or rows of numbers of one width ({held}), not "
            f"{type(given).__name__}"
        )
    return InMemory(
        array.astype(np.float64) if isinstance(given, (list, tuple)) and array.dtype.kind in "iu" else array
    )


HELD = Held(
    "arrays",
    lambda given: True,
    open_array,
    "(n, d) of NumPy, JAX, PyTorch or any library that NumPy can read; lists of rows",
)
