"""The model card, README.md of a model folder: what a model is, for people and for the Hub; no program reads it.

What is written here stands between two marks, and is written anew on each save; what stands above or below is the
user's. Where somebody changed the lines between, or took the marks away, the whole card is theirs, and stays.
"""

from __future__ import annotations

import os
import re
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import xxhash

from compressae_jax.base import files
from compressae_jax.codes.codes import column_dtype
from compressae_jax.codes.storage.kinds import record_width, storage_bits
from compressae_jax.model.topk_host import POSITIVE
from compressae_jax.notation import FolderError, InputError

if TYPE_CHECKING:
    from compressae_jax.model.weights import Weights

CARD = "README.md"
LARGEST = 2**22  # bytes of a card
END = "<!-- /compressae_jax -->"
BEGIN = "<!-- compressae_jax: written anew on each save; what you add above or below stays. {} -->"
MARKED = re.compile(
    re.escape(BEGIN).replace(r"\{\}", "(?P<seal>[0-9a-f]{16})") + r"\r?\n(?P<text>.*?)" + re.escape(END), re.DOTALL
)
HEAD = re.compile(r"\A---\r?\n(?P<fields>.*?)^---[ \t]*\r?\n", re.DOTALL | re.MULTILINE)  # YAML, which the Hub reads
LICENCE = re.compile(r"^license:[ \t]*(?P<name>\S.*?)[ \t]*\r?$", re.MULTILINE)
FOUND = "## How well it finds"
NO_EVALUATION = (
    "Nothing was brought along when it was saved. `cs.evaluate(index, queries, judgements)` gives a table with "
    "intervals, and `model.save(folder, evaluation=table)` puts it here."
)


class Told(NamedTuple):
    """What the one who saves says of a model. `found`: a table in Markdown of how well it finds; `place`: where it will
    be loaded from; `licence`: an identifier like 'mit'. None leaves what the card says, of the same model."""

    found: str | None = None
    licence: str | None = None
    place: str | None = None


def check_licence(licence: str | None) -> None:
    """Raise InputError unless a licence, if there is one, can stand where the Hub looks for it."""
    if licence is not None and not (isinstance(licence, str) and re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9.+-]*", licence)):
        raise InputError(
            f"licence must be an identifier such as 'mit', 'apache-2.0', 'cc-by-4.0' or 'other', not {licence!r:.80}"
        )


def read(folder: Path) -> str | None:
    """The card of a folder, None where there is none.

    Raises:
        FolderError: something at its name that is no text of some size.
    """
    try:
        with files.open_regular(folder / CARD) as file:
            content = file.read(LARGEST + 1)
    except (FileNotFoundError, NotADirectoryError):
        return None
    try:
        if len(content) <= LARGEST:
            return content.decode("utf-8")
    except UnicodeDecodeError:
        pass
    raise FolderError(f"{folder / CARD} is no text in UTF-8 of at most {LARGEST:,} bytes; move it away")


def write(there: Path, aside: Path, weights: Weights, told: Told | None) -> None:
    """Write into a folder in the making the card that it will have in the place of `there`, if any.

    Without `told` only a card that is there is renewed. A link stays one, and what it leads to as it is.
    """
    if (there / CARD).is_symlink():
        (aside / CARD).symlink_to(os.readlink(there / CARD))
        return
    older = read(there)
    if older is not None or told is not None:
        (aside / CARD).write_bytes(renewed(older, weights, told or Told()).encode())


def renewed(there: str | None, weights: Weights, told: Told) -> str:
    """The card of a model, with what the user wrote into the one that is there.

    A card whose own lines were changed, or that never had any, is left as it is, with a warning.
    """
    licence = None if told.licence is None else told.licence.lower()
    if there is None:
        return f"{_head(licence)}\n{_marked(_text(weights, told.found or NO_EVALUATION, licence, told.place))}\n"
    marked = MARKED.search(there)
    if marked is None or marked["seal"] != _seal(marked["text"]):
        warnings.warn(
            f"{CARD} is left as it is, since it was changed where saving writes it: see that it is true of the model "
            f"{weights.fingerprint}, or remove it and save again",
            stacklevel=5,
        )
        return there
    if licence is not None:
        there = _with_licence(there, licence)
    fields = HEAD.search(there)
    stated = LICENCE.search(fields["fields"]) if fields is not None else None
    found, place = told.found, told.place
    if f"`{weights.fingerprint}`" in marked["text"]:  # of the same model: what was said holds
        found = found or _section(marked["text"])
        place = place or _place(marked["text"])
    text = _text(weights, found or NO_EVALUATION, None if stated is None else stated["name"].strip("'\""), place)
    return MARKED.sub(lambda _: _marked(text), there, count=1)


def _head(licence: str | None) -> str:
    stated = "" if licence is None else f"license: {licence}\n"
    return f"---\nlibrary_name: compressae_jax\n{stated}tags:\n- embeddings\n- compression\n- sparse\n---\n"


def _with_licence(there: str, licence: str) -> str:
    """The card with this licence in its head, and nothing else changed."""
    head = HEAD.search(there)
    if head is None:
        return _head(licence) + "\n" + there
    fields, line = head["fields"], f"license: {licence}"
    fields = LICENCE.sub(line, fields, count=1) if LICENCE.search(fields) else f"{line}\n{fields}"
    return there[: head.start("fields")] + fields + there[head.end("fields") :]


def _marked(text: str) -> str:
    return f"{BEGIN.format(_seal(text))}\n{text}{END}"


def _seal(text: str) -> str:
    return xxhash.xxh3_64_hexdigest(text.replace("\r\n", "\n").encode())


def _section(text: str) -> str | None:
    """What an older card says of how well the model finds."""
    section = text.replace("\r\n", "\n").partition(f"{FOUND}\n\n")[2].partition("\n\n## ")[0]
    return None if section in ("", NO_EVALUATION) else section


def _place(text: str) -> str | None:
    place = re.search(r'cs\.load\("(.+?)"\)', text)
    return None if place is None else place[1]


def _text(weights: Weights, found: str, licence: str | None, place: str | None) -> str:
    d, h, k = weights.d, weights.h, weights.k
    stored = row_bytes(weights)
    made = f"{weights.kind}: k={k} signed nonzeros of h={h:,}, by `{weights.encoder}`, stored as `{weights.storage}`"
    parts = [
        f"# Sparse codes of vectors of width {d}",
        f"A dictionary that turns embeddings of width {d} into {weights.kind}, which compressae_jax searches exactly "
        "([CompresSAE, arXiv 2505.11388](https://arxiv.org/abs/2505.11388)).",
        f'```python\nimport compressae_jax as cs\n\nmodel = cs.load("{place or "this/folder"}")\n'
        f"index = model.index(vectors)  # (n, {d}), of the encoder that it was trained for\n"
        "found = index.search(queries, top=10)\n```",
        "| | |\n|---|---|\n"
        f"| vectors | {d} numbers, {4 * d:,} bytes in float32 |\n"
        f"| codes | {made} |\n"
        f"| bytes a vector in an index, without ids | {stored:,}, {4 * d / stored:.1f} times fewer |\n"
        f"| parameters | {2 * d * h + h:,} in float32, {4 * (2 * d * h + h) / 1e6:.1f} MB |\n"
        f"| fingerprint | `{weights.fingerprint}` |",
        f"## Data\n\n{_data(weights.summary)}",
        f"{FOUND}\n\n{found.replace('<!--', '&lt;!--').strip()}",
        f"## Limits\n\n{_limits(weights)}",
        "## Licence\n\n" + (f"`{licence}`" if licence else "None is stated: ask who published this model."),
    ]
    return "\n\n".join(parts) + "\n"


def row_bytes(weights: Weights) -> int:
    """Bytes of a row in an index, everything but ids included."""
    if storage_bits(weights.storage) is not None:
        return record_width(weights.storage, weights.h, weights.k, weights.own_levels)
    return weights.k * (np.dtype(weights.storage).itemsize + column_dtype(weights.h).itemsize) + 4


def _data(summary: dict[str, Any]) -> str:
    """What the summary says of the training, as far as it says anything."""
    source, told = _dict(summary.get("source")), []
    if source:
        size = f"{source.get('rows', '?'):,}" if isinstance(source.get("rows"), int) else "?"
        told.append(
            f"Trained on `{_plain(source.get('name', '?'))}`: {size} rows × {_plain(source.get('width', '?'))}."
        )
    elif "origin" in summary:
        told.append(f"Not trained by compressae_jax: {_plain(summary['origin'])}.")
    else:
        told.append("Not noted.")
    if isinstance(summary.get("encoder"), str):
        told.append(f"The vectors are of `{_plain(summary['encoder'])}`.")
    if sets := _dict(summary.get("sets")):
        listed = "; ".join(f"`{_plain(name)}` ({_plain(licence)})" for name, licence in sets.items())
        told.append(f"Sets of texts, each under its own licence: {listed}.")
    if "start" in summary:
        before = _dict(summary["start"])
        name = _plain(_dict(before.get("source")).get("name", "?"))
        told.append(f"It went on from the model `{_plain(before.get('fingerprint', '?'))}`, trained on `{name}`.")
    held = _dict(summary.get("held_out"))
    if held and all(isinstance(held.get(name), (int, float)) for name in ("cosine", "std", "rows")):
        told.append(
            f"Of {held['rows']:,} rows that were held out, vectors and their reconstructions have a mean cosine of "
            f"{held['cosine']:.4f} (standard deviation {held['std']:.4f})."
        )
    return " ".join(told)


def _limits(weights: Weights) -> str:
    lines = [
        f"Vectors must come from the encoder that it was trained for, of width {weights.d}. Others of that width are "
        "compressed without an error, and found worse: `model.drift(vectors)` says how much.",
        "Codes are lossy. What the compression costs a search depends on the vectors: evaluate on your own.",
        f"Rows belong to this model: codes of another fingerprint than `{weights.fingerprint}` are refused.",
    ]
    if weights.activation in POSITIVE:
        lines.append("Codes have positive values only.")
    if weights.query_times != 1:
        lines.append(f"In the sparse space a query has {weights.query_times} times the nonzeros of a row.")
    if weights.activation == "relu2_topk":
        lines.append("Its atoms are rows of the data: whoever has the model has these vectors.")
    return "\n".join(f"- {line}" for line in lines)


def _dict(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _plain(value: Any) -> str:
    """On one line, and neither code nor mark of Markdown."""
    return re.sub(r"\s+", " ", re.sub(r"[`<>|]", "'", str(value)))[:200]
