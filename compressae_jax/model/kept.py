"""What is computed of a model and kept: by its fingerprint, bounded in bytes of each memory, gone with its weights."""

import os
import threading
import weakref
from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Any

from compressae_jax.model.weights import Weights

MOST = 2**32  # bytes of all in one memory, but the last one is kept in any case: a Gram matrix has up to 4 GiB

_lock = threading.RLock()
_kept: OrderedDict[tuple[str, Hashable, Hashable], tuple[Any, int]] = OrderedDict()  # the one used last at the end
_owners: dict[str, int] = {}  # living Weights of each fingerprint that something is kept of
_known: weakref.WeakSet[Weights] = weakref.WeakSet()


def of(
    weights: Weights, name: Hashable, make: Callable[[], Any], nbytes: Callable[[Any], int], on: Hashable = None
) -> Any:
    """What `make` gives for these weights, made once for all of the same fingerprint; threads wait for it.

    `on`: the device in whose memory it lies.
    """
    key = weights.fingerprint, name, on
    with _lock:
        _own(weights)
        if key not in _kept:
            value = make()
            _kept[key] = value, nbytes(value)
            for old in [one for one in _kept if one[2] == on and one != key]:
                if size(on) > MOST:
                    del _kept[old]
        _kept.move_to_end(key)
        return _kept[key][0]


def size(on: Hashable = None) -> int:
    """Bytes that are kept on a device, or in the host's memory."""
    return sum(each for key, (_, each) in _kept.items() if key[2] == on)


def _own(weights: Weights) -> None:
    if weights not in _known:
        _known.add(weights)
        _owners[weights.fingerprint] = _owners.get(weights.fingerprint, 0) + 1
        weakref.finalize(weights, _drop, weights.fingerprint).atexit = False


def _drop(fingerprint: str) -> None:
    with _lock:
        _owners[fingerprint] -= 1
        if _owners[fingerprint] == 0:
            del _owners[fingerprint]
            for key in [key for key in _kept if key[0] == fingerprint]:
                del _kept[key]


def _new_lock() -> None:
    global _lock
    _lock = threading.RLock()  # another thread of the parent may have held it


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_new_lock)
