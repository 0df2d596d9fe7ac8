"""Latents that fire in no row: capacity that is paid for and not used."""

from compressae_jax.diagnosis.finding import OK, UNSEEN, Finding, graded
from compressae_jax.diagnosis.seen import Seen

# With fewer uses of a latent, by even use, one that is rare but alive may be missed by chance.
LEAST_USES = 5
# Rounds leave none to 2 % (a latent for rare rows, which a sample misses), the published start some thirds.
LOOK, BAD = 0.1, 0.3


def look(seen: Seen) -> Finding:
    """The share of latents that no row looked at uses."""
    h, k = seen.weights.h, seen.weights.k
    rows, uses = len(seen.vectors), len(seen.vectors) * k / h
    share = float((seen.usage == 0).mean())
    figure = f"{share:.1%} of {h:,} latents fire in none of {rows:,} rows (look from {LOOK:.0%}, bad from {BAD:.0%})"
    numbers = {"share": share, "latents": h, "rows": rows, "uses": uses}
    if uses < LEAST_USES:
        return Finding("dead latents", UNSEEN, f"{figure}; too few rows to tell: {uses:.1f} uses a latent", numbers)
    level = graded(share, LOOK, BAD)
    if level == OK:
        return Finding("dead latents", level, figure, numbers)
    return Finding(
        "dead latents",
        level,
        figure,
        numbers,
        "an encoder that was started apart from its decoder, no term of 4k nonzeros, a learning rate that is too high, "
        "more latents than rows can serve, or vectors of another kind than those of the training (see drift)",
        "--config.model.init_encoder=transpose, --config.train.weight_4k=0.125, a lower --config.train.lr, or half of "
        "--config.model.h"
        if seen.by_steps
        else "train on these vectors (--config=default:continue --config.start=MODEL), or anew with fewer bytes",
    )
