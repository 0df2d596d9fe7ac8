"""Shards of one whole that are searched apart: what each says of itself, and where its rows begin in the whole.

A shard is a codes folder, best a part that `compression.to_folder` made, or an index folder. `found.merge` makes one
answer of those of all shards.
"""

import dataclasses
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from compressae_jax.codes import folder as codes_folder
from compressae_jax.compression.parts import PART, SOURCE, order_of, part_of
from compressae_jax.data import identity
from compressae_jax.model import weights as model_weights
from compressae_jax.notation import FolderError, InputError, check_range
from compressae_jax.retrieval import index as one_index
from compressae_jax.retrieval import index_folder
from compressae_jax.retrieval.index import Index

MADE = ("fingerprint", "encoder", "storage", "k", "space", "similarity")  # what must be the same in all shards


@dataclasses.dataclass(frozen=True)
class Shard:
    """What a shard says of itself: the rows that its row numbers count, and which part (i, m) of which source it is.

    `fingerprint` to `similarity`: the model, how it made the rows, and how they are compared.
    """

    rows: int
    fingerprint: str
    encoder: str
    storage: str
    k: int
    space: str
    similarity: str
    part: tuple[int, int] | None = None
    source: Mapping[str, Any] | None = None  # of a part: what must be the same of `data.identity`

    def note(self) -> dict[str, Any]:
        """As JSON, for the file of what was found."""
        return dataclasses.asdict(self)


def open_shard(
    folder: str | os.PathLike, model: str | os.PathLike | None = None, space: str | None = None, verify: bool = True
) -> tuple[Index, Shard]:
    """`index.open_folder`, and what the shard says of itself; raises as that does."""
    folder, meta = Path(os.path.expanduser(os.fspath(folder))), {}
    if model is not None and not index_folder.is_one(folder):
        read = codes_folder.read(folder, verify)
        index = one_index.of_codes(folder, read, model_weights.load(model), space or one_index.SPACE, verify)
        meta = read.meta
    else:
        index = one_index.open_folder(folder, model, space, verify)
    rows, (fingerprint, encoder) = index.codes, (index.weights.fingerprint, index.encoder)
    part, source = part_of(folder, meta), None
    if part is not None:
        source = {name: meta[SOURCE][name] for name in identity.EXACT if name in meta[SOURCE]}
    how = rows.storage, rows.k, index.space, rows.similarity
    return index, Shard(len(rows), fingerprint, encoder, *how, part, source)


def first_rows(names: Sequence[Any], shards: Sequence[Shard]) -> list[int]:
    """The row number of each shard's first row in the whole: by their parts, else in the order that they are given in.

    `names` are for messages.

    Raises:
        InputError: shards of different models, encoders, storages, spaces, similarities or sources; parts that are
            missing or twice.
    """
    if not shards:
        raise InputError("shards must be at least one")
    order = order_of(names, [shard.part for shard in shards])
    first, firsts, row = shards[order[0]], [0] * len(shards), 0
    for i in order:
        for name in MADE:
            if (here := getattr(shards[i], name)) != (there := getattr(first, name)):
                raise InputError(
                    f"{names[i]} has {name} {here}, {names[order[0]]} has {there}: they are no shards of one whole"
                )
        if first.part and (other := identity.difference(dict(first.source or {}), dict(shards[i].source or {}))):
            raise InputError(f"{names[i]} is of another source than {names[order[0]]}: {other}")
        firsts[i], row = row, row + shards[i].rows
    return firsts


def of_note(name: Any, note: Any) -> Shard:
    """The shard that a file of what was found says it is of; `name` is the file's.

    Raises:
        InputError: a file that says nothing of its shard, or no such thing.
    """
    if not isinstance(note, dict):
        raise InputError(f"{name} does not say which shard it was found in; search again, by launch/search.py")
    try:
        fields = {field.name: note[field.name] for field in dataclasses.fields(Shard)}
        check_range("rows", fields["rows"], 0, 2**53)
        check_range("k", fields["k"], 1, 2**32)
        texts = {one: fields[one] for one in MADE if one != "k"}
        if not all(isinstance(text, str) for text in texts.values()):
            raise InputError(f"{', '.join(texts)} must be texts")
        fields["part"] = part_of(name, {PART: fields["part"], SOURCE: fields["source"]})
    except (KeyError, InputError, FolderError) as error:
        raise InputError(f"{name} has a damaged note of its shard: {error}") from None
    return Shard(**fields)
