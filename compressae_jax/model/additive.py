"""Codes that are sums of atoms, one of each codebook: the model's part of storage 'additive8' (rows: `codes.storage`).

The k codebooks of 256 atoms are one dictionary of h = 256 k rows of unit length, whose lengths are the values of all
codes, the levels of the model. An encoder looks for the sum that is nearest to a row by beam search. Since scores are
inner products ⟨q, z⟩ that nothing divides by ‖z‖, which would take bytes, the last atom is chosen so that ⟨x̂, z⟩ is
near what all rows have: then no row's own length moves its scores (docs/research-log.md).
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int, UInt8

from compressae_jax.codes.storage import kinds
from compressae_jax.codes.storage.additive import GROUP, Additive
from compressae_jax.codes.storage.kinds import ADDITIVE
from compressae_jax.model import kept, pursuit_host
from compressae_jax.model.weights import Weights
from compressae_jax.notation import InputError

BEAMS = 64  # codes of a row that go from one codebook to the next
WEIGHT = 10.0  # of the square of what ⟨x̂, z⟩ lacks of its aim, beside the squared distance

SHORTEST = 1e-6  # value of an atom


class Books(NamedTuple):
    """What the search reads of codebooks: lengths of atoms, their squares, and twice their products.

    `inner` has the 256 products of each atom with those of a later codebook: 256 j rows for codebook j. `aim` is what
    the sums of rows have of their vector, ⟨x̂, z⟩, mostly.
    """

    lengths: Float[np.ndarray, " h"]
    squares: Float[np.ndarray, " h"]
    inner: Float[np.ndarray, "m 256"]
    aim: float

    @property
    def nbytes(self) -> int:
        """Bytes in memory."""
        return self.inner.nbytes + self.squares.nbytes + self.lengths.nbytes


def has_codebooks(weights: Weights) -> bool:
    """Whether a model makes rows of storage 'additive8', and no others."""
    return any(name.split(":")[1:2] == [ADDITIVE] for name in weights.levels)


def split(codebooks: Float[np.ndarray, "h d"]) -> tuple[Float[np.ndarray, "h d"], Float[np.ndarray, " h"]]:
    """Atoms of unit length, and the lengths that codebooks have; an atom of none points along the first axis."""
    lengths = np.linalg.norm(codebooks.astype(np.float64), axis=1)
    atoms = codebooks / np.maximum(lengths, SHORTEST)[:, None]
    atoms[lengths < SHORTEST] = np.eye(1, codebooks.shape[1])
    return atoms.astype(np.float32), np.maximum(lengths, SHORTEST).astype(np.float32)


def levels(lengths: Float[np.ndarray, " h"], aim: float) -> tuple[float, ...]:
    """The levels of a model of such codebooks: values are lengths that scores are near cosines by."""
    found = np.append(lengths / np.float32(aim), np.float32(aim)).astype(np.float32)
    return tuple(np.maximum(found, np.float32(SHORTEST)).astype(np.float64).tolist())


def books(decoder_w: Float[np.ndarray, "h d"], lengths: Float[np.ndarray, " h"], aim: float) -> Books:
    """Those of atoms of unit length and their lengths."""
    gram = pursuit_host.gram(decoder_w)
    gram *= lengths
    gram *= 2 * lengths[:, None]
    parts = [gram[:at, at : at + GROUP] for at in range(GROUP, len(gram), GROUP)]
    inner = np.ascontiguousarray(np.concatenate(parts)) if parts else np.empty((0, GROUP), np.float32)
    return Books(lengths, gram.diagonal() / 2, inner, aim)


def packing(weights: Weights) -> Additive:
    """How the rows of such a model are packed."""
    how = kinds.packing(ADDITIVE, weights.h, weights.k, weights.levels[kinds.levels_name("pursuit", ADDITIVE)])
    assert isinstance(how, Additive)
    return how


def books_of(weights: Weights) -> Books:
    """Those of a model, made once.

    Raises:
        InputError: a model that has no codebooks.
    """
    name = kinds.levels_name("pursuit", ADDITIVE)
    if name not in weights.levels:
        raise InputError(f"the model (fingerprint {weights.fingerprint}) has no codebooks for storage {ADDITIVE!r}")

    def made() -> Books:
        *values, aim = weights.levels[name]
        return books(weights.params["decoder_w"], np.array(values, np.float32) * np.float32(aim), aim)

    return kept.of(weights, "codebooks", made, lambda some: some.nbytes)


def nearest(
    product: Float[np.ndarray, "b h"], some: Books, beams: int = BEAMS, weight: float = WEIGHT
) -> UInt8[np.ndarray, "b k"]:
    """The atom of each codebook, of rows given by their products with atoms of unit length, which are overwritten."""
    from compressae_jax.model import additive_kernels

    product *= some.lengths
    found = np.empty((len(product), len(some.lengths) // GROUP), np.uint8)
    additive_kernels.search(product, some.squares, some.inner, np.float32(some.aim), np.float32(weight), beams, found)
    return found


def coded(
    units: Float[np.ndarray, "b d"], product: Float[np.ndarray, "b h"], some: Books, how: Additive
) -> tuple[Float[np.ndarray, "b k"], Int[np.ndarray, "b k"]]:
    """Values and columns, in the order of the codebooks; zero rows have values of 0."""
    found = nearest(product, some)
    columns = found + GROUP * np.arange(found.shape[1])
    values = how.lengths[columns]
    values[~np.asarray(units.any(axis=1))] = 0
    return values, columns
