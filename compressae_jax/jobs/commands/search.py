"""Search an index, or a codes folder and its model, for the nearest rows of every query.

compressae search --index=runs/mine/codes --model=runs/mine/model --queries=queries.npy --out=found.npz
compressae search --index=parts/3 --model=… --queries=… --out=found/3.npz    # a shard, for `merge`
"""

from pathlib import Path

from absl import flags

from compressae_jax.jobs.commands import vectors


def define() -> None:
    """Its flags."""
    flags.DEFINE_string("index", None, "Index folder, or a codes folder with --model.", required=True)
    flags.DEFINE_string("model", None, "Model folder of a codes folder.")
    vectors.define("queries", "Dense queries")
    flags.DEFINE_integer("top", 10, "Rows to find for each query.")
    flags.DEFINE_string("allow", None, "File of the ids (or row numbers) that may be found: text, one a line, or .npy.")
    flags.DEFINE_string("exclude", None, "Sparse .npz of SciPy, queries x rows: what each query must not get.")
    flags.DEFINE_string("out", "found.npz", "Where scores, rows and ids go: .npz, .parquet, or .run of TREC.")
    flags.DEFINE_string("space", None, "sparse, reconstructed or dense_query (the default of codes).")
    flags.DEFINE_string("backend", "auto", "host, scan, bcoo, or auto: host on a CPU, scan on a GPU.")
    flags.DEFINE_integer("probes", None, "Cells searched, of an index with cells; default: all rows, exactly.")
    flags.DEFINE_integer("batch", 1024, "Queries searched at once.")


def main(given: flags.FlagValues) -> None:
    """Open the index, stream the queries through it, write what was found."""
    from compressae_jax.codes.ids import TextIds
    from compressae_jax.data import named, with_ids
    from compressae_jax.notation import InputError
    from compressae_jax.retrieval import found, index, shards

    found.check_path(given.out)
    rows, shard = shards.open_shard(given.index, model=given.model, space=given.space)
    queries = vectors.opened("queries", given)
    allow = None if given.allow is None else with_ids.read(given.allow)
    if allow is not None and not isinstance(rows.codes[:1].ids, TextIds):
        allow = with_ids.integers(allow, given.allow)
    if given.exclude is not None and not Path(given.exclude).expanduser().is_file():
        raise InputError(f"exclude: there is no file {given.exclude}")
    exclude = None if given.exclude is None else named.read_purchases(Path(given.exclude).expanduser(), len(rows.codes))
    best = index.search_source(
        rows,
        queries,
        given.top,
        backend=given.backend,
        batch=given.batch,
        allow=allow,
        exclude=exclude,
        probes=given.probes,
    )
    found.write(given.out, best, queries.ids, shard.note() | {"queries": queries.identity()["sample"]})
    nothing = int((best.rows[:, 0] < 0).sum())
    why = "find nothing" if given.allow or given.exclude else "zero, which find nothing"
    without = f", {nothing:,} of them {why}" if nothing else ""
    print(
        f"{len(best.rows):,} queries{without}; the {given.top} nearest of {len(rows):,} rows ({rows.space}): "
        f"{given.out}"
    )
