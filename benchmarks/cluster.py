"""What Ray, Spark, plain processes and files cost beside one process, on one machine and real vectors.

    python -m benchmarks.cluster --out=results        # extras [ray] and [spark], Java

Compression: whole commands from their start to the end of the join, in turn, each into a new folder; rows and ids are
seen to be the same. Search: dense queries, all ways in turn, results seen to be the same bits. All of them share the
cores of this machine, so nothing can be faster than one process: what is seen is what a cluster costs, not what it
brings.
"""

import argparse
import functools
import importlib
import os
import runpy
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

import compressae_jax as cs
from benchmarks import timing
from compressae_jax import data
from compressae_jax.base import threads
from compressae_jax.codes import folder as codes_folder
from compressae_jax.codes.joined import same
from compressae_jax.retrieval import index as one_index

ROOT = Path(__file__).resolve().parent.parent
EXAMPLES, LAUNCH = ROOT / "examples", ROOT / "launch"
TOP = 100
ONE, BY_PROCESSES, RAY, SPARK = "one process", "processes", "Ray", "Spark"


def main() -> None:
    """Measure, write the report and its table."""
    flags = parse()
    os.environ |= {
        "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
        "RAY_USAGE_STATS_ENABLED": "0",
        "RAY_AUTH_MODE": "disabled",
        "COMPRESSAE_PROGRESS": "0",
    }
    before = os.getloadavg()
    with tempfile.TemporaryDirectory() as scratch:
        home = Path(scratch)
        vectors = prepare(home, flags)
        report = {
            "command": "python -m benchmarks.cluster",
            "settings": vars(flags) | {"rows": len(vectors), "d": vectors.shape[1], "top": TOP},
            "load": {"before": before[0]},
            "compress": compressed(home, flags),
            "search": searched(home, vectors, flags),
            "files": by_files(home, flags),
            **timing.machine(),
        }
    report["load"]["after"] = os.getloadavg()[0]
    text = table(report)
    timing.write(flags.out, "cluster", report, text)
    print(text)


def parse() -> argparse.Namespace:
    """The flags."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--data", default="wordnet768")
    parser.add_argument("--h", type=int, default=4096)
    parser.add_argument("--k", type=int, default=32)
    parser.add_argument("--steps", type=int, default=200, help="of training, 1,024 rows each")
    parser.add_argument("--parts", type=int, default=4)
    parser.add_argument("--queries", type=int, nargs="+", default=[1, 64])
    parser.add_argument("--repeats", type=int, default=3, help="of a compression; of a search 10 times as many")
    parser.add_argument("--out", default="results")
    return parser.parse_args()


def prepare(home: Path, flags: argparse.Namespace) -> np.ndarray:
    """Put a model and Parquet files of vectors with ids, which rise, into a folder; the vectors."""
    import pyarrow as pa
    from pyarrow import parquet

    source = data.load(flags.data).vectors
    vectors = source.read(0, len(source))
    model = cs.fit(vectors, h=flags.h, k=flags.k, steps=flags.steps, batch=1024, progress=False)
    model.save(home / "model")
    np.save(home / "queries.npy", vectors[: max(flags.queries)])
    (home / "vectors").mkdir()
    for i, rows in enumerate(np.array_split(np.arange(len(vectors)), 2 * flags.parts)):
        lists = pa.FixedSizeListArray.from_arrays(vectors[rows].ravel(), vectors.shape[1])
        parquet.write_table(pa.table({"id": rows, "vector": lists}), home / "vectors" / f"{i:03d}.parquet")
    return vectors


def ways(parts: int) -> dict[str, list[str]]:
    """The command of each way, run where `model` and `vectors` lie; `{out}` is the folder for codes."""
    python, given = sys.executable, ["--model=model", "--source=vectors", "--ids_column=id"]
    compress, cores = " ".join([python, f"{LAUNCH}/compress.py", *given]), threads.cores()
    by_hand = f"seq {parts} | xargs -P {cores} -I@ {compress} --part=@/{parts} --out={{out}}.parts/@ --threads=1"
    by_hand += f" && {python} {LAUNCH}/join.py --parts='{{out}}.parts/*' --out={{out}}"
    spark = ["spark-submit", f"--master=local[{cores}]", "--conf=spark.ui.enabled=false"]
    spark += [f"{EXAMPLES}/spark_compress.py", "--model=model", "--table=vectors", "--out={out}.table", "--codes={out}"]
    return {
        ONE: [python, f"{LAUNCH}/compress.py", *given, "--out={out}"],
        BY_PROCESSES: ["bash", "-c", by_hand],
        RAY: [python, f"{EXAMPLES}/ray_compress.py", *given, "--out={out}", f"--parts={parts}"],
        SPARK: spark,
    }


def compressed(home: Path, flags: argparse.Namespace) -> dict[str, Any]:
    """Seconds of each way; `codes`, and the parts of the processes, stay."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    environment = {**os.environ, "PATH": path, "PYTHONPATH": str(ROOT), "PYSPARK_PYTHON": sys.executable}
    run = functools.partial(subprocess.run, cwd=home, env=environment, check=True, capture_output=True)
    seconds: dict[str, list[float]] = {}
    run([one.format(out="codes") for one in ways(flags.parts)[ONE]])  # compiled loops are kept from now on
    wanted = codes_folder.read(home / "codes").rows
    for _ in range(flags.repeats):
        for way, command in ways(flags.parts).items():
            out = way.replace(" ", "-")
            for left in home.glob(f"{out}*"):
                shutil.rmtree(left)
            begun = time.perf_counter()
            run([one.format(out=out) for one in command])
            seconds.setdefault(way, []).append(time.perf_counter() - begun)
            assert same(codes_folder.read(home / out).rows, wanted), way
    return {way: timing.spread(some) for way, some in seconds.items()}


def searched(home: Path, vectors: np.ndarray, flags: argparse.Namespace) -> dict[str, Any]:
    """Seconds until each way has answered its first query, and milliseconds of a search by the number of queries."""
    folders, model = [str(home / f"{BY_PROCESSES}.parts" / str(i + 1)) for i in range(flags.parts)], str(home / "model")
    opened, sides, found = {}, {}, {}
    for way, begin in openings(home, folders, model, flags.parts).items():
        begun = time.perf_counter()
        sides[way] = begin()
        found[way] = sides[way](vectors[:1], TOP)
        opened[way] = time.perf_counter() - begun
    results = []
    for q in flags.queries:
        wanted = sides[ONE](vectors[:q], TOP)
        for way, search in sides.items():
            mine = search(vectors[:q], TOP)
            assert np.array_equal(mine.rows, wanted.rows) and np.array_equal(mine.scores, wanted.scores), way
            assert np.array_equal(mine.ids, wanted.ids), way
        calls = {way: functools.partial(search, vectors[:q], TOP) for way, search in sides.items()}
        taken = timing.alternate(calls, 10 * flags.repeats)
        results.append({"queries": q, "ms": {way: timing.spread(1e3 * np.array(some)) for way, some in taken.items()}})
    return {"first_answer_s": opened, "results": results}


def openings(home: Path, folders: list[str], model: str, parts: int) -> dict[str, Callable[[], Callable[..., Any]]]:
    """What opens each way of searching, and gives what searches."""
    import ray

    sys.path.insert(0, str(EXAMPLES))  # where spawned processes find it, too

    def by_ray() -> Callable[..., Any]:
        ray.init(num_cpus=parts, include_dashboard=False, object_store_memory=2 * 10**8, log_to_driver=False)
        return runpy.run_path(str(EXAMPLES / "ray_search.py"), run_name="ray_search")["Front"](folders, model).search

    return {
        ONE: lambda: one_index.open_folder(home / "codes", model).search,
        BY_PROCESSES: lambda: importlib.import_module("process_search").Front(folders, model).search,
        RAY: by_ray,
    }


def by_files(home: Path, flags: argparse.Namespace) -> dict[str, float]:
    """Seconds of the two commands: a search of one shard, and the merge of all."""
    command = functools.partial(subprocess.run, cwd=home, check=True, capture_output=True)
    (home / "found").mkdir()
    seconds: dict[str, list[float]] = {"search": [], "merge": []}
    for i in range(1, flags.parts + 1):
        begun = time.perf_counter()
        shard = [f"--index={BY_PROCESSES}.parts/{i}", "--model=model", "--queries=queries.npy", f"--top={TOP}"]
        command([sys.executable, f"{LAUNCH}/search.py", *shard, f"--out=found/{i}.npz"])
        seconds["search"].append(time.perf_counter() - begun)
    for _ in range(flags.repeats):
        begun = time.perf_counter()
        command([sys.executable, f"{LAUNCH}/merge.py", "--found=found/*.npz", "--out=found.npz"])
        seconds["merge"].append(time.perf_counter() - begun)
    return {name: float(np.median(some)) for name, some in seconds.items()}


def table(report: dict[str, Any]) -> str:
    """Ways down: seconds of a compression, seconds until the first answer, milliseconds of a search."""
    s, compress, search = report["settings"], report["compress"], report["search"]
    load = " to ".join(f"{one:.1f}" for one in report["load"].values())
    lines = [
        f"{s['data']}, {s['rows']:,} rows (d={s['d']}, h={s['h']:,}, k={s['k']}, float16) in {s['parts']} parts, all "
        f"on the {report['cores']} cores of one machine, which had other work, too (load {load}); top {TOP}, dense "
        f"queries; medians (least to greatest) of {s['repeats']} compressions and {10 * s['repeats']} searches in "
        "turn. A compression is a whole command, start of the cluster and join included.",
        "",
    ]
    heads = [
        "way",
        "compression, s",
        "first answer, s",
        *(f"search, ms, q={one['queries']}" for one in search["results"]),
    ]
    rows = []
    for way in compress:
        cells = [timing.shown(compress[way], 1)]
        if way in search["first_answer_s"]:
            cells.append(f"{search['first_answer_s'][way]:.1f}")
            cells += [timing.shown(one["ms"][way], 1) for one in search["results"]]
        rows.append([way, *cells, *[""] * (len(heads) - 1 - len(cells))])
    lines += timing.markdown(" | ".join(heads), rows)
    files = report["files"]
    lines += ["", f"By files: {files['search']:.1f} s for the search of a shard, {files['merge']:.1f} s for the merge."]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
