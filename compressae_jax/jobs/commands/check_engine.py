"""Check a search engine by our exact search: recall of its answers, short ones, and its time beside ours.

compressae check_engine --index=runs/mine/index --engine=duckdb --place=items --queries=queries.npy --out=check.json
compressae check_engine --index=runs/mine/index --engine=sqlite --place=items.sqlite --queries=queries.npy --terms=64
"""

from absl import flags

from compressae_jax.jobs.commands import served, vectors


def define() -> None:
    """Its flags."""
    served.define()
    flags.DEFINE_string("place", None, "Where `export --out` put the rows.", required=True)
    vectors.define("queries", "Dense queries")
    flags.DEFINE_integer("top", 100, "Rows to find for each query.")
    flags.DEFINE_integer("terms", None, "Largest terms of a query that are asked; default: the engine's.")
    flags.DEFINE_integer("rescored", None, "Rows that are scored again with the whole query; default: the engine's.")
    flags.DEFINE_integer("timed", 100, "Queries that are asked one by one, here and there in turn; 0: none.")
    flags.DEFINE_integer("most", 1000, "Queries asked, the first of those that are given.")
    flags.DEFINE_string("out", None, "Where the report goes: .json.")


def main(given: flags.FlagValues) -> None:
    """Ask both, compare, print a table."""
    import json

    from compressae_jax.base import files
    from compressae_jax.notation import check_range
    from compressae_jax.serving import checking, kinds

    out = None if given.out is None else files.check_out(given.out, (".json",), folder=False)
    check_range("top", given.top, 1, 2**16)
    check_range("most", given.most, 1, 2**31 - 1)
    index = served.opened(given)
    engine = kinds.opened(given.engine, given.place, index)
    source = vectors.opened("queries", given)
    queries = source.read(0, min(given.most, len(source)))
    asked = {"terms": given.terms, "rescored": given.rescored}
    report = checking.check(index, engine, queries, given.top, given.timed, **asked)
    report = {"engine": given.engine, "place": kinds.shown(given.place), "index": given.index, **report}
    print(checking.table(given.engine, report))
    if out is not None:
        files.write_bytes(out, (json.dumps(report, indent=1) + "\n").encode())
        print(out)
