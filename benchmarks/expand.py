"""What a client computes of one query: u in each space by `Expander`, beside the product alone by NumPy's BLAS.

    python -m benchmarks.expand --out=results

Published one-pass codes of random weights: what is timed does not depend on them. Sides in turn; the first call of
each, which lays the dictionary out, is not counted. BLAS with one thread, as a service of many clients runs it, and
with as many as it takes.
"""

import argparse
import functools
from typing import Any

import numpy as np
from threadpoolctl import ThreadpoolController

from benchmarks import timing
from compressae_jax.codes.spaces import SPACES
from compressae_jax.model.weights import Weights
from compressae_jax.retrieval.queries import Expander

CONTROLLER = ThreadpoolController()
SHAPES = ((384, 2048, 32), (768, 4096, 32))


def main() -> None:
    """Time all sides for each shape, write the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--repeats", type=int, default=301)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", default="", help="folder for expand.json and expand.md")
    flags = parser.parse_args()
    results = []
    for d, h, k in SHAPES:
        rng = np.random.default_rng(flags.seed)
        decoder_w = rng.normal(size=(h, d)).astype(np.float32)
        decoder_w /= np.linalg.norm(decoder_w, axis=1, keepdims=True)
        params = {"encoder_w": decoder_w.T.copy(), "encoder_b": np.zeros(h, np.float32), "decoder_w": decoder_w}
        weights, query = Weights(params, h, k), rng.normal(size=(1, d)).astype(np.float32)
        sides = {space: functools.partial(Expander(weights, space).expand, query) for space in SPACES}
        sides["NumPy's product, one thread"] = functools.partial(product, decoder_w, query[0], 1)
        sides["NumPy's product"] = functools.partial(product, decoder_w, query[0], None)
        seconds = timing.alternate(sides, flags.repeats)
        results.append({"d": d, "h": h, "k": k, "ms": {name: timing.milliseconds(s) for name, s in seconds.items()}})
    report = {
        "command": "python -m benchmarks.expand",
        "settings": vars(flags),
        "machine": timing.machine(),
        "results": results,
    }
    if flags.out:
        timing.write(flags.out, "expand", report, table(report))
    print(table(report))


def product(decoder_w: np.ndarray, query: np.ndarray, threads: int | None) -> np.ndarray:
    """W_d x̂."""
    with CONTROLLER.limit(limits=threads):  # some microseconds
        return decoder_w @ (query / np.linalg.norm(query))


def table(report: dict[str, Any]) -> str:
    """Sides down, shapes across."""
    results = report["results"]
    rows = [[side, *(timing.shown(one["ms"][side], 3, "_ms") for one in results)] for side in results[0]["ms"]]
    head = " | ".join(f"d={one['d']}, h={one['h']:,}, k={one['k']}" for one in results)
    lines = [
        f"One query at a time, {report['settings']['repeats']} of each in turn, ms, median (least to greatest). "
        f"`{report['command']}`.",
        "",
        *timing.markdown(f"u of one query | {head}", rows),
    ]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
