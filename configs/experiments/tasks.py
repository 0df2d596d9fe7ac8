"""How much of what dense vectors score do few bytes keep, in search, recommending and classes, beside every peer?

    python launch/reproduce.py --config=configs/experiments/tasks.py --workdir=runs/tasks

Answer (size small, 7 minutes on two shared cores): Of what dense vectors score, mean of 4 sets (shop, scifact, cifar10,
debian), our codes keep at 16 bytes 0.950 (0.927 to 0.974; best peer run: pq 0.916); 32 bytes 0.975 (0.954 to 0.996;
best peer run: pq 0.994); 64 bytes 0.994 (0.974 to 1.012; best peer run: pca_int4 0.990). Against the best peer run on
each set and budget ours are ahead 1 times, level within the interval 11 times, and behind 0 times.

--config.size=full is every set at full size, every peer and three seeds; it was not run yet.
"""

import ml_collections


def get_config() -> ml_collections.ConfigDict:
    """Shares of dense scores at 16 to 64 bytes, of all sets in full at 128, too."""
    small = {
        "datasets": ("shop", "scifact", "cifar10", "debian"),
        "rows": 4000,  # of a set, drawn, those that judgements name among them; 0: all
        "queries": 200,  # or users, drawn; 0: all
        "budgets": (16, 32, 64),  # bytes a vector
        "unseen_budgets": (32,),  # where recall among rows that nothing was fitted to stands beside
        "methods": ("pursuit", "pq", "rabitq", "binary", "int8", "pca_int8", "pca_int4", "truncation"),
        "slow": {},  # bytes above which a method is left out
        "seeds": (0,),
    }
    full = {
        **small,
        "datasets": ("scifact", "vaswani", "wordnet", "debian", "clinc150", "cifar10", "shop", "citeulike_a"),
        "rows": 0,
        "queries": 0,
        "budgets": (16, 32, 64, 128),
        "unseen_budgets": (16, 32, 64, 128),
        "methods": (
            *("pursuit", "pq", "opq", "rq", "lsq", "prq", "rabitq", "sq", "pca_int8", "pca_int4", "binary"),
            *("int8", "matryoshka", "matryoshka_int8", "truncation"),
        ),
        "slow": {"rq": 64, "lsq": 32},
        "seeds": (0, 1, 2),
    }
    toy = {
        **small,
        "datasets": ("shop", "scifact"),
        "rows": 700,
        "queries": 40,
        "budgets": (16,),
        "unseen_budgets": (16,),
        "methods": ("pursuit", "pca_int8", "truncation", "int8"),
    }
    return ml_collections.ConfigDict(
        {"experiment": "tasks", "size": "small", "sizes": {"small": small, "full": full, "toy": toy}}
    )
