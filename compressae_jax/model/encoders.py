"""The ways from vectors to codes for one dictionary, by name; their arithmetic is in `topk`, `pursuit`, `pursuit_host`.

topk      one linear pass, the k largest pre-activations (arXiv 2505.11388)
refit     the same columns, least-squares values
shortlist matching pursuit on products of atoms in 8 bits, nearly as good for less time; least-squares values
pursuit   orthogonal matching pursuit: columns, too, are chosen for the dictionary

`Encoder` is all of them behind one call: NumPy and compiled loops on a CPU, jitted elsewhere; rows of codebooks, and
values on levels by another encoder than pursuit, are made by loops anywhere.
"""

import collections
import dataclasses
import itertools
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import numpy as np
from jaxtyping import Float, Int, Integer

from compressae_jax.base import devices, products, threads
from compressae_jax.base.arrays import empty, padded, pieces
from compressae_jax.codes import lengths, levels, on_host
from compressae_jax.codes.codes import Codes, column_dtype
from compressae_jax.codes.rows import SIMILARITIES, MadeBy
from compressae_jax.codes.storage import kinds
from compressae_jax.codes.storage.kinds import ADDITIVE, RESIDUAL, STORAGES, storage_bits
from compressae_jax.model import additive, kept, pursuit_host, residual, shortlists, topk_host
from compressae_jax.model.weights import Weights
from compressae_jax.notation import Dense, InputError, check_choice, check_range

ENCODERS = ("topk", "refit", "shortlist", "pursuit")
SWAPPED = ("shortlist", "pursuit")  # which the decoder alone decides, and whose columns may change on levels
BLOCK = 4096  # rows; a device's blocks are all of this size, so that one compilation serves any number of rows
AHEAD = 2  # blocks under way on each device
LOOPED = 60  # rows that a thread takes at a time on a CPU: their (rows, h) products stay in its second cache
LEVEL_ROWS = 8192  # that levels are learned from
UNUSED = np.float32(2**-10)  # of a row's largest value: what levels are learned from where a place has none


def check(encoder: str, activation: str, rounded: bool) -> None:
    """Raise InputError unless the encoder is one of `ENCODERS` and can serve models of this activation.

    `rounded`: whether values go on few levels, which fits them anew, as 'refit' does.
    """
    check_choice("encoder", encoder, ENCODERS)
    if (encoder != "topk" or rounded) and activation != "topk":
        wanted = "values on few levels" if rounded else f"encoder={encoder!r}"
        raise InputError(f"{wanted} may give values of either sign, but the model's activation is {activation}")


@dataclasses.dataclass(frozen=True, eq=False)
class Encoder:
    """One way from vectors to codes, that of `encoder`, with values as `storage` has them.

    Where it is packed, values are signed levels (those of the weights) with the row's length folded in (see
    `pursuit_host`), and every row that is not zero has k nonzeros. On a CPU NumPy and compiled loops do it, with no
    call of JAX: any number of threads may share an encoder, and a forked process, too, may call it. Elsewhere (see
    `by_loops`) threads may, but processes have to be spawned. It can be pickled. A row's code is the same however many
    rows come together; a device's is that of the loops but where sums round differently. Under `similarity` 'dot'
    codes come with the lengths of the vectors, by which searches then multiply; values on levels have them folded in,
    which ranks better than two bytes a row for them (benchmarks/dot). `nonzeros` of a row, of one pass alone, where
    they are not the model's k: queries may have more than rows do.

    Raises:
        InputError: an unknown encoder or storage, or one that cannot serve this model.
    """

    weights: Weights
    encoder: str = "topk"
    storage: str = "float16"
    similarity: str = "cosine"
    nonzeros: int = 0

    def __post_init__(self) -> None:
        check_choice("storage", self.storage, STORAGES)
        kinds.check(self.storage, self.weights.h)
        check_choice("similarity", self.similarity, SIMILARITIES)
        check(self.encoder, self.weights.activation, rounded=storage_bits(self.storage) is not None)
        if self.nonzeros:
            check_range("nonzeros", self.nonzeros, 1, self.weights.h)
            check_choice("encoder of so many nonzeros", self.encoder, ("topk",))
        if residual.has_basis(self.weights) != (self.storage == RESIDUAL) or (
            self.storage == RESIDUAL and self.encoder != "pursuit"
        ):
            has = "has a" if residual.has_basis(self.weights) else "has no"
            raise InputError(
                f"the model (fingerprint {self.weights.fingerprint}) {has} basis for what its nonzeros leave, and rows "
                f"of storage {RESIDUAL!r} by encoder 'pursuit' are what such models make, and no others: not "
                f"{self.storage!r} by {self.encoder!r}"
            )
        if additive.has_codebooks(self.weights) != (self.storage == ADDITIVE) or (
            self.storage == ADDITIVE and self.encoder != "pursuit"
        ):
            has = "has" if additive.has_codebooks(self.weights) else "has no"
            raise InputError(
                f"the model (fingerprint {self.weights.fingerprint}) {has} codebooks, and rows of storage {ADDITIVE!r} "
                f"by encoder 'pursuit' are what such models make, and no others: not {self.storage!r} by "
                f"{self.encoder!r}"
            )
        if self.storage == ADDITIVE and self.similarity != "cosine":
            raise InputError(
                f"rows of storage {ADDITIVE!r} are compared by cosines, not by similarity={self.similarity!r}: learn "
                "pursuit codes, whose values have lengths in them, with h=…, k=…, steps=0 and refine_rounds=15"
            )

    @property
    def levels_name(self) -> str:
        """What the weights call its levels."""
        return kinds.levels_name(self.encoder, self.storage, self.similarity)

    @property
    def k(self) -> int:
        """Nonzeros of a row."""
        return self.weights.h if self.weights.activation == "identity" else self.nonzeros or self.weights.k

    @property
    def packed(self) -> bool:
        """Whether values go on levels."""
        return storage_bits(self.storage) is not None

    @property
    def made_by(self) -> MadeBy:
        """What the rows know of their origin."""
        return MadeBy(self.weights.fingerprint, self.encoder)

    @property
    def by_loops(self) -> bool:
        """Whether NumPy and compiled loops do it: on a CPU, and where values go on levels for all but pursuit."""
        on_levels = self.packed and (self.encoder != "pursuit" or self.storage == ADDITIVE)
        return on_levels or devices.on_cpu()

    def __call__(self, x: Dense) -> Codes:
        """Codes of a block of rows, by falling magnitude, in NumPy; on a device each size compiles once."""
        if self.by_loops:
            return self._by_loops(np.asarray(x, np.float32))
        return self._taken(self.on_device(x, devices.first()), x)

    def encode(self, vectors: Dense, block: int = BLOCK, on: Sequence[Any] | None = None) -> Codes:
        """Codes of any number of rows."""
        parts = list(self.stream(pieces(np.asarray(vectors), block), block, on))
        if not parts:
            empty = self(np.zeros((1, self.weights.d), np.float32))
            return empty[:0].codes()
        arrays = {name: np.concatenate([one.arrays()[name] for one in parts]) for name in parts[0].arrays()}
        return parts[0].like(arrays)

    def stream(self, blocks: Iterable[Dense], block: int = BLOCK, on: Sequence[Any] | None = None) -> Iterator[Codes]:
        """Codes of blocks of at most `block` rows, in order; dealt to the devices `on`, or to all, in turn."""
        if self.by_loops:
            yield from map(self, blocks)
            return
        import jax

        under_way: collections.deque[tuple[Codes, Dense]] = collections.deque()
        places = list(on or jax.local_devices())
        for device, some in zip(itertools.cycle(places), blocks, strict=False):
            under_way.append((self.on_device(padded(some, block), device), some))
            if len(under_way) > AHEAD * len(places):
                yield self._taken(*under_way.popleft())
        for codes, some in under_way:
            yield self._taken(codes, some)

    def on_device(self, x: Dense, device: Any) -> Codes:
        """Codes of a block on a device, where they stay; of rows with a residual those of their nonzeros."""
        import jax

        from compressae_jax.model import on_device

        if self.storage == RESIDUAL:
            return self._short().on_device(x, device)
        if self.packed:
            x = np.asarray(x, np.float32)
            times = self._times(x)
            rows = x, np.ones(len(x), np.float32) if times is None else times.astype(np.float32)
            x, times = jax.device_put(rows, device)
            atoms, levels = on_device.atoms_on(self.weights, device), np.array(self.levels, np.float32)
            return on_device.encode_on_levels(atoms, x, self.k, levels, times, np.float32(self.weights.fold))
        params = on_device.params_on(self.weights, device)
        module = self.weights.module().clone(k=self.k)
        coarse = on_device.coarse_on(self.weights, device) if self.encoder == "shortlist" else None
        codes = on_device.encode(params, jax.device_put(x, device), module, self.encoder, coarse)
        return Codes(codes.values.astype(self.storage), codes.columns, codes.h)

    def magnitudes(self, x: Dense) -> Float[np.ndarray, " m"]:
        """The magnitudes that levels are to stand for, of all k places of the rows that are not zero."""
        found = np.empty((len(x), self.k), np.float32)

        def work(here: slice, units: np.ndarray, product: np.ndarray) -> None:
            of_rows, fitted, among = self._fitted(units, product, gram)
            some = None if times is None else times[here]
            found[here] = np.abs(pursuit_host.folded(of_rows, fitted, among, some, self.weights.fold)[0])

        gram, x = gram_of(self.weights), np.asarray(x, np.float32)
        times = self._times(x)
        self._products(x, work)
        used = found[found.any(axis=1)]
        # Places that a row does not use get a level, too: one that hardly counts, where there are many of them.
        return np.maximum(used, UNUSED * used.max(axis=1, keepdims=True)).reshape(-1)

    def _taken(self, codes: Codes, x: Dense) -> Codes:
        """The codes of x, in NumPy, of codes on a device, which may have rows of padding behind."""
        if self.storage == RESIDUAL:
            return self._with_residual(np.asarray(x, np.float32), self._short()._taken(codes, x))
        values, columns = (np.array(one[: len(x)]) for one in map(np.asarray, (codes.values, codes.columns)))
        return self._codes(values, columns, x)

    def _codes(self, values: Float[np.ndarray, "b k"], columns: Integer[np.ndarray, "b k"], x: Dense) -> Codes:
        of_x = lengths.of(x) if self.similarity == "dot" else None
        return Codes(values, columns, self.weights.h, made_by=self.made_by, lengths=of_x)

    def _with_residual(self, x: Float[np.ndarray, "b d"], few: Codes) -> Codes:
        how = residual.packing(self.weights, self.levels, self.similarity)
        found = residual.coded(on_host.unit_rows(x), self._times(x), few, self.weights, how)
        return self._codes(found[0], found[1].astype(column_dtype(self.weights.h)), x)

    def _of_codebooks(self, x: Float[np.ndarray, "b d"]) -> Codes:
        how, books = additive.packing(self.weights), additive.books_of(self.weights)
        values = np.empty((len(x), self.k), np.float32)
        columns = np.empty((len(x), self.k), column_dtype(self.weights.h))

        def work(here: slice, units: np.ndarray, product: np.ndarray) -> None:
            values[here], columns[here] = additive.coded(units, product, books, how)

        self._products(x, work)
        return self._codes(values, columns, x)

    def _short(self) -> "Encoder":
        """The encoder of the nonzeros that rows with a residual begin with."""
        how = residual.packing(self.weights, self.levels, self.similarity)
        name = "short", how.similarity, how.first.levels
        weights = kept.of(
            self.weights, name, lambda: residual.short(self.weights, how), lambda made: 8 * made.d * made.h
        )
        return Encoder(weights, "pursuit", residual.FIRST, self.similarity)

    def _by_loops(self, x: Float[np.ndarray, "b d"]) -> Codes:
        if self.storage == RESIDUAL:
            return self._with_residual(x, self._short()(x))
        if self.storage == ADDITIVE:
            return self._of_codebooks(x)
        h, bits = self.weights.h, storage_bits(self.storage)
        values = np.empty((len(x), self.k), np.float32 if bits is not None else self.storage)
        columns = np.empty((len(x), self.k), column_dtype(h))
        on = None if bits is None else np.array(self.levels, np.float32)

        gram = None if self._plain else gram_of(self.weights)
        times = self._times(x)

        def work(here: slice, units: np.ndarray, product: np.ndarray) -> None:
            some = None if times is None else times[here]
            if gram is None:
                found = topk_host.largest(self._activated(units, product), self.k)
            elif on is not None and self.encoder == "pursuit":
                found = pursuit_host.pursue_on_levels(product, gram, self.weights.k, on, some, self.weights.fold)
                found = _by_magnitude(*found)
            else:
                of_rows, found, among = self._fitted(units, product, gram)
                if on is not None:
                    swap = self.encoder in SWAPPED
                    found = pursuit_host.on_levels(of_rows, found, gram, on, swap, among, some, self.weights.fold)
                found = _by_magnitude(*found)
            with np.errstate(over="ignore"):  # whoever stores float16 looks at what is too large for it
                values[here], columns[here] = found

        self._products(x, work)
        return self._codes(values, columns, x)

    def _times(self, x: Float[np.ndarray, "b d"]) -> Float[np.ndarray, " b"] | None:
        """The lengths that are folded into values on levels; those out of range, which are refused later, as 0."""
        if self.similarity == "cosine" or not self.packed:
            return None
        of_x = lengths.of(x)
        return np.where(of_x <= lengths.LONGEST, of_x, 0)

    @property
    def levels(self) -> tuple[float, ...]:
        """The magnitudes of packed values.

        Raises:
            InputError: weights that have none yet for this encoder and storage.
        """
        try:
            return self.weights.levels[self.levels_name]
        except KeyError:
            raise InputError(
                f"the model (fingerprint {self.weights.fingerprint}) has no levels for encoder={self.encoder!r}, "
                f"storage={self.storage!r}, similarity={self.similarity!r} yet: compress some vectors first, or call "
                "learn_levels"
            ) from None

    def _products(self, x: Float[np.ndarray, "b d"], work: Callable[[slice, np.ndarray, np.ndarray], None]) -> None:
        """Call `work` with some rows at a time, on all cores: which they are, they as units, their product."""
        h, b = self.weights.h, len(x)
        matrix = strips_of(self.weights, "decoder_w" if self.encoder in SWAPPED else "encoder_w")
        dealt = x.size * h >= products.SHARE
        lot = min(LOOPED, -(-b // threads.cores())) if dealt else LOOPED
        starts = iter(range(0, b, lot))

        def some(_: int) -> None:
            buffer = empty((min(lot, b), h))
            for start in starts:  # shared by the threads, so a slow core takes fewer
                units = on_host.unit_rows(x[start : start + lot])
                work(slice(start, start + len(units)), units, products.product(units, matrix, buffer[: len(units)]))

        if dealt:
            threads.deal(some, range(min(threads.cores(), -(-b // lot))))
        else:
            some(0)

    @property
    def _plain(self) -> bool:
        """Whether the one pass does it, without a Gram matrix."""
        return self.encoder == "topk" and storage_bits(self.storage) is None

    def _activated(self, units: Float[np.ndarray, "b d"], a: Float[np.ndarray, "b h"]) -> Float[np.ndarray, "b h"]:
        """What columns are chosen from, made in place of x̂ W_e + b_e: `rectified`, all zero of a zero row."""
        a[~units.any(axis=1)] = 0
        return topk_host.rectify(a, self.weights.activation)

    def _fitted(
        self, units: Float[np.ndarray, "b d"], product: Float[np.ndarray, "b h"], gram: Float[np.ndarray, "h h"]
    ) -> tuple[Float[np.ndarray, "b c"], pursuit_host.Fitted, Int[np.ndarray, "b c"] | None]:
        """Correlations, least-squares values, and the columns of these correlations, None where they are all.

        Zero rows come out as zeros.
        """
        k, decoder_w = self.weights.k, self.weights.params["decoder_w"]
        if self.encoder == "pursuit":
            return product, pursuit_host.pursue(product, gram, k), None
        if self.encoder == "shortlist":
            more = shortlists.spare(k, self.weights.h) if self.packed else 0
            fitted, among = pursuit_host.shortlist(product, gram, coarse_of(self.weights), k, more)
            return np.take_along_axis(product, among, axis=1), fitted, among
        among = topk_host.largest(self._activated(units, product), k)[1]
        of_few = pursuit_host.correlations_among(units, decoder_w, among)
        return of_few, pursuit_host.refit(of_few, gram, among), among


def _by_magnitude(
    values: Float[np.ndarray, "b k"], columns: Int[np.ndarray, "b k"]
) -> tuple[Float[np.ndarray, "b k"], Int[np.ndarray, "b k"]]:
    order = np.argsort(-np.abs(values), axis=1, kind="stable")
    return np.take_along_axis(values, order, axis=1), np.take_along_axis(columns, order, axis=1)


def rows_for_levels(n: int) -> Int[np.ndarray, " few"]:
    """Places of the evenly spaced rows, of n, that levels are learned from."""
    return np.unique(np.linspace(0, max(n - 1, 0), min(n, LEVEL_ROWS)).astype(np.int64))


def learn_levels(
    weights: Weights, encoder: str, storage: str, sample: Callable[[], Dense], similarity: str = "cosine"
) -> tuple[float, ...]:
    """The levels of packed rows, which the weights keep from then on; the sample is taken only where they have none.

    `sample`: rows that stand for all that will come, zero rows among them.
    """
    name = kinds.levels_name(encoder, storage, similarity)
    if name not in weights.levels:
        if storage == ADDITIVE:
            return Encoder(weights, encoder, storage, similarity).levels  # which says that there are none
        if storage == RESIDUAL:
            weights.levels.setdefault(name, _levels_with_lengths(weights, similarity, sample()))
            return weights.levels[name]
        magnitudes = Encoder(weights, encoder, storage, similarity).magnitudes(sample())
        learned = levels.learn(magnitudes, 2 ** (int(storage_bits(storage) or 0) - 1))
        weights.levels.setdefault(name, tuple(learned.tolist()))
    return weights.levels[name]


def _levels_with_lengths(weights: Weights, similarity: str, x: Dense) -> tuple[float, ...]:
    """Those of rows with a residual that have the lengths of vectors in them: magnitudes and scales are others.

    Raises:
        InputError: a model that has none without lengths, so no basis.
    """
    plain = Encoder(weights, "pursuit", RESIDUAL).levels
    how = residual.packing(weights, plain)
    few = residual.short(weights, how)
    magnitudes = learn_levels(few, "pursuit", residual.FIRST, lambda: x, similarity)
    encoder = Encoder(few, "pursuit", residual.FIRST, similarity)
    rest = np.asarray(x, np.float32) - on_host.reconstruct(encoder(x), few.params["decoder_w"])
    return residual.with_scales(how, magnitudes, rest)


def gram_of(weights: Weights) -> Float[np.ndarray, "h h"]:
    """The Gram matrix of the decoder, kept likewise."""
    return kept.of(weights, "gram", lambda: pursuit_host.gram(weights.params["decoder_w"]), lambda gram: gram.nbytes)


def coarse_of(weights: Weights) -> shortlists.Coarse:
    """The Gram matrix in 8 bits, kept likewise."""
    return kept.of(
        weights, "coarse gram", lambda: shortlists.coarse(weights.params["decoder_w"]), lambda coarse: coarse.nbytes
    )


def strips_of(weights: Weights, name: str) -> products.Strips:
    """What `products` take for x̂ W_e + b_e ('encoder_w') or for x̂ W_dᵀ ('decoder_w'), kept likewise."""

    def made() -> products.Strips:
        if name == "decoder_w":
            return products.strips(np.asarray(weights.params[name]).T)
        return products.strips(np.asarray(weights.params[name]), np.asarray(weights.params["encoder_b"]))

    return kept.of(weights, f"strips of {name}", made, lambda strips: strips.nbytes)
