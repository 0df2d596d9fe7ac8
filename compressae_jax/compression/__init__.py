"""Floor 3: from vectors to rows: into memory, into a folder, in parts that many machines make and one joins."""

from compressae_jax.compression.elsewhere import encode_arrays, rows_of_arrays, write_records
from compressae_jax.compression.in_memory import encode, in_memory
from compressae_jax.compression.parts import join
from compressae_jax.compression.to_folder import to_folder

__all__ = ["encode", "encode_arrays", "in_memory", "join", "rows_of_arrays", "to_folder", "write_records"]
