"""The fields of an experiment with their defaults; the pages in configs/ change some of them."""

from typing import Any

import ml_collections
from ml_collections import config_dict

from compressae_jax.training import recipes


def get_config(recipe: str = "default") -> ml_collections.ConfigDict:
    """The default experiment with the model and training fields of a recipe."""
    return ml_collections.ConfigDict(
        {
            "seed": 0,  # of all that is drawn
            "data": {
                "source": "",  # file, folder, glob, url, or the name of a dataset (shop, scifact, debian, …)
                "column": "",  # tables: the column of vectors; empty: the only one
                "ids_column": "",  # tables: the column of ids; empty: none
                "ids": "",  # file of ids beside the vectors: text, one a line, or .npy of integers; empty: none
                "key": "",  # files of several arrays: the vectors; empty: the only one that is 2-d
                "ids_key": "",  # files of several arrays: the ids; empty: none
                "scale": "",  # of int8 and uint8: a number, or an .npy of one a row or one a column; empty: the file's
                "zero_rows": "stop",  # or 'keep' (all-zero codes) or 'drop'
                "queries": 1000,  # rows held out of training and of the index, at most a tenth of all
                "validation": 1000,  # rows held out of training only, at most a tenth of all
                "unseen": 0,  # rows held out of training that are also searched alone, at most half of all
            },
            "start": "",  # model folder to train on from, with the recipe: configs/default.py:continue; empty: none
            "mesh": {"data": -1, "model": 1},  # devices along each axis; -1: all that are left
            **model(recipe),
            "compress": {
                "encoder": "",  # topk, refit, shortlist or pursuit; empty: the model's
                "storage": "",  # float16, float32, packed3 … packed8 or fast4; empty: the model's
                "batch": 65_536,  # rows read at once; the bytes written do not depend on it
            },
            "search": {"backend": "auto"},  # 'host' on a CPU, 'scan' on a GPU, 'bcoo' for reference
            "evaluation": {
                "protocols": ("neighbours", "unseen", "judgements", "purchases"),  # those that the data have are run
                "spaces": (),  # empty: all three of one-pass codes, and dense queries alone of those made by pursuit
                "budgets": (),  # bytes of a vector at which the run's dictionary makes codes, too
                "beside": {},  # other models, name: `model(recipe)`; each is trained on the same rows and compared
                "ks": (),  # smaller budgets, by prefix of the same codes
                "baselines": ("truncation", "pca", "pca_int8", "int8"),  # and 'pq', with the extra [bench]
                "judged": (),  # other datasets with judgements to carry the model to
                "judgements": "",  # of your own: qrels, a table, a folder in BEIR's layout; empty: the dataset's
                "split": "test",  # of a folder in BEIR's layout: the file of its qrels/
                "queries": "",  # vectors of the judged queries; empty: rows of the source, each no answer to itself
                "query_ids": "",  # file of ids beside the queries: text, one a line, or .npy of integers; empty: none
                "query_ids_column": "",  # parquet: the column of the queries' ids; empty: none
                "purchases": "",  # of your own: a table, .csv, .tsv or .parquet; empty: the dataset's
                "purchase_columns": ("user", "item", "time"),  # of that table
                "purchase_split": "last",  # later are each user's last new item; or a share (0.8), or a date, as text
                "unknown": "stop",  # judged ids that nobody knows: or 'keep' (never found), or 'drop' (left out)
                "examples": (),  # items by name, which show their neighbours; empty: three of those held out
                "resamples": 2000,  # of the bootstrap, for 95 % intervals
            },
        }
    )


def model(recipe: str) -> dict[str, Any]:
    """The fields that say what is trained: those of a recipe, and a budget."""
    fields = recipes.recipe(recipe)
    return {
        # Bytes a vector may take: chooses h, k, encoder and storage. Empty: 64 (of width below 128: half a byte a
        # number), or none where h, k or steps are named; 0: none.
        "budget_bytes": config_dict.placeholder(int),
        **{section: _section(table) for section, table in fields.items()},
    }


def _section(fields: dict[str, Any]) -> dict[str, Any]:
    """The fields of a section; those left open, all of them integers, can be set to nothing else."""
    return {name: config_dict.placeholder(int) if value is None else value for name, value in fields.items()}
