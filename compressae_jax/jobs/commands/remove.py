"""Remove rows from an index folder by their ids, or by their numbers where the index has none.

compressae remove --index=runs/mine/index --ids=gone.txt
"""

from absl import flags


def define() -> None:
    """Its flags."""
    flags.DEFINE_string("index", None, "Index folder.", required=True)
    flags.DEFINE_string("ids", None, "File of ids: text, one a line, or .npy of integers.", required=True)


def main(given: flags.FlagValues) -> None:
    """Look the rows up, write which of them are gone."""
    from compressae_jax.data import with_ids
    from compressae_jax.retrieval import folder_changes, index_folder

    ids = with_ids.read(given.ids)
    if not index_folder.has_texts(given.index):
        ids = with_ids.integers(ids, given.ids)
    rows = folder_changes.remove(given.index, ids)
    print(f"{len(ids):,} rows removed, {rows:,} are left: {given.index}; launch/compact.py gives their room back")
