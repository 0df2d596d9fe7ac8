"""What findings are made from: a model, some rows of a source, what the run wrote; each part is computed once."""

import functools
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float

from compressae_jax import compression
from compressae_jax.baselines.units import unit_rows
from compressae_jax.codes.rows import Rows
from compressae_jax.data.sources import BadRowsError, Source
from compressae_jax.evaluation import measures, streams
from compressae_jax.model.weights import Weights
from compressae_jax.notation import InputError
from compressae_jax.training import records

MOST = 8192  # rows looked at, evenly spaced, as for drift: one in a thousand that has a fault is seen
LEAST = 50  # of fewer no share says anything

Vectors = Float[np.ndarray, "b d"]


class Seen:
    """A model beside vectors that it compresses, or is to.

    `lines` are those of the run's metrics, none where there is no run; `reference` are rows like those of the training.
    """

    def __init__(
        self,
        weights: Weights,
        source: Source,
        lines: Sequence[Mapping[str, Any]] = (),
        reference: Source | None = None,
        most: int = MOST,
        seed: int = 0,
    ):
        self.weights, self.source, self.lines, self.reference, self.seed = weights, source, lines, reference, seed
        self._most = most
        for given in (source,) if reference is None else (source, reference):
            if given.width != weights.d:
                raise InputError(
                    f"{given.name}: vectors have width {given.width}, the model was trained on {weights.d} "
                    f"(fingerprint {weights.fingerprint})"
                )

    @functools.cached_property
    def vectors(self) -> Vectors:
        """Evenly spaced rows of the source, without zero ones, which have no direction.

        Raises:
            InputError: a value that is not finite, or fewer than `LEAST` rows.
        """
        rows = np.unique(np.linspace(0, len(self.source) - 1, min(len(self.source), self._most)).astype(np.int64))
        some = streams.take(self.source, rows)
        wrong = ~np.isfinite(some).all(axis=1)
        if wrong.any():
            raise BadRowsError(f"{self.source.where(int(rows[wrong.argmax()]))} has a value that is not finite")
        some = some[some.any(axis=1)]
        if len(some) < LEAST:
            raise InputError(
                f"{self.source.name}: a diagnosis needs at least {LEAST} rows with a direction, not {len(some)}"
            )
        return some

    @functools.cached_property
    def units(self) -> Vectors:
        """The same at unit length."""
        return unit_rows(self.vectors)

    @functools.cached_property
    def codes(self) -> Rows:
        """Their codes, by the encoder and storage that the model is for."""
        return compression.encode(self.weights, self.vectors, self.weights.storage, encoder=self.weights.encoder)

    @functools.cached_property
    def usage(self) -> Float[np.ndarray, " h"]:
        """The share of rows that each latent is nonzero in."""
        return measures.usage(self.codes, self.weights.k)

    @property
    def by_steps(self) -> bool:
        """Whether the model makes one-pass codes, which gradient steps train; others come of rounds."""
        return self.weights.encoder == "topk"


def lines_beside(model: str | Path) -> list[Mapping[str, Any]]:
    """The metrics of the run folder that a model folder lies in; none where it lies elsewhere."""
    return list(records.read_metrics(Path(model).expanduser().absolute().parent))
