"""Shards that are searched apart, in files and merged, are one index; what does not belong together is refused."""

import dataclasses
import json

import numpy as np
import pytest
from compression.test_to_folder import make_vectors, make_weights
from numpy.testing import assert_array_equal

from compressae_jax import compression
from compressae_jax.codes.spaces import SPACES
from compressae_jax.data import open_source
from compressae_jax.model import weights as model_weights
from compressae_jax.model.encoders import BLOCK
from compressae_jax.notation import InputError
from compressae_jax.retrieval import found, shards
from compressae_jax.retrieval.index import Index, open_folder
from compressae_jax.retrieval.shards import Shard

N, PARTS, TOP = 2 * BLOCK + 90, 3, 7


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """A model, three parts and the whole, with ids; one row stands in every part, so that scores tie."""
    home, weights, x = tmp_path_factory.mktemp("shards"), make_weights(), make_vectors(N)
    x[[BLOCK + 5, 2 * BLOCK + 5]] = x[5]
    np.save(home / "vectors.npy", x)
    (home / "ids.txt").write_text("".join(f"item {i}\n" for i in range(N)))
    source = open_source(home / "vectors.npy", ids=home / "ids.txt")
    model_weights.save(weights, home / "model")
    compression.to_folder(home / "model", source, home / "whole", progress=False)
    for i in range(1, PARTS + 1):
        compression.to_folder(home / "model", source, home / f"part-{i}", part=(i, PARTS), progress=False)
    return home


def opened(folders, space=None, order=(3, 1, 2)):
    names = [folders / f"part-{i}" for i in order]
    return names, [shards.open_shard(name, folders / "model", space) for name in names]


@pytest.mark.parametrize("space", SPACES)
def test_parts_in_any_order_are_one_index(folders, space):
    queries = np.load(folders / "vectors.npy")[[5, 8, BLOCK + 20]]
    names, parts = opened(folders, space)
    firsts = shards.first_rows(names, [shard for _, shard in parts])
    assert firsts == [2 * BLOCK, 0, BLOCK]

    u = parts[0][0].expander.expand(queries)
    merged = found.merge([index.search_expanded(u, TOP) for index, _ in parts], firsts, TOP)

    wanted = open_folder(folders / "whole", folders / "model", space).search(queries, TOP)
    assert wanted.rows[0, :3].tolist() == [5, BLOCK + 5, 2 * BLOCK + 5]
    for mine, one in zip((*merged, merged.ids), (*wanted, wanted.ids), strict=True):
        assert_array_equal(mine, one, strict=True)


def test_index_folders_come_as_they_are_named(folders, tmp_path):
    for name in ("a", "b"):
        Index(compression.encode(make_weights(), make_vectors(9)), make_weights(), "sparse").save(tmp_path / name)
    changed = Index.load(tmp_path / "a")
    changed.remove([0])
    changed.save(tmp_path / "a")
    told = [shards.open_shard(tmp_path / name)[1] for name in ("a", "b")]
    assert [shard.space for shard in told] == ["sparse", "sparse"]
    assert shards.first_rows(["a", "b"], told) == [0, 9]  # removed rows keep their numbers
    with pytest.raises(InputError, match="is no part, another one part 1 of 3"):
        shards.first_rows(["part", "a"], [opened(folders, "sparse", [1])[1][0][1], told[0]])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"part": None}, "they are no parts of one"),
        ({"part": (1, 2)}, "they are no parts of one"),
        ({"part": (3, 3)}, "three and two are both part 3 of 3"),
        ({"space": "sparse"}, "has space sparse, one has dense_query"),
        ({"k": 1}, "two has k 1"),
        ({"similarity": "dot"}, "two has similarity dot, one has cosine"),
        ({"fingerprint": "0" * 16}, "two has fingerprint 0"),
        ({"source": {"rows": N, "sample": "0"}}, "two is of another source than one: other contents"),
    ],
)
def test_what_is_no_shard_of_the_whole(folders, change, message):
    (three, one, two) = (shard for _, shard in opened(folders)[1])
    with pytest.raises(InputError, match=message):
        shards.first_rows(["three", "one", "two"], [three, one, dataclasses.replace(two, **change)])
    with pytest.raises(InputError, match="of 3 parts, 2 are missing"):
        shards.first_rows(["three", "one"], [three, one])
    with pytest.raises(InputError, match="at least one"):
        shards.first_rows([], [])


def test_a_note_says_what_a_shard_is(folders):
    shard = opened(folders, order=[2])[1][0][1]
    note = json.loads(json.dumps(shard.note()))
    assert shards.of_note("found.npz", note) == shard
    with pytest.raises(InputError, match="does not say which shard"):
        shards.of_note("found.npz", None)
    for wrong in ({"rows": -1}, {"rows": "9"}, {"space": 3}, {"part": [4, 3]}, {"part": "no"}, {"k": 0}):
        with pytest.raises(InputError, match=r"found.npz has a damaged note"):
            shards.of_note("found.npz", {**note, **wrong})
    del note["k"]
    with pytest.raises(InputError, match="damaged note of its shard: 'k'"):
        shards.of_note("found.npz", note)
    assert isinstance(shard, Shard)
