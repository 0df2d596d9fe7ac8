"""The storages by name, and how each packs its rows; a new one is a file here and a line in `PACKINGS`."""

from collections.abc import Sequence

from compressae_jax.codes.storage.additive import Additive
from compressae_jax.codes.storage.fast import Fast
from compressae_jax.codes.storage.packed import Packing
from compressae_jax.codes.storage.residual import Residual
from compressae_jax.notation import InputError, check_range

FLOATS = ("float16", "float32")
RANKED = ("packed3", "packed4", "packed5", "packed6", "packed8")
PACKINGS: dict[str, tuple[type[Packing], int]] = {  # and the bits of a value
    **{storage: (Packing, int(storage[-1])) for storage in RANKED},
    "fast4": (Fast, 4),
    "residual4": (Residual, 4),
    "additive8": (Additive, 8),
}
STORAGES = (*FLOATS, *PACKINGS)
RESIDUAL = "residual4"  # of models that have a basis for what their nonzeros leave
ADDITIVE = "additive8"  # of models of codebooks
OWN = (RESIDUAL, ADDITIVE)  # whose models make no other rows, and whose values are in no other storage
FASTER = {"packed4": "fast4"}  # of the same values, and read ten times as fast


def storage_bits(storage: str) -> int | None:
    """Bits of a stored value where values are on levels ('packed4' -> 4), None where they are floats."""
    return PACKINGS[storage][1] if storage in PACKINGS else None


def check(storage: str, h: int) -> None:
    """Raise InputError for columns that a storage does not hold."""
    most = PACKINGS[storage][0].MOST_COLUMNS if storage in PACKINGS else 2**32
    check_range(f"h of rows of storage {storage!r}", h, 1, most)


def packing(storage: str, h: int, k: int, levels: Sequence[float], similarity: str = "cosine") -> Packing:
    """How rows of a storage that is not one of floats are packed.

    Raises:
        InputError: sizes or levels that the storage does not have.
    """
    kind, bits = PACKINGS[storage]
    return kind(h, k, bits, tuple(levels), similarity)


def record_width(storage: str, h: int, k: int, levels: Sequence[float] | None = None) -> int:
    """Bytes of a packed row of k nonzeros out of h columns, everything included; those of 'residual4' need its levels.

    Raises:
        InputError: sizes that the storage does not have.
    """
    if storage == RESIDUAL and levels is None:
        raise InputError(f"rows of storage {RESIDUAL!r} have the width that their levels say")
    if storage == ADDITIVE:
        levels = [1.0] * (h + 1)  # whatever they are
    elif storage != RESIDUAL:
        levels = [float(number) for number in range(1, 2 ** (PACKINGS[storage][1] - 1) + 1)]
    return packing(storage, h, k, levels or ()).width


def shares_values(storage: str, other: str) -> bool:
    """Whether rows of one storage can be written in another, values as they are."""
    if storage in OWN or other in OWN:
        return storage == other
    return storage_bits(storage) == storage_bits(other)


def levels_name(encoder: str, storage: str, similarity: str = "cosine") -> str:
    """What a model keeps the levels by: storages of as many bits share theirs, so rows go from one to the other."""
    kind = storage if storage in OWN else f"packed{storage_bits(storage)}"
    return f"{encoder}:{kind}" + ("" if similarity == "cosine" else f":{similarity}")
