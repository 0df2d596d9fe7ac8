"""Rows a second of every encoder on one dictionary: one pass, refit, pursuit jitted and by compiled loops, packed.

Beside them PyTorch's one pass (product and topk by magnitude, in its best batch; extra [bench]), and the one pass with
bfloat16 products with the share of rows whose columns it keeps (`benchmarks.bfloat16` says what recall that costs).

    python -m benchmarks.encoders --out=results [--model=runs/mine/model --source=vectors.npy]

Without a model, random unit atoms and random rows serve, for times only: what an encoder costs depends on d, h and k.
"""

import argparse
import functools
from collections.abc import Callable
from statistics import median
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks import timing
from compressae_jax import compression, data
from compressae_jax.model import encoders, on_device, shortlists
from compressae_jax.model import weights as model_weights
from compressae_jax.model.weights import Weights

ROWS, REPEATS = 2048, 5
TORCH_ROWS = 512  # of a call; of 128 to 2,048, this and 256 are the fastest on two cores
MANY = 8  # times the rows, for the one pass by loops and by PyTorch
REST = 0.03  # seconds before a call
D, H, KS = 384, 4096, (9, 19, 42)


def main() -> None:
    """Time all of them in turn, check that both pursuits agree, write the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--model")
    parser.add_argument("--source")
    parser.add_argument("--k", type=int, nargs="+", default=KS)
    parser.add_argument("--repeats", type=int, default=REPEATS)
    parser.add_argument("--out", default="results")
    flags = parser.parse_args()
    weights, rows = given(flags.model, flags.source) if flags.model else drawn()
    results = [measured(weights.with_k(k), rows, flags.repeats) for k in flags.k]
    report = {"command": "python -m benchmarks.encoders", "rows": len(rows), "results": results, **timing.machine()}
    text = table(weights, results, flags.repeats)
    timing.write(flags.out, "encoders", report, text)
    print(text)


def given(model: str, source: str) -> tuple[Weights, np.ndarray]:
    """A trained model and the first rows of a source."""
    return model_weights.load(model), data.open_source(source).read(0, ROWS)


def drawn() -> tuple[Weights, np.ndarray]:
    """Random atoms and rows."""
    rng = np.random.default_rng(0)
    decoder_w = rng.standard_normal((H, D)).astype(np.float32)
    decoder_w /= np.linalg.norm(decoder_w, axis=1, keepdims=True)
    params = {"encoder_w": decoder_w.T.copy(), "encoder_b": np.zeros(H, np.float32), "decoder_w": decoder_w}
    return Weights(params, H, KS[0]), rng.standard_normal((ROWS, D)).astype(np.float32)


def measured(weights: Weights, rows: np.ndarray, repeats: int) -> dict[str, Any]:
    """Rows a second by encoder: median, least and greatest.

    Raises:
        AssertionError: the two forms of pursuit choose other columns in more than a hundredth of the rows.
    """
    params, module = jax.tree.map(jnp.asarray, weights.params), weights.module()
    on_host = functools.partial(compression.encode, weights, rows)
    coarse = {"shortlist": shortlists.coarse(weights.params["decoder_w"])}
    jitted = {
        name: functools.partial(on_device.encode, params, jnp.asarray(rows), module, name, coarse.get(name))
        for name in encoders.ENCODERS
    }
    same = (np.asarray(jitted["pursuit"]().columns) == on_host("float32", encoder="pursuit").columns).all(axis=1)
    assert same.mean() > 0.99, f"the two forms of pursuit agree in {same.mean():.3f} of the rows"
    sides = {f"{name}, jitted": call for name, call in jitted.items()}
    half = functools.partial(on_device.encode, params, jnp.asarray(rows), module.clone(dtype=jnp.bfloat16))
    sides["topk, jitted, bfloat16 products"] = half
    sides |= torch_sides(weights, rows)
    for name in encoders.ENCODERS:
        sides[f"{name}, compiled loops"] = functools.partial(on_host, "float32", encoder=name)
        sides[f"{name}, packed4"] = functools.partial(on_host, "packed4", encoder=name)
    many = np.tile(rows, (MANY, 1))  # as a file has: two blocks under way keep both cores busy
    sides[f"topk, compiled loops, {len(many):,} rows"] = lambda: compression.encode(
        weights, many, "float32", encoder="topk"
    )
    sides |= {f"{name}, {len(many):,} rows": call for name, call in torch_sides(weights, many).items()}
    seconds = timing.alternate(sides, repeats, rest=REST)
    counts = {name: len(many if name.endswith("rows") else rows) for name in sides}
    rates = {name: sorted(counts[name] / one for one in all_) for name, all_ in seconds.items()}
    whole, rounded = (np.sort(call().columns, axis=1) for call in (jitted["topk"], half))
    return {
        "k": weights.k,
        "rates": {name: [median(r), r[0], r[-1]] for name, r in rates.items()},
        "same columns with bfloat16 products": float((whole == rounded).all(axis=1).mean()),
    }


def torch_sides(weights: Weights, rows: np.ndarray) -> dict[str, Callable[[], Any]]:
    """The one pass by PyTorch on a CPU, checked against ours; none without it, or on another device.

    Raises:
        AssertionError: it chooses other columns in more than a hundredth of the rows.
    """
    try:
        import torch
    except ImportError:
        return {}
    if jax.default_backend() != "cpu":
        return {}
    encoder_w, encoder_b = (torch.tensor(np.asarray(weights.params[name])) for name in ("encoder_w", "encoder_b"))

    def topk() -> tuple[np.ndarray, np.ndarray]:
        parts = []
        with torch.inference_mode():
            for some in torch.from_numpy(rows).split(TORCH_ROWS):
                a = torch.nn.functional.normalize(some, dim=1) @ encoder_w + encoder_b
                columns = a.abs().topk(weights.k, dim=1).indices
                parts.append((a.gather(1, columns).numpy(), columns.numpy()))
        return tuple(np.concatenate(some) for some in zip(*parts, strict=True))

    same = (topk()[1] == compression.encode(weights, rows, "float32", encoder="topk").columns).all(axis=1)
    assert same.mean() > 0.99, f"PyTorch's one pass agrees in {same.mean():.3f} of the rows"
    return {"topk, PyTorch": topk}


def table(weights: Weights, results: list[dict[str, Any]], repeats: int) -> str:
    """Encoders down, k across."""
    lines = [
        f"Rows a second: median (least to greatest) of {repeats} alternating runs on {ROWS:,} rows, "
        f"d={weights.d}, h={weights.h:,}.",
        "",
        "| encoder | " + " | ".join(f"k={one['k']}" for one in results) + " |",
        "|---|" + "---|" * len(results),
    ]
    for name in results[0]["rates"]:
        cells = ["{:,.0f} ({:,.0f} to {:,.0f})".format(*one["rates"][name]) for one in results]
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    shares = (one["same columns with bfloat16 products"] for one in results)
    lines += [
        "",
        "Rows whose columns stay the same with bfloat16 products: " + ", ".join(f"{s:.3f}" for s in shares) + ".",
    ]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
