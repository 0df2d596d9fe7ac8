"""docs/SCALE.md's tables, made anew from committed results: arithmetic from what was measured, for 10^8 and 10^9 items.

    python -m benchmarks.scale        # results/{growth,encoders,train_step,memory,cluster}.json → docs/SCALE.md

Every rate is scaled by operations alone (one pass by d, a training step by d h), every time of a scan by n.
"""

import json
from math import ceil
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
SCALE = ROOT / "docs" / "SCALE.md"
SOURCES = ("growth", "encoders", "train_step", "memory", "cluster")
BEGIN, END = "<!-- table: python -m benchmarks.scale -->\n", "<!-- /table -->"
ENDS = "<!-- ends: python -m benchmarks.scale -->\n"
ITEMS = (10**8, 10**9)
D, H, K = 768, 4096, 32
STORAGES = {"float16": "topk, compiled loops", "packed4": "pursuit, packed4"}  # and the encoder that makes the rows
TRAINING_ROWS = 50_000_000  # 500 steps of 100,000 rows, as the paper trains
CPU_ROOM, GPU_ROOM = 24 * 2**30, 80 * 10**9
HOUR, PATIENCE = 3600, 0.1  # seconds that a compression and a search may take
SHARE = 0.1  # of a job's time that may go into spreading it
GPU_BYTES_A_SECOND = {"H100": 3.35e12, "H200": 4.8e12}  # of their makers' sheets


def main() -> None:
    """Put the tables between their marks."""
    SCALE.write_text(with_table(SCALE.read_text(encoding="utf-8")), encoding="utf-8")


def with_table(text: str) -> str:
    """The text with the tables of the committed results."""
    results = read()
    for begin, made in ((BEGIN, table), (ENDS, ends)):
        before, rest = text.split(begin)
        _, after = rest.split(END, 1)
        text = before + begin + made(results) + END + after
    return text


def read() -> dict[str, Any]:
    """The committed results by name."""
    return {name: json.loads((ROOT / "results" / f"{name}.json").read_text(encoding="utf-8")) for name in SOURCES}


def table(results: dict[str, Any]) -> str:
    """What was measured, then a row a storage and number of items, then GPUs."""
    return "\n".join([*measured(results), "", *plans(results), "", *gpus(results)]) + "\n"


def measured(results: dict[str, Any]) -> list[str]:
    """The figures that all others follow from, each with its file."""
    at, step = results["growth"]["scale"], results["train_step"]["shapes"][-1]
    cores = {name: results[name]["machine"]["cores"] for name in ("growth", "train_step")}
    lines = ["| measured | figure | on | file |", "|---|---|---|---|"]
    shape = f"{at['n']:,} rows, h={at['h']:,}, k={at['k']}, top {results['growth']['settings']['top']}"
    for storage, times in at["times"].items():
        found = " / ".join(f"{per_second(results, storage, int(q)):,.0f}" for q in times)
        what = f"million rows scored a second and core pair, `{storage}`, " + " / ".join(map(str, times)) + " queries"
        lines.append(f"| {what} | {found} | {cores['growth']} cores; {shape} | growth.json |")
        lines.append(f"| bytes a row, `{storage}` | {at['bytes'][storage]:.0f} | the arrays themselves | growth.json |")
    copied = results["growth"]["copy_gb_per_s"]
    lines.append(f"| GB read or written a second by a copy | {copied:.0f} | one core | growth.json |")
    for storage, encoder in STORAGES.items():
        k, rate = encoding(results, storage)
        shape = f"{results['encoders']['cores']} cores; d=384, h=4,096, k={k}"
        lines.append(
            f"| rows compressed a second, `{encoder}`, for `{storage}` | {rate:,.0f} | {shape} | encoders.json |"
        )
    rate = step["results"]["compressae_jax"]["rows_per_second"]
    shape = f"{cores['train_step']} cores; d={step['d']}, h={step['h']:,}, k={step['k']}, batch {step['batch']:,}"
    lines.append(f"| rows trained on a second | {rate:,.0f} | {shape} | train_step.json |")
    for job, more in working(results).items():
        shape = "above the start of the process, whatever the length of the file"
        lines.append(f"| MiB that {job} takes beside its files | {more:.0f} | {shape} | memory.json |")
    return lines


def plans(results: dict[str, Any]) -> list[str]:
    """Machines of 24 GiB and two cores, memory, seconds and queries a second."""
    step = results["train_step"]["shapes"][-1]
    rate = step["results"]["compressae_jax"]["rows_per_second"]
    training = TRAINING_ROWS / (rate * step["d"] * step["h"] / (D * H))
    qs = list(results["growth"]["scale"]["times"]["float16"])
    heads = ["items", "storage", "codes", "dense float32", "machines of 24 GiB", "training", "compressing, core pair"]
    heads += [f"queries a second and core pair, {q} at once" for q in qs]
    lines = ["| " + " | ".join(heads) + " |", "|" + "---|" * len(heads)]
    for n in ITEMS:
        for storage in STORAGES:
            size = n * results["growth"]["scale"]["bytes"][storage]
            _, encoded = encoding(results, storage)
            cells = [f"{n:,}", f"`{storage}`", f"{size / 1e9:,.1f} GB", f"{n * 4 * D / 1e9:,.0f} GB"]
            cells += [f"{ceil(size / CPU_ROOM)}", f"{training:,.0f} s", f"{n / (encoded * 384 / D):,.0f} s"]
            cells += [f"{1e6 * per_second(results, storage, int(q)) / n:.2g}" for q in qs]
            lines.append("| " + " | ".join(cells) + " |")
    return lines


def gpus(results: dict[str, Any]) -> list[str]:
    """One pass of every row through a GPU's memory: arithmetic, nothing measured."""
    heads = ["items", "storage", "GPUs of 80 GB", *(f"one pass, ms, {name}s" for name in GPU_BYTES_A_SECOND)]
    lines = ["| " + " | ".join(heads) + " |", "|" + "---|" * len(heads)]
    for n in ITEMS:
        for storage in STORAGES:
            size = n * results["growth"]["scale"]["bytes"][storage]
            count = ceil(size / GPU_ROOM)
            cells = [f"{n:,}", f"`{storage}`", f"{count}"]
            cells += [f"{1e3 * size / count / rate:.1f}" for rate in GPU_BYTES_A_SECOND.values()]
            lines.append("| " + " | ".join(cells) + " |")
    return lines


def ends(results: dict[str, Any]) -> str:
    """How many rows one machine does, and what it costs to spread them."""
    return "\n".join([*one_machine(results), "", *spreading(results)]) + "\n"


def one_machine(results: dict[str, Any]) -> list[str]:
    """Rows that a machine of two cores and 24 GiB holds, compresses in an hour and searches in a tenth of a second."""
    sizes = results["growth"]["scale"]["bytes"]
    heads = ["two cores, 24 GiB", *(f"rows, `{storage}`" for storage in STORAGES), "beyond that"]
    lines = ["| " + " | ".join(heads) + " |", "|" + "---|" * len(heads)]
    compress = "`compress --part`; Slurm or Ray do it for you, Spark where the table is"
    rows = [("hold the codes", [CPU_ROOM / sizes[storage] for storage in STORAGES], "shards on several machines")]
    rates = [encoding(results, storage)[1] * 384 / D for storage in STORAGES]
    rows.append(("compress in an hour", [HOUR * rate for rate in rates], compress))
    for q in map(int, results["growth"]["scale"]["times"]["float16"]):
        found = [1e6 * per_second(results, storage, q) * PATIENCE / q for storage in STORAGES]
        asked = "a query" if q == 1 else f"{q} queries at once"
        rows.append((f"answer {asked} in {1e3 * PATIENCE:.0f} ms", found, "more cores, then shards"))
    for what, found, beyond in rows:
        lines.append("| " + " | ".join([what, *(f"{one / 1e6:,.1f} million" for one in found), beyond]) + " |")
    return lines


def spreading(results: dict[str, Any]) -> list[str]:
    """Seconds that each way takes beyond one process, the rows from which they are few, and the same of searches."""
    compress, search = results["cluster"]["compress"], results["cluster"]["search"]
    one, *others = compress
    heads = ["way", "compression: s more", *(f"few from, `{storage}`" for storage in STORAGES), "s to the first answer"]
    heads += [f"a search: ms more, q={each['queries']}" for each in search["results"]]
    lines = ["| " + " | ".join(heads) + " |", "|" + "---|" * len(heads)]
    for way in others:
        more = compress[way]["median"] - compress[one]["median"]
        few = [more / SHARE * encoding(results, storage)[1] * 384 / D for storage in STORAGES]
        cells = [way, f"{more:.0f}", *(f"{rows / 1e6:,.1f} million rows" for rows in few)]
        if way in search["first_answer_s"]:
            cells.append(f"{search['first_answer_s'][way]:.0f}")
            cells += [f"{each['ms'][way]['median'] - each['ms'][one]['median']:.0f}" for each in search["results"]]
        lines.append("| " + " | ".join([*cells, *[""] * (len(heads) - len(cells))]) + " |")
    return lines


def per_second(results: dict[str, Any], storage: str, q: int) -> float:
    """Million rows scored a second by a pair of cores: n q over the time that q queries take together."""
    at, cores = results["growth"]["scale"], results["growth"]["threads"]
    return at["n"] * q / (1e-3 * at["times"][storage][str(q)]["median_ms"]) / 1e6 * 2 / cores


def encoding(results: dict[str, Any], storage: str) -> tuple[int, float]:
    """The measured k next above ours, and rows compressed a second by a pair of cores."""
    at = min((one for one in results["encoders"]["results"] if one["k"] >= K), key=lambda one: one["k"])
    return at["k"], at["rates"][STORAGES[storage]][0] * 2 / results["encoders"]["cores"]


def working(results: dict[str, Any]) -> dict[str, float]:
    """MiB of anonymous memory that a job takes above its start, at the largest file."""
    largest = max(one["rows"] for one in results["memory"]["results"])
    some = [one for one in results["memory"]["results"] if one["rows"] == largest]
    return {one["job"]: one["anonymous_peak_mib"] - one["anonymous_start_mib"] for one in some}


if __name__ == "__main__":
    main()
