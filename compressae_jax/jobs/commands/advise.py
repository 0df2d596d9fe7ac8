"""Advise what to do with vectors: measure our codes and every peer on a sample, recommend, give the command.

compressae advise --source=vectors.npy --budget_bytes=64
compressae advise --source=vectors.npy --queries=queries.npy --qrels=qrels.tsv --out=advice
compressae advise --source=part.npy --total_rows=100000000

Writes advice.md, advice.json and advice.png into the folder --out; docs/ADVICE.md says how it decides. What was
measured is kept there, too: an interrupted advice continues.
"""

from absl import flags

from compressae_jax.jobs.commands import vectors


def define() -> None:
    """Its flags."""
    vectors.define("source", "Vectors")
    flags.DEFINE_integer("budget_bytes", None, "Bytes a vector may take; default: several are tried.")
    flags.DEFINE_string("queries", None, "Vectors of judged queries, with --qrels: nDCG@10 beside recall.")
    flags.DEFINE_string("query_ids", None, "File of the queries' ids: text, one a line, or .npy of integers.")
    flags.DEFINE_string("qrels", None, "Judgements: TREC's qrels, a .tsv, .csv or .parquet, a folder in BEIR's layout.")
    flags.DEFINE_string("unknown", "drop", "Judged queries and items that are not given: drop, keep or stop.")
    flags.DEFINE_integer("total_rows", None, "Rows that there will be; default: those of the source.")
    flags.DEFINE_integer("rows", 10_000, "Rows of the sample, at most; half are fitted to.")
    flags.DEFINE_float("minutes", 10.0, "Nothing begins that would end much later; what has begun ends.")
    flags.DEFINE_list("peers", None, "Which peers; default: all.")
    flags.DEFINE_integer("seed", 0, "Draws the sample and what methods draw.")
    flags.DEFINE_string("out", "advice", "Folder that the page goes to.")


def main(given: flags.FlagValues) -> None:
    """Measure, recommend, write the page."""
    from pathlib import Path

    from compressae_jax import data
    from compressae_jax.advice import advising, kept, methods, page, sample
    from compressae_jax.base import files
    from compressae_jax.data.judged import open_judgements
    from compressae_jax.notation import InputError, check_range

    out = files.check_out(given.out)
    keep = files.check_out(out / kept.FOLDER)
    for name in (page.PAGE, page.NUMBERS, page.FIGURE):
        files.check_out(Path(out) / name, folder=False)
    check_range("seed", given.seed, 0, 2**31 - 1)
    if (given.queries is None) != (given.qrels is None):
        raise InputError("queries and qrels go together: vectors that ask, and what people judged of their answers")
    source = vectors.opened("source", given)
    peers = methods.PEERS if given.peers is None else given.peers
    total = len(source) if given.total_rows is None else given.total_rows
    advising.check(source.width, given.rows, given.minutes, given.budget_bytes, peers, total)
    judged = None
    if given.qrels is not None:
        asked = data.open_source(given.queries, ids=given.query_ids)
        judged = sample.placed_on(source, asked, open_judgements(given.qrels), given.unknown)
    with files.locked(keep):
        told = advising.advise(
            source,
            {name: given[name].value for name in ("source", "column", "ids_column", "key", "ids_key", "ids", "scale")},
            budget_bytes=given.budget_bytes,
            judged=judged,
            judged_given=_judged(given),
            total_rows=given.total_rows,
            rows=given.rows,
            minutes=given.minutes,
            peers=peers,
            seed=given.seed,
            keep=keep,
        )
        page.write(told, out)
    print(page.closing(told, out))


def _judged(given: flags.FlagValues) -> dict[str, str | None]:
    """The same judgements by the names of a config."""
    if given.qrels is None:
        return {}
    unknown = given.unknown
    return {"judgements": given.qrels, "queries": given.queries, "query_ids": given.query_ids, "unknown": unknown}
