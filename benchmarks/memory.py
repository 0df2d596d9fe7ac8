"""Peak memory of compressing and of searching a file several times larger than a chunk: it does not grow with the file.

    python -m benchmarks.memory --out=results

Each job runs in a process of its own, over a file and over one twice as long (random numbers; memory does not depend on
them). A thread there samples /proc/self/status (Linux): `anonymous` is what the process itself holds, `resident` also
counts pages of memory-mapped files, which the system keeps while memory is free and takes back when it is not.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import threading
from pathlib import Path

import numpy as np

from benchmarks import timing

ROWS_A_WRITE = 65_536
MIB = 2**20


def main() -> None:
    """Make both files, run both jobs on each, write what they took at most."""
    flags = parse()
    results = []
    with tempfile.TemporaryDirectory(dir=flags.scratch) as name:
        scratch = Path(name)
        save_model(scratch / "model", flags)
        for n in (flags.n // 2, flags.n):
            source = scratch / f"{n}.npy"
            save_vectors(source, n, flags.d)
            out = scratch / f"codes-{n}"
            jobs = {
                "compress": [scratch / "model", source, out, flags.batch],
                "search": [scratch / "model", out, flags.queries],
            }
            for job, arguments in jobs.items():
                results.append({"job": job, "rows": n, "file_mib": 4 * n * flags.d / MIB, **run(job, arguments)})
                print(results[-1], flush=True)
            source.unlink()
    report = {
        "claim": "peak anonymous memory above the start of a job does not grow with the file",
        "data": "synthetic; used for memory only",
        "settings": vars(flags),
        "machine": timing.machine(),
        "results": results,
    }
    if flags.out:
        timing.write(flags.out, "memory", report, table(report))
    print(table(report))


def parse() -> argparse.Namespace:
    """The flags; by default the larger file has 512 MB and is read 8 MB at a time."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--n", type=int, default=1_000_000, help="rows of the larger file")
    parser.add_argument("--d", type=int, default=128)
    parser.add_argument("--h", type=int, default=1024)
    parser.add_argument("--k", type=int, default=16)
    parser.add_argument("--batch", type=int, default=16_384, help="rows read at once")
    parser.add_argument("--queries", type=int, default=64)
    parser.add_argument("--scratch", default=None, help="folder for the files, removed afterwards")
    parser.add_argument("--out", default="", help="folder for memory.json and memory.md")
    return parser.parse_args()


def save_vectors(path: Path, n: int, d: int) -> None:
    """A `.npy` of random rows, written in pieces."""
    rng = np.random.default_rng(0)
    vectors = np.lib.format.open_memmap(path, "w+", np.float32, (n, d))
    for start in range(0, n, ROWS_A_WRITE):
        part = vectors[start : start + ROWS_A_WRITE]
        part[:] = rng.standard_normal(part.shape, np.float32)
    vectors.flush()


def save_model(folder: Path, flags: argparse.Namespace) -> None:
    """An untrained model: memory does not depend on what it learnt."""
    from compressae_jax.model import weights

    decoder_w = np.random.default_rng(1).standard_normal((flags.h, flags.d), np.float32)
    decoder_w /= np.linalg.norm(decoder_w, axis=1, keepdims=True)
    params = {"encoder_w": decoder_w.T.copy(), "encoder_b": np.zeros(flags.h, np.float32), "decoder_w": decoder_w}
    weights.save(weights.Weights(params, flags.h, flags.k), folder)


def run(job: str, arguments: list) -> dict:
    """What a job measured of itself in its own process."""
    command = [sys.executable, "-m", "benchmarks.memory", "--job", job, *map(str, arguments)]
    return json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines()[-1])


def job(name: str, arguments: list[str]) -> None:
    """In the process of a job: do it once small, so that imports and compilation are the baseline, then measure it."""
    from compressae_jax import compression, data
    from compressae_jax.model import weights
    from compressae_jax.retrieval import index

    model = weights.load(arguments[0])
    queries = np.random.default_rng(2).standard_normal((int(arguments[-1]), model.d)).astype(np.float32)
    if name == "compress":
        _, path, out, batch = arguments
        compression.in_memory(model, data.open_source(queries[:5000]))
        source = data.open_source(path)
        taken = peak(lambda: compression.to_folder(model, source, out, batch=int(batch), progress=False))
    else:
        index.Index(compression.encode(model, queries), model, "reconstructed").search(queries, 1)
        rows = index.open_index(arguments[1], model, "reconstructed", verify=False)
        taken = peak(lambda: rows.search(queries, 100))
    print(json.dumps(taken))


def peak(work) -> dict[str, float]:
    """Memory before some work and the most that was seen during it, in MiB."""
    before, most, done = status(), status(), threading.Event()

    def watch() -> None:
        while not done.wait(0.002):
            for name, now in status().items():
                most[name] = max(most[name], now)

    watcher = threading.Thread(target=watch)
    watcher.start()
    work()
    done.set()
    watcher.join()
    return {
        f"{name}_{when}_mib": round(some[name], 1)
        for name in before
        for when, some in (("start", before), ("peak", most))
    }


def status() -> dict[str, float]:
    """Anonymous and resident memory of this process now, in MiB."""
    fields = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    names = {"anonymous": "RssAnon", "resident": "VmRSS"}
    return {name: int(fields[field].split()[0]) / 1024 for name, field in names.items()}


def table(report: dict) -> str:
    """The results in Markdown."""
    s = report["settings"]
    lines = [
        f"Peak memory above the start of a job, MiB (d={s['d']}, h={s['h']}, k={s['k']}, {s['batch']:,} rows read at "
        f"once, {s['queries']} queries). Resident memory also counts pages of memory-mapped files, which the system "
        "takes back when it needs them. Synthetic rows.",
        "",
        "| job | rows | file | anonymous | resident |",
        "|---|---|---|---|---|",
    ]
    for row in report["results"]:
        more = [row[f"{name}_peak_mib"] - row[f"{name}_start_mib"] for name in ("anonymous", "resident")]
        lines.append(f"| {row['job']} | {row['rows']:,} | {row['file_mib']:.0f} | {more[0]:.0f} | {more[1]:.0f} |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    if sys.argv[1:2] == ["--job"]:
        job(sys.argv[2], sys.argv[3:])
    else:
        main()
