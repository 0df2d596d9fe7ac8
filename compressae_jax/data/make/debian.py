"""debian: the packages of Debian 12 by their short descriptions, one a source, with judgements by their tags."""

import gzip
import json
from collections import defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from compressae_jax.base import files
from compressae_jax.data.make import encoder, found
from compressae_jax.notation import InputError

# Facets of how a package is made rather than what it is for.
GENERIC: tuple[str, ...] = ("role", "implemented-in", "devel", "suite", "interface", "uitoolkit")
GENERIC += ("scope", "special", "x11", "made-of", "culture")
TAGS, ALIKE = 3, 0.5  # telling tags that a query has at least; share of all tags of two that both have, to be alike
LIKE, QUERIES = (3, 60), 1000  # packages like a query; queries

Item = dict[str, Any]  # id, text, section, tags


def make(out: Path, packages: Path | None = None, progress: bool = True) -> None:
    """vectors.npy (n, 384) float16, items.jsonl.gz and qrels.tsv in a folder; bookworm's last list has 34,169 rows."""
    items = one_a_source(list(stanzas(found.packages(packages))))
    if not items:
        raise InputError("the list of packages has none with a description")
    weights = found.minilm()
    lines = "".join(json.dumps(item, ensure_ascii=False) + "\n" for item in items)
    files.write_bytes(out / "items.jsonl.gz", gzip.compress(lines.encode(), mtime=0))
    judged = [f"{query}\t{row}\t1" for query, row in judgements(items)]
    files.write_bytes(out / "qrels.tsv", "\n".join(["query_row\tdoc_row\tscore", *judged, ""]).encode())
    texts = [item["text"] for item in items]
    encoder.to_file(weights, texts, out / "vectors.npy", "debian", "float16", progress)


def stanzas(content: bytes) -> Iterator[dict[str, str]]:
    """The fields of every package that has a description; lines that go on are joined."""
    for stanza in content.decode("utf-8").split("\n\n"):
        fields: dict[str, str] = {}
        name = ""
        for line in stanza.splitlines():
            if line.startswith(" ") and name:
                fields[name] += line
            else:
                name, _, value = line.partition(":")
                fields[name] = value.strip()
        if fields.get("Description"):
            yield fields


def one_a_source(packages: Sequence[dict[str, str]]) -> list[Item]:
    """An item for every source package, by name: its binary package of that name, else the shortest-named one."""
    of_source: dict[str, list[dict[str, str]]] = defaultdict(list)
    for package in packages:
        of_source[(package.get("Source") or package["Package"]).split()[0]].append(package)
    items = []
    for source, some in sorted(of_source.items()):
        chosen = min(some, key=lambda one: (one["Package"] != source, len(one["Package"]), one["Package"]))
        tags = {tag.strip() for one in some for tag in one.get("Tag", "").split(",") if "::" in tag}
        text = f"{chosen['Package']}: {chosen['Description']}"
        section = chosen.get("Section", "")
        items.append({"id": chosen["Package"], "text": text, "section": section, "tags": sorted(tags)})
    return items


def judgements(items: Sequence[Item]) -> list[tuple[int, int]]:
    """(query row, relevant row): packages whose telling tags overlap by half, of drawn ones that have few such."""
    telling = [frozenset(tag for tag in item["tags"] if tag.split("::")[0] not in GENERIC) for item in items]
    rows = [row for row, tags in enumerate(telling) if len(tags) >= TAGS]
    having: dict[str, list[int]] = defaultdict(list)
    for row in rows:
        for tag in telling[row]:
            having[tag].append(row)
    judged: list[tuple[int, int]] = []
    queries = 0
    for query in np.random.default_rng(0).permutation(rows).tolist():
        near = {row for tag in telling[query] for row in having[tag]} - {query}
        like = sorted(row for row in near if _overlap(telling[query], telling[row]) >= ALIKE)
        if LIKE[0] <= len(like) <= LIKE[1]:
            judged += [(query, row) for row in like]
            queries += 1
        if queries == QUERIES:
            break
    return judged


def _overlap(one: frozenset[str], other: frozenset[str]) -> float:
    return len(one & other) / len(one | other)
