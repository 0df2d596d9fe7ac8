"""Merge what `search` found in several shards into one: the same as of one search of all rows.

compressae merge --found='found/*.npz' --out=found.npz
compressae merge --found=found.npz --out=found.run    # the same in TREC's format

Shards that `compress --part=i/m` made come in the order of their parts; others in that of the names, a glob's sorted.
"""

from absl import flags


def define() -> None:
    """Its flags."""
    flags.DEFINE_string("found", None, "Files that search wrote: a glob, or names with commas between.", required=True)
    flags.DEFINE_string("out", None, "Where scores, rows and ids go: .npz, .parquet, or .run of TREC.", required=True)
    flags.DEFINE_integer("top", None, "Rows to keep for each query; default: as many as were found in every shard.")


def main(given: flags.FlagValues) -> None:
    """Read them, see that they belong together, write the best of all."""
    import os

    from compressae_jax.jobs.commands import several
    from compressae_jax.notation import InputError, check_range
    from compressae_jax.retrieval import found, shards

    out = found.check_path(given.out)
    names = several.named("found", given.found, "file", out, os.path.isfile)
    read = [found.read(name) for name in names]
    of = [shards.of_note(name, one.searched) for name, one in zip(names, read, strict=True)]
    firsts = shards.first_rows(names, of)
    for name, one in zip(names, read, strict=True):
        if one.searched.get("queries") != read[0].searched.get("queries"):
            raise InputError(f"{name} answers other queries than {names[0]}")
    most = min(one.found.rows.shape[1] for one in read)
    if given.top is not None:
        check_range("top (as many as every shard was asked for)", given.top, 1, most)
    best = found.merge([one.found for one in read], firsts, given.top or most)
    found.write(out, best, read[0].query_ids)
    print(f"{len(best.rows):,} queries; the {given.top or most} nearest of {sum(one.rows for one in of):,} rows: {out}")
