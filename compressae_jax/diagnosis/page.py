"""Findings for people and programs: a table, causes and cures, as text, Markdown and JSON."""

from collections.abc import Sequence
from typing import Any

from compressae_jax.diagnosis.finding import BAD, LEVELS, LOOK, Finding
from compressae_jax.diagnosis.seen import Seen


def text(seen: Seen, found: Sequence[Finding]) -> str:
    """A line a finding; cause and cure below what is not well."""
    width = max(len(one.name) for one in found)
    lines = [_about(seen), ""]
    for one in found:
        lines.append(f"{one.level:6s}  {one.name.ljust(width)}  {one.figure}")
        if one.cause:
            lines += [f"{'':6s}  {'':{width}}  cause: {one.cause}", f"{'':6s}  {'':{width}}  cure:  {one.cure}"]
    return "\n".join([*lines, "", _closing(found)])


def markdown(seen: Seen, found: Sequence[Finding]) -> str:
    """The same as a page."""
    rows = ["| level | finding | figure |", "|---|---|---|"]
    rows += [f"| {one.level} | {one.name} | {one.figure} |" for one in found]
    wrong = [
        f"**{one.name}** ({one.level}). Likely cause: {one.cause}. Cure: {one.cure}." for one in found if one.cause
    ]
    return "\n\n".join(["# Diagnosis", _about(seen), _closing(found), "\n".join(rows), *wrong]) + "\n"


def as_json(seen: Seen, found: Sequence[Finding]) -> dict[str, Any]:
    """The same for programs."""
    weights = seen.weights
    return {
        "model": {"fingerprint": weights.fingerprint, "kind": weights.kind, "h": weights.h, "k": weights.k},
        "source": seen.source.summary(),
        "rows_looked_at": len(seen.vectors),
        "worst": worst(found),
        "findings": [{**one._asdict(), "numbers": dict(one.numbers)} for one in found],
    }


def worst(found: Sequence[Finding]) -> str:
    """The most urgent level of all."""
    return next(level for level in LEVELS if any(one.level == level for one in found))


def _about(seen: Seen) -> str:
    weights = seen.weights
    return (
        f"{weights.kind}, k={weights.k} of h={weights.h:,} (fingerprint {weights.fingerprint}), and "
        f"{len(seen.vectors):,} of {len(seen.source):,} rows of {seen.source.name}"
    )


def _closing(found: Sequence[Finding]) -> str:
    bad, look = ([one.name for one in found if one.level == level] for level in (BAD, LOOK))
    if not bad and not look:
        return "Nothing was found."
    told = [f"bad: {', '.join(bad)}"] if bad else []
    return "; ".join([*told, *([f"to look at: {', '.join(look)}"] if look else [])]) + "."
