"""What XLA makes of our programs for an NVIDIA GPU, found out on a machine without one: do they fit, what do they move.

    pip install -e .[cuda13]
    JAX_PLATFORMS=cpu python -m benchmarks.ahead --out=results/gpu

Each program is compiled ahead of time for an H100, kernels of our own by NVRTC and ptxas. The page says the memory
beside arguments, the bytes that the program's parts read and write (whole arrays, but where rows or numbers are
gathered, or scattered in place), the operations of its products, and from these a time by arithmetic: bytes over
bandwidth and operations over rate, each at what such a card was seen to do. What our kernels compute is not in it, nor
are launches. Nothing is run, so nothing here is a measurement; what is measured on a card stands beside it.
"""

import argparse
import functools
import os
import re
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.experimental import topologies
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

from benchmarks import timing
from compressae_jax.base import cuda
from compressae_jax.codes.storage.kinds import record_width
from compressae_jax.model import on_device, shortlists
from compressae_jax.model.compressae import CompresSAE
from compressae_jax.model.losses import PAPER
from compressae_jax.retrieval.backends import scan
from compressae_jax.retrieval.backends.held import Held
from compressae_jax.retrieval.backends.running_top import Best
from compressae_jax.training import sharding, state
from compressae_jax.training import step as updates

H100 = """
gpu_device_info {
  threads_per_block_limit: 1024 threads_per_warp: 32 shared_memory_per_block: 49152 shared_memory_per_core: 233472
  threads_per_core_limit: 2048 core_count: 132 fpus_per_core: 128
  block_dim_limit_x: 2147483647 block_dim_limit_y: 65535 block_dim_limit_z: 65535
  memory_bandwidth: 3352320000000 l2_cache_size: 52428800 clock_rate_ghz: 1.98 device_memory_size: 84929347584
  shared_memory_per_block_optin: 232448 cuda_compute_capability { major: 9 }
  registers_per_core_limit: 65536 registers_per_block_limit: 65536
}
platform_name: "CUDA" dnn_version_info { major: 9 minor: 12 } runtime_version { major: 13 minor: 0 patch: 0 }
device_description_str: "NVIDIA H100 80GB HBM3"
"""
BANDWIDTH = 3.0e12  # bytes a second that a copy moves on such a card
RATES = {"bfloat16": 7e14, "tf32": 3.5e14, "float32": 5.5e13}  # operations a second of large products
SIZES = {"f64": 8, "f32": 4, "s32": 4, "u32": 4, "bf16": 2, "f16": 2, "s16": 2, "u16": 2, "s8": 1, "u8": 1, "pred": 1}
WHOLE = PartitionSpec()
LEVELLED = ((384, 2048, 20), (384, 8192, 17), (768, 4096, 44))  # d, h, k
FREE = ("parameter", "get-tuple-element", "tuple", "bitcast", "constant")  # which move nothing


class Program(NamedTuple):
    """A jitted function with its arguments' shapes, and what its products cost."""

    name: str
    lowered: Callable[[], Any]
    operations: float
    kind: str  # of the products: a key of RATES


def main() -> None:
    """Compile every program, then the kernels that they held; write the page."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--out", default="results/gpu")
    parser.add_argument("--only", default="", help="programs whose names hold this")
    flags = parser.parse_args()
    os.environ["COMPRESSAE_CUDA_KERNELS"] = "1"
    kernels = kept_kernels()
    programs = []
    for program in (one for one in all_programs() if flags.only in one.name):
        programs.append(compiled(program))
        print(programs[-1], flush=True)
    found = [assembled(*key, made) for key, made in kernels.items()]
    report = {
        "command": f"python -m benchmarks.ahead --out={flags.out}",
        "machine": timing.machine(),
        "programs": programs,
        "kernels": found,
    }
    text = page(programs, found)
    timing.write(flags.out, "ahead", report, text)
    print(text)


def devices(number: int) -> list[Any]:
    """So many H100 of one host to compile for."""
    try:
        found = topologies.get_topology_desc(platform="cuda", target_config=H100, topology=f"1x1x{number}")
    except (RuntimeError, ValueError, NotImplementedError) as error:
        raise SystemExit(f"JAX has no compiler for NVIDIA GPUs here (pip install -e .[cuda13]): {error}") from None
    if not cuda.usable():  # main asked for kernels
        raise SystemExit("no NVRTC here (pip install -e .[cuda13])")
    return list(found.devices)


def kept_kernels() -> dict[tuple[str, tuple], str]:
    """The PTX of every kernel that programs hold from now on, by source and constants."""
    kernels: dict[tuple[str, tuple], str] = {}
    made = cuda.ptx

    def kept(text: str, constants: tuple) -> str:
        return kernels.setdefault((text, constants), made(text, constants))

    cuda.ptx = kept  # type: ignore[assignment]
    return kernels


def all_programs() -> Iterator[Program]:
    """Training steps of the paper's shape, encoders, searches of ten million rows."""
    d, h, k, b, n, top = 768, 4096, 32, 100_000, 10_000_000, 100
    (on,), many = devices(1), devices(8)
    for dtype, kind in (("bfloat16", "bfloat16"), ("float32", "tf32")):
        yield Program(
            f"training step, {b:,} rows, {dtype}",
            lambda dtype=dtype: trained([on], 1, CompresSAE(d, h, k, dtype=jnp.dtype(dtype)), b),
            8 * 2 * b * d * h,
            kind,
        )
    for model in (1, 2):
        yield Program(
            f"training step, {b:,} rows, bfloat16, each of 8: data {8 // model}, model {model}",
            lambda model=model: trained(many, model, CompresSAE(d, h, k, dtype=jnp.bfloat16), b),
            8 * 2 * b * d * h / 8,
            "bfloat16",
        )
    for encoder, rows, dtype in (
        ("topk", 2**16, "bfloat16"),
        ("topk", 2**16, "float32"),
        ("refit", 2**14, "float32"),
        ("shortlist", 2**14, "float32"),
        ("pursuit", 2**14, "float32"),
    ):
        yield Program(
            f"{encoder}, {rows:,} rows, {dtype}",
            lambda encoder=encoder, rows=rows, dtype=dtype: encoded(
                on, CompresSAE(d, h, k, dtype=jnp.dtype(dtype)), rows, encoder
            ),
            2 * rows * d * h * (k if encoder == "pursuit" else 1),
            dtype,
        )
    for d_, h_, k_ in LEVELLED:
        yield Program(
            f"pursuit on levels, {2**14:,} rows, d={d_}, h={h_:,}, k={k_}",
            lambda d=d_, h=h_, k=k_: levelled(on, 2**14, d, h, k),
            2 * 2**14 * d_ * h_ * (k_ + 2),
            "float32",
        )
    for q in (1, 16, 64, 256):
        for storage in ("float16", "fast4"):
            yield Program(
                f"search, {n:,} {storage} rows, {q} queries",
                lambda q=q, storage=storage: searched([on], storage, n, h, k, q, top),
                2 * n * k * q,
                "float32",
            )
    yield Program(
        f"search, {n:,} fast4 rows, 16 queries, each of 8",
        lambda: searched(many, "fast4", n, h, k, 16, top),
        2 * n * k * 16 / 8,
        "float32",
    )


def searched(on: list[Any], storage: str, n: int, h: int, k: int, q: int, top: int) -> Any:
    """The best rows of so many, split over the devices."""
    mesh, split = Mesh(np.array(on), (scan.AXIS,)), PartitionSpec(scan.AXIS)
    if storage == "fast4":
        records = placed(mesh, (n, record_width(storage, h, k, None)), jnp.uint8, split)
        rows = Held((records,), placed(mesh, (16,)), h, k)
    else:
        both = placed(mesh, (n, k), jnp.float16, split), placed(mesh, (n, k), jnp.uint16, split)
        rows = Held(both, None, h, k)
    cut = scan.cut_of(q, top, k, n // len(on), None)
    scales, u = placed(mesh, (n,), jnp.float32, split), placed(mesh, (q, h))
    if len(on) == 1:
        return scan._best.lower(rows, scales, u, None, None, top, cut)
    nothing = Best(placed(mesh, (q, top)), placed(mesh, (q, top), jnp.int32))
    return scan._absorb_shards.lower(nothing, rows, scales, u, n, None, None, cut, mesh)


def trained(on: list[Any], model: int, module: CompresSAE, b: int) -> Any:
    """A step of training, h split over so many of the devices."""
    mesh = Mesh(np.array(on).reshape(-1, model), ("data", "model"), axis_types=(AxisType.Auto,) * 2)
    rate = updates.schedule(1e-3, 10, 500, 0.1)
    adam = updates.optimizer(rate, 1.0, 0.9, 0.999)
    step = updates.make_step(module, adam, rate, mesh, mix=PAPER, dead_after=100, loops=False)
    batch = jax.ShapeDtypeStruct((1, b, module.d), jnp.float32, sharding=sharding.of(mesh, "batch"))
    return step.lower(state.abstract(module, adam, mesh), batch)  # type: ignore[attr-defined]


def encoded(on: Any, module: CompresSAE, rows: int, encoder: str) -> Any:
    """Codes of some rows."""
    shapes = {"encoder_w": (module.d, module.h), "encoder_b": (module.h,), "decoder_w": (module.h, module.d)}
    mesh = Mesh(np.array([on]), ("one",))
    params = {name: placed(mesh, shape) for name, shape in shapes.items()}
    h, coarse = module.h, None
    if encoder == "shortlist":
        whole = -(-h >> shortlists.CHUNK_BITS) << shortlists.CHUNK_BITS
        coarse = shortlists.Coarse(placed(mesh, (h, whole), jnp.int8), placed(mesh, (h,)))  # type: ignore[arg-type]
    return on_device.encode.lower(params, placed(mesh, (rows, module.d)), module, encoder, coarse)


def levelled(on: Any, rows: int, d: int, h: int, k: int) -> Any:
    """Codes on levels of some rows."""
    place = functools.partial(placed, Mesh(np.array([on]), ("one",)))
    atoms = on_device.Atoms(place((h, d)), place((h, h)))  # type: ignore[arg-type]
    return on_device.encode_on_levels.lower(atoms, place((rows, d)), k, place((8,)), place((rows,)), place(()))


def placed(
    mesh: Mesh, shape: tuple[int, ...], dtype: Any = jnp.float32, split: PartitionSpec = WHOLE
) -> jax.ShapeDtypeStruct:
    """An array on the devices, without its numbers."""
    return jax.ShapeDtypeStruct(shape, dtype, sharding=NamedSharding(mesh, split))


def compiled(program: Program) -> dict[str, Any]:
    """What the compiler says of a program."""
    start = time.perf_counter()
    made = program.lowered().compile()
    seconds = time.perf_counter() - start
    memory, text = made.memory_analysis(), made.as_text()
    moved = {
        "all": bytes_of(text, "ENTRY"),
        "products": bytes_of(text, "ENTRY", lambda name, line: "gemm" in name or "__cublas" in line),
    }
    products = program.operations / RATES[program.kind]
    rest = (moved["all"] - moved["products"]) / BANDWIDTH
    return {
        "program": program.name,
        "seconds to compile": seconds,
        "temporary bytes": memory.temp_size_in_bytes,
        "argument bytes": memory.argument_size_in_bytes,
        "bytes moved": moved["all"],
        "bytes moved by products": moved["products"],
        "operations": program.operations,
        "ms by arithmetic": 1e3 * (max(products, moved["products"] / BANDWIDTH) + rest),
        "kernels of our own": text.count(f'custom_call_target="{cuda.TARGET}"'),
    }


def bytes_of(text: str, start: str, wanted: Callable[[str, str], bool] = lambda name, line: True) -> int:
    """Bytes that the instructions of a computation read and write, those of loops as often as they turn.

    `wanted`: whether to count an instruction, by its name and its line. A kernel of our own in a loop is given whole
    arrays, of which each turn reads a part: these count once.
    """
    return sum(_bytes_of(text, start, wanted))


def _bytes_of(text: str, start: str, wanted: Callable[[str, str], bool]) -> tuple[int, int]:
    """What counts in each turn, were this the body of a loop, and what counts once."""
    body = re.split(r"\n}", text[text.index(start) :], maxsplit=1)[0]
    sizes: dict[str, int] = {}
    total, once = 0, 0
    for line in body.splitlines():
        found = re.match(r"\s+(?:ROOT )?%?([\w.\-]+) = (.*?) ([\w\-]+)\((.*)", line)
        if not found:
            continue
        name, shape, kind, rest = found.groups()
        sizes[name] = of_shape(shape)
        if kind == "while":
            turns = re.search(r'"known_trip_count":\{"n":"(\d+)"', line)
            inner = re.search(r"body=%?([\w.\-]+)", line)
            if inner:
                each, all_turns = _bytes_of(text, f"\n%{inner.group(1)} (", wanted)
                total, once = total + int(turns.group(1) if turns else 1) * each, once + all_turns
        elif kind not in FREE and "dynamic_update_slice" not in name and wanted(name, line):  # that is done in place
            operands = [sizes.get(one, 0) for one in re.findall(r"%([\w.\-]+)", rest.split("), ")[0])]
            written = sizes[name]
            if called := re.search(r"calls=%?([\w.\-]+)", line):
                parts, in_place = _parts_of(text, called.group(1))
                operands = [parts.get(place, whole) for place, whole in enumerate(operands)]
                written = 0 if in_place else written
            total += written
            if cuda.TARGET in line:
                once += sum(operands)
            else:
                total += sum(operands)
    return total, once


@functools.cache
def _parts_of(text: str, fused: str) -> tuple[dict[int, int], bool]:
    """Bytes that are read of a fusion's operands of which a part is, by place; and whether it scatters in place.

    What is gathered from counts as what is gathered, what is scattered into not at all, and so does the result.
    """
    start = re.search(rf"\n%?{re.escape(fused)} \(", text)
    body = re.split(r"\n}", text[start.start() :], maxsplit=1)[0] if start else ""
    places: dict[str, int] = {}
    parts: dict[int, int] = {}
    whole: set[int] = set()
    in_place = False
    for line in body.splitlines()[2:]:
        found = re.match(r"\s+(?:ROOT )?%?([\w.\-]+) = (.*?) ([\w\-]+)\((.*)", line)
        if not found:
            continue
        name, shape, kind, rest = found.groups()
        if kind == "parameter":
            places[name] = int(rest.split(")")[0])
            continue
        used = re.findall(r"%([\w.\-]+)", rest.split("), ")[0])
        if kind == "bitcast" and used[0] in places:
            places[name] = places[used[0]]
            continue
        for number, one in enumerate(used):
            if one not in places:
                continue
            if number == 0 and kind in ("gather", "scatter"):
                parts[places[one]] = parts.get(places[one], 0) + (of_shape(shape) if kind == "gather" else 0)
            else:
                whole.add(places[one])
        in_place |= kind == "scatter"
    return {place: size for place, size in parts.items() if place not in whole}, in_place


def of_shape(shape: str) -> int:
    """Bytes of a shape in XLA's words, tuples too."""
    found = re.findall(r"\b(\w+)\[([\d,]*)\]", shape)
    return sum(SIZES.get(kind, 0) * int(np.prod([int(n) for n in sizes.split(",") if n])) for kind, sizes in found)


def assembled(text: str, constants: tuple, made: str) -> dict[str, Any]:
    """What ptxas says of a kernel: registers of a thread, bytes that it spills, shared memory of a block."""
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder, "kernel.ptx")
        source.write_text(made, encoding="utf-8")
        command = [ptxas(), "-v", "--gpu-name=sm_90", f"--output-file={folder}/kernel.cubin", str(source)]
        told = subprocess.run(command, capture_output=True, text=True, check=True).stderr
    name = re.search(r"\.entry (\w+)", made)
    numbers = {
        what: sum(map(int, re.findall(pattern, told)))
        for what, pattern in {
            "registers": r"Used (\d+) registers",
            "spilled bytes": r"(\d+) bytes spill stores",
            "shared bytes": r"(\d+) bytes smem",
        }.items()
    }
    sizes = {key: value for key, value in constants if isinstance(value, int)}
    return {"kernel": name.group(1) if name else "", **numbers, "constants": sizes}


def ptxas() -> str:
    """NVIDIA's assembler, on the path or beside JAX's CUDA packages."""
    if found := shutil.which("ptxas"):
        return found
    import nvidia

    return next(str(path) for folder in nvidia.__path__ for path in Path(folder).rglob("bin/ptxas"))


def page(programs: list[dict[str, Any]], kernels: list[dict[str, Any]]) -> str:
    """Two tables."""
    head = "program | compiled in s | temporary GB | GB moved | of these by products | TFLOP | ms by arithmetic"
    rows = [
        [
            one["program"],
            f"{one['seconds to compile']:.0f}",
            f"{one['temporary bytes'] / 1e9:.2f}",
            f"{one['bytes moved'] / 1e9:.2f}",
            f"{one['bytes moved by products'] / 1e9:.2f}",
            f"{one['operations'] / 1e12:.2f}",
            f"{one['ms by arithmetic']:.2f}",
        ]
        for one in programs
    ]
    of_kernels = [
        [
            one["kernel"],
            ", ".join(f"{name}={size}" for name, size in one["constants"].items()),
            one["registers"],
            one["spilled bytes"],
            one["shared bytes"],
        ]
        for one in kernels
    ]
    return "\n".join(
        [
            "# Compiled ahead of time for an NVIDIA H100: nothing here was run",
            "",
            "The last column is arithmetic: bytes that are not the products' at 3.0 TB/s, and the products at 700",
            "(bfloat16), 350 (tf32) or 55 (float32) TFLOP/s or at their bytes' time, whichever is longer.",
            "",
            *timing.markdown(head, rows),
            "",
            *timing.markdown("kernel | constants | registers | spilled bytes | shared bytes", of_kernels),
        ]
    )


if __name__ == "__main__":
    main()
