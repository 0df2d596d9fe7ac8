"""Does training converge in about 500 steps, as the paper says?

    python launch/reproduce.py --config=configs/experiments/convergence.py --workdir=runs/convergence

Answer (size small, 6 minutes on two shared cores): Of 500 steps of 2,048 rows on wordnet768 (h=4,096, k=32): the
paper's training is within 1 % of its last validation cosine (0.865) from step 350 on, gains +0.0035 in the last fifth,
is best in the sparse space at step 150, and ends at a recall@100 of 0.559 sparse, 0.678 reconstructed, 0.784
dense_query with 18% of the latents dead; our training of the same codes is within 1 % of its last validation cosine
(0.868) from step 200 on, gains -0.0002 in the last fifth, is best in the sparse space at step 100, and ends at a
recall@100 of 0.533 sparse, 0.693 reconstructed, 0.815 dense_query with 0% of the latents dead. The first 64
coordinates, as many bytes as the paper counts, find on wordnet768: truncation 0.319, learned Matryoshka 0.671, PCA
0.636.

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
