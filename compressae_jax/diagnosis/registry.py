"""All findings by name, in the order of tables; a new one is a file beside this and a line here."""

from collections.abc import Callable

from compressae_jax.base import progress as bars
from compressae_jax.diagnosis import (
    common_mean,
    dead_latents,
    decoder_rows,
    dense_latents,
    drifted,
    near_duplicates,
    plateau,
    worse_reconstructed,
)
from compressae_jax.diagnosis.finding import Finding
from compressae_jax.diagnosis.seen import Seen

FINDINGS: dict[str, Callable[[Seen], Finding]] = {
    "decoder rows": decoder_rows.look,
    "dead latents": dead_latents.look,
    "dense latents": dense_latents.look,
    "reconstructed worse than sparse": worse_reconstructed.look,
    "loss on a plateau": plateau.look,
    "near-duplicates": near_duplicates.look,
    "common mean": common_mean.look,
    "drift": drifted.look,
}


def look(seen: Seen, progress: bool = False) -> list[Finding]:
    """Every finding about a model and vectors.

    Raises:
        InputError: vectors of another width, too few of them, or a value that is not finite.
    """
    seen.vectors  # noqa: B018, so that bad ones are refused before the work
    found = []
    with bars.bar(len(FINDINGS), "diagnose", "findings", shown=progress) as bar:
        for name, one in FINDINGS.items():
            bar.set_postfix_str(name)
            found.append(one(seen))
            bar.update()
    return found
