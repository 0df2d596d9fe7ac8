"""One training step: ours beside an equivalent PyTorch step, in turn in one run, from the same weights and batch.

    python -m benchmarks.train_step --compile --out=results

On a CPU (d, h, k, b) = (384, 2048, 16, 2048) and (768, 4096, 32, 4096); on a GPU (768, 4096, 32, 100,000). Two peers,
written from the equations (arXiv 2505.11388): `torch, published` selects twice and scatters as the published class
does, with PyTorch's plain Adam; `torch, tuned` makes one selection for both budgets and fuses Adam, eager and, with
--compile, through torch.compile. Without torch (the [bench] extra) ours is timed alone. Before anything is timed the
losses of three steps are compared. The numbers are random, which changes no time.
"""

import argparse
import os
import time
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from benchmarks import timing
from compressae_jax.model.compressae import CompresSAE
from compressae_jax.model.losses import Mix
from compressae_jax.training import sharding, step
from compressae_jax.training import state as states

CPU = ["384,2048,16,2048", "768,4096,32,4096"]
GPU = ["768,4096,32,100000"]
WEIGHT_4K = 1 / 8
LR = 1e-3
CHECKED = 3  # steps whose losses are compared
REST = 0.03  # seconds before a call


def main() -> None:
    """At each shape build all sides, compare them, time them in turn; write the results."""
    flags = parse()
    load, rate = os.getloadavg(), timing.product_rate(flags.dtype)
    shapes = []
    for text in flags.shapes:
        shape = dict(zip(("d", "h", "k", "batch"), map(int, text.split(",")), strict=True))
        shapes.append({**shape, **measured(argparse.Namespace(**vars(flags), **shape), rate)})
    report = {
        "claim": "on a CPU a step is at least 1.5 times as fast as an equivalent compiled PyTorch step",
        "data": "synthetic; used for times only",
        "settings": vars(flags),
        "machine": {**timing.machine(), "load before": load, "torch": torch_version()},
        "product operations a second": rate,
        "date": time.strftime("%Y-%m-%d"),
        "shapes": shapes,
    }
    if flags.out:
        timing.write(flags.out, "train_step", report, table(report))
    print(table(report))


def measured(flags: argparse.Namespace, rate: float) -> dict[str, Any]:
    """One shape: losses of the first steps, floors, and the seconds of every side.

    Raises:
        AssertionError: sides disagree about the losses.
    """
    x = np.random.default_rng(0).standard_normal((flags.batch, flags.d), np.float32)
    params, ours = our_step(flags, x)
    sides = {"compressae_jax": ours, **torch_steps(flags, params, x)}
    if jax.default_backend() == "cpu":  # elsewhere all is jitted anyhow
        sides["compressae_jax, all jitted"] = our_step(flags, x, loops=False)[1]
    losses = {name: [float(call()) for _ in range(CHECKED)] for name, call in sides.items()}
    for name, given in losses.items():
        np.testing.assert_allclose(
            given, losses["compressae_jax"], rtol=1e-2 if flags.dtype == "bfloat16" else 1e-3, err_msg=name
        )
    seconds = timing.alternate(sides, flags.repeats, warm=True, rest=REST)
    product, sparse = 2 * flags.batch * flags.d * flags.h, 2 * flags.batch * flags.d * min(4 * flags.k, flags.h)
    return {
        "losses of the first steps": losses,
        # Forward one product, and over 4k nonzeros a row decoding, the gradient by values, by atoms and by W_e.
        "floors": {"one product, the rest sparse": (product + 4 * sparse) / rate, "eight products": 8 * product / rate},
        "results": summary(seconds, flags.batch),
    }


def parse() -> argparse.Namespace:
    """The flags; shapes default to the backend's."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    shapes = CPU if jax.default_backend() == "cpu" else GPU
    parser.add_argument("--shapes", nargs="+", default=shapes, help="d,h,k,b each")
    parser.add_argument("--microbatch", type=int, default=0, help="rows of one of our passes; 0: the whole batch")
    parser.add_argument("--dtype", default="float32", choices=["float32", "bfloat16"], help="of the matrix products")
    parser.add_argument("--compile", action="store_true", help="time the peer through torch.compile too")
    parser.add_argument("--repeats", type=int, default=15)
    parser.add_argument("--out", default="", help="folder for train_step.json and train_step.md")
    return parser.parse_args()


def our_step(
    flags: argparse.Namespace, x: np.ndarray, loops: bool | None = None
) -> tuple[dict[str, np.ndarray], Callable[[], jax.Array]]:
    """The first parameters, and a call that runs one more step and gives its loss."""
    module = CompresSAE(flags.d, flags.h, flags.k, dtype=jnp.dtype(flags.dtype))
    adam, rate, mesh = optax.adam(LR), optax.constant_schedule(LR), sharding.make_mesh(1, 1)
    run = step.make_step(module, adam, rate, mesh, mix=Mix(WEIGHT_4K), dead_after=100, loops=loops)
    state = states.create(module, adam, mesh, seed=0)
    params = {name: np.array(array) for name, array in state.params.items()}
    batch = x.reshape(-1, flags.microbatch or flags.batch, flags.d)
    batch = jax.device_put(batch, sharding.of(mesh, "batch"))

    def one() -> jax.Array:
        nonlocal state
        state, metrics = run(state, batch)
        return metrics["loss"]

    return params, one


def torch_steps(
    flags: argparse.Namespace, params: dict[str, np.ndarray], x: np.ndarray
) -> dict[str, Callable[[], Any]]:
    """The same for PyTorch, eager and perhaps compiled; none where torch, or torch for this device, is missing."""
    try:
        import torch
    except ImportError:
        return {}
    if jax.default_backend() != "cpu" and not torch.cuda.is_available():
        return {}
    # As JAX's default on each: tf32 products on a GPU, full float32 on a CPU.
    torch.set_float32_matmul_precision("high")
    sides = {
        "torch, published": torch_step(torch, flags, params, x, lambda loss: loss, tuned=False),
        "torch, tuned": torch_step(torch, flags, params, x, lambda loss: loss),
    }
    if flags.compile:
        sides["torch, tuned and compiled"] = torch_step(torch, flags, params, x, torch.compile)
    return sides


def torch_step(
    torch: Any,
    flags: argparse.Namespace,
    params: dict[str, np.ndarray],
    x: np.ndarray,
    transform: Callable,
    tuned: bool = True,
) -> Callable[[], Any]:
    """A call that runs one more PyTorch step and gives its loss; `transform` wraps the loss function."""
    device = "cpu" if jax.default_backend() == "cpu" else "cuda"
    batch = torch.tensor(x, device=device)
    weights = {name: torch.nn.Parameter(torch.tensor(array, device=device)) for name, array in params.items()}
    adam = torch.optim.Adam(weights.values(), lr=LR, fused=tuned)

    def unit(some: Any) -> Any:
        return torch.nn.functional.normalize(some, dim=1)

    ks = (flags.k, min(4 * flags.k, flags.h))

    def selections(a: Any) -> list[Any]:
        columns = torch.topk(a.abs(), ks[1], dim=1).indices  # sorted: the first k are the k best
        values = a.gather(1, columns)
        return [torch.zeros_like(a).scatter(1, columns[:, :k], values[:, :k]) for k in ks]

    def published_selections(a: Any) -> list[Any]:
        best = [torch.topk(a.abs(), k, dim=1) for k in ks]
        return [torch.zeros_like(a).scatter(1, one.indices, one.values) * torch.sign(a) for one in best]

    def loss_of(x: Any, encoder_w: Any, encoder_b: Any, decoder_w: Any) -> Any:
        with torch.autocast(device, torch.bfloat16, enabled=flags.dtype == "bfloat16"):
            a = (unit(x) @ encoder_w).float() + encoder_b
            selected = selections(a) if tuned else published_selections(a)
            loss = 0
            for s, weight in zip(selected, (1, WEIGHT_4K), strict=True):
                z = (s @ decoder_w).float()
                loss = loss + weight * (1 - (unit(x) * unit(z)).sum(dim=1)).mean()
        return loss

    run = transform(loss_of)

    def one() -> Any:
        adam.zero_grad(set_to_none=True)
        loss = run(batch, **weights)
        loss.backward()
        adam.step()
        with torch.no_grad():
            weights["decoder_w"].copy_(unit(weights["decoder_w"]))
        if device == "cuda":
            torch.cuda.synchronize()
        return loss.detach()

    return one


def torch_version() -> str:
    """The peer's version, or that there is none."""
    try:
        import torch
    except ImportError:
        return "not installed"
    return torch.__version__


def summary(times: dict[str, list[float]], batch: int) -> dict[str, Any]:
    """Per side, median and quartiles of the seconds and of the ratio to ours in the same repeat; rows a second."""
    ours = np.asarray(times["compressae_jax"])
    report: dict[str, Any] = {}
    for name, seconds in times.items():
        low, median, high = np.percentile(seconds, [25, 50, 75])
        ratio = np.percentile(np.asarray(seconds) / ours, [25, 50, 75])
        report[name] = {
            "seconds": {"median": median, "quartiles": [low, high], "all": seconds},
            "rows_per_second": batch / median,
            "times_ours": {"median": ratio[1], "quartiles": [ratio[0], ratio[2]]},
        }
    return report


def table(report: dict[str, Any]) -> str:
    """The results in Markdown, a table a shape."""
    s, machine = report["settings"], report["machine"]
    lines = []
    for shape in report["shapes"]:
        floors = ", ".join(f"{name} {1e3 * seconds:.0f} ms" for name, seconds in shape["floors"].items())
        lines += [
            f"One training step, d={shape['d']}, h={shape['h']}, k={shape['k']}, b={shape['batch']:,}, {s['dtype']} "
            f"products: median and quartiles of {s['repeats']} alternating repeats. Synthetic rows. Floors by "
            f"operations at the rate of a large product, {report['product operations a second'] / 1e9:.0f} GFLOP/s: "
            f"{floors}.",
            "",
            "| step | ms | quartiles | rows/s | time over ours |",
            "|---|---|---|---|---|",
        ]
        for name, side in shape["results"].items():
            low, high = (1e3 * one for one in side["seconds"]["quartiles"])
            lines.append(
                f"| {name} | {1e3 * side['seconds']['median']:.1f} | {low:.1f}, {high:.1f} | "
                f"{side['rows_per_second']:,.0f} | {side['times_ours']['median']:.2f} |"
            )
        lines.append("")
    devices, versions = ", ".join(machine["devices"]), f"jax {machine['jax']}, torch {machine['torch']}"
    lines.append(
        f"{machine['processor']}, {machine['cores']} cores; devices: {devices}; load before "
        f"{machine['load before'][0]:.1f}; {versions}, Python {machine['python']}; {report['date']}."
    )
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
