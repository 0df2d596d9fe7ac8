"""Does training converge in about 500 steps, as the paper says?

    python launch/reproduce.py --config=configs/experiments/convergence.py --workdir=runs/convergence

Answer (not run yet).

Vectors of one's own, such as MS MARCO's, from a file: --config.sizes.full.datasets="('marco.npy',)".
"""

import ml_collections


def get_config() -> ml_collections.ConfigDict:
    """The published training beside ours, 500 steps each, on the paper's width."""
    small = {
        "datasets": ("wordnet768",),  # names or files
        "rows": 0,  # of a set, drawn; 0: all
        "recipes": ("paper", "published"),
        "h": 4096,
        "k": 32,
        "batch": 2048,  # at most all rows that are trained on
        "steps": 500,
        "validate_every": 50,
        "searched": 10_000,  # rows that a validation searches
        "peers": ("truncation", "matryoshka", "pca"),  # short dense vectors beside
        "widths": (32, 64, 128, 256),  # of these
        "seeds": (0,),
    }
    full = {**small, "batch": 100_000}  # an epoch a step: an hour on two idle cores
    toy = {**small, "datasets": ("shop",), "h": 256, "k": 8, "batch": 256, "steps": 6, "validate_every": 3, "rows": 600}
    toy |= {"recipes": ("published",), "peers": ("truncation", "pca"), "widths": (16,)}
    return ml_collections.ConfigDict(
        {"experiment": "convergence", "size": "small", "sizes": {"small": small, "full": full, "toy": toy}}
    )
