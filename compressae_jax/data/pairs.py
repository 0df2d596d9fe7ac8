"""Pairs of a query and an item with a grade, by number: each counts once."""

from collections.abc import Callable

import numpy as np
from jaxtyping import Int, Integer

from compressae_jax.notation import InputError


def once(
    name: str,
    query: Integer[np.ndarray, " m"],
    item: Integer[np.ndarray, " m"],
    grades: Integer[np.ndarray, " m"],
    said: Callable[[int], str],
) -> Int[np.ndarray, " kept"]:
    """The places of every pair's first mention, by query; those of a query by item.

    Raises:
        InputError: a pair with two grades; `said` names the pair of a place.
    """
    order = np.lexsort((item, query))
    again = np.zeros(len(order), bool)
    again[1:] = (np.diff(query[order]) == 0) & (np.diff(item[order]) == 0)
    unlike = again.copy()
    unlike[1:] &= np.diff(grades[order]) != 0
    if unlike.any():
        raise InputError(f"{name}: {said(int(order[int(unlike.argmax())]))} are judged twice, with unlike grades")
    return order[~again]
