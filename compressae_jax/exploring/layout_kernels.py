"""The compiled loop of `layout`: near rows pull each other, rows drawn by chance push each other away."""

import numpy as np

from compressae_jax.base.compiled import FAST, compiled


@compiled(fastmath=FAST)
def epoch(at, one, other, due, every, number, rate, pushes, state):
    """One round over the pairs whose turn it is; `at` (n, 2) and `due` (pairs,) are changed, `state` (1,) is drawn on.

    The curve of similarity is 1 / (1 + a d^2), its gradients those of the cross-entropy of UMAP (McInnes, Healy,
    Melville, arXiv 1802.03426); a step is cut at 4 times the rate.
    """
    a, n, seen = np.float32(1.6), len(at), state[0]
    for pair in range(len(one)):
        if due[pair] > number:
            continue
        due[pair] += every[pair]
        i, j = one[pair], other[pair]
        dx, dy = at[i, 0] - at[j, 0], at[i, 1] - at[j, 1]
        pull = -2 * a / (1 + a * (dx * dx + dy * dy))
        x, y = min(max(pull * dx, -4), 4) * rate, min(max(pull * dy, -4), 4) * rate
        at[i, 0] += x
        at[i, 1] += y
        at[j, 0] -= x
        at[j, 1] -= y
        for _ in range(pushes):
            seen ^= seen << np.uint64(13)  # xorshift64
            seen ^= seen >> np.uint64(7)
            seen ^= seen << np.uint64(17)
            k = np.int64((seen >> np.uint64(33)) % np.uint64(n))
            if k == i:
                continue
            dx, dy = at[i, 0] - at[k, 0], at[i, 1] - at[k, 1]
            far = dx * dx + dy * dy
            push = 2 / ((np.float32(0.001) + far) * (1 + a * far))
            at[i, 0] += min(max(push * dx, -4), 4) * rate
            at[i, 1] += min(max(push * dy, -4), 4) * rate
    state[0] = seen
