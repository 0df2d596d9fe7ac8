"""Codes folders that nobody has reason to trust: forged metadata, columns outside h, files that change meanwhile."""

import contextlib
import json
import os
import shutil
import time

import numpy as np
import pytest
from codes.test_folder import (
    PACKING,
    D,
    H,
    K,
    N,
    forge,
    names,
    reseal,
    some_codes,
    some_fast,
    some_packed,
    write,
    write_fast,
    write_packed,
)
from numpy.testing import assert_array_equal

from compressae_jax.base import sealed
from compressae_jax.codes import codes, ids
from compressae_jax.codes import folder as codes_folder
from compressae_jax.codes.codes import Codes
from compressae_jax.codes.folder import Writer
from compressae_jax.codes.layout import MANIFEST, META, npy_header
from compressae_jax.codes.mapped import MappedFiles
from compressae_jax.codes.rows import MadeBy
from compressae_jax.codes.storage import packed
from compressae_jax.codes.storage.packed import Packing, _tables, pack
from compressae_jax.notation import BusyError, FolderError, InputError

FLOAT, PACKED, FAST = "float16", "packed3", "fast4"
WRITE = {FLOAT: write, PACKED: write_packed, FAST: write_fast}
ODD = [None, True, 1.5, -1, 10**400, "16", [], {}, [[]], "x" * 5000]


def fields_of(path):
    """Every place of the metadata: (field,) or (field, name in it)."""
    for field, value in json.loads((path / META).read_text()).items():
        if field not in ("seal", "source"):
            yield (field,)
            for name, each in value.items() if isinstance(value, dict) else ():
                yield field, name
                yield from ((field, name, part) for part in (each if isinstance(each, dict) else ()))


@pytest.mark.parametrize("storage", WRITE)
@pytest.mark.parametrize("ids", [None, names()], ids=["no ids", "texts"])
def test_no_odd_field_is_taken_or_ends_in_another_error(tmp_path, storage, ids):
    path = WRITE[storage](tmp_path / "codes", ids)
    whole = json.loads((path / META).read_text())
    del whole[sealed.SEAL]
    for place in [*fields_of(path)]:
        for odd in ODD:
            fields = json.loads(json.dumps(whole))
            inner = fields
            for name in place[:-1]:
                inner = inner[name]
            if inner[place[-1]] == odd and type(inner[place[-1]]) is type(odd):
                continue
            inner[place[-1]] = odd
            sealed.write(path / META, fields)
            if place[-1] in ("fingerprint", "encoder") and (odd is None or isinstance(odd, str)):
                continue  # any text may be one
            if place == ("dtypes", "ids") and odd is None:
                continue  # a folder without ids
            for verify in (False, True):
                with pytest.raises(FolderError):
                    codes_folder.read(path, verify=verify)


@pytest.mark.parametrize("missing", ["n", "h", "k", "d", "dtypes", "files", "levels", "storage"])
def test_missing_fields_are_damage(tmp_path, missing):
    path = write_packed(tmp_path / "codes")
    fields = json.loads((path / META).read_text())
    for name in (sealed.SEAL, missing):
        del fields[name]
    sealed.write(path / META, fields)
    with pytest.raises(FolderError, match=r"meta\.json is damaged"):
        codes_folder.read(path, verify=False)


def test_sizes_are_checked_before_tables_are_made(tmp_path):
    path = write_packed(tmp_path / "codes")
    reseal(path, h=2**32, k=2**16, n=1)
    began = time.process_time()
    for verify in (True, False):
        with pytest.raises(FolderError, match=r"records\.npy must have \d+ bytes, not 215"):
            codes_folder.read(path, verify=verify)
    assert time.process_time() - began < 1


def test_a_folder_of_one_enormous_row_is_cheap(tmp_path):
    """The largest tables there are, for the least file that asks for them."""
    packing = Packing(2**32, 2**16, 3, PACKING.levels)
    columns = np.sort(np.random.default_rng(0).choice(2**31, (1, 2**16), replace=False), axis=1).astype(np.uint32)
    rows = pack(Codes(np.ones(columns.shape, np.float32), columns, 2**32), packing)
    codes_folder.write(tmp_path / "codes", rows, d=D)
    codes_folder.read(write_packed(tmp_path / "small"))  # compiles the loops
    _tables.cache_clear()
    began = time.process_time()
    rows = codes_folder.read(tmp_path / "codes").rows
    assert time.process_time() - began < 5
    assert_array_equal(rows.codes().columns, columns)


@pytest.mark.parametrize("bad", [H, 2**16 - 1])
def test_unverified_columns_outside_h_are_never_handed_out(tmp_path, bad):
    columns = some_codes()[0].columns
    columns[11, 1] = bad
    forge(write(tmp_path / "codes"), "columns.npy", columns.tobytes())
    with pytest.raises(FolderError, match=r"columns\.npy.*row 11 has a column outside 0\.\.40"):
        codes_folder.read(tmp_path / "codes")
    rows = codes_folder.read(tmp_path / "codes", verify=False).rows
    assert not rows.verified
    read = rows.reader("sparse", 5)
    read(slice(0, 5))
    with pytest.raises(InputError, match=r"row 11 has a column outside 0\.\.40"):
        read(slice(10, 15))
    with pytest.raises(InputError, match="row 11"):
        rows.check()


@pytest.mark.parametrize("storage", WRITE)
@pytest.mark.parametrize("verify", [True, False])
def test_a_file_that_shrinks_is_an_error_not_the_end(tmp_path, storage, verify):
    path = WRITE[storage](tmp_path / "codes", names())
    rows = codes_folder.read(path, verify=verify).rows
    read, part = rows.reader("sparse", N), rows[2:9]
    read(slice(0, N))
    name = "values.npy" if storage == FLOAT else "records.npy"
    os.truncate(path / name, 200)
    for use in (lambda: read(slice(0, N)), rows.arrays, rows.codes().to_csr if storage == FLOAT else rows.codes):
        with pytest.raises(FolderError, match=rf"{name} shrank from \d+ to 200 bytes"):
            use()
    with pytest.raises(FolderError, match="shrank"):
        part.reader("sparse", 3)(slice(0, 3))
    os.truncate(path / "ids.utf8", 3)
    with pytest.raises(FolderError, match="shrank"):
        list(rows.ids)


@pytest.mark.parametrize("storage", WRITE)
@pytest.mark.parametrize("of_ids", [False, True])
def test_a_file_that_shrinks_while_all_rows_are_looked_at(tmp_path, monkeypatch, storage, of_ids):
    """The look takes seconds where there are many rows; what shrank meanwhile ended the process."""
    rows = codes_folder.read(WRITE[storage](tmp_path / "codes", names()), verify=False).rows
    monkeypatch.setattr(codes, "PIECE", 3 * K), monkeypatch.setattr(packed, "PIECE", 3 * K)
    monkeypatch.setattr(ids, "PIECE", 3), monkeypatch.setattr(ids, "BYTES", 8)
    name = "ids.utf8" if of_ids else "values.npy" if storage == FLOAT else "records.npy"
    check, calls = MappedFiles.check, iter(range(100))

    def shrinking(files):
        if next(calls) == 3:
            os.truncate(tmp_path / "codes" / name, 3)
        check(files)

    monkeypatch.setattr(MappedFiles, "check", shrinking)
    with pytest.raises(FolderError, match=f"{name} shrank"):
        ids.check(rows.ids, rows.files) if of_ids else rows.check()


def test_rows_in_memory_do_not_mind_what_becomes_of_the_folder(tmp_path):
    path = write(tmp_path / "codes", names())
    rows = codes_folder.read(path).rows
    copies = [codes_folder.read(path, mmap=False).rows, rows[np.arange(N)]]
    os.truncate(path / "values.npy", 200)
    for copy in copies:
        assert_array_equal(copy.to_dense(), some_codes()[0].to_dense())
        assert list(copy.ids) == names()


def test_what_was_hashed_is_what_is_read(tmp_path, monkeypatch):
    """Another folder takes the name just before the arrays are mapped."""
    path = write(tmp_path / "codes", header={"fingerprint": "old"})
    codes, norms = some_codes()
    other = Codes(-codes.values, codes.columns, H)
    mapped, done = codes_folder.mapped, []

    def swapped(*args):
        if not done:
            done.append(codes_folder.write(path, other, norms, d=D, header={"fingerprint": "new"}))
        return mapped(*args)

    monkeypatch.setattr(codes_folder, "mapped", swapped)
    rows, _, _, meta = codes_folder.read(path)
    assert meta["fingerprint"] == rows.made_by.fingerprint == "new" and done
    assert_array_equal(rows.values, other.values)


@pytest.mark.parametrize(
    ("offsets", "utf8", "message"),
    [
        ([0, 2, 1, 3], b"abc", "fall somewhere"),
        ([1, 2, 2, 3], b"abc", "must go from 0 to 3"),
        ([0, 2, 2, 2], b"abc", "must go from 0 to 3"),
        ([0, 1, 3, 3], "aß".encode()[:3], None),
        ([0, 2, 3, 3], "aß".encode()[:3], "part a letter"),
        ([0, 1, 2, 3], b"a\xff\xff", "not UTF-8"),
        ([0, 10**15, 2, 3], b"abc", "fall somewhere|part a letter"),
    ],
)
def test_offsets_and_texts_must_fit(tmp_path, offsets, utf8, message):
    codes, norms = some_codes()
    codes_folder.write(tmp_path / "codes", codes[:3], norms[:3], ["x", "y", "z"], d=D)
    forge(tmp_path / "codes", "ids.offsets.npy", np.array(offsets, "<i8").tobytes())
    forge(tmp_path / "codes", "ids.utf8", utf8)
    rows = codes_folder.read(tmp_path / "codes", verify=False).rows
    if message is None:
        assert list(codes_folder.read(tmp_path / "codes").ids) == ["a", "ß", ""]
        return
    with pytest.raises(FolderError, match=message):
        codes_folder.read(tmp_path / "codes")
    for row in range(3):  # whatever they are: a text or an error of ours
        with contextlib.suppress(InputError):
            assert isinstance(rows.ids[row], str)


def test_text_ids_of_version_0_1_are_read(tmp_path):
    path = write(tmp_path / "codes", np.arange(N))
    texts = np.array(names())
    (path / "ids.npy").write_bytes(npy_header(texts.dtype.str, (N,)))
    forge(path, "ids.npy", texts.tobytes())
    dtypes = json.loads((path / META).read_text())["dtypes"]
    reseal(path, dtypes=dtypes | {"ids": texts.dtype.str})
    assert list(codes_folder.read(path).ids) == names()
    texts.view(np.uint32)[3] = 0x110000  # no letter
    forge(path, "ids.npy", texts.tobytes())
    with pytest.raises(FolderError, match="not Unicode"):
        codes_folder.read(path)


def test_a_folder_of_someone_elses_is_never_replaced(tmp_path):
    for name in ("it", "it.partial"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "ids.npy").write_bytes(b"mine")  # our names, and nothing of ours
        with pytest.raises(FolderError, match=r"ids\.npy but no (meta|manifest)\.json of this program"):
            Writer(tmp_path / "it", D, H, K)
        assert (tmp_path / name / "ids.npy").read_bytes() == b"mine"
        shutil.rmtree(tmp_path / name)
    with Writer(tmp_path / "it", D, H, K) as writer:
        writer.append(*some_codes())
        (tmp_path / "it").mkdir()
        (tmp_path / "it" / "thesis.tex").write_text("years of work")
        with pytest.raises(FolderError, match=r"thesis\.tex"):
            writer.finish()
    assert (tmp_path / "it" / "thesis.tex").exists() and writer.partial.exists()


def test_neighbours_stay(tmp_path):
    for name in ("codes.old", "codes.new", ".codes", "codes.partial.old"):
        (tmp_path / name).mkdir()
    for _ in range(2):
        write(tmp_path / "codes")
    assert sorted(os.listdir(tmp_path)) == [".codes", "codes", "codes.new", "codes.old", "codes.partial.old"]


def test_a_link_stays_a_link(tmp_path):
    (tmp_path / "disk" / "codes").mkdir(parents=True)  # empty, as somebody prepared it
    (tmp_path / "codes").symlink_to(tmp_path / "disk" / "codes")
    for _ in range(2):
        with Writer(tmp_path / "codes", D, H, K) as writer:
            assert writer.partial == tmp_path / "disk" / "codes.partial"
            writer.append(*some_codes())
            writer.finish()
        write(tmp_path / "codes")
    assert (tmp_path / "codes").is_symlink() and len(codes_folder.read(tmp_path / "codes").rows) == N
    assert os.listdir(tmp_path / "disk") == ["codes"]


def test_two_writers_of_one_folder(tmp_path):
    with Writer(tmp_path / "codes", D, H, K) as writer:
        writer.append(*some_codes())
        for other in (lambda: Writer(tmp_path / "codes", D, H, K), lambda: write(tmp_path / "codes")):
            with pytest.raises(BusyError, match="is being written by process"):
                other()
        writer.finish()
    Writer(tmp_path / "codes", D, H, K).discard()
    assert sorted(os.listdir(tmp_path)) == ["codes"]


def test_a_writer_that_was_killed_after_it_published_is_cleaned_up_after(tmp_path):
    old, new = write(tmp_path / "old", header={"fingerprint": "old"}), write(tmp_path / "codes")
    sealed.write(new / MANIFEST, {"format_version": 3})
    old.rename(tmp_path / "codes.partial")
    Writer(tmp_path / "codes", D, H, K).discard()
    assert sorted(os.listdir(tmp_path)) == ["codes"] and not (new / MANIFEST).exists()


@pytest.mark.parametrize("storage", WRITE)
def test_rows_keep_who_made_them(tmp_path, storage):
    made = MadeBy("3f2a", "pursuit")
    rows = {FLOAT: some_codes()[0], PACKED: some_packed(), FAST: some_fast()}[storage]
    rows = rows.like(rows.arrays() | ({"norms": some_codes()[1]} if storage == FLOAT else {}))
    rows = type(rows)(**{**vars(rows), "made_by": made})
    codes_folder.write(tmp_path / "codes", rows, d=D)
    assert codes_folder.read(tmp_path / "codes").rows.made_by == made
    levels = {PACKED: PACKING.levels, FAST: some_fast().levels}.get(storage)
    with Writer(tmp_path / "more", D, H, K, storage, {"fingerprint": "3f2a"}, levels=levels) as writer:
        writer.append(rows)
        other = type(rows)(**{**vars(rows), "made_by": MadeBy("3f2a", "topk")})
        with pytest.raises(InputError, match=r"by one model and encoder: .*pursuit.*, now .*topk"):
            writer.append(other)
        foreign = type(rows)(**{**vars(rows), "made_by": MadeBy("beef", "pursuit")})
        with pytest.raises(InputError, match="made by fingerprint 'beef', not '3f2a'"):
            writer.append(foreign)


def test_a_full_disk_goes_up_as_it_is_and_keeps_what_was_complete(tmp_path, monkeypatch):
    codes, norms = some_codes()
    with Writer(tmp_path / "codes", D, H, K) as writer:
        writer.append(codes[:10], norms[:10])
        with monkeypatch.context() as patch:
            patch.setattr(os, "fsync", lambda _: (_ for _ in ()).throw(OSError(28, "No space left on device")))
            with pytest.raises(OSError, match="No space left"):
                writer.append(codes[10:], norms[10:])
        assert writer.rows == 10
    with Writer(tmp_path / "codes", D, H, K) as writer:
        assert writer.rows == 10
        writer.append(codes[10:], norms[10:])
        writer.finish()
    assert_array_equal(codes_folder.read(tmp_path / "codes").rows.values, codes.values)
