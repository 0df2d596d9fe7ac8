"""Compress embeddings into sparse codes and search them: CompresSAE (arXiv 2505.11388) in JAX.

import compressae_jax as cs
model = cs.fit(vectors)  # codes of 64 bytes a vector
index = model.index(vectors)
scores, rows = index.search(queries, top=10)
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from compressae_jax import data
    from compressae_jax.codes.codes import Codes
    from compressae_jax.codes.spaces import SPACES
    from compressae_jax.compression.drift import Drift
    from compressae_jax.data.opening import open_source
    from compressae_jax.evaluation.door import evaluate, evaluate_purchases, evaluate_run
    from compressae_jax.evaluation.evaluation import Evaluation
    from compressae_jax.exploring.door import explore
    from compressae_jax.front_door import Model, fit, load, load_index
    from compressae_jax.notation import InputError
    from compressae_jax.retrieval.found import Found, merge
    from compressae_jax.retrieval.index import Index
    from compressae_jax.retrieval.queries import Expander

__version__ = "0.2.0"
__all__ = [
    "SPACES",
    "Codes",
    "Drift",
    "Evaluation",
    "Expander",
    "Found",
    "Index",
    "InputError",
    "Model",
    "data",
    "evaluate",
    "evaluate_purchases",
    "evaluate_run",
    "explore",
    "fit",
    "load",
    "load_index",
    "merge",
    "open_source",
]

_PACKAGES = ("data",)
_PLACES = {
    "SPACES": "codes.spaces",
    "Codes": "codes.codes",
    "Drift": "compression.drift",
    "Evaluation": "evaluation.evaluation",
    "Expander": "retrieval.queries",
    "Found": "retrieval.found",
    "Index": "retrieval.index",
    "InputError": "notation",
    "Model": "front_door",
    "evaluate": "evaluation.door",
    "evaluate_purchases": "evaluation.door",
    "evaluate_run": "evaluation.door",
    "explore": "exploring.door",
    "fit": "front_door",
    "load": "front_door",
    "load_index": "front_door",
    "merge": "retrieval.found",
    "open_source": "data.opening",
}


def __getattr__(name: str) -> Any:
    """What is asked for is imported then: help, refusals and signals need not wait for JAX."""
    if name in _PACKAGES:
        return importlib.import_module(f"{__name__}.{name}")  # which makes it an attribute
    if name not in _PLACES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    globals()[name] = found = getattr(importlib.import_module(f"{__name__}.{_PLACES[name]}"), name)
    return found


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
