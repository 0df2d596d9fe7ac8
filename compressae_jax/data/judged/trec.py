"""TREC's qrels: a line `query 0 item grade` a judgement, without a heading."""

from pathlib import Path

from compressae_jax.data import tables
from compressae_jax.data.judged.judged import Judged, of_pairs
from compressae_jax.notation import InputError

FIELDS = 4


def read(path: Path) -> Judged:
    """The judgements of a file.

    Raises:
        InputError: a line of other than four fields, and as `of_pairs`.
    """
    lines = [line.split() for line in tables.lines(path)]
    other = next((i for i, fields in enumerate(lines, 1) if len(fields) != FIELDS), None)
    if other is not None:
        raise InputError(
            f"{path}, judgement {other}: TREC's qrels have four fields, query 0 item grade, not {len(lines[other - 1])}"
        )
    query, _, item, grade = zip(*lines, strict=True) if lines else ((), (), (), ())
    return of_pairs(str(path), query, item, grade)
