"""What runs on an accelerator, run there: correctness, training, encoding, search, selection.

    python -m benchmarks.gpu --out=results/gpu [--parts works training] [--size=small]

Parts run from the most to the least important, each in a process of its own with a time limit, and write their JSON as
they go, so that a run cut off keeps what it has; compiled programs are kept between them. Nine minutes at most on
an H100 is what the limits add up to. `small` tries all parts on whatever device there is, in four minutes on a CPU; its
figures mean nothing. It needs the package's dependencies and pytest with xdist; nothing has to be installed.
Rows of wordnet768 train where they are found, random ones otherwise, for times alone.
"""

import argparse
import collections
import contextlib
import dataclasses
import functools
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks import timing
from compressae_jax import compression, data, front_door
from compressae_jax.base import arrays, cuda
from compressae_jax.codes import levels, on_host
from compressae_jax.codes.codes import Codes
from compressae_jax.codes.rows import Rows
from compressae_jax.codes.storage import convert
from compressae_jax.data.sources import InMemory
from compressae_jax.model import encoders, on_device, topk
from compressae_jax.model.losses import Mix
from compressae_jax.model.weights import Weights
from compressae_jax.notation import InputError
from compressae_jax.retrieval.backends import bcoo, host, running_top, scan
from compressae_jax.training import loop, recipes, step

DEPTH = 100
PIECE = 2**20  # dense rows of one product
CHECKED = 300_000  # rows that a host searches, too
# Of what is jitted, the most telling first; those of several devices are skipped.
TESTS = (
    "tests/retrieval/backends/test_running_top.py",
    "tests/retrieval/backends/test_scan.py",
    "tests/model/test_topk.py",
    "tests/model/test_compressae.py",
    "tests/model/test_losses.py",
    "tests/training/test_step.py",
    "tests/codes/test_codes.py",
    "tests/codes/test_spaces.py",
    "tests/codes/storage/test_fast.py",
    "tests/model/test_pursuit.py",
    "tests/model/test_shortlists.py",
    "tests/training/test_feed.py",
    "tests/training/test_usage.py",
    "tests/retrieval/test_queries.py",
    "tests/model/test_encoders.py",
    "tests/training/test_refine.py",
    "tests/retrieval/backends/test_backends.py",
    "tests/retrieval/backends/test_filtered_search.py",
)
EXACTLY = "--xla_gpu_deterministic_ops=true"
COMPILED_SOONER = "--xla_gpu_autotune_level=0"  # what tests ask of a compiler is no speed
PRECISIONS = ("default", "tensorfloat32", "float32")
PRODUCTS = ("BF16_BF16_F32_X6", "BF16_BF16_F32_X3", "tensorfloat32")  # of float32 numbers, on matrix units
SIDES = {"quickstart": {}, "quickstart on the CPU": {"JAX_PLATFORMS": "cpu"}}  # and their environments

Note = Callable[[dict[str, Any]], None]  # keeps what a part has so far


class Size(NamedTuple):
    """How much each part does."""

    d: int
    h: int
    k: int
    batch: int
    steps: int
    encoded: int  # rows on the device, and how many go through pursuit
    pursued: int
    searched: int
    queries: tuple[int, ...]
    child_seconds: int  # of the tests, and of the quickstart's job
    killed_steps: int
    job: tuple[str, ...]
    tests: tuple[str, ...]
    patience: int  # times the seconds of a part


JOB = ("--config=configs/debian.py",)
SMALL_JOB = ("--config=configs/default.py", "--config.data.source=shop", "--config.budget_bytes=24")
SIZES = {
    "full": Size(768, 4096, 32, 100_000, 500, 2**20, 2**14, 10_000_000, (1, 16, 64, 256), 75, 2000, JOB, TESTS, 1),
    "small": Size(64, 256, 8, 256, 20, 2048, 256, 20_000, (1, 16), 400, 400, SMALL_JOB, TESTS[:2], 4),
}


def main() -> None:
    """Run the parts, each in its process; one that fails or is out of time does not stop the others."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--out", default="results/gpu")
    parser.add_argument("--parts", nargs="+", default=list(PARTS), choices=PARTS)
    parser.add_argument("--size", default="full", choices=SIZES)
    parser.add_argument("--part", choices=PARTS, help="this one, in this process")
    flags = parser.parse_args()
    out = Path(flags.out).resolve()
    out.mkdir(parents=True, exist_ok=True)
    if flags.part:
        run(flags.part, SIZES[flags.size], out)
        return
    with tempfile.TemporaryDirectory() as compiled:
        kept = {"JAX_COMPILATION_CACHE_DIR": compiled, "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0"}
        environment = {**kept, **os.environ, "COMPRESSAE_PROGRESS": "0"}
        for name in flags.parts:
            command = [sys.executable, "-m", "benchmarks.gpu", f"--part={name}", f"--size={flags.size}", f"--out={out}"]
            shared = {"XLA_PYTHON_CLIENT_PREALLOCATE": "false"} if PARTS[name].children else {}
            start = time.perf_counter()
            seconds = SIZES[flags.size].patience * PARTS[name].seconds
            off = {} if may_have_kernels(name, out) else {"COMPRESSAE_CUDA_KERNELS": "0"}
            ended = limited(command, seconds, {**environment, **shared, **off})
            print(f"{name}: {ended}, {time.perf_counter() - start:.0f} s", flush=True)
            if off:
                print(f"{name}: without our kernels, of which one was not found right", flush=True)
            (out / "README.md").write_text(page(out), encoding="utf-8")
    print(page(out))


def limited(command: list[str], seconds: float, environment: dict[str, str]) -> str:
    """How a process ended that has so many seconds; its children end with it."""
    process = subprocess.Popen(command, env=environment, start_new_session=True)
    try:
        code = process.wait(seconds)
    except subprocess.TimeoutExpired:
        return f"cut off after {seconds:.0f} s"
    finally:
        with contextlib.suppress(ProcessLookupError):  # children that outlive it would disturb the next
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    return "done" if code == 0 else f"failed with exit code {code}"


def run(name: str, size: Size, out: Path) -> None:
    """One part: its JSON has all that it noted, also where it fails."""
    report: dict[str, Any] = {
        "command": f"python -m benchmarks.gpu --parts {name}",
        "machine": {**timing.machine(), "driver": driver()},
        "size": size._asdict(),
    }

    def note(found: dict[str, Any]) -> None:
        report.update(found)
        (out / f"{name}.json").write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")

    note({})
    try:
        PARTS[name].make(size, note)
    except Exception as error:
        note({"failed": f"{type(error).__name__}: {error}"[:2000]})
        raise


def driver() -> str:
    """The NVIDIA driver's version; empty where there is none."""
    if shutil.which("nvidia-smi") is None:
        return ""
    asked = ["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"]
    return subprocess.run(asked, capture_output=True, text=True, check=False).stdout.strip()


def kernels(size: Size, note: Note) -> None:
    """Our CUDA kernels beside NumPy and beside the host's loops, each in a process of its own."""
    note({"usable": cuda.usable()})
    each({name: functools.partial(in_child, name, size) for name in KERNELS}, note)


def in_child(name: str, size: Size) -> dict[str, Any]:
    """What the check of a kernel finds in a process of its own: one that reads where it must not ends the process."""
    program = f"from benchmarks import gpu; gpu.told(gpu.KERNELS[{name!r}](gpu.Size(*{tuple(size)!r})))"
    ended = child([sys.executable, "-c", program], {}, CHECK_SECONDS * size.patience)
    ended.check(0)
    found: dict[str, Any] = json.loads(ended.said.strip().splitlines()[-1])
    return found


def told(found: dict[str, Any]) -> None:
    """Print what a child found, as its last line."""
    print(json.dumps(found), flush=True)


def may_have_kernels(part: str, out: Path) -> bool:
    """Whether `kernels` found those that a part runs right, or did not run: a wrong scan.cu is none to a training."""
    path = out / "kernels.json"
    if part == "kernels" or not path.exists():
        return True
    report = json.loads(path.read_text(encoding="utf-8"))
    needed = [name for name in KERNELS if part in SEARCHING or not name.startswith("scan.cu")]
    right = [isinstance(report.get(name), dict) and report[name]["right"] for name in needed]
    return not report.get("usable", True) or all(right)


def selects(size: Size) -> dict[str, Any]:
    """Lists of the largest and of the greatest, beside a stable sort."""
    a = awkward(300, size.h)
    by_size = np.argsort(-np.abs(a.astype(np.float64)), axis=1, kind="stable")[:, : 4 * size.k]
    by_value = np.argsort(-a.astype(np.float64), axis=1, kind="stable")[:, : 4 * size.k]
    values, columns = map(np.asarray, jax.jit(topk.largest, static_argnums=1)(a, 4 * size.k))
    greatest = np.asarray(jax.jit(topk.greatest, static_argnums=1)(a, 4 * size.k)[1])
    rising = np.asarray(jax.jit(topk.greatest, static_argnums=(1, 2))(a, 4 * size.k, True)[1])
    found = {
        "largest": bool((columns == by_size).all() and (values == np.take_along_axis(a, by_size, axis=1)).all()),
        "greatest": bool((greatest == by_value).all() and (rising == np.sort(by_value, axis=1)).all()),
    }
    return {"right": all(found.values()), **found}


def keeps(size: Size) -> dict[str, Any]:
    """Rows of which k and 4k entries are kept, in both dtypes, beside a stable sort."""
    a = awkward(300, size.h)
    order = np.argsort(np.argsort(-np.abs(a.astype(np.float64)), axis=1, kind="stable"), axis=1)
    found = {}
    for dtype in (jnp.float32, jnp.bfloat16):
        kept = jax.jit(functools.partial(topk.keep, ks=(size.k, 4 * size.k), dtype=dtype))(a)
        wanted = [np.where(order < k, a, 0).astype(dtype) for k in (size.k, 4 * size.k)]
        found[jnp.dtype(dtype).name] = all(
            (np.asarray(one) == two).all() for one, two in zip(kept, wanted, strict=True)
        )
    return {"right": bool(all(found.values())), **{name: bool(same) for name, same in found.items()}}


def awkward(n: int, h: int) -> np.ndarray:
    """Random rows; some are all ties, all zeros, or fall."""
    a = np.random.default_rng(0).standard_normal((n, h)).astype(np.float32)
    a[1], a[2], a[3], a[4] = np.round(a[1]), 0, np.sign(a[3]), -np.arange(h) // 2
    return a


def scores(storage: str, size: Size) -> dict[str, Any]:
    """Rows found beside those that the host finds, for one query and for nine."""
    some = random_codes(min(size.searched, 50_001), size)
    levels = tuple(np.linspace(0.3, 3, 8).astype(np.float32).tolist())
    rows = some if storage == "float16" else convert.stored(some, storage, levels, "cosine")
    found = as_on_host(rows, 1), as_on_host(rows, 9)
    right = all(one["share of places with the same row"] > 0.99 for one in found)
    right = right and all(one["greatest difference of scores"] < 1e-4 for one in found)
    return {"right": bool(right), "of one query": found[0], "of nine": found[1]}


KERNELS: dict[str, Callable[[Size], dict[str, Any]]] = {
    "topk.cu lists": selects,
    "topk.cu keeps": keeps,
    "scan.cu, float16": functools.partial(scores, "float16"),
    "scan.cu, fast4": functools.partial(scores, "fast4"),
}
SEARCHING = ("search", "works")  # parts that run all of them; the others select alone
CHECK_SECONDS = 65  # of each; the host's loops, which are compiled too, take a third on slow cores


def works(size: Size, note: Note) -> None:
    """Tests; the quickstart's job; a training killed and resumed to equal bits; backends and precision by float64."""
    with tempfile.TemporaryDirectory() as folder:
        checks = {
            "backends": functools.partial(agreement, size),
            "precision": functools.partial(precision, size),
            "tests": functools.partial(tests, size),
            "resumed": functools.partial(resumed, size),
            **{side: functools.partial(job, size, Path(folder, side), side) for side in SIDES},
        }
        each(checks, note)
        note({"one model here and on the CPU": tried(compared, size, Path(folder))})


def each(checks: Mapping[str, Callable[[], Any]], note: Note) -> None:
    """Note what each check finds, or how it failed, as it ends; where there are cores, all of them run side by side."""
    with ThreadPoolExecutor(min(len(checks), max(2, timing.machine()["cores"] // 2))) as pool:
        begun = {pool.submit(tried, check): name for name, check in checks.items()}
        for done in as_completed(begun):
            note({begun[done]: done.result()})


def tried(check: Callable[..., Any], *arguments: Any) -> Any:
    """What a check found, or how it failed."""
    try:
        return check(*arguments)
    except Exception as error:
        return f"failed: {type(error).__name__}: {error}"[:2000]


class Ended(NamedTuple):
    """How a child ended; no code where its time was over."""

    code: int | None
    seconds: float
    said: str

    def check(self, *codes: int | None) -> None:
        """Raise what was said last, unless it ended with one of these codes."""
        if self.code not in codes:
            ended = "cut off" if self.code is None else f"exit code {self.code}"
            raise RuntimeError(f"{ended} after {self.seconds:.0f} s: {self.said.strip()[-1800:]}")


def child(command: list[str], environment: dict[str, str], seconds: float) -> Ended:
    """A process that is killed when its time is over, and what it had said."""
    start = time.perf_counter()
    with tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace") as said:
        own = {**os.environ, **environment}
        process = subprocess.Popen(command, env=own, stdout=said, stderr=subprocess.STDOUT)
        try:
            code: int | None = process.wait(seconds)
        except subprocess.TimeoutExpired:
            code = None
            process.kill()
            process.wait()
        said.seek(0)
        return Ended(code, time.perf_counter() - start, said.read())


def with_flag(flag: str) -> str:
    """XLA's flags with one more."""
    return f"{os.environ.get('XLA_FLAGS', '')} {flag}".strip()


def tests(size: Size) -> dict[str, Any]:
    """The size's tests on this device; products keep all bits of float32, as their oracles do."""
    own = {"COMPRESSAE_TEST_DEVICES": "own", "COMPRESSAE_NO_HOOK": "1", "JAX_DEFAULT_MATMUL_PRECISION": "highest"}
    workers = min(8, timing.machine()["cores"])
    options = ["-c", "pyproject.toml", "-p", "no:cacheprovider", f"-n{workers}", "--tb=short"]
    with tempfile.TemporaryDirectory() as folder:
        told = Path(folder, "told.jsonl")
        command = [sys.executable, "-m", "pytest", *options, "-p", "benchmarks.told", f"--told={told}", *size.tests]
        ended = child(command, {**own, "XLA_FLAGS": with_flag(COMPILED_SOONER)}, size.child_seconds)
        lines = told.read_text(encoding="utf-8").splitlines() if told.exists() else []
    reports = [json.loads(line) for line in lines]
    if not reports:
        ended.check(0)
    counts = collections.Counter(outcome for _, outcome, _ in reports)
    failed = {name: said for name, outcome, said in reports if outcome == "failed"}
    return {"seconds": ended.seconds, "cut off": ended.code is None, **counts, "failures": failed}


def agreement(size: Size) -> dict[str, Any]:
    """The greatest error of each backend's scores on this device, beside a float64 oracle; 1,000 rows."""
    rows, rng = random_codes(1000, size), np.random.default_rng(1)
    u = rng.standard_normal((5, size.h)).astype(np.float32)
    packed = convert.stored(rows, "fast4", tuple(np.linspace(0.3, 3, 8).astype(np.float32).tolist()), "cosine")

    def error(search: Callable[..., Any], rows: Any) -> float:
        exact = -np.sort(-(rows.to_csr().astype(np.float64) @ u.T.astype(np.float64)).T, axis=1)[:, :DEPTH]
        return float(np.abs(search(rows, "reconstructed", u, DEPTH)[0] - exact).max())

    found = {"host": host.search, "scan": scan.search, "bcoo": bcoo.search}
    return {
        **{name: tried(error, search, rows) for name, search in found.items()},
        "scan, fast4": tried(error, scan.search, packed),
    }


def precision(size: Size) -> dict[str, Any]:
    """What the precision of float32 products changes on this device: the columns of float64, and a step's gradient.

    `encode` is the product's own way to codes, in whose products all bits of float32 are kept.
    """
    weights, x = drawn(size), np.random.default_rng(2).standard_normal((256, size.d)).astype(np.float32)
    params, module = jax.tree.map(jnp.asarray, weights.params), weights.module()
    units = x / np.linalg.norm(x, axis=1, keepdims=True)
    exact = units.astype(np.float64) @ weights.params["encoder_w"].astype(np.float64)
    wanted = np.sort(np.argsort(-np.abs(exact), axis=1)[:, : size.k], axis=1)

    def equal(columns: Any) -> float:
        return float((np.sort(np.asarray(columns), axis=1) == wanted).all(axis=1).mean())

    def product(name: str) -> float:
        with jax.default_matmul_precision(name):
            return equal(jax.jit(lambda w, x: topk.largest(x @ w, size.k)[1])(params["encoder_w"], jnp.asarray(units)))

    def gradient(name: str) -> np.ndarray:
        with jax.default_matmul_precision(name):
            seen = jax.jit(lambda params, x: step.one_pass(module, params, x, Mix(1 / 8)).gradient)(params, x)
        return np.concatenate([np.asarray(one, np.float64).ravel() for one in jax.tree.leaves(seen)])

    def apart(name: str) -> float:
        best = gradient("float32")
        return float(np.linalg.norm(gradient(name) - best) / np.linalg.norm(best))

    encoded = tried(lambda: equal(on_device.encode(params, jnp.asarray(x), module).columns))
    return {
        "rows with the columns of float64": {"encode": encoded, **{one: tried(product, one) for one in PRECISIONS}},
        "gradient, relative to that of float32": {one: tried(apart, one) for one in PRECISIONS},
    }


def resumed(size: Size) -> dict[str, Any]:
    """Whether a training that was killed ends with the bytes of one that was not."""
    flags = [
        "--config=configs/tiny.py",
        f"--config.train.steps={size.killed_steps}",
        "--config.train.checkpoint_every=50",
    ]
    own = {**os.environ, "XLA_FLAGS": with_flag(EXACTLY)}
    if jax.default_backend() == "cpu":
        own = dict(os.environ)  # the flag is of GPUs
    with tempfile.TemporaryDirectory() as folder:
        models = []
        for name in ("whole", "killed"):
            command = [sys.executable, "launch/train.py", *flags, f"--workdir={folder}/{name}"]
            if name == "killed":
                process = subprocess.Popen(command, env=own, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
                while process.poll() is None and not any(Path(folder, name, "checkpoints").glob("[0-9]*")):
                    time.sleep(0.002)
                process.kill()
                in_time = process.wait() == -signal.SIGKILL
            done = subprocess.run(command, env=own, capture_output=True, text=True, check=False)
            if done.returncode:
                raise RuntimeError(done.stderr[-2000:])
            models.append(Path(folder, name, "model", "params.safetensors").read_bytes())
    return {"equal parameters": models[0] == models[1], "killed before its end": in_time}


def job(size: Size, workdir: Path, side: str) -> dict[str, Any]:
    """Training, compression, search and evaluation as one command: its seconds, and the recall of each method."""
    command = [sys.executable, "launch/run.py", *size.job, f"--workdir={workdir}"]
    ended = child(command, SIDES[side], size.child_seconds)
    ended.check(0)
    report = json.loads((workdir / "report.json").read_text(encoding="utf-8"))
    methods = [one for one in report["contenders"] if one["kind"] != "dense"]
    recalls = {one["name"]: one["scores"]["neighbours"]["recall@100"]["mean"] for one in methods}
    return {"seconds": ended.seconds, "recall@100": recalls}


def compared(size: Size, folder: Path) -> dict[str, Any]:
    """One model's codes of the same rows, and what is found among them, on this device beside the CPU."""
    run = next(folder / side for side in SIDES if (folder / side / "model").exists())
    program = "import sys; from benchmarks import gpu; gpu.answers(*sys.argv[1:])"
    outs = [folder / f"{number}.npz" for number in range(len(SIDES))]
    commands = [[sys.executable, "-c", program, str(run), str(out)] for out in outs]
    with ThreadPoolExecutor(len(outs)) as pool:
        for ended in pool.map(functools.partial(child, seconds=size.child_seconds), commands, SIDES.values()):
            ended.check(0)
    here, there = map(np.load, outs)
    return {"model of": run.name, **differences(here, there)}


def differences(here: Mapping[str, np.ndarray], there: Mapping[str, np.ndarray]) -> dict[str, float]:
    """How much two files of `answers` agree."""
    cosines = (on_host.unit_rows(here["z"]) * on_host.unit_rows(there["z"])).sum(axis=1)
    same = [len(set(a) & set(b)) / len(a) for a, b in zip(here["found"], there["found"], strict=True)]
    return {
        "rows of the same columns": float((here["columns"] == there["columns"]).all(axis=1).mean()),
        "mean cosine of their reconstructions": float(cosines.mean()),
        "least cosine": float(cosines.min()),
        "share of the same 10 nearest": float(np.mean(same)),
    }


def answers(run: str, out: str) -> None:
    """Write what a run's model makes of its first rows, and what it finds among them for some."""
    model = front_door.load(Path(run, "model"))
    name = json.loads(Path(run, "config.json").read_text(encoding="utf-8"))["data"]["source"]
    x = data.load(name).vectors.read(0, 2048)
    rows = model.compress(x, storage="float32", progress=False)  # packed ones are made on the host
    found = model.index(rows).search(x[:256], top=10).rows
    columns = np.sort(rows.reader("sparse", len(rows))(slice(0, len(rows))).columns, axis=1)
    np.savez(out, columns=columns, z=model.reconstruct(rows), found=found)


def training(size: Size, note: Note) -> None:
    """Seconds of a training in both precisions, after a tenth that compiles; held-out cosine against seconds.

    The program is compiled in the first one and read back in the second, whose seconds begin before its rows are read.
    """
    source, name = rows_to_train(size)
    note({"data": name, "target seconds": 15, "aim": 8, "the paper": 100})
    for dtype in ("bfloat16", "float32"):
        note({dtype: tried(trained, size, source, dtype, size.steps)})
    if cuda.usable():
        with kernels_off():
            note({"bfloat16, without our kernels": tried(trained, size, source, "bfloat16", size.steps // 50)})
    peaks = {dtype: timing.product_rate(dtype) for dtype in ("float32", "bfloat16")}
    note({"operations a second of large products": peaks})


@contextlib.contextmanager
def kernels_off() -> Iterator[None]:
    """What is traced meanwhile has none of our kernels."""
    before = os.environ.get("COMPRESSAE_CUDA_KERNELS")
    os.environ["COMPRESSAE_CUDA_KERNELS"] = "0"
    try:
        yield
    finally:
        del os.environ["COMPRESSAE_CUDA_KERNELS"]
        if before is not None:
            os.environ["COMPRESSAE_CUDA_KERNELS"] = before


def trained(size: Size, source: np.ndarray, dtype: str, steps: int) -> dict[str, Any]:
    """One training, after the beginning of the same, which compiles: the number of steps is part of the program."""
    split = data.split_rows(len(source), 0, 1000)
    held = source[split.validation]
    own = {"h": size.h, "k": size.k, "batch": size.batch, "dtype": dtype, "validate_every": max(1, steps // 10)}
    seconds = []
    with tempfile.TemporaryDirectory() as folder:
        for name, validate in (("compiling", once(cosine(held))), ("timed", cosine(held))):
            fields = recipes.with_fields(
                recipes.recipe("published"), {**own, "steps": steps, "checkpoint_every": steps, "log_every": 1}
            )
            fields = {"seed": 0, "budget_bytes": None, **fields, "data": {"zero_rows": "stop"}, "start": ""}
            fields["mesh"] = {"data": 1, "model": 1}
            start = time.perf_counter()
            with contextlib.suppress(ValidatedError):
                loop.train(fields, InMemory(source), split.train, Path(folder, name), validate, progress=False)
            seconds.append(time.perf_counter() - start)
        told = Path(folder, "timed", "metrics.jsonl").read_text(encoding="utf-8").splitlines()
    lines = [json.loads(line) for line in told]
    ends = [line["seconds"] for line in lines if "step" in line]
    step = float(np.median(np.diff(ends))) if len(ends) > 1 else None
    curve = [
        {"step": line["step"], "seconds": line["seconds"], "cosine": line["validation/cosine"]}
        for line in lines
        if "validation/cosine" in line
    ]
    return {
        "steps": steps,
        "seconds": seconds[1],
        "seconds of the tenth before, which compiles": seconds[0],
        "seconds of a step, median": step,
        "rows a second, of that": size.batch / step if step else None,
        "operations a second of its eight products": 16 * size.batch * size.d * size.h / step if step else None,
        "validation": curve,
    }


class ValidatedError(Exception):
    """A training has got as far as its first validation."""


def once(validate: Callable[[Weights], dict[str, float]]) -> Callable[[Weights], dict[str, float]]:
    """A validation that ends its training."""

    def validated(weights: Weights) -> dict[str, float]:
        validate(weights)
        raise ValidatedError

    return validated


def cosine(held: np.ndarray) -> Callable[[Weights], dict[str, float]]:
    """The mean cosine of some rows to their reconstructions."""
    units = held / np.linalg.norm(held, axis=1, keepdims=True)

    def validate(weights: Weights) -> dict[str, float]:
        z = on_host.reconstruct(compression.encode(weights, held, "float32"), weights.params["decoder_w"])
        return {"cosine": float((units * on_host.unit_rows(z)).sum(axis=1).mean())}

    return validate


def encoding(size: Size, note: Note) -> None:
    """Rows a second by every encoder, jitted, from the device's memory; and of a file to a folder of codes.

    One pass in float32 by other products, too, with the rows whose columns are those of the product's own.
    """
    weights = drawn(size)
    params, module = jax.tree.map(jnp.asarray, weights.params), weights.module()

    def pieces(rows: int) -> list[jax.Array]:
        each = min(rows, 2**16)
        drawn_piece = jax.jit(jax.random.normal, static_argnums=1)
        return [drawn_piece(one, (each, size.d)) for one in jax.random.split(jax.random.key(0), rows // each)]

    def rate(call: Callable[[jax.Array], Any], some: list[jax.Array]) -> dict[str, float]:
        seconds = timing.alternate({"encode": lambda: [call(piece) for piece in some]}, 5, budget=5)["encode"]
        return timing.spread([sum(map(len, some)) / one for one in seconds])

    some = pieces(size.encoded)
    for dtype in (jnp.bfloat16, jnp.float32):
        own = module.clone(dtype=dtype)
        call = functools.partial(on_device.encode, params, module=own)
        note({f"topk, {jnp.dtype(dtype).name}, rows a second": tried(rate, call, some)})
    wanted = np.sort(np.asarray(on_device.encode(params, some[0], module).columns), axis=1)
    for name in PRODUCTS if jax.default_backend() == "gpu" else ():

        @jax.jit
        def one_pass(x: jax.Array, name: str = name) -> Codes:
            with jax.default_matmul_precision(name):
                codes: Any = module.apply({"params": params}, x, method="encode")
                return codes

        def found(call: Callable[[jax.Array], Any] = one_pass) -> dict[str, Any]:
            same = (np.sort(np.asarray(call(some[0]).columns), axis=1) == wanted).all(axis=1).mean()
            return {**rate(call, some), "rows of the same columns": float(same)}

        note({f"topk, float32 by {name}, rows a second": tried(found)})
    few = pieces(size.pursued)
    coarse = {"shortlist": on_device.coarse_on(weights, jax.devices()[0])}
    for name in encoders.ENCODERS:
        if name != "topk":
            call = functools.partial(on_device.encode, params, module=module, encoder=name, coarse=coarse.get(name))
            note({f"{name}, float32, rows a second": tried(rate, call, few)})
    note({"from a file to a folder, rows a second": tried(to_folder, size, weights)})
    note({"pursuit on levels": tried(levelled, weights, size.pursued)})


def levelled(weights: Weights, n: int) -> dict[str, Any]:
    """Default codes before they are packed, from the host's memory and back: rows a second on the device and by loops.

    And the share of the first block's rows that both make with the same columns and values.
    """
    x = np.random.default_rng(0).standard_normal((n, weights.d), np.float32)
    blocks, device = list(arrays.pieces(x, encoders.BLOCK)), jax.devices()[0]
    fitted = encoders.Encoder(weights, "pursuit", "float32").on_device(blocks[0], device)
    magnitudes = levels.learn(np.abs(np.asarray(fitted.values)).reshape(-1), 8)
    weights = dataclasses.replace(weights, levels={"pursuit:packed4": tuple(magnitudes.tolist())})
    one = encoders.Encoder(weights, "pursuit", "fast4")

    def on_the_device() -> list[Codes]:
        under_way = [one.on_device(some, device) for some in blocks]
        return [Codes(np.asarray(codes.values), np.asarray(codes.columns), codes.h) for codes in under_way]

    found = {"device": n / min(timing.alternate({"device": on_the_device}, 3, budget=5)["device"])}
    found["loops"] = len(blocks[0]) / min(
        timing.alternate({"loops": lambda: one._by_loops(blocks[0])}, 2, budget=5)["loops"]
    )
    both = on_the_device()[0], one._by_loops(blocks[0])
    same = [np.asarray(getattr(both[0], name)) == getattr(both[1], name) for name in ("values", "columns")]
    return {"rows a second": found, "equal rows": float((same[0] & same[1]).all(axis=1).mean())}


def to_folder(size: Size, weights: Weights) -> dict[str, float]:
    """Rows a second from a file on the disk to codes on it, the second time: the first one compiles."""
    with tempfile.TemporaryDirectory() as folder:
        np.save(Path(folder, "x.npy"), np.random.default_rng(0).standard_normal((size.encoded, size.d), np.float32))
        seconds = []
        for name in ("compiling", "codes"):
            start = time.perf_counter()
            source = data.open_source(Path(folder, "x.npy"))
            compression.to_folder(weights, source, Path(folder, name), progress=False)
            seconds.append(time.perf_counter() - start)
    return {"first": size.encoded / seconds[0], "second": size.encoded / seconds[1]}


def search(size: Size, note: Note) -> None:
    """float16 and packed rows on the device, with and without our kernels, beside a bfloat16 dense product.

    All sides select by maxima of blocks where there are kernels.
    """
    speed, n = timing.bandwidth(), size.searched
    note({"bandwidth": speed, "dense, ms by bandwidth": 2e3 * n * size.d / speed})
    rng = np.random.default_rng(0)
    some = random_codes(min(n, 2**18), size)
    copies = -(-n // len(some))
    levels = tuple(np.linspace(0.3, 3, 8).astype(np.float32).tolist())
    sides: dict[str, Callable[[np.ndarray], Any]] = {}
    for name, rows in (("float16", some), ("fast4", convert.stored(some, "fast4", levels, "cosine"))):
        note({f"{name} beside the host": as_on_host(repeated(rows, copies, min(n, CHECKED)))})
        placed = scan.Placed(repeated(rows, copies, n))
        sides[name] = lambda u, placed=placed: scan.search(placed, "reconstructed", u, DEPTH)
        note({f"{name}, ms by bandwidth": 1e3 * placed.held.nbytes / speed})
    drawn_piece = jax.jit(jax.random.normal, static_argnums=(1, 2))
    lengths = [min(PIECE, n - first) for first in range(0, n, PIECE)]
    keys = jax.random.split(jax.random.key(0), len(lengths))
    dense = tuple(drawn_piece(key, (length, size.d), jnp.bfloat16) for key, length in zip(keys, lengths, strict=True))
    sides["dense bfloat16"] = lambda u: nearest(dense, jnp.asarray(u[:, : size.d], jnp.bfloat16), DEPTH)
    for q in size.queries:
        u = rng.standard_normal((q, size.h)).astype(np.float32)
        calls = {name: lambda c=call, u=u: c(u) for name, call in sides.items()}
        if q == 1:
            for name in ("float16", "fast4"):
                calls[f"{name} without kernels"] = functools.partial(plainly, sides[name], u)
        seconds = timing.alternate(calls, 7, budget=3)
        note({f"q={q}": {name: timing.milliseconds(one) for name, one in seconds.items()}})


def plainly(call: Callable[[np.ndarray], Any], u: np.ndarray) -> Any:
    """A call without our kernels."""
    with kernels_off():
        return call(u)


def as_on_host(rows: Rows, q: int = 2) -> dict[str, float]:
    """What the device finds in some rows for some queries beside what the host finds there."""
    u = np.random.default_rng(1).standard_normal((q, rows.h)).astype(np.float32)
    found = scan.search(scan.Placed(rows), "reconstructed", u, DEPTH)
    wanted = host.search(rows, "reconstructed", u, DEPTH)
    return {
        "share of places with the same row": float((found[1] == wanted[1]).mean()),
        "greatest difference of scores": float(np.abs(found[0] - wanted[0]).max()),
    }


@jax.jit(static_argnums=2)
def nearest(pieces: Sequence[jax.Array], queries: jax.Array, top: int) -> running_top.Best:
    """The best rows of a dense product, whose scores are selected from as those of codes are."""
    q, first = len(queries), 0
    best, together = running_top.nothing(q, top), max(1, scan.WORKING_BYTES // (4 * q * len(pieces[0])))
    for start in range(0, len(pieces), together):
        some = [
            jnp.einsum("qd,nd->qn", queries, piece, preferred_element_type=jnp.float32)
            for piece in pieces[start : start + together]
        ]
        rows = sum(one.shape[1] for one in some)
        block = scan.cut_of(q, top, 1, rows, None).block
        behind = jnp.full((q, -rows % max(1, block)), -jnp.inf)
        best = running_top.add(best, jnp.concatenate([*some, behind], axis=1), jnp.asarray(first), None, block)
        first += rows
    return best


def selection(size: Size, note: Note) -> None:
    """`benchmarks.selection`, which says what of its candidates the device refuses."""
    shape = f"{size.batch},{size.h},{size.k}"
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "benchmarks.selection", f"--out={folder}", "--shapes", shape, "--repeats=3"]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        written = Path(folder, "selection.json")
        found = json.loads(written.read_text(encoding="utf-8")) if written.exists() else None
    note({"exit code": done.returncode, "selection": found, "last lines": done.stderr[-1500:]})


class Part(NamedTuple):
    """What a part does, and the seconds that it has."""

    make: Callable[[Size, Note], None]
    seconds: float
    children: bool = False  # on the same device: then no process takes most of its memory before it needs it


PARTS = {
    "kernels": Part(kernels, 70, children=True),
    "training": Part(training, 120),
    "search": Part(search, 80),
    "works": Part(works, 110, children=True),
    "encoding": Part(encoding, 60),
    "selection": Part(selection, 40, children=True),
}


def rows_to_train(size: Size) -> tuple[np.ndarray, str]:
    """wordnet768's rows, or random ones of as many numbers."""
    if size.d == 768:
        try:
            source = data.load("wordnet768").vectors
            return source.read(0, len(source)), "wordnet768"
        except InputError:
            pass
    return np.random.default_rng(0).standard_normal((32_000, size.d), np.float32), "random rows, for times alone"


def drawn(size: Size) -> Weights:
    """Random unit atoms: what an encoder costs depends on d, h and k."""
    w = np.random.default_rng(0).standard_normal((size.h, size.d)).astype(np.float32)
    w /= np.linalg.norm(w, axis=1, keepdims=True)
    return Weights({"encoder_w": w.T.copy(), "encoder_b": np.zeros(size.h, np.float32), "decoder_w": w}, size.h, size.k)


def random_codes(n: int, size: Size) -> Codes:
    """Rows of k rising columns, one of each k-th of all, whose scales are 1."""
    rng = np.random.default_rng(0)
    columns = rng.integers(0, size.h // size.k, (n, size.k)) + np.arange(size.k) * (size.h // size.k)
    values = rng.standard_normal((n, size.k)).astype(np.float16)
    return Codes(values, columns.astype(np.uint16), size.h, np.ones((n, 2), np.float32), verified=True)


def repeated(rows: Rows, copies: int, n: int) -> Rows:
    """n rows: the same, one time after the other."""
    return rows.like({name: np.tile(array, (copies, 1))[:n] for name, array in rows.arrays().items()})


def parts_of(out: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """What was written, in the order of the parts."""
    for name in PARTS:
        path = out / f"{name}.json"
        if path.exists():
            yield name, json.loads(path.read_text(encoding="utf-8"))


def page(out: Path) -> str:
    """All parts in one page."""
    lines = ["# On an accelerator", ""]
    for name, report in parts_of(out):
        machine, sizes = report["machine"], ", ".join(f"{name} {number}" for name, number in report["size"].items())
        kept = {key: value for key, value in report.items() if key not in ("command", "machine", "size")}
        told = f"{(PARTS[name].make.__doc__ or '').strip()} `{report['command']}`; {sizes}. {timing.where(machine)}"
        driven = f" Driver {machine['driver']}." if machine["driver"] else ""
        lines += [f"## {name}", "", told + driven, "", "```json", json.dumps(kept, indent=1), "```", ""]
    return "\n".join(lines)


if __name__ == "__main__":
    main()
