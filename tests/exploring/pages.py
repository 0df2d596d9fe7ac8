"""A small index whose items have awkward names, and what stands in a page."""

import base64
import gzip
import json
import re

import numpy as np
from evaluation import small

from compressae_jax import compression
from compressae_jax.retrieval.index import Index

AWKWARD = {
    3: "</script><script>document.title = 'broken'</script>",
    4: "\u05d0\u05d1\u05d2 \u202eright to left",
    5: "long " + "y" * 10_000,
    6: "{{data}} \\ \" ' `${1}` \u2028 &lt;",
    7: "",
    8: "\x1b[2J\x00 \ud800",
}
N, H = 300, 64
TEXTS = [AWKWARD.get(i, f"{['red', 'green', 'blue', 'grey'][i % 4]} item {i}") for i in range(N)]
WEIGHTS = small.weights(16, H, 5)


def index(space="dense_query", n=N):
    vectors = small.vectors(n, 16)
    if n == N:
        vectors[9], vectors[200] = 0, vectors[100]
    return Index(compression.encode(WEIGHTS, vectors), WEIGHTS, space)


def unpacked(page: bytes):
    """The head and the arrays of a page, read as its script does."""
    (letters,) = re.findall(rb'<script type="application/octet-stream" id="data">([^<]*)</script>', page)
    packed = base64.b64decode(letters)
    assert packed[4:8] == bytes(4)  # no moment, so that a page is the same bytes at any
    raw = gzip.decompress(packed)
    size = int.from_bytes(raw[:4], "little")
    head, start, arrays = json.loads(raw[4 : 4 + size]), 4 + size, {}
    for one in head["arrays"]:
        dtype, count = np.dtype(one["dtype"]), int(np.prod(one["shape"]))
        some = np.frombuffer(raw, np.uint8, count * dtype.itemsize, start)
        if dtype.kind in "iu":
            some = np.ascontiguousarray(some.reshape(dtype.itemsize, count).T)
        arrays[one["name"]] = some.reshape(-1).view(dtype).reshape(one["shape"])
        start += count * dtype.itemsize
    assert start == len(raw)
    return head, arrays
