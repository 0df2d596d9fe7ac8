"""Vectors of another encoder or domain than those of the training; measuring is `compression.drift`'s."""

from compressae_jax.compression import drift
from compressae_jax.diagnosis.finding import BAD, LOOK, OK, UNSEEN, Finding
from compressae_jax.diagnosis.seen import Seen
from compressae_jax.model.encoders import Encoder
from compressae_jax.notation import InputError

FAR = -0.05  # of mean cosine, surely: another encoder or another domain, no slow change


def look(seen: Seen) -> Finding:
    """The mean cosine to the reconstruction beside that of rows held out of the training, with its interval."""
    weights = seen.weights
    seen.codes  # noqa: B018, which sees that there are levels to put values on
    how = Encoder(weights, weights.encoder, weights.storage)
    try:
        found = drift.of(how, seen.vectors, seen.reference, seed=seen.seed)
    except InputError as error:
        if seen.reference is not None:
            raise
        return Finding("drift", UNSEEN, str(error), {})
    numbers = {"cosine": found.cosine, "reference": found.reference, "low": found.low, "high": found.high}
    if not found.drifted:
        return Finding("drift", OK, str(found), numbers)
    far = found.high < FAR
    return Finding(
        "drift",
        BAD if far else LOOK,
        f"{found} (bad where surely below {FAR:g})",
        numbers,
        "vectors of another encoder, of another version of it or another domain" if far else "data that change slowly",
        "make these vectors with the encoder of the training; if they are right, train on old and new rows together "
        "(--config=default:continue --config.start=MODEL) or anew, and compress all rows again",
    )
