"""Join codes folders that were compressed in parts into one: the same bytes as of one go.

compressae join --parts='parts/*' --out=runs/mine/codes
compressae join --parts=codes-monday,codes-tuesday --out=codes       # of one model: one after the other
"""

from absl import flags


def define() -> None:
    """Its flags."""
    flags.DEFINE_string("parts", None, "Codes folders: a glob, or names with commas between.", required=True)
    flags.DEFINE_string("out", None, "Codes folder to write.", required=True)
    flags.DEFINE_bool("overwrite", False, "Replace a codes folder that stands there.")


def main(given: flags.FlagValues) -> None:
    """Find the folders, see that they belong together, write them as one."""
    import os

    from compressae_jax import compression
    from compressae_jax.base import files
    from compressae_jax.jobs.commands import several

    out = files.check_out(given.out)
    folders = several.named("parts", given.parts, "folder", out, os.path.isdir)
    made = compression.join(folders, out, overwrite=given.overwrite)
    print(f"{made['rows']:,} rows of {made['parts']} parts: {out}")
