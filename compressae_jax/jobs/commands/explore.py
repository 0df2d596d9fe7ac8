"""Write one page, without a server, that shows what the latents of a model mean; docs/EXPLORE.md shows it.

compressae explore --model=runs/quickstart/model --source=debian --out=debian.html
compressae explore --model=runs/mine --source=vectors.parquet --ids_column=id --texts=items.jsonl --out=page.html
compressae explore --model=runs/mine --source=vectors.npy --texts=names.txt --rows=5000 --space=sparse --out=page.html
"""

from typing import TYPE_CHECKING

from absl import flags

from compressae_jax.jobs.commands import vectors

if TYPE_CHECKING:
    import numpy as np

    from compressae_jax.codes.ids import Ids
    from compressae_jax.data.sources import Source


def define() -> None:
    """Its flags."""
    flags.DEFINE_string("model", None, "Model folder, run folder, minilm, mpnet, or hf://owner/name.", required=True)
    vectors.define("source", "Vectors of the items")
    flags.DEFINE_string("out", None, "The page: .html.", required=True)
    flags.DEFINE_string(
        "texts",
        None,
        "What items are known by, one a row: .txt, .jsonl, .parquet, .csv or .tsv; default: the dataset's own names, "
        "else ids, else row numbers.",
    )
    flags.DEFINE_string("texts_column", "text", "Column (or field) of the texts.")
    flags.DEFINE_string(
        "texts_ids",
        None,
        "Column (or field) of ids, by which texts are looked up where rows have ids; default: id, if it is there.",
    )
    flags.DEFINE_string("title", None, "What the page is called; default: the source.")
    flags.DEFINE_integer("rows", 10_000, "Items on the page, at most; of more so many are drawn.")
    flags.DEFINE_integer("seed", 0, "Which are drawn, and how the map falls out.")
    flags.DEFINE_string("space", "reconstructed", "What similarities compare: sparse or reconstructed.")
    flags.DEFINE_float("megabytes", 5.0, "The page's size, at most; the decoder is rounded so that it fits.")


def main(given: flags.FlagValues) -> None:
    """Draw rows, compress them, write the page."""
    import os
    from pathlib import Path

    import numpy as np

    import compressae_jax as cs
    from compressae_jax.base import files
    from compressae_jax.data.sampling import drawn_rows
    from compressae_jax.exploring import door
    from compressae_jax.jobs import run_folder
    from compressae_jax.notation import InputError, check_choice, check_range

    out = files.check_out(given.out, (".html", ".htm"), folder=False)
    check_choice("space", given.space, ("sparse", "reconstructed"))
    check_range("rows", given.rows, 1, door.MOST_ROWS)
    check_range("seed", given.seed, 0, 2**63 - 1)
    folder = Path(os.path.expanduser(given.model))
    own = folder / run_folder.MODEL  # of a run folder
    model = cs.load(own if own.is_dir() else given.model)
    source = vectors.opened("source", given)
    if source.width != model.d:
        raise InputError(
            f"{source.name} has width {source.width}, the model {model.d} (fingerprint {model.weights.fingerprint})"
        )
    texts = _texts(given, source)
    chosen = np.sort(drawn_rows(len(source), given.seed, min(given.rows, len(source))))
    index = model.index(_taken(source, chosen), space=given.space, zero_rows="keep")
    door.explore(
        index,
        out,
        None if texts is None else [str(texts[row]) for row in chosen],
        title=given.title or source.name,
        total=len(source),
        rows=given.rows,
        megabytes=given.megabytes,
        seed=given.seed,
    )
    print(f"{len(index):,} of {len(source):,} items, {out.stat().st_size / 1e6:.1f} MB: {out}")


def _texts(given: flags.FlagValues, source: "Source") -> "list[str] | Ids | None":
    """What each row is known by; None: its number."""
    from compressae_jax import data
    from compressae_jax.data import named
    from compressae_jax.exploring import texts
    from compressae_jax.notation import InputError

    if given.texts in named.ABOUT:
        items = data.load(given.texts).items
        if items is None or len(items) != len(source):
            raise InputError(
                f"texts: {given.texts} has {len(items or ()):,} names, and there are {len(source):,} rows, which want "
                "one each"
            )
        return items
    if given.texts is not None:
        return texts.read(given.texts, source.ids, len(source), given.texts_column, given.texts_ids)
    dataset = data.load(given.source) if given.source in named.ABOUT else named.of_folder(given.source)
    if dataset is not None and dataset.items is not None:
        return dataset.items
    return source.ids


def _taken(source: "Source", rows: "np.ndarray") -> "np.ndarray":
    """Some rows of a source, seen to be finite."""
    import numpy as np

    from compressae_jax.data.sources import BadRowsError
    from compressae_jax.evaluation import streams

    some = streams.take(source, rows)
    finite = np.isfinite(some).all(axis=1)
    if not finite.all():
        raise BadRowsError(f"{source.where(int(rows[finite.argmin()]))} has a value that is not finite")
    return some
