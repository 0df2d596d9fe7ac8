"""What does each mechanism of the paper buy: selection, loss, start, gradient, unit rows, batch?

    python launch/reproduce.py --config=configs/experiments/ablations.py --workdir=runs/ablations

Answer (size small, 35 minutes on two shared cores): Of 12 changes to published codes of k=16 (h=1,024), by the mean
change of recall@100 on scifact, cifar10, shop: in sparse, surely lose on all sets: no TopK in training -0.195, batch of
4,096 -0.028, surely gain on all sets: batch of 256 +0.024, encoder drawn apart (published class) +0.046; in
dense_query, surely lose on all sets: no TopK in training -0.293, gradient through all entries -0.080, batch of 4,096
-0.065, L2 loss -0.034, encoder drawn apart (published class) -0.034, surely gain on all sets: batch of 256 +0.024.
Batches of another size see as many rows, so in more or fewer steps.
"""

import ml_collections


def get_config() -> ml_collections.ConfigDict:
    """Published codes with one thing changed, on texts, images and purchases."""
    small = {
        "datasets": ("scifact", "cifar10", "shop"),  # texts, images, behaviour
        "rows": 0,  # of a set, drawn; 0: all
        "h": 1024,
        "k": 16,
        "batch": 1024,
        "steps": 150,
        "changes": (),  # empty: all, see `experiments.ablations.CHANGES`
        "batches": (256, 4096),  # beside `batch`
        "seeds": (0, 1, 2),
    }
    full = {**small, "datasets": ("wordnet768", "debian", "cifar10", "shop"), "h": 4096, "k": 32, "steps": 2000}
    full["batches"] = (4096, 32_768)
    toy = {**small, "datasets": ("shop",), "rows": 600, "h": 128, "k": 4, "batch": 64, "steps": 2, "seeds": (0,)}
    toy |= {"changes": ("L2 loss",), "batches": ()}
    return ml_collections.ConfigDict(
        {"experiment": "ablations", "size": "small", "sizes": {"small": small, "full": full, "toy": toy}}
    )
