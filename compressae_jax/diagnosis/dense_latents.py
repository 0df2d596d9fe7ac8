"""Latents that fire in most rows: they tell no row from another, and make lists and sparse engines slow."""

from compressae_jax.diagnosis.finding import OK, Finding, graded
from compressae_jax.diagnosis.seen import Seen

LOOK, BAD = 0.5, 0.9  # of rows that one latent fires in
EVEN = 10  # times even use (k / h), below which a share is no fault: a small h has no other


def look(seen: Seen) -> Finding:
    """The share of rows that the most used latent fires in."""
    h, k = seen.weights.h, seen.weights.k
    most, even = float(seen.usage.max()), k / h
    count = int((seen.usage >= LOOK).sum())
    figure = (
        f"the most used latent fires in {most:.1%} of rows, {count:,} of {h:,} in half of them or more; even use is "
        f"{even:.2%} (look from {LOOK:.0%}, bad from {BAD:.0%})"
    )
    numbers = {"most": most, "dense": count, "even": even}
    level = graded(most, LOOK, BAD) if most >= EVEN * even else OK
    if level == OK:
        return Finding("dense latents", level, figure, numbers)
    return Finding(
        "dense latents",
        level,
        figure,
        numbers,
        "a direction that all vectors share (see common mean): each row spends a nonzero on it",
        "subtract the mean of the vectors from rows and queries, and train anew; an engine that ranks by lists should "
        "leave such latents out",
    )
