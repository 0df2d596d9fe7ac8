"""Floor 1: files, folders and datasets of vectors as sources, and which of their rows a job takes."""

from compressae_jax.data.checked import ZERO_ROWS, find_zero_rows, in_memory, zero_rows_met
from compressae_jax.data.named import Dataset, Judgements, load, names
from compressae_jax.data.opening import at_hand, open_source
from compressae_jax.data.sampling import Rest, Split, split_of_0_1, split_rows
from compressae_jax.data.sources import Source
from compressae_jax.data.staging import stage, unstage

__all__ = [
    "ZERO_ROWS",
    "Dataset",
    "Judgements",
    "Rest",
    "Source",
    "Split",
    "at_hand",
    "find_zero_rows",
    "in_memory",
    "load",
    "names",
    "open_source",
    "split_of_0_1",
    "split_rows",
    "stage",
    "unstage",
    "zero_rows_met",
]
