"""Does a model serve other sets than its own, and from how many vectors on does it beat each peer?

    python launch/reproduce.py --config=configs/experiments/domains.py --workdir=runs/domains

Answer (size small, 11 minutes on two shared cores): Mean recall@100 carried to another set, of that at home: pursuit
0.626 of 0.858, pq 0.677 of 0.776, pca_int8 0.359 of 0.656 at 32 bytes (ours ahead of every carried peer on 0 of 20
pairs); pursuit 0.771 of 0.911, pq 0.813 of 0.864, pca_int8 0.513 of 0.773 at 64 bytes (ours ahead of every carried peer
on 0 of 20 pairs). On debian ours beats, beyond the interval, at 32 bytes pq from 1,000 rows on, pca_int8 from 500 rows
on; at 64 bytes pq from 2,000 rows on, pca_int8 from 1,000 rows on.

--config.size=full takes every set whole, three seeds, and curves up to 100,000 rows of wordnet.
"""

import ml_collections


def get_config() -> ml_collections.ConfigDict:
    """A matrix of sets fitted to and tested on, at two budgets, and a learning curve."""
    small = {
        "one_encoder": ("debian", "scifact", "wordnet", "clinc150", "vaswani"),  # carried from each to each
        "alone": ("shop", "cifar10"),
        "rows": 4000,  # of a set, drawn; 0: all
        "queries": 200,  # of a set's own question, drawn; 0: it is not asked
        "budgets": (32, 64),  # bytes a vector
        "methods": ("pursuit", "pq", "pca_int8"),
        "slow": {},  # bytes above which a method is left out of the matrix
        "curves": ("debian",),
        "ns": (500, 1000, 2000, 4000, 8000),  # rows fitted to
        "slow_curve": {},  # rows times bytes above which a method is left out of the curve
        "searched": 10_000,  # rows that nothing was fitted to
        "seeds": (0,),
    }
    full = {
        **small,
        "alone": ("shop", "cifar10", "glove", "citeulike_a"),
        "rows": 0,
        "queries": 10**9,
        "methods": ("pursuit", "pq", "pca_int8", "rq"),
        "slow": {"rq": 32},
        "curves": ("wordnet",),
        "ns": (500, 1000, 2000, 5000, 10_000, 20_000, 50_000, 100_000),
        "slow_curve": {"rq": 640_000},
        "seeds": (0, 1, 2),
    }
    toy = {
        **small,
        "one_encoder": ("scifact", "debian"),
        "alone": ("shop",),
        "rows": 600,
        "queries": 30,
        "budgets": (16,),
        "methods": ("pursuit", "pca_int8"),
        "curves": ("shop",),
        "ns": (300, 600),
        "searched": 500,
    }
    return ml_collections.ConfigDict(
        {"experiment": "domains", "size": "small", "sizes": {"small": small, "full": full, "toy": toy}}
    )
