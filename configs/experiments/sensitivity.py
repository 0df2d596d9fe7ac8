"""How does accuracy depend on k, h and the space, and does one model serve every k?

    python launch/reproduce.py --config=configs/experiments/sensitivity.py --workdir=runs/sensitivity

Answer (size small, 23 minutes on two shared cores): On debian, dense nDCG@10 is kept to 90% by k=4 (h=4,096,
dense_query, 16 bytes), to 95% by k=8 (h=4,096, dense_query, 32 bytes), to 99% by k=16 (h=4,096, dense_query, 64 bytes).
One model of k=64 cut to fewer (h=4,096, debian) changes recall@100 of dense queries against models of their own by
-0.167 at k=4, -0.130 at k=8, -0.080 at k=16, -0.027 at k=32.
"""

import ml_collections


def get_config() -> ml_collections.ConfigDict:
    """Published codes of many sizes on debian, which has judgements; in full on the paper's width, too."""
    small = {
        "datasets": ("debian",),  # names or files
        "rows": 0,  # of a set, drawn; 0: all
        "hs": (1024, 4096),
        "ks": (4, 8, 16, 32, 64),
        "batch": 1024,
        "steps": 300,
        "seeds": (0,),
    }
    full = {**small, "datasets": ("debian", "scifact", "vaswani", "wordnet768")}
    full |= {"hs": (1024, 2048, 4096, 8192, 16_384), "ks": (4, 8, 16, 32, 64, 128), "steps": 2000, "seeds": (0, 1, 2)}
    toy = {**small, "datasets": ("scifact",), "rows": 600, "hs": (128,), "ks": (2, 4), "batch": 64, "steps": 2}
    return ml_collections.ConfigDict(
        {"experiment": "sensitivity", "size": "small", "sizes": {"small": small, "full": full, "toy": toy}}
    )
