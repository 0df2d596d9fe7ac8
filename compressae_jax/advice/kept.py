"""What was measured, kept beside the page as it comes: the same command, interrupted or not, goes on with the rest.

A measurement is taken for one's own where it is of the same sample, bit for bit, with the same seed, scanned rows,
processor, and commit or release of this program; any other is measured anew and replaced.
"""

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import xxhash

from compressae_jax.advice import measured
from compressae_jax.advice.measured import Measured, Speed
from compressae_jax.advice.methods import Method
from compressae_jax.advice.sample import Sample
from compressae_jax.base import sealed
from compressae_jax.evaluation import provenance
from compressae_jax.notation import FolderError

FOLDER = "measured"
VERSION = 1


class Kept(NamedTuple):
    """A folder of measurements, whose lock the caller holds; without one nothing is kept."""

    folder: Path | None
    seed: int
    program: dict[str, Any]  # its release and commit, and what it runs on
    earlier: set[Path]  # those that an earlier call had measured

    def find(self, method: Method, sample: Sample, total: int) -> Measured | None:
        """As an earlier call measured it; None where none did.

        Raises:
            FolderError: a measurement that is damaged.
        """
        if self.folder is None:
            return None
        path = self._path(method, sample)
        found = _read(path)
        if found is None or found["asked"] != self._asked(method, sample, total):
            return None
        self.earlier.add(path)
        return _from_json(found["measured"])

    def measured(self, method: Method, sample: Sample, truth: np.ndarray, total: int) -> Measured:
        """What `find` finds, or else `measured.of` it now, which is kept; raises as both."""
        found = self.find(method, sample, total)
        if found is not None:
            return found
        one = measured.of(method, sample, truth, total, self.seed)
        if self.folder is not None:
            self.folder.mkdir(parents=True, exist_ok=True)
            fields = {"asked": self._asked(method, sample, total), "measured": _as_json(one)}
            sealed.replace(self._path(method, sample), {"format_version": VERSION, **fields})
        return one

    def _path(self, method: Method, sample: Sample) -> Path:
        assert self.folder is not None
        budget = "own" if method.budget is None else method.budget
        return self.folder / f"{method.name}-{budget}-{len(sample.fitted)}.json"

    def _asked(self, method: Method, sample: Sample, total: int) -> dict[str, object]:
        """All that a measurement depends on."""
        running = xxhash.xxh3_128()
        arrays = [sample.fitted, sample.searched, sample.queries]
        if sample.judged is not None:
            wanted = sample.judged.wanted
            arrays += [sample.judged.queries, wanted.data, wanted.indices, wanted.indptr]
        for one in arrays:
            running.update(f"{one.dtype.str} {one.shape}".encode())
            running.update(np.ascontiguousarray(one))
        return {
            "name": method.name,
            "budget": method.budget,
            "seed": self.seed,
            "sample": running.hexdigest(),
            "scanned": min(total, measured.SCANNED),
            "program": self.program,
        }


def of(folder: Path | None, seed: int) -> Kept:
    """What is kept in a folder, by this program and this seed; nothing yet, or nothing ever without a folder."""
    program = {
        **provenance.versions(("compressae_jax",)),
        "commit": provenance.commit(),
        "cpu": provenance.hardware()["cpu"],  # whose times they are
    }
    return Kept(folder, seed, program, set())


def _read(path: Path) -> dict[str, Any] | None:
    remedy = f"remove {path}, and it is measured anew"
    if not path.exists():
        return None
    fields = sealed.read(path, VERSION, remedy)
    if not {"asked", "measured"} <= fields.keys():
        raise FolderError(f"{path} is not a measurement; {remedy}")
    return fields


def _as_json(one: Measured) -> dict[str, object]:
    scores = {name: [str(of.dtype), of.tolist()] for name, of in one.scores.items()}
    speed = None if one.speed is None else one.speed._asdict()
    return {**one._asdict(), "scores": scores, "speed": speed, "about": dict(one.about)}


def _from_json(fields: dict[str, Any]) -> Measured:
    scores = {name: np.array(of, dtype) for name, (dtype, of) in fields["scores"].items()}
    speed = None if fields["speed"] is None else Speed(**fields["speed"])
    return Measured(**{**fields, "scores": scores, "speed": speed})
