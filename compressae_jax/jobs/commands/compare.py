"""Runs beside each other: measures over the same queries with paired intervals, what differs in their configs, curves.

compressae compare --workdirs=runs/first,runs/second --out=comparison
compressae compare --workdirs='runs/*'

Each run is trained and evaluated. Differences are to the first run; p-values are by Holm over all comparisons.
"""

from absl import flags


def define() -> None:
    """Its flags."""
    flags.DEFINE_string("workdirs", None, "Run folders: a glob, or names with commas between.", required=True)
    flags.DEFINE_string("out", None, "Folder for compare.json, compare.md and compare.png.")


def main(given: flags.FlagValues) -> None:
    """Read all, compare, print and write."""
    import json
    import os

    from compressae_jax.base import files
    from compressae_jax.evaluation import compared, figures
    from compressae_jax.jobs import compare
    from compressae_jax.jobs.commands import several
    from compressae_jax.training import records

    out = None if given.out is None else files.check_out(given.out)
    workdirs = several.named("workdirs", given.workdirs, "folder", out, os.path.isdir)
    report = compare.compare(workdirs)
    print(compared.on_screen(report))
    if out is None:
        return
    out.mkdir(parents=True, exist_ok=True)
    if drawn := figures.available():
        protocol, asked = next(iter(report["protocols"].items()))
        curves = {run["name"]: records.read_metrics(run["workdir"]) for run in report["runs"]}
        metric = asked["headline"] if asked["headline"] in asked["metrics"] else asked["metrics"][0]
        figures.runs(curves, report["codes"], protocol, metric, out / compared.FIGURE)
    page = compared.markdown(report, compared.FIGURE if drawn else None)
    files.write_bytes(out / "compare.md", page.encode())
    files.write_bytes(out / "compare.json", (json.dumps(report, indent=1, ensure_ascii=False) + "\n").encode())
    print(f"\n{out / 'compare.md'}")
