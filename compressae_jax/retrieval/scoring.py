"""Rows of one state of an index scored for expanded queries: which backend, which filters, what a place of none is."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from typing import Any

import numpy as np
from jaxtyping import Bool, Int

from compressae_jax.base import devices, products
from compressae_jax.codes import on_host
from compressae_jax.codes.codes import Codes
from compressae_jax.model import encoders
from compressae_jax.model.weights import Weights
from compressae_jax.notation import Expanded
from compressae_jax.retrieval import filters, found
from compressae_jax.retrieval.backends import cells, host, lists
from compressae_jax.retrieval.found import Found
from compressae_jax.retrieval.queries import without_direction
from compressae_jax.retrieval.segments import Segments

LISTS = "lists"  # a backend, too, of an index `with_lists`


@dataclasses.dataclass(frozen=True, eq=False)
class Scorer:
    """Rows in one space; `listed` where inverted lists are to be held beside them."""

    segments: Segments
    weights: Weights
    space: str
    listed: bool = False

    @property
    def lists(self) -> lists.Lists | None:
        """The inverted lists of the rows, made once."""
        if not self.listed or not len(self.segments):
            return None
        if LISTS not in self.segments.kept:
            self.segments.kept[LISTS] = lists.build(self.segments.rows)
        return self.segments.kept[LISTS]

    def allowed(self, allow: Any) -> Bool[np.ndarray, " n"] | None:
        """Which rows may be found: those that are there and, with a filter, allowed."""
        segments = self.segments
        allowed = filters.allowed(allow, len(segments), segments.find if segments.named else None)
        if segments.allowed is None or allowed is None:
            return allowed if segments.allowed is None else segments.allowed
        return allowed & segments.allowed

    def clipped(self, scores: np.ndarray) -> np.ndarray:
        """Cosines, but for the last bit; packed rows may have any length where their scale is folded in."""
        rows = self.segments.parts[0].rows
        if rows.similarity == "dot" or (rows.norms is None and self.space != "sparse"):
            return scores
        return np.clip(scores, -1, 1)

    def found(
        self,
        blocks: Iterable[Expanded],
        q: int,
        top: int,
        backend: str,
        chunk: int | None,
        allow: Any,
        exclude: Any,
        probes: int | None,
    ) -> Found:
        """The results of q queries, expanded block by block, with places beyond the last row."""
        segments = self.segments
        find = segments.find if segments.named else None
        allowed, without = self.allowed(allow), filters.without(exclude, q, len(segments), find)
        scores = np.full((q, top), -np.inf, np.float32)
        rows = np.full((q, top), found.NOTHING, np.int64)
        done, most = 0, min(top, len(segments))
        probed = self._probed(probes, allowed) if most and probes is not None else None
        for u in blocks if most else ():
            here = slice(done, done + len(u)), slice(0, most)
            chosen = self._fastest(u, q) if backend == "auto" and probed is None else backend
            some = None if without is None else filters.cut(without, done, done + len(u))
            if probed is not None:
                scores[here], rows[here] = self._near(u, most, probed, allowed, some)
            else:
                scores[here], rows[here] = self._scored(u, most, chosen, chunk, allowed=allowed, without=some)
            nothing = done + np.flatnonzero(without_direction(u))
            scores[nothing], rows[nothing] = -np.inf, found.NOTHING
            done += len(u)
        return Found(scores, rows, found.named(segments.ids_of if segments.named else None, rows))

    def _fastest(self, u: Expanded, q: int) -> str:
        """The backend for u, some of q queries."""
        if not devices.on_cpu():
            return "scan"
        some = self.lists
        if some is not None and q <= lists.QUERIES and lists.touched(some, u) <= lists.TOUCHED:
            return LISTS
        return "host"

    def _scored(
        self, u: Expanded, top: int, backend: str, chunk: int | None, **filters: Any
    ) -> tuple[np.ndarray, np.ndarray]:
        """Scores and rows of some queries among all rows."""
        if backend == LISTS:
            some = self.lists
            assert some is not None
            scores, rows = lists.search(some, self.space, u, top, chunk=chunk, **filters)
        elif backend == "host":
            scores, rows = host.search(self.segments.rows, self.space, u, top, chunk=chunk, **filters)
        else:
            scores, rows = _on_devices(backend, self.segments, self.space, u, top, chunk, **filters)
        return np.where(rows < 0, scores, self.clipped(scores)), rows

    def _probed(
        self, probes: int, allowed: Bool[np.ndarray, " n"] | None
    ) -> tuple[int, Int[np.ndarray, " cells"]] | None:
        """How many cells are searched, and the rows that each may give; None where all rows are scored with less."""
        segments = self.segments
        there = segments.cells
        assert there is not None
        if allowed is None:
            counts = sum((part.grouping.sizes for part in segments.parts if part.grouping), np.zeros(len(there), int))
        elif allowed is segments.allowed and "alive" in segments.kept:
            counts = segments.kept["alive"]
        else:
            counts = np.zeros(len(there), int)
            for part, first in zip(segments.parts, segments.firsts.tolist(), strict=False):
                assert part.grouping is not None
                counts += part.grouping.allowed(allowed[first : first + len(part)])
            if allowed is segments.allowed:
                segments.kept["alive"] = counts
        if probes >= len(there) or int(counts.sum()) * len(there) <= probes * len(segments):
            return None
        return probes, counts

    def _near(
        self,
        u: Expanded,
        top: int,
        probed: tuple[int, Int[np.ndarray, " cells"]],
        allowed: Bool[np.ndarray, " n"] | None,
        without: filters.Without | None,
    ) -> tuple[np.ndarray, np.ndarray]:
        """Scores and rows of some queries among those of their nearest cells."""
        segments = self.segments
        assert segments.cells is not None
        parts = [
            cells.Grouped(part.rows, part.grouping, first)
            for part, first in zip(segments.parts, segments.firsts.tolist(), strict=False)
            if part.grouping is not None and len(part)
        ]
        probes, counts = probed
        scores, rows = cells.search(
            segments.cells,
            parts,
            self.space,
            u,
            self._nearby(u),
            top,
            probes,
            allowed=allowed,
            counts=counts,
            without=without,
        )
        return np.where(rows < 0, scores, self.clipped(scores)), rows

    def _nearby(self, u: Expanded) -> Expanded:
        """What centroids are scored by: u of the reconstruction, which the space 'sparse' has not."""
        if self.space != "sparse":
            return u
        most = max(1, int(np.count_nonzero(u, axis=1).max(initial=1)))
        columns = np.argsort(u == 0, axis=1, kind="stable")[:, :most]
        codes = Codes(np.take_along_axis(u, columns, axis=1), columns, u.shape[1])
        units = on_host.unit_rows(on_host.reconstruct(codes, self.weights.params["decoder_w"]))
        return products.by_all_cores(units, encoders.strips_of(self.weights, "decoder_w"))


def _on_devices(
    backend: str, segments: Segments, space: str, u: Expanded, top: int, chunk: int | None, **filters: Any
) -> tuple[np.ndarray, np.ndarray]:
    """By JAX, which whoever searches on a CPU need not wait for."""
    from compressae_jax.retrieval.backends import bcoo, scan

    if backend == "bcoo":
        return bcoo.search(segments.rows, space, u, top, chunk=chunk, **filters)
    if "placed" not in segments.kept and scan.fits(segments.rows):
        segments.kept["placed"] = scan.Placed(segments.rows)  # on the accelerators, split over all local ones
    rows = segments.kept.get("placed", segments.rows)  # the rows themselves where `scan` takes them piece by piece
    return scan.search(rows, space, u, top, chunk=chunk, **filters)
