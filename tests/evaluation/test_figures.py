import numpy as np
import pytest

from compressae_jax.evaluation import figures
from compressae_jax.notation import InputError

pytest.importorskip("matplotlib")
PNG = b"\x89PNG\r\n\x1a\n"


def drawn(path):
    """The pixels, once the file is seen to be a whole picture with more than one colour in it."""
    from matplotlib import image

    assert path.read_bytes().startswith(PNG)
    assert not list(path.parent.glob(".*")), "something was left aside"
    pixels = image.imread(path)
    assert pixels.shape[0] > 300 and pixels.shape[1] > 600 and pixels.std() > 0.01
    return pixels


def contender(name, kind, size, recall, space=None):
    scores = {"neighbours": {"recall@100": {"mean": recall, "low": recall - 0.02, "high": recall + 0.01}}}
    return {"name": name, "kind": kind, "space": space, "bytes_per_vector": size, "scores": scores}


def test_recall_bytes(tmp_path):
    found = [
        contender("dense float32", "dense", 512.0, 1.0),
        *[contender(f"CompresSAE sparse, k={k}", "code", 4.0 * k + 4, k / 40, "sparse") for k in (4, 8, 16)],
        *[contender(f"CompresSAE {s}, k=4", "code", 20.0, 0.5, s) for s in ("reconstructed", "dense_query")],
        {**contender("packed pursuit codes, dense_query, k=9", "code", 32.0, 0.9), "codes": "packed pursuit codes"},
        *[
            contender(f"{name}, 20 bytes", "baseline", 20.0, 0.3)
            for name in ("truncation", "PCA", "PCA int8", "int8", "PQ")
        ],
    ]
    few, all_ = tmp_path / "few.png", tmp_path / "all.png"
    figures.recall_bytes(found[:1], "one", few)
    figures.recall_bytes(found, "all", all_)
    assert (drawn(few) != drawn(all_)).any()


def test_training_draws_what_there_is(tmp_path):
    loss = [{"step": step, "loss": 1 / step} for step in range(1, 30)]
    rest = [{**line, "dead_share": 0.1, "validation/cosine": 0.9} for line in loss]
    figures.training(loss, tmp_path / "loss.png")
    figures.training([*loss[:20], *rest[20:]], tmp_path / "rest.png")
    assert drawn(tmp_path / "loss.png").shape[1] < drawn(tmp_path / "rest.png").shape[1]
    figures.training([{"stage": "rounds", "round": 1, "cosine": 0.9}], tmp_path / "rounds.png")
    drawn(tmp_path / "rounds.png")


def test_nothing_to_draw(tmp_path):
    with pytest.raises(InputError, match="lines must have a loss"):
        figures.training([{"step": 1}], tmp_path / "none.png")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("dead", [0, 5, 63, 64])
def test_usage_with_dead_latents(tmp_path, dead):
    shares = np.random.default_rng(0).random(64) * 0.1
    shares[:dead] = 0
    figures.usage(shares, tmp_path / "usage.png")
    drawn(tmp_path / "usage.png")
