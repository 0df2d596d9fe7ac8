"""The tables of docs/SOURCES.md, made of the registry of kinds by the command below."""

import re
import sys
from pathlib import Path

from compressae_jax.data import kinds

COMMAND = "python -m compressae_jax.data.table docs/SOURCES.md"
OPTIONS = ("column", "ids_column", "key", "ids_key")


def files() -> str:
    """Kinds of files: endings, contents, ids, scale, how rows are had, what is read of a file elsewhere."""
    lines = ["| file | rows | ids | scale of int8, uint8 | rows are had | behind a url |", "|---|---|---|---|---|---|"]
    for kind in kinds.FILES:
        endings = " ".join(f"`{ending}`" for ending in kind.endings)
        extra = f" (extra `[{kind.extra}]`)" if kind.extra else ""
        elsewhere = "read in parts" if kind.ranged else "copied first"
        lines.append(f"| {endings}{extra} | {kind.holds} | {kind.ids} | {kind.scale} | {kind.access} | {elsewhere} |")
    return "\n".join(lines)


def held() -> str:
    """Kinds of things in memory."""
    lines = ["| in memory | rows | ids |", "|---|---|---|"]
    return "\n".join(lines + [f"| {kind.name} | {kind.holds} | {kind.ids} |" for kind in kinds.HELD])


def options() -> str:
    """Which option is for which kinds."""
    lines = ["| option | for |", "|---|---|"]
    for option in OPTIONS:
        endings = [f"`{ending}`" for ending, kind in kinds.ENDINGS.items() if option in kind.options]
        memory = [kind.name for kind in kinds.HELD if option in kind.options]
        lines.append(f"| `{option}` | {', '.join(endings + memory)} |")
    return "\n".join(lines)


def with_tables(text: str) -> str:
    """A page with its tables made anew, each between `<!-- table NAME: … -->` and `<!-- /table -->`."""
    for name, made in (("files", files()), ("held", held()), ("options", options())):
        whole = f"<!-- table {name}: {COMMAND} -->\n{made}\n<!-- /table -->"
        text = re.sub(rf"(?s)<!-- table {name}: .*?<!-- /table -->", whole.replace("\\", r"\\"), text)
    return text


if __name__ == "__main__":
    for page in map(Path, sys.argv[1:]):
        page.write_text(with_tables(page.read_text(encoding="utf-8")), encoding="utf-8")
