"""Give back the room of removed rows of an index folder, and make one segment of many; rows are numbered anew.

compressae compact --index=runs/mine/index
"""

from absl import flags


def define() -> None:
    """Its flags."""
    flags.DEFINE_string("index", None, "Index folder.", required=True)


def main(given: flags.FlagValues) -> None:
    """Write the rows that are there as one segment, in place of all others."""
    from compressae_jax.retrieval import folder_changes

    print(f"{folder_changes.compact(given.index):,} rows in one segment: {given.index}")
