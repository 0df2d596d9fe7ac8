"""Dictionaries learned from mixed texts, on texts left out: what `cs.load("minilm")` and `cs.load("mpnet")` keep.

    python -m benchmarks.carried --out=results       # measured on sets left out in turn
    python -m benchmarks.carried --ship=minilm       # learned from all sets, as it comes with the package

A group of sets is left out of the learning, then its sets are compressed: the share of the dense nDCG@10 where there
are judgements, and recall@100 of the exact dense neighbours. Beside it, at equal bytes, what a user without training
would have: peers fitted to the same mixed rows; and PQ fitted to the set itself (`pq, own rows`). Each measurement is
a line of `<out>/carried.jsonl`, for a peer with the difference to ours, query by query; the same command continues
where it stopped. Sets that are not at hand are left away (`python -m compressae_jax.data.make` makes those that can
be made).
"""

import argparse
import collections
import dataclasses
import functools
import json
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import scipy.sparse

from compressae_jax import compression, data
from compressae_jax.baselines import dense
from compressae_jax.baselines.flat import Flat
from compressae_jax.codes.on_host import unit_rows
from compressae_jax.data.named import Dataset, Judgements
from compressae_jax.data.sources import Source
from compressae_jax.evaluation import intervals, neighbours
from compressae_jax.evaluation.contenders import BASELINES
from compressae_jax.evaluation.exclusion import Search
from compressae_jax.evaluation.provenance import provenance
from compressae_jax.experiments import questions
from compressae_jax.model import budgets, card, encoders, residual, shipped
from compressae_jax.model import weights as model_weights
from compressae_jax.model.weights import Weights
from compressae_jax.notation import InputError
from compressae_jax.retrieval import filters
from compressae_jax.retrieval.index import Index
from compressae_jax.training import mixed

OURS, HOME = "carried", "pq, own rows"
PEERS = ("pq", "transform", "itq", "pca_int4", "binary")
BUDGETS = (16, 32, 64, 128, 256)
NDCG, RECALL, SHARE = "nDCG@10", "recall@100", "share"
ROWS, QUERIES = 5_000, 1_000  # of a set that is measured, at most; scifact and vaswani are taken whole
MIXED_ROWS = 24_000  # that peers, levels and the basis are learned from
DEPTH = 100
FIRST_BYTES = 24  # of the short code before coordinates: of 8, 16, 24, 32 the best on debian at 128 bytes
FOLD = 1.0  # of 0.25 to 1.5 the best on debian, where 0.5 is for texts that a dictionary was learned from
DEFAULT_BYTES = 64  # of the shipped models, as of `fit`
LEVELS_ROWS = 4_000  # that the levels of a shipped model are learned from


class Recipe(NamedTuple):
    """How an encoder's dictionary is learned, and which groups of its sets are left out to measure it."""

    h: int
    ks: tuple[int, ...]  # nonzeros a row, round by round
    rows: int  # that a round looks at
    share: float  # of what the rounds before told that still counts
    sets: tuple[str, ...]
    left_out: tuple[tuple[str, ...], ...]
    whole: tuple[str, ...] = ("scifact", "vaswani")


RECIPES = {
    "minilm": Recipe(
        h=8192,
        ks=(18,) * 30,
        rows=12_000,
        share=0.8,
        sets=("wordnet", "scifact", "vaswani", "definitions", "ontologies", "debian", "clinc150", "citeulike_a"),
        # GCIDE has glosses of WordNet, so that both are left out together.
        left_out=(("scifact", "vaswani"), ("debian", "clinc150", "citeulike_a"), ("wordnet", "definitions")),
    ),
    "mpnet": Recipe(
        h=4352,
        ks=(18,) * 15,
        rows=12_000,
        share=0.8,
        sets=("wordnet768", "vaswani768", "ontologies768", "debian768", "short768"),
        # The definitions among short768 have glosses of WordNet, too.
        left_out=(("vaswani768", "debian768", "scifact768"), ("wordnet768", "short768"), ("ontologies768",)),
    ),
}

SAMPLES = {"wordnet768": "wordnet"}  # sets of drawn rows of another one, whose judgements are theirs, too


class Sample(Dataset):
    """Rows of another set, under another encoder, whose numbers there rows.npy tells, ascending."""

    def judgements(self, split: str = "test") -> Judgements | None:
        """What is judged of that set and lies among these rows, numbered as they are."""
        judged = data.load(SAMPLES[self.name]).judgements(split)
        return None if judged is None else among(judged, np.load(self.folder / "rows.npy"))


class Asked(NamedTuple):
    """Rows of a set that are searched, and what a search of them scores, a number a query."""

    documents: np.ndarray
    ask: Callable[[Search], dict[str, np.ndarray]]


class Recorded:
    """A search that keeps the rows which it found last."""

    def __init__(self, search: Search):
        self.search = search
        self.rows = np.empty((0, 0), np.int64)

    def __call__(self, queries: np.ndarray, top: int, exclude: Any = None) -> Any:
        """What the search answers."""
        scores, self.rows = self.search(queries, top, exclude=exclude)
        return scores, self.rows


def main() -> None:
    """Measure what is missing and write the tables, or learn and write a model that is shipped."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path("results"))
    parser.add_argument("--workdir", type=Path, default=Path("runs/carried"))
    parser.add_argument("--encoders", nargs="+", default=list(RECIPES), choices=RECIPES)
    parser.add_argument("--sets", nargs="+", help="measure these alone")
    parser.add_argument("--methods", nargs="+", default=(OURS, *PEERS, HOME), choices=(OURS, *PEERS, HOME))
    parser.add_argument("--budgets", nargs="+", type=int, default=BUDGETS, choices=BUDGETS)
    parser.add_argument("--ship", choices=shipped.NAMES)
    flags = parser.parse_args()
    flags.workdir.mkdir(parents=True, exist_ok=True)
    if flags.ship:
        ship(flags.workdir, flags.ship, read(flags.out))
        return
    for encoder in flags.encoders:
        measure(flags.workdir, flags.out, encoder, flags.sets, flags.methods, flags.budgets)
    lines = read(flags.out)
    (flags.out / "carried.md").write_text(page(lines), encoding="utf-8")
    (flags.out / "carried.json").write_text(json.dumps(lines, indent=1) + "\n", encoding="utf-8")
    print(page(lines))


def read(out: Path) -> list[dict[str, Any]]:
    """All lines so far."""
    path = out / "carried.jsonl"
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()] if path.exists() else []


def measure(
    workdir: Path, out: Path, encoder: str, only: list[str] | None, methods: Sequence[str], sizes: Sequence[int]
) -> None:
    """Append a line for every measurement of an encoder that is not there yet."""
    recipe, have = RECIPES[encoder], {key(line) for line in read(out)}
    made = {name: value for name, value in provenance().items() if name in ("commit", "date", "hardware", "versions")}
    for group in recipe.left_out:
        for name in (one for one in group if one != "definitions" and (only is None or one in only)):
            wanted = [
                (method, budget)
                for budget in sizes
                for method in methods
                if (encoder, name, method, budget) not in have
            ]
            for method, budget in wanted:
                line = {"encoder": encoder, "set": name, "method": method, "budget": budget, "left_out": list(group)}
                line |= measured(workdir, encoder, group, name, method, budget)
                print(line, file=sys.stderr)
                with (out / "carried.jsonl").open("a", encoding="utf-8") as file:
                    file.write(json.dumps({**line, **made}) + "\n")


def key(line: dict[str, Any]) -> tuple[str, str, str, int]:
    """What a line measures."""
    return line["encoder"], line["set"], line["method"], line["budget"]


def measured(
    workdir: Path, encoder: str, left_out: tuple[str, ...], name: str, method: str, budget: int
) -> dict[str, Any]:
    """Bytes and scores of a method on a set, each with the ends of its interval."""
    whole = name in RECIPES[encoder].whole
    documents, ask = asked(name, 0 if whole else ROWS, QUERIES)
    try:
        stored, search = fitted(workdir, encoder, left_out, documents, method, budget)
    except InputError as error:
        return {"refused": str(error)}
    scores, base = ask(search), dense_scores(name, 0 if whole else ROWS, QUERIES)
    told = {RECALL: interval(intervals.interval(scores[RECALL]))}
    if NDCG in scores:
        told |= {NDCG: interval(intervals.interval(scores[NDCG]))}
        told |= {SHARE: interval(intervals.ratio(scores[NDCG], base[NDCG]))}
    line = {"bytes": stored, "queries": len(scores[RECALL]), "rows": len(documents), "scores": told}
    if method == OURS:
        return line
    return line | {"ahead": ahead(our_scores(workdir, encoder, left_out, name, budget), scores, base)}


def ahead(
    ours: dict[str, np.ndarray], scores: dict[str, np.ndarray], base: dict[str, np.ndarray]
) -> dict[str, list[float]]:
    """How much more ours keeps than a peer, of the same queries: recall@100, and of the dense nDCG@10."""
    told = {RECALL: interval(intervals.difference(ours[RECALL], scores[RECALL]))}
    if NDCG in scores:
        whole = base[NDCG].mean(dtype=np.float64)  # of the queries at hand: what they differ by is paired away
        told |= {SHARE: interval(intervals.difference(ours[NDCG] / whole, scores[NDCG] / whole))}
    return told


@functools.lru_cache(maxsize=len(BUDGETS))
def our_scores(workdir: Path, encoder: str, left_out: tuple[str, ...], name: str, budget: int) -> dict[str, np.ndarray]:
    """What ours scores on a set."""
    documents, ask = asked(name, 0 if name in RECIPES[encoder].whole else ROWS, QUERIES)
    return ask(fitted(workdir, encoder, left_out, documents, OURS, budget)[1])


def interval(found: Any) -> list[float]:
    """Mean and both ends, rounded."""
    return [round(float(value), 5) for value in found]


def among(judged: Judgements, rows: np.ndarray) -> Judgements:
    """The judgements whose queries and documents are both of some ascending rows, by their places in these."""
    there = np.isin(judged.query_rows, rows) & np.isin(judged.doc_rows, rows)
    queries, documents = (np.searchsorted(rows, one[there]) for one in judged[:2])
    return Judgements(queries, documents, judged.scores[there])


def dataset(name: str) -> Dataset:
    """A set, a sample of a judged one with the judgements of that."""
    of = data.load(name)
    return Sample(name, of.folder, of.vectors, of.licence, exclude_self=True) if name in SAMPLES else of


@functools.lru_cache(maxsize=1)
def asked(name: str, rows: int, queries: int) -> Asked:
    """What a set is asked: its judged queries, else rows drawn out of it."""
    of = dataset(name)
    if of.judgements() is None:
        source = of.vectors
        drawn = np.random.default_rng(0).permutation(len(source))
        documents = source.take(np.sort(drawn[queries:][: rows or None]))
        asking = source.take(np.sort(drawn[:queries]))
        truth = dense.fit(documents).add(documents).search(asking, DEPTH)[1]
        return Asked(documents, lambda search: neighbours.per_query(search(asking, DEPTH)[1], truth))
    documents, protocol = questions.of(of, rows, queries)
    exact = Recorded(exactly(documents))
    protocol.ask(exact)

    def ask(search: Search) -> dict[str, np.ndarray]:
        seen = Recorded(search)
        scores = protocol.ask(seen)
        return {NDCG: scores[NDCG], RECALL: neighbours.per_query(seen.rows, exact.rows[:, :DEPTH])[RECALL]}

    return Asked(documents, ask)


@functools.lru_cache(maxsize=1)
def dense_scores(name: str, rows: int, queries: int) -> dict[str, np.ndarray]:
    """What the vectors themselves score."""
    documents, ask = asked(name, rows, queries)
    return ask(exactly(documents))


def exactly(documents: np.ndarray) -> Search:
    """The search of vectors as they are."""
    return flat(dense.fit(documents[:1]), documents)


def flat(peer: Any, documents: np.ndarray) -> Search:
    """The search of vectors as a peer stores them."""
    stored = [peer.encode(documents)]

    def search(queries: np.ndarray, top: int, exclude: scipy.sparse.csr_matrix | None = None) -> Any:
        return peer.search_stored(queries, stored, top, filters.without(exclude, len(queries), len(documents)))

    return search


def fitted(
    workdir: Path, encoder: str, left_out: tuple[str, ...], documents: np.ndarray, method: str, budget: int
) -> tuple[float, Search]:
    """Bytes a vector, and the search of documents that a method stores."""
    if method == OURS:
        weights = budgets.with_budget(model(workdir, encoder, left_out), budget)
        learn_levels(weights, encoder, left_out)
        codes = compression.encode(weights, documents, weights.storage, encoder="pursuit")
        return card.row_bytes(weights), Index(codes, weights, encoder="pursuit").search
    peer = at_home(documents, budget) if method == HOME else peer_of(encoder, left_out, method, budget)
    return peer.bytes_per_vector, flat(peer, documents)


@functools.lru_cache(maxsize=len(PEERS) * len(BUDGETS))
def peer_of(encoder: str, left_out: tuple[str, ...], method: str, budget: int) -> Flat:
    """A peer fitted to mixed rows."""
    return peer_fitted(rows(encoder, left_out), method, budget)


def at_home(documents: np.ndarray, budget: int) -> Flat:
    """PQ fitted to the rows that it stores."""
    return peer_fitted(unit_rows(documents), "pq", budget)


def peer_fitted(seen: np.ndarray, method: str, budget: int) -> Flat:
    """A peer of a budget.

    Raises:
        InputError: it has no form of so many bytes.
    """
    baseline = BASELINES[method]
    if not baseline.smallest <= budget <= baseline.largest(seen.shape[1]):
        raise InputError(f"{method} has no form of {budget} bytes")
    return baseline.fit(seen, budget, **({"seed": 0} if "seed" in baseline.options else {}))


@functools.lru_cache(maxsize=1)
def model(workdir: Path, encoder: str, left_out: tuple[str, ...]) -> Weights:
    """The dictionary without a group of sets, in float16 as it would be shipped; learned once in a work folder."""
    recipe = RECIPES[encoder]
    how = f"{recipe.h}-{len(recipe.ks)}x{sum(recipe.ks)}-{recipe.rows}-{recipe.share}"
    path = workdir / f"{encoder}-without-{'-'.join(left_out) or 'nothing'}-{how}.npy"
    if not path.exists():
        decoder_w, cosines = mixed.learn(sources(encoder, left_out), recipe.h, recipe.ks, recipe.rows, recipe.share)
        print(path.stem, [round(one, 4) for one in cosines], file=sys.stderr)
        np.save(path, decoder_w.astype(np.float16))
    decoder_w = np.load(path).astype(np.float32)
    weights = model_weights.halved(decoder_w, recipe.ks[0], encoder="pursuit", storage=residual.FIRST, fold=FOLD)
    return with_rest(weights, encoder, left_out)


def with_rest(weights: Weights, encoder: str, left_out: tuple[str, ...]) -> Weights:
    """The dictionary with a basis of what short codes of it leave of the mixed rows."""
    few = weights.with_k(budgets.largest_k(FIRST_BYTES, weights.h, residual.FIRST))
    learn_levels(few, encoder, left_out)
    x = rows(encoder, left_out)
    codes = encoders.Encoder(few, "pursuit", residual.FIRST).encode(x)
    rest = residual.rest_of(residual.extended(few, weights.d // 3, x, codes))  # other budgets deal its bits anew
    return dataclasses.replace(weights, rest=rest)


def learn_levels(weights: Weights, encoder: str, left_out: tuple[str, ...]) -> None:
    """The levels of its rows, of mixed rows."""
    encoders.learn_levels(weights, "pursuit", weights.storage, lambda: rows(encoder, left_out)[:LEVELS_ROWS])


@functools.lru_cache(maxsize=1)
def rows(encoder: str, left_out: tuple[str, ...]) -> np.ndarray:
    """The mixed rows that peers are fitted to."""
    return mixed.drawn(sources(encoder, left_out), MIXED_ROWS, np.random.default_rng(1))


def sources(encoder: str, left_out: tuple[str, ...] = ()) -> dict[str, Source]:
    """The sets that are at hand, but those left out."""
    found = {}
    for name in (one for one in RECIPES[encoder].sets if one not in left_out):
        try:
            found[name] = data.load(name).vectors
        except InputError as error:
            print(f"without {name}: {error}", file=sys.stderr)
    return found


def ship(workdir: Path, encoder: str, lines: list[dict[str, Any]]) -> None:
    """Learn from all sets, and write the model folder that comes with the package, with its card."""
    recipe, sets = RECIPES[encoder], sources(encoder)
    missing = [name for name in recipe.sets if name not in sets]
    if missing:
        raise InputError(f"{encoder} is learned from {', '.join(recipe.sets)}; missing here: {', '.join(missing)}")
    size = sum(map(len, sets.values()))
    told: dict[str, Any] = {"source": {"name": ", ".join(sets), "rows": size, "width": next(iter(sets.values())).width}}
    told |= {"encoder": shipped.ENCODERS[encoder], "sets": {name: data.load(name).licence for name in sets}}
    made = model(workdir, encoder, ())
    k, storage = budgets.of_dictionary(DEFAULT_BYTES, made.h, made.d)
    weights = dataclasses.replace(made, k=k, storage=storage, summary=told, levels={})
    learn_levels(weights, encoder, ())
    found = (
        "Figures are of dictionaries that the set was left out of, with the others' recipe; what this one keeps of "
        "sets that it was learned from is not claimed. With some thousands of "
        "vectors of your own, learn one by `cs.fit`, too, and compare them on rows held out: how many it takes to beat "
        f"this one was not measured.\n\n{table(lines, encoder)}"
    )
    folder = shipped.folder(encoder)
    model_weights.save(weights, folder, card.Told(found, "mit", encoder), decoder_alone=True)
    print(weights.fingerprint, folder)


def page(lines: list[dict[str, Any]]) -> str:
    """All tables."""
    text = [
        "# Dictionaries carried to texts that were left out",
        "`python -m benchmarks.carried`. A dictionary is learned from several sets of texts of one encoder, without "
        "the group that a set is of, and compresses that set: nothing is trained for it. `pq`, `transform`, `itq`, "
        "`pca_int4` and `binary` are fitted to the same mixed rows; `pq, own rows` to the rows that are searched. "
        "Share: nDCG@10 over that of the dense vectors; recall@100: of the 100 nearest by the dense vectors. ± half of "
        "the 95 % bootstrap interval over queries. Left out together: " + left_out() + ".",
    ]
    for encoder in RECIPES:
        if any(line["encoder"] == encoder for line in lines):
            text += [f"## {encoder}: {shipped.ENCODERS[encoder]}", table(lines, encoder)]
        if any(line["encoder"] == encoder and "ahead" in line for line in lines):
            text += ["Carried less a peer, query by query, with its 95 % interval:", differences(lines, encoder)]
    return "\n\n".join(text) + "\n"


def left_out() -> str:
    """The groups of all encoders."""
    return "; ".join(" and ".join(group) for recipe in RECIPES.values() for group in recipe.left_out)


def table(lines: list[dict[str, Any]], encoder: str) -> str:
    """A line a set, metric and method, budgets across; the highest of several in bold, of those without own rows."""
    names = {SHARE: f"share of dense {NDCG}", RECALL: RECALL}
    own = [line for line in lines if line["encoder"] == encoder and "scores" in line]
    sizes = sorted({line["budget"] for line in own})
    head = " | ".join(f"{budget} bytes" for budget in sizes)
    text = [f"| set, left out | | method | {head} |", "|---|---|---|" + "---|" * len(sizes)]
    for name in dict.fromkeys(line["set"] for line in own):
        for metric, called in names.items():
            found = {
                (line["method"], line["budget"]): line["scores"][metric]
                for line in own
                if line["set"] == name and metric in line["scores"]
            }
            of_mixed = {b: [v[0] for (m, at), v in found.items() if at == b and m != HOME] for b in sizes}
            best = {b: max(values) if len(values) > 1 else 2 for b, values in of_mixed.items()}
            for method in dict.fromkeys(method for method, _ in found):
                cells = [cell(found.get((method, b)), best[b] if method != HOME else 2) for b in sizes]
                text.append(f"| {name} | {called} | {method} | {' | '.join(cells)} |")
    return "\n".join(text)


def differences(lines: list[dict[str, Any]], encoder: str) -> str:
    """A line a set, metric and peer, budgets across: how much more ours keeps, in bold where that is sure."""
    own = [line for line in lines if line["encoder"] == encoder and "ahead" in line]
    sizes = sorted({line["budget"] for line in own})
    text = [
        f"| set, left out | | beside | {' | '.join(f'{budget} bytes' for budget in sizes)} |",
        "|---|---|---|" + "---|" * len(sizes),
    ]
    of: dict[tuple[str, str, str], dict[int, str]] = collections.defaultdict(dict)
    for line in own:
        for metric, found in line["ahead"].items():
            sure = "**" if found[1] > 0 or found[2] < 0 else ""
            shown = f"{sure}{found[0]:+.3f}{sure} [{found[1]:+.3f}, {found[2]:+.3f}]"
            of[line["set"], line["method"], metric][line["budget"]] = shown
    for (name, method, metric), cells in sorted(of.items(), key=lambda one: (one[0][0], one[0][2] != SHARE, one[0][1])):
        called = f"share of dense {NDCG}" if metric == SHARE else metric
        text.append(f"| {name} | {called} | {method} | {' | '.join(cells.get(b, '') for b in sizes)} |")
    return "\n".join(text)


def cell(value: list[float] | None, best: float) -> str:
    """A mean and half of its interval."""
    if value is None:
        return ""
    shown = f"{value[0]:.3f} ± {(value[2] - value[1]) / 2:.3f}"
    return f"**{shown}**" if value[0] >= best else shown


if __name__ == "__main__":
    main()
