"""The experiments that come with the program, by name: the pages of configs/, in a checkout or inside a wheel."""

import ast
import os
import re
import sys
from collections.abc import Iterator
from pathlib import Path

from compressae_jax.notation import InputError, check_choice

FOLDER = "configs"
QUESTIONS = "experiments"  # of the folder: pages that `reproduce` runs, each a question; others are runs
PACKED = Path(__file__).resolve().parent.parent / "shipped_configs"  # setup.py puts them there in a wheel
CHECKOUT = Path(__file__).resolve().parent.parent.parent
NAME = re.compile(r"\w+")
QUICKSTART = "debian"


def root() -> Path:
    """The folder that configs/ lies in."""
    return PACKED if (PACKED / FOLDER).is_dir() else CHECKOUT


def names(of: str = "") -> dict[str, Path]:
    """The experiments there are, by name: runs, or `QUESTIONS`."""
    return {path.stem: path for path in sorted((root() / FOLDER / of).glob("*.py")) if path.stem != "__init__"}


def about(path: Path) -> str:
    """The first line of an experiment's page."""
    return (ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or "").partition("\n")[0]


def importable() -> None:
    """Let pages import each other (`from configs import default`), also those that a user writes beside them."""
    if str(root()) not in sys.path:
        sys.path.append(str(root()))


def resolved(given: str, of: str = "") -> str:
    """The file of an experiment: a path stays, a name is looked up; what follows a colon is the file's own matter.

    `of`: as `names` takes it.

    Raises:
        InputError: neither a file nor a name.
    """
    name, colon, argument = given.partition(":")
    known = names(of)
    if not os.path.exists(name) and NAME.fullmatch(name):
        check_choice("config (there is no such file; as the name of an experiment it)", name, known)
        return f"{known[name]}{colon}{argument}"
    if not os.path.exists(name) and Path(name).stem in known:
        known_as = Path(name).stem
        raise InputError(f"config: there is no file {name}; what comes with the program is --config={known_as}")
    return given


def comments(path: Path, *names: str) -> dict[str, str]:
    """What stands beside the fields of tables in a source file, by dotted name.

    `names` are those of the tables, or of the functions that return them; one that is not there has no fields.
    """
    source = path.read_text(encoding="utf-8")
    found: dict[str, str] = {}
    for node in ast.parse(source).body:
        tables = [one for one in ast.walk(node) if isinstance(one, ast.Dict)] if _name(node) in names else []
        found |= dict(_beside(tables[0], source.splitlines(), "")) if tables else {}
    return found


def _name(node: ast.stmt) -> str | None:
    named = node.target if isinstance(node, ast.AnnAssign) else node
    return getattr(named, "name", getattr(named, "id", None))


def _beside(table: ast.Dict, lines: list[str], prefix: str) -> Iterator[tuple[str, str]]:
    for key, value in zip(table.keys, table.values, strict=True):
        if not isinstance(key, ast.Constant):
            continue
        name = prefix + str(key.value)
        one_line = key.lineno == value.end_lineno
        above: list[str] = []
        line = key.lineno - 2
        while lines[line].lstrip().startswith("#"):
            above.insert(0, lines[line].lstrip("# "))
            line -= 1
        behind = _behind(lines[(value.end_lineno or 1) - 1]) if one_line else ""
        if text := " ".join([*above, *([behind] if behind else [])]):
            yield name, text
        if isinstance(value, ast.Dict) and not one_line:
            yield from _beside(value, lines, f"{name}.")


def _behind(line: str) -> str:
    """The comment that ends a line of code."""
    return line.partition("  # ")[2].strip()
