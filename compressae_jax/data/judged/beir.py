"""A folder in BEIR's layout: corpus.jsonl, queries.jsonl, qrels/test.tsv. It has texts, ids and judgements, no vectors.

Vectors come from a source beside it: with the ids of the folder, or a row a line of queries.jsonl and of corpus.jsonl.
"""

import functools
import json
from collections.abc import Callable
from pathlib import Path

from compressae_jax.codes.ids import Ids
from compressae_jax.data import tables
from compressae_jax.data.judged import table
from compressae_jax.data.judged.judged import Judged, ids
from compressae_jax.notation import InputError, check_choice

CORPUS, QUERIES, QRELS = "corpus.jsonl", "queries.jsonl", "qrels"


def read(folder: Path, split: str) -> Judged:
    """The judgements of a split, a file of qrels/.

    Raises:
        InputError: no such folder or split, and as `table.of_table`.
    """
    splits = sorted(path.stem for path in (folder / QRELS).glob("*.tsv"))
    if not splits:
        raise InputError(f"folder {folder} has no {QRELS}/*.tsv, as a folder in BEIR's layout has, so no judgements")
    check_choice(f"split (of {folder})", split, splits)
    judged = table.read(folder / QRELS / f"{split}.tsv")
    return judged._replace(all_queries=_reader(folder / QUERIES), all_items=_reader(folder / CORPUS))


def _reader(path: Path) -> Callable[[], Ids] | None:
    return functools.partial(read_ids, path) if path.is_file() else None


def read_ids(path: Path) -> Ids:
    """The `_id` of every line.

    Raises:
        InputError: a line that is no JSON object with an `_id`.
    """
    found = []
    for i, line in enumerate(tables.lines(path), 1):
        try:
            found.append(str(json.loads(line)["_id"]))
        except (ValueError, KeyError, TypeError, RecursionError):
            raise InputError(f"{path}, line {i}, must be a JSON object with an _id") from None
    return ids(str(path), found)
