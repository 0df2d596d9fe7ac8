"""Diagnose a model, and vectors for it: what is healthy and what is not, the likely cause, the cure.

compressae diagnose --model=runs/mine/model --source=vectors.npy
compressae diagnose --model=runs/mine/model --source=new.npy --reference=old.npy --out=diagnosis

The metrics of the run folder that the model lies in are read, too. Exit code 0 whatever is found; with --strict 3 where
anything is bad. docs/DIAGNOSIS.md says what each finding means.
"""

from absl import flags

from compressae_jax.jobs.commands import vectors

FOUND = 3  # exit code under --strict


def define() -> None:
    """Its flags."""
    flags.DEFINE_string("model", None, "Model folder, or minilm or mpnet, which come with the package.", required=True)
    vectors.define("source", "Vectors that it compresses, or is to")
    flags.DEFINE_string("reference", None, "Vectors like those of the training, for a model that notes none of them.")
    flags.DEFINE_integer("rows", 8192, "Rows looked at, at most, evenly spaced.")
    flags.DEFINE_integer("seed", 0, "Draws intervals.")
    flags.DEFINE_boolean("strict", False, "Exit code 3 where anything is bad.")
    flags.DEFINE_string("out", None, "Folder for diagnosis.json and diagnosis.md.")


def main(given: flags.FlagValues) -> None:
    """Look, print the table, write it."""
    import json
    import sys
    from pathlib import Path

    from compressae_jax import data
    from compressae_jax.base import files
    from compressae_jax.diagnosis import page, registry
    from compressae_jax.diagnosis.finding import BAD
    from compressae_jax.diagnosis.seen import LEAST, Seen, lines_beside
    from compressae_jax.model import weights
    from compressae_jax.notation import check_range

    check_range("rows", given.rows, LEAST, 2**20)
    check_range("seed", given.seed, 0, 2**31 - 1)
    out = None if given.out is None else Path(files.check_out(given.out))
    for name in ("diagnosis.json", "diagnosis.md") if out else ():
        files.check_out(out / name, folder=False)  # type: ignore[operator]
    model = weights.load(given.model, any_length=True)
    reference = None if given.reference is None else data.open_source(given.reference)
    lines = lines_beside(given.model)
    seen = Seen(model, vectors.opened("source", given), lines, reference, given.rows, given.seed)
    found = registry.look(seen, progress=True)
    print(page.text(seen, found))
    if out is not None:
        told = {**page.as_json(seen, found), "folder": given.model}
        files.write_bytes(out / "diagnosis.json", (json.dumps(told, indent=1, ensure_ascii=False) + "\n").encode())
        files.write_bytes(out / "diagnosis.md", page.markdown(seen, found).encode())
        print(out / "diagnosis.md")
    if given.strict and page.worst(found) == BAD:
        sys.stdout.flush()
        sys.exit(FOUND)
