"""Score rankings by judgements: what `search` found beside what any other engine did, query by query.

compressae judge --runs=found.npz,bm25.run --judgements=qrels.tsv
compressae judge --runs='runs/*.run' --judgements=scifact --metrics=nDCG@10,MAP@100 --out=scores.npz

Runs are files of `search` (.npz, .parquet) or TREC's (.run). The last column is the paired difference to the first run.
"""

from absl import flags


def define() -> None:
    """Its flags."""
    flags.DEFINE_string("runs", None, "Files of rankings: a glob, or names with commas between.", required=True)
    flags.DEFINE_string(
        "judgements", None, "TREC's qrels, a .tsv, .csv, .parquet or .npz, a folder in BEIR's layout.", required=True
    )
    flags.DEFINE_string("split", "test", "Of a folder in BEIR's layout: the file of its qrels/.")
    flags.DEFINE_string("query_ids", None, "File of the queries' ids, for files of `search` that have none.")
    flags.DEFINE_list("metrics", None, "Such as nDCG@10,recall@100,MRR@10 (the default), MAP@100, precision@5.")
    flags.DEFINE_string("unknown", "keep", "Judged queries without an answer: keep (they score 0), stop or drop.")
    flags.DEFINE_string("out", None, "Where the scores of every query go: .npz.")


def main(given: flags.FlagValues) -> None:
    """Read all, score each, print a table."""
    import os

    from compressae_jax.base import files
    from compressae_jax.data import with_ids
    from compressae_jax.data.judged import open_judgements
    from compressae_jax.evaluation import judging, tables
    from compressae_jax.jobs.commands import several

    out = None if given.out is None else files.check_out(given.out, (".npz",), folder=False)
    judged = open_judgements(given.judgements, given.split)
    query_ids = None if given.query_ids is None else with_ids.read(given.query_ids)
    names = several.named("runs", given.runs, "file", out, os.path.isfile)
    read = [judging.opened(name, None if name.endswith(".run") else query_ids) for name in names]
    metrics = given.metrics or judging.suited(read)
    scored = [judging.of_run(one, judged, metrics, given.unknown) for one in read]
    print(tables.of_evaluations(scored))
    if out is not None:
        judging.write(out, scored)
        print(out)
