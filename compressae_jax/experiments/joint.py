"""Does it pay to train text encoder and autoencoder together? Arms of equal steps beside codes made post hoc."""

import functools
from collections.abc import Mapping
from typing import Any

import numpy as np
from jaxtyping import Float

from compressae_jax import compression
from compressae_jax.baselines import dense
from compressae_jax.evaluation import judgements
from compressae_jax.experiments import page, paired, texts
from compressae_jax.experiments.bench import Bench
from compressae_jax.experiments.cells import Outcome, Results, Settings, Spec, product
from compressae_jax.experiments.texts import Question, Reader, Texts
from compressae_jax.model import budgets
from compressae_jax.model.weights import Weights
from compressae_jax.notation import InputError, check_choice
from compressae_jax.retrieval.index import Index
from compressae_jax.text import embedding, tokens
from compressae_jax.text.folders import TextModel
from compressae_jax.training import joint
from compressae_jax.training.joint import Arm, Batch

METRIC = "nDCG@10"
CALLED = {
    "posthoc": "post hoc: a dictionary of the frozen vectors",
    "ranked": "the autoencoder alone, by a ranking loss on frozen vectors",
    "last": "the encoder's last layers and the autoencoder",
    "all": "all of the encoder and the autoencoder",
    "encoder": "all of the encoder by its dense vectors, then post hoc",
}
COLOURS = {"posthoc": "#000000", "ranked": "#E69F00", "last": "#56B4E9", "all": "#0072B2", "encoder": "#009E73"}
POSTHOC = "posthoc"
OWN, ANEW, ONE_PASS = "own", "anew", "one pass"  # dictionaries: the arm's; one of its encoder's vectors; codes of `own`
RATES = ("text_rate", "rate", "reconstruction")
FIELDS = ("encoder", "validated", "trained_bytes", "pairs", "more", "near", "steps", "every", "last_layers", *RATES)
OF_SETS = ("rows", "longest")


def cells(settings: Settings) -> list[Spec]:
    """A training each, asked on the tests of all sets; post hoc first, which the others are compared with.

    Raises:
        InputError: an arm that there is not, or none that the others are compared with.
    """
    for arm in settings["arms"]:
        check_choice("arms", arm, CALLED)
    if settings["arms"][:1] != (POSTHOC,):
        raise InputError(f"arms must begin with {POSTHOC!r}, which the others are compared with: {settings['arms']}")
    own = {name: settings[name] for name in FIELDS}
    own |= {name: {one: settings[name][one] for one in settings["datasets"]} for name in OF_SETS}
    own |= {"asked": list(settings["datasets"]), "bytes": list(settings["bytes"])}
    axes = {"arm": settings["arms"], "dataset": settings["datasets"], "seed": settings["seeds"]}
    return [{**spec, **own} for spec in product(**axes)]


def measure(here: Bench, spec: Spec) -> Outcome:
    """Train an arm on a set; nDCG@10 of its dense vectors and of its codes, there and on the other sets."""
    reader, name = texts.reader(spec["encoder"]), spec["dataset"]
    own = _texts(name, spec)
    frozen = _frozen(reader, name, spec)
    fields = {"budget_bytes": spec["trained_bytes"]}
    start = here.trained(name, frozen["documents"], fields, "default", spec["seed"])
    model, weights = reader.model, start
    told: dict[str, Any] = {"pairs": len(own.pairs), "step": 0, "seconds": 0.0}
    told |= {"validation_queries": len(own.validation.queries), "k": start.k, "h": start.h}
    if (arm := _arm(spec, model.module.of.depth)) is not None:
        fitted = _fit(arm, reader, own, frozen, start, spec)
        model, weights = fitted.text, fitted.weights
        told |= {"step": fitted.step, "seconds": fitted.seconds, "curve": fitted.curve}
    trained = reader._replace(model=model)
    vectors = {
        asked: _frozen(reader, asked, spec)
        if model is reader.model
        else _vectors(trained, _texts(asked, spec), spec["longest"][asked])
        for asked in spec["asked"]
    }
    if spec["arm"] == "encoder":
        weights = here.trained(name, vectors[name]["documents"], fields, "default", spec["seed"])
    scores: dict[str, Float[np.ndarray, " q"]] = {}
    for asked in spec["asked"]:
        question = _texts(asked, spec).test
        told[f"queries {asked}"] = len(question.queries)
        anew = here.trained(asked, vectors[asked]["documents"], fields, "default", spec["seed"])
        found = scored({OWN: weights, ANEW: anew}, vectors[asked], question, spec["bytes"])
        scores |= {f"{METRIC} {asked} {what}": values for what, values in found.items()}
    return Outcome(scores, told)


def scored(
    used: Mapping[str, Weights],
    vectors: Mapping[str, Float[np.ndarray, "_ d"]],
    question: Question,
    sizes: list[int],
) -> dict[str, Float[np.ndarray, " q"]]:
    """A query's nDCG@10 by dense vectors, and by codes of every dictionary in every number of bytes."""
    x, queries = vectors["documents"][question.corpus], vectors["queries"][question.queries]
    ask = functools.partial(
        judgements.per_query, queries=queries, wanted=question.wanted, own_rows=question.own, names=(METRIC,)
    )
    found = {"dense": ask(dense.fit(x).add(x).search)[METRIC]}
    for name, weights in used.items():
        for size in sizes:
            for encoder in ("pursuit", "topk") if name == OWN else ("pursuit",):
                what = name if encoder == "pursuit" else ONE_PASS
                found[f"{what} {size}"] = ask(_index(weights, x, size, encoder).search)[METRIC]
    return found


def told(settings: Settings, results: Results) -> page.Page:
    """Every arm on the tests of its own set, what it differs from post hoc, and what is left of it on other sets."""
    sets, sizes = results.values("dataset"), list(settings["bytes"])
    middle = settings["trained_bytes"]
    sections, sentences = [], []
    for name in sets:
        arms = {arm: results.where(dataset=name, arm=arm) for arm in results.values("arm")}
        queries = next(iter(results.where(dataset=name))).told[f"queries {name}"]
        sections.append((f"{name}: {METRIC} of {queries} test queries", _scores(arms, name, sizes, middle)))
        sections.append((f"{name}: differences to post hoc, paired", _differences(arms, name, name, sizes)))
        for other in (one for one in settings["datasets"] if one != name):
            heading = f"Carried from {name} to {other}: differences to post hoc of {name}, paired"
            sections.append((heading, _differences(arms, name, other, sizes)))
        sentences.append(_sentence(arms, name, [one for one in settings["datasets"] if one != name], middle))
    notes = (
        f"*own*: packed pursuit codes of the arm's dictionary, which was trained at {middle} bytes and serves all "
        "budgets; *anew*: of a dictionary that is fitted post hoc to the vectors of the arm's encoder; *one pass*: the "
        "arm's dictionary without pursuit. All arms start from the post-hoc dictionary and see the same batches, of "
        f"{settings['pairs']} pairs and {settings['more']} documents that the frozen vectors find for their queries; "
        f"{settings['steps']} steps. Validation queries pick the step, and step 0 may be picked: then an arm is post "
        "hoc. Pairs, validation and tests have no document in common that anything was judged about. Texts are cut at "
        f"{_each(settings['longest'], sets)} tokens, collections at {_each(settings['rows'], sets)} documents (0: "
        "whole), so the figures are not those of other pages."
    )
    answer = f"At {middle} bytes a vector, {'; '.join(sentences)}."
    return page.Page(answer, [*sections, ("What was trained", notes)], _figures(results, sizes))


def _each(of: Mapping[str, int], names: list[str]) -> str:
    return ", ".join(f"{of[name]:,} ({name})" for name in names)


def _scores(arms: Mapping[str, Results], name: str, sizes: list[int], middle: int) -> str:
    heads = ["arm", "dense", *(f"{size} bytes" for size in sizes)]
    heads += [
        f"{middle} bytes, anew",
        f"{middle} bytes, one pass",
        "step picked",
        "validation by step",
        "minutes of steps",
    ]
    rows: list[list[page.Cell]] = []
    for arm, own in arms.items():
        kinds = ["dense", *(f"{OWN} {size}" for size in sizes), f"{ANEW} {middle}", f"{ONE_PASS} {middle}"]
        scores = [page.spread(own, f"{METRIC} {name} {kind}") for kind in kinds]
        steps = ", ".join(str(one.told["step"]) for one in own)
        curves = np.mean([[value for _, value in one.told.get("curve", [])] for one in own], axis=0)
        minutes = float(np.mean([one.told["seconds"] for one in own])) / 60
        rows.append([CALLED[arm], *scores, steps, ", ".join(f"{one:.3f}" for one in curves), f"{minutes:.1f}"])
    return page.table(heads, rows)


def _differences(arms: Mapping[str, Results], name: str, asked: str, sizes: list[int]) -> str:
    kinds = ["dense", *(f"{OWN} {size}" for size in sizes), *(f"{ANEW} {size}" for size in sizes)]
    rows = []
    for arm, own in arms.items():
        if arm != POSTHOC:
            effects = (paired.difference(own, arms[POSTHOC], f"{METRIC} {asked} {kind}") for kind in kinds)
            rows.append([CALLED[arm], *map(page.effect, effects)])
    heads = ["arm", "dense", *(f"{size} bytes" for size in sizes), *(f"{size} bytes, anew" for size in sizes)]
    return page.table(heads, rows)


def _sentence(arms: Mapping[str, Results], name: str, others: list[str], size: int) -> str:
    def difference(arm: str, asked: str) -> str:
        one = paired.difference(arms[arm], arms[POSTHOC], f"{METRIC} {asked} {OWN} {size}")
        assert one is not None
        return f"{one.mean:+.3f} ({one.low:+.3f} to {one.high:+.3f})"

    base = float(np.mean(arms[POSTHOC].means(f"{METRIC} {name} {OWN} {size}")))
    found, kept = [], []
    for arm in arms:
        if arm == POSTHOC:
            continue
        if not any(one.told["step"] for one in arms[arm]):
            steps, last = zip(*(one.told["curve"][-1] for one in arms[arm]), strict=True)
            first = np.mean([one.told["curve"][0][1] for one in arms[arm]])
            kept.append(f"{CALLED[arm]} ({first:.3f} before, {np.mean(last):.3f} after {steps[0]} steps)")
            continue
        carried = "".join(f", carried to {other} {difference(arm, other)}" for other in others)
        found.append(f"{CALLED[arm]} {difference(arm, name)}{carried}")
    changes = f", and changes by training {'; '.join(found)}" if found else ""
    keeps = f", and validation picks no trained step of {'; '.join(kept)}" if kept else ""
    return f"{METRIC} on {name} is {base:.3f} post hoc{changes}{keeps}"


def _figures(results: Results, sizes: list[int]) -> list[page.Figure]:
    caption = "by bytes a vector, tests of the set that an arm was trained on; dashed: its dense vectors"
    draw = functools.partial(_draw, results=results, sizes=sizes)
    return [page.Figure("joint", f"{METRIC} {caption}", draw, (5 * len(results.values("dataset")), 4.2))]


def _draw(canvas: Any, results: Results, sizes: list[int]) -> None:
    names = results.values("dataset")
    for axes, name in zip(canvas.subplots(1, len(names), squeeze=False)[0], names, strict=True):
        for arm in results.values("arm"):
            own = results.where(dataset=name, arm=arm)
            ys = [float(np.mean(own.means(f"{METRIC} {name} {OWN} {size}"))) for size in sizes]
            axes.plot(sizes, ys, color=COLOURS[arm], label=CALLED[arm], marker="o", markersize=4)
            dense_score = float(np.mean(own.means(f"{METRIC} {name} dense")))
            axes.axhline(dense_score, color=COLOURS[arm], linestyle="--", linewidth=0.8)
        axes.set(xlabel="bytes a vector", title=f"{METRIC} on {name}", xscale="log", xticks=sizes, xticklabels=sizes)
        axes.minorticks_off()
    canvas.axes[0].legend(frameon=False, fontsize=7)


def _index(weights: Weights, x: Float[np.ndarray, "n d"], size: int, encoder: str = "pursuit") -> Index:
    own = budgets.with_budget(weights, size)
    return Index(compression.encode(own, x, own.storage, encoder), own, "dense_query")


def _arm(spec: Spec, depth: int) -> Arm | None:
    """What a named arm trains; None of the one that trains nothing more."""
    layers = {"ranked": 0, "last": min(spec["last_layers"], depth), "all": depth, "encoder": depth}
    if spec["arm"] not in layers:
        return None
    return Arm(layers[spec["arm"]], spec["arm"] != "encoder", **{name: spec[name] for name in RATES})


def _fit(
    arm: Arm, reader: Reader, own: Texts, frozen: Mapping[str, np.ndarray], start: Weights, spec: Spec
) -> joint.Fitted:
    longest = spec["longest"][spec["dataset"]]
    cut = {name: reader.cut(some, longest) for name, some in (("q", own.queries), ("d", own.documents))}
    pad, length = reader.model.module.of.pad, tokens.size(longest)

    _, near = dense.fit(frozen["documents"]).add(frozen["documents"]).search(frozen["queries"], spec["near"])

    def feed(step: int) -> Batch:
        drawn = joint.draw(own.pairs, own.answers, near, spec["pairs"], spec["more"], spec["seed"], step)
        if not arm.layers:
            return Batch(frozen["queries"][drawn.queries], frozen["documents"][drawn.documents], drawn.others)
        queries = tokens.padded([cut["q"][row] for row in drawn.queries], pad, length=length)
        documents = tokens.padded([cut["d"][row] for row in drawn.documents], pad, length=length)
        return Batch(queries, documents, drawn.others)

    question = own.validation

    def validate(model: TextModel, weights: Weights) -> float:
        """By what the test will ask, of other queries: packed pursuit codes, or dense vectors."""
        if model is reader.model:
            x, queries = frozen["documents"][question.corpus], frozen["queries"][question.queries]
        else:
            x = embedding.of_tokens(model, [cut["d"][row] for row in question.corpus])
            queries = embedding.of_tokens(model, [cut["q"][row] for row in question.queries])
        search = _index(weights, x, spec["trained_bytes"]).search if arm.autoencoder else dense.fit(x).add(x).search
        found = judgements.per_query(search, queries, question.wanted, question.own, names=(METRIC,))
        return float(found[METRIC].mean())

    return joint.fit(arm, reader.model, start, feed, validate, spec["steps"], spec["every"])


def _texts(name: str, spec: Spec) -> Texts:
    return _loaded(name, spec["rows"][name], spec["validated"])


_loaded = functools.lru_cache(maxsize=4)(texts.load)
_FROZEN: dict[tuple[Any, ...], dict[str, np.ndarray]] = {}


def _frozen(reader: Reader, name: str, spec: Spec) -> dict[str, np.ndarray]:
    """The vectors of a set by the encoder as it comes, once a process."""
    key = name, spec["encoder"], spec["rows"][name], spec["longest"][name]
    if key not in _FROZEN:
        _FROZEN[key] = _vectors(reader, _texts(name, spec), spec["longest"][name])
    return _FROZEN[key]


def _vectors(reader: Reader, of: Texts, longest: int) -> dict[str, np.ndarray]:
    """Of documents and queries; those that are the same texts are encoded once."""
    documents = embedding.of_tokens(reader.model, reader.cut(of.documents, longest))
    if of.queries is of.documents:
        return {"documents": documents, "queries": documents}
    return {"documents": documents, "queries": embedding.of_tokens(reader.model, reader.cut(of.queries, longest))}
