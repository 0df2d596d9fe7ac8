"""Compress embeddings into sparse codes and search them: CompresSAE (arXiv 2505.11388) in JAX.

import compressae_jax as cs
model = cs.fit(vectors, h=2048, k=16)
index = model.index(vectors, space="reconstructed")
scores, rows = index.search(queries, top=10)
"""

from compressae_jax.codes.codes import Codes
from compressae_jax.codes.spaces import SPACES
from compressae_jax.front_door import Model, fit, load, load_index
from compressae_jax.notation import InputError
from compressae_jax.retrieval.index import Index

__all__ = ["SPACES", "Codes", "Index", "InputError", "Model", "fit", "load", "load_index"]
