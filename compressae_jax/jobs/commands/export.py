"""Make the rows of a search engine those of an index: uploads what is new or changed, takes out what is gone.

compressae export --index=runs/mine/index --engine=duckdb --out=items --payload=items.csv --payload_ids=name
compressae export --index=runs/mine/codes --model=runs/mine/model --engine=sqlite --space=sparse --out=items.sqlite

The same again writes nothing; after an interruption it goes on. docs/SERVING.md says what each engine can do.
"""

from absl import flags

from compressae_jax.jobs.commands import served


def define() -> None:
    """Its flags."""
    served.define()
    flags.DEFINE_string("out", None, "Where the rows go: a folder, a file, or what the engine calls it.", required=True)
    flags.DEFINE_string("payload", None, "Table of columns to carry along: .parquet, .csv or .tsv, one row a row.")
    flags.DEFINE_string("payload_ids", None, "Its column of ids; without it, its rows are in the order of the index.")
    flags.DEFINE_string("zero_rows", "stop", "What rows without a nonzero get, which no engine finds: stop or drop.")
    flags.DEFINE_integer("batch", None, "Rows written at once; default: the engine's.")
    flags.DEFINE_list("options", [], "What an engine's upload takes beside: form=hnsw,links=16,effort=200 of kannolo.")


def main(given: flags.FlagValues) -> None:
    """Open the index, read the payload, upload."""
    from compressae_jax.notation import InputError
    from compressae_jax.serving import kinds, payload

    kind = kinds.of(given.engine)
    options = kinds.read_options(given.engine, given.options)
    if given.payload_ids is not None and given.payload is None:
        raise InputError("payload_ids is a column of --payload, which is not given")
    if given.batch is not None:
        options["batch"] = given.batch
    index = served.opened(given)
    beside = None if given.payload is None else payload.read(given.payload, index, given.payload_ids)
    kind.upload(index, given.out, payload=beside, zero_rows=given.zero_rows, **options)
    carried = f", with {', '.join(beside)}" if beside else ""
    carried += ", those without a nonzero left out" * (given.zero_rows == "drop")
    print(f"{len(index):,} rows ({index.space}){carried}: {kinds.shown(given.out)}, {kind.place}")
