"""The slow truth of the model, in NumPy float64: forward, loss and every gradient, each branch by itself.

Written from the equations of arXiv 2505.11388 and of the published class, not from the package's code.
"""

from typing import NamedTuple

import numpy as np

NAMES = ("encoder_w", "encoder_b", "decoder_w")


class Forward(NamedTuple):
    a: np.ndarray
    s_k: np.ndarray
    z_k: np.ndarray
    s_4k: np.ndarray
    z_4k: np.ndarray


def double(params):
    return {name: np.asarray(params[name], np.float64) for name in NAMES}


def unit(x):
    """Rows over their lengths; zero rows stay zero."""
    length = np.linalg.norm(x, axis=-1, keepdims=True)
    return np.divide(x, length, out=np.zeros_like(x), where=length > 0)


def kept(a, k):
    """Where the k largest magnitudes of each row stand: a stable sort, so ties go to the lower column."""
    mask = np.zeros(a.shape, bool)
    np.put_along_axis(mask, np.argsort(-np.abs(a), axis=1, kind="stable")[:, :k], True, axis=1)
    return mask


def forward(params, x, k):
    """a, and code and reconstruction of both budgets; 4k is cut at h."""
    p, x = double(params), unit(np.asarray(x, np.float64))
    a = x @ p["encoder_w"] + p["encoder_b"]
    s_k, s_4k = a * kept(a, k), a * kept(a, min(4 * k, a.shape[1]))
    return Forward(a, s_k, s_k @ p["decoder_w"], s_4k, s_4k @ p["decoder_w"])


def cosine(x, z):
    return (unit(np.asarray(x, np.float64)) * unit(np.asarray(z, np.float64))).sum(axis=1)


def losses(params, x, k):
    """(mean(1 − cos(x, z_k)), mean(1 − cos(x, z_4k)))."""
    out = forward(params, x, k)
    return np.mean(1 - cosine(x, out.z_k)), np.mean(1 - cosine(x, out.z_4k))


def branch_gradient(params, x, k):
    """Gradient of mean(1 − cos(x, z_k)) alone; through the kept entries only (straight through their choice)."""
    p, unit_x = double(params), unit(np.asarray(x, np.float64))
    a = unit_x @ p["encoder_w"] + p["encoder_b"]
    mask = kept(a, min(k, a.shape[1]))
    s = a * mask
    z = s @ p["decoder_w"]
    length = np.linalg.norm(z, axis=1, keepdims=True)
    unit_z = unit(z)
    # d cos(x, z) / dz = (x̂ − cos ẑ) / ‖z‖, and 0 where z = 0.
    slope = unit_x - (unit_x * unit_z).sum(axis=1, keepdims=True) * unit_z
    dz = -np.divide(slope, length, out=np.zeros_like(z), where=length > 0) / len(z)
    da = dz @ p["decoder_w"].T * mask
    return {"encoder_w": unit_x.T @ da, "encoder_b": da.sum(axis=0), "decoder_w": s.T @ dz}


def gradient(params, x, k, weight_4k=1 / 8):
    """Gradient of the training loss: the k branch and the weighted 4k branch."""
    one, other = branch_gradient(params, x, k), branch_gradient(params, x, 4 * k)
    return {name: one[name] + weight_4k * other[name] for name in NAMES}


def expanded(space, vectors, codes_dense, decoder_w):
    """u of queries, by the table of DESIGN section 1 with K built in full."""
    decoder_w, s = np.asarray(decoder_w, np.float64), np.asarray(codes_dense, np.float64)
    if space == "sparse":
        return unit(s)
    if space == "reconstructed":
        z = s @ decoder_w
        length = np.linalg.norm(z, axis=1, keepdims=True)
        return np.divide(s @ (decoder_w @ decoder_w.T), length, out=np.zeros_like(s), where=length > 0)
    return unit(np.asarray(vectors, np.float64)) @ decoder_w.T
