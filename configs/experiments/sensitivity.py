"""How does accuracy depend on k, h and the space, and does one model serve every k?

    python launch/reproduce.py --config=configs/experiments/sensitivity.py --workdir=runs/sensitivity

Two cores need … minutes. Answer: not run yet.
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
