"""The compiled loops of `additive`: the search for the atoms whose sum is nearest to a row, and which occur together.

Rows are taken through a codebook together, so that what is read of the atoms' products stays in a core's cache.
"""

import numpy as np

from compressae_jax.base.compiled import FAST, compiled

GROUP = 256  # atoms of a codebook
STRIP = 32  # candidates that are compared with the worst kept before any is looked at by itself


@compiled
def _kept(costs, places, size, cost, place):
    """Put a candidate into a heap of the least `len(costs)`, worst first, whose `size` is given; its new size."""
    most = len(costs)
    if size < most:
        at = size
        while at > 0:
            parent = (at - 1) // 2
            if costs[parent] >= cost:
                break
            costs[at], places[at] = costs[parent], places[parent]
            at = parent
        costs[at], places[at] = cost, place
        return size + 1
    at = 0
    while True:
        child = 2 * at + 1
        if child >= most:
            break
        if child + 1 < most and costs[child + 1] > costs[child]:
            child += 1
        if costs[child] <= cost:
            break
        costs[at], places[at] = costs[child], places[child]
        at = child
    costs[at], places[at] = cost, place
    return size


@compiled(fastmath=FAST)
def search(products, squares, inner, aim, weight, beams, found):
    """The codes (n, k) of rows by beam search, codebook by codebook, of their products (n, h) with the atoms.

    `squares` (h,) of the atoms' lengths; `inner`: twice the products of the atoms of each codebook (256) with those of
    all before it, the rows of the second codebook first. A beam's cost is the squared distance less that of nothing; to
    the last codebook's is added `weight` times the square of what the sum's product with the row lacks of `aim`. A row
    never gets the first atom of every codebook.
    """
    n, k = len(products), squares.size // GROUP
    codes, costs = np.zeros((n, beams, k), np.uint8), np.zeros((n, beams), np.float32)
    along, have = np.zeros((n, beams), np.float32), np.ones(n, np.int64)
    least, places = np.empty(beams, np.float32), np.empty(beams, np.int64)
    others, beside = np.empty((beams, k), np.uint8), np.empty(beams, np.float32)
    alone, total = np.empty(GROUP, np.float32), np.empty(GROUP, np.float32)
    for m in range(k):
        at, first, last = GROUP * m, GROUP * (m * (m - 1) // 2), m == k - 1
        for row in range(n):
            for c in range(GROUP):
                alone[c] = squares[at + c] - 2 * products[row, at + c]
            size, worst, best = 0, np.float32(np.inf), 0
            for b in range(have[row]):
                code, cost = codes[row, b], costs[row, b]
                for c in range(GROUP):
                    total[c] = alone[c] + cost
                quads = m // 4 * 4
                for j in range(0, quads, 4):
                    one, two = inner[first + GROUP * j + code[j]], inner[first + GROUP * (j + 1) + code[j + 1]]
                    three = inner[first + GROUP * (j + 2) + code[j + 2]]
                    four = inner[first + GROUP * (j + 3) + code[j + 3]]
                    for c in range(GROUP):
                        total[c] += (one[c] + two[c]) + (three[c] + four[c])
                for j in range(quads, m):
                    one = inner[first + GROUP * j + code[j]]
                    for c in range(GROUP):
                        total[c] += one[c]
                if last:
                    lacks = aim - along[row, b]
                    for c in range(GROUP):
                        lack = lacks - products[row, at + c]
                        total[c] += weight * lack * lack
                    zero = True
                    for j in range(m):
                        zero &= code[j] == 0
                    for c in range(1 if zero else 0, GROUP):
                        if total[c] < worst:
                            worst, best = total[c], GROUP * b + c
                    continue
                for start in range(0, GROUP, STRIP):
                    hits = 0
                    for c in range(start, start + STRIP):
                        hits += total[c] < worst
                    if hits:
                        for c in range(start, start + STRIP):
                            if total[c] < worst:
                                size = _kept(least, places, size, total[c], GROUP * b + c)
                                if size == beams:
                                    worst = least[0]
            if last:
                found[row, :m] = codes[row, best // GROUP, :m]
                found[row, m] = best % GROUP
                continue
            # Best beams first: what they leave to keep is little, so that few candidates of others enter the heap.
            for end in range(size - 1, 0, -1):
                cost, place = least[end], places[end]
                least[end], places[end] = least[0], places[0]
                _kept(least[:end], places[:end], end, cost, place)
            for i in range(size):
                b, c = places[i] // GROUP, places[i] % GROUP
                others[i, :m] = codes[row, b, :m]
                others[i, m] = c
                beside[i] = along[row, b] + products[row, at + c]
            codes[row, :size, : m + 1] = others[:size, : m + 1]
            along[row, :size], costs[row, :size], have[row] = beside[:size], least[:size], size


@compiled
def together(codes, counts):
    """Add to `counts` (h, h), below the diagonal and on it, in how many rows two atoms are both."""
    for row in range(len(codes)):
        for i in range(codes.shape[1]):
            for j in range(i + 1):
                counts[GROUP * i + codes[row, i], GROUP * j + codes[row, j]] += 1
