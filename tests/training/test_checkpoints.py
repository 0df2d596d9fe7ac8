import errno
import json
import os
import resource
import shutil
import warnings

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from numpy.testing import assert_array_equal

from compressae_jax.base import sealed
from compressae_jax.model.compressae import CompresSAE
from compressae_jax.notation import FolderError
from compressae_jax.training import checkpoints, sharding, state, step
from compressae_jax.training.checkpoints import Checkpoints

MODULE = CompresSAE(d=6, h=16, k=2)
ADAM = step.optimizer(step.schedule(1e-3, 0, 10, 0.0), 1.0, 0.9, 0.999)


@pytest.fixture(scope="module")
def first():
    return state.create(MODULE, ADAM, sharding.make_mesh(1, 1), seed=0)


def at(first, number):
    """A state that is told by its step."""
    return first._replace(
        step=jnp.asarray(number, jnp.int32), params=jax.tree.map(lambda leaf: leaf + number, first.params)
    )


def like(data=1, model=1):
    return state.abstract(MODULE, ADAM, sharding.make_mesh(data, model))


def saved(folder, first, *numbers, keep_last=2):
    with Checkpoints(folder, keep_last) as keeper:
        for number in numbers:
            keeper.save(number, state.flat(at(first, number)), {"number": number})
            keeper.wait()


def restored(keeper, *mesh):
    found = keeper.restore(lambda number: state.flat(like(*mesh)))
    assert found.told == {"number": found.number}
    return state.from_flat(like(*mesh), found.arrays)


def steps_in(folder):
    return sorted(int(path.name) for path in folder.iterdir() if path.name.isdigit())


def assert_same(one, other):
    for a, b in zip(jax.tree.leaves(one), jax.tree.leaves(other), strict=True):
        assert_array_equal(np.asarray(a), np.asarray(b))


@pytest.mark.parametrize("mesh", [(1, 1), (4, 2)])
def test_a_state_comes_back_bit_for_bit_where_it_should_lie(tmp_path, first, mesh):
    saved(tmp_path, first, 3, 7)
    with Checkpoints(tmp_path, 2) as keeper:
        given = restored(keeper, *mesh)
        assert "step 7" in keeper.newest
    assert_same(given, at(first, 7))
    for leaf, wanted in zip(jax.tree.leaves(given), jax.tree.leaves(like(*mesh)), strict=True):
        assert leaf.sharding == wanted.sharding


def test_the_newest_are_kept(tmp_path, first):
    saved(tmp_path, first, 1, 2, 3, 5)
    assert steps_in(tmp_path) == [3, 5]


def test_what_is_saved_is_the_state_before_it_is_donated(tmp_path, first):
    with Checkpoints(tmp_path, 2) as keeper:
        held = jax.tree.map(jnp.copy, at(first, 1))
        keeper.save(1, state.flat(held), {"number": 1})
        jax.jit(lambda tree: jax.tree.map(lambda leaf: leaf * 0, tree), donate_argnums=0)(held)
        keeper.wait()
        assert_same(restored(keeper), at(first, 1))


def test_nothing_saved_is_none(tmp_path):
    with Checkpoints(tmp_path, 2) as keeper:
        assert keeper.restore(lambda number: {}) is None
        assert keeper.newest == "none yet"


def flip(path):
    """One bit in the middle, as a bad disk would."""
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 4
    path.write_bytes(content)


def files_of(folder):
    return sorted(path for path in folder.rglob("*") if path.is_file() and path.stat().st_size)


@pytest.mark.parametrize("harm", [flip, lambda path: path.unlink(), lambda path: os.truncate(path, 1)])
def test_a_damaged_checkpoint_gives_way_to_the_one_before_it_and_stays(tmp_path, first, harm):
    """Whichever file is harmed, that of the sums included; all but Orbax's notes, which nothing needs."""
    saved(tmp_path / "whole", first, 3, 7)
    for path in files_of(tmp_path / "whole" / "7"):
        shutil.rmtree(tmp_path / "run", ignore_errors=True)
        shutil.copytree(tmp_path / "whole", tmp_path / "run")
        harm(tmp_path / "run" / path.relative_to(tmp_path / "whole"))
        name = str(path.relative_to(tmp_path / "whole" / "7"))
        passing = name != "sums.json" and checkpoints.PASSING.fullmatch(name) is not None
        assert (checkpoints._damage(tmp_path / "run" / "7") is None) == passing, name
    assert name == "sums.json"
    with Checkpoints(tmp_path / "run", 2) as keeper:
        with pytest.warns(UserWarning, match=r"step 7 .* is damaged .*kept as damaged-7; continuing from step 3"):
            given = restored(keeper)
        assert_same(given, at(first, 3))
        assert steps_in(tmp_path / "run") == [3] and (tmp_path / "run" / "damaged-7" / "state").is_dir()
        keeper.save(7, state.flat(at(first, 7)), {"number": 7})  # the same number again
        keeper.wait()
        assert_same(restored(keeper), at(first, 7))
    flip(tmp_path / "run" / "7" / "sums.json")
    with Checkpoints(tmp_path / "run", 2) as keeper, pytest.warns(UserWarning, match="kept as damaged-7-2"):
        restored(keeper)


def test_only_damaged_checkpoints_are_an_error(tmp_path, first):
    saved(tmp_path, first, 3, 7)
    for number in (3, 7):
        flip(tmp_path / str(number) / "state" / "_METADATA")
    with (
        Checkpoints(tmp_path, 2) as keeper,
        pytest.raises(FolderError, match="step 7: state/_METADATA does"),
    ):
        restored(keeper)
    assert steps_in(tmp_path) == [3, 7]


@pytest.mark.parametrize("error", [OSError(errno.ESTALE, "Stale file handle"), MemoryError(), None])
def test_what_the_system_raises_is_no_damage(tmp_path, first, error, monkeypatch):
    saved(tmp_path, first, 3, 7)
    with Checkpoints(tmp_path, 2) as keeper:
        if error is None:  # too many open files, truly
            limits = resource.getrlimit(resource.RLIMIT_NOFILE)
            with pytest.raises(OSError, match="Too many open files"):
                try:
                    resource.setrlimit(resource.RLIMIT_NOFILE, (3, limits[1]))
                    restored(keeper)
                finally:
                    resource.setrlimit(resource.RLIMIT_NOFILE, limits)
        else:
            monkeypatch.setattr(checkpoints.files, "digest", lambda file: (_ for _ in ()).throw(error))
            with pytest.raises(type(error)):
                restored(keeper)
    assert steps_in(tmp_path) == [3, 7] and not list(tmp_path.glob("damaged*"))


def test_what_orbax_cannot_read_is_an_error_of_the_system(tmp_path, first):
    saved(tmp_path, first, 3)

    def harmed(number):  # after the sums were seen to hold
        for path in (tmp_path / "3" / "state").rglob("manifest.ocdbt"):
            path.unlink()
            path.symlink_to(path)
        return state.flat(like())

    with Checkpoints(tmp_path, 2) as keeper, pytest.raises(OSError):  # in the system's words, or in Orbax's own
        keeper.restore(harmed)


TENSORSTORE = "UNKNOWN: Error reading local file: Failed to open: {} [os_error_code='{}'] [tensorstore_spec='…']"


@pytest.mark.parametrize("beneath", [False, True])
@pytest.mark.parametrize("call", ["restore", "save", "wait_until_finished", "close"])
def test_what_orbax_makes_of_an_error_of_the_system_is_one(tmp_path, first, call, beneath, monkeypatch):
    def failing(*_, **__):
        if beneath:  # the cause of another error
            raise RuntimeError("checkpoint not written") from OSError(errno.EIO, os.strerror(errno.EIO))
        raise ValueError(TENSORSTORE.format(os.strerror(errno.EIO), errno.EIO))

    saved(tmp_path, first, 3)
    with pytest.raises(OSError, match=os.strerror(errno.EIO)) as told, Checkpoints(tmp_path, 2) as keeper:
        monkeypatch.setattr(keeper._manager, call, failing)
        restored(keeper)
        keeper.save(7, state.flat(at(first, 7)), {"number": 7})
        keeper.wait()
    monkeypatch.undo()
    assert told.value.errno == errno.EIO
    assert 3 in steps_in(tmp_path) and not list(tmp_path.glob("damaged*"))


def test_what_orbax_raises_otherwise_stays_as_it_is(tmp_path, first):
    saved(tmp_path, first, 3)
    with (
        Checkpoints(tmp_path, 2) as keeper,
        pytest.raises(ValueError, match=r"Structure mismatch|structures do not match"),
    ):
        keeper.restore(lambda number: {"params": jax.ShapeDtypeStruct((3,), np.float32)})


@pytest.mark.parametrize("noted", [{}, *({"files": one} for one in (3, None, ["a"], {"\0": ""}, {"a" * 300: ""}))])
def test_sums_without_files_are_damage(tmp_path, first, noted):
    saved(tmp_path, first, 3, 7)
    sealed.write(tmp_path / "7" / "sums.json", {"format_version": 1, **noted})
    with Checkpoints(tmp_path, 2) as keeper:
        with pytest.warns(UserWarning, match=r"step 7 .* is damaged \((sums\.json must have its files|'.* is no file)"):
            given = restored(keeper)
        assert_same(given, at(first, 3))


@pytest.mark.parametrize("noted", ["[]", "1", '{"init_timestamp_nsecs": 1e400}', '{"metrics": [1]}', "{", "[" * 99_999])
def test_odd_notes_of_orbax_are_no_matter(tmp_path, first, noted):
    saved(tmp_path, first, 1)
    (tmp_path / "1/_CHECKPOINT_METADATA").write_text(noted)
    with pytest.warns(UserWarning, match="_CHECKPOINT_METADATA is damaged"), Checkpoints(tmp_path, 2) as keeper:
        assert restored(keeper) is not None


def test_an_array_that_is_not_the_one_saved_is_named(tmp_path, first):
    """What Orbax gives where it reads other than it wrote."""
    saved(tmp_path, first, 3)
    path = tmp_path / "3" / "beside" / "metadata"
    beside = json.loads(path.read_text())
    beside["sums"]["params.encoder_w"][0] ^= 1
    path.write_text(json.dumps(beside))
    fields = {"format_version": 1, "files": checkpoints._files(tmp_path / "3")}
    sealed.write(tmp_path / "3" / "sums.json", fields)
    with Checkpoints(tmp_path, 2) as keeper, pytest.raises(FolderError, match=r"arrays params\.encoder_w are not"):
        restored(keeper)


def test_sums_see_any_flipped_bit_and_any_swap(first):
    sums = checkpoints.sums(state.flat(first))
    assert sums == checkpoints.sums(
        state.flat(jax.device_put(first, sharding.of_tree(sharding.make_mesh(4, 2), first)))
    )
    rng = np.random.default_rng(0)
    w = np.array(first.params["encoder_w"])
    for _ in range(40):
        flipped = w.copy()
        flipped.view(np.uint32)[rng.integers(6), rng.integers(16)] ^= np.uint32(1 << rng.integers(32))
        assert one_sum(first, flipped) != sums["params.encoder_w"]
    assert one_sum(first, w[::-1].copy()) != sums["params.encoder_w"]
    assert one_sum(first, -w) != sums["params.encoder_w"]


def one_sum(first, encoder_w):
    given = first._replace(params={**first.params, "encoder_w": encoder_w})
    return checkpoints.sums(state.flat(given))["params.encoder_w"]


def test_reading_warns_of_nothing(tmp_path, first):
    saved(tmp_path, first, 3)
    with warnings.catch_warnings(), Checkpoints(tmp_path, 2) as keeper:
        warnings.simplefilter("error")
        restored(keeper, 2, 4)
