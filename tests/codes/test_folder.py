import dataclasses
import json
import shutil

import numpy as np
import pytest
import xxhash
from numpy.testing import assert_array_equal

from compressae_jax.base import sealed
from compressae_jax.codes import folder as codes_folder
from compressae_jax.codes.codes import Codes
from compressae_jax.codes.folder import Writer
from compressae_jax.codes.layout import META, npy_header
from compressae_jax.codes.rows import MadeBy
from compressae_jax.codes.storage.fast import Fast
from compressae_jax.codes.storage.packed import Packed, Packing, pack
from compressae_jax.notation import FolderError, InputError

N, H, K, D = 29, 41, 3, 7
HEADER = {"fingerprint": "3f2a", "source": {"name": "vectors.npy", "rows": N}}
FILES = ["columns.npy", "ids.npy", "meta.json", "norms.npy", "values.npy"]
PACKED_FILES = ["ids.npy", "meta.json", "records.npy"]
TEXT_FILES = ["ids.offsets.npy", "ids.utf8"]
PACKING = Packing(H, K, 3, (0.125, 0.25, 0.5, 0.75))
FAST = Fast(H, K, 4, (0.125, 0.25, 0.5, 0.75, 1.0, 1.25, 1.5, 1.75))


def some_codes(n=N, h=H, k=K, values="float16"):
    rng = np.random.default_rng(0)
    numbers = -np.sort(-rng.random((n, k)), axis=1) * rng.choice([-1, 1], (n, k))
    columns = rng.random((n, h)).argsort(axis=1)[:, :k].astype(np.uint16)
    return Codes(numbers.astype(values), columns, h), rng.random((n, 2)).astype(np.float32)


def names(n=N):
    return [f"item {i} ß\n" * (1 + i % 3) for i in range(n)]


def write(path, ids=None, values="float16", header=HEADER):
    codes, norms = some_codes(values=values)
    codes_folder.write(path, codes, norms, ids, d=D, header=header)
    return path


def some_packed():
    codes = some_codes()[0]
    codes.values[7] = 0
    return pack(codes, PACKING)


def write_packed(path, ids=None, header=HEADER):
    codes_folder.write(path, some_packed(), None, ids, d=D, header=header)
    return path


def some_fast():
    return pack(some_packed().codes(), FAST)


def write_fast(path, ids=None, header=HEADER):
    codes_folder.write(path, some_fast(), None, ids, d=D, header=header)
    return path


def held(ids, files):
    """The files of a folder with such ids, `files` being those with integers."""
    files = [name for name in files if name != "ids.npy" or (ids is not None and not isinstance(ids[0], str))]
    return sorted(files + (TEXT_FILES if ids is not None and isinstance(ids[0], str) else []))


def contents(path):
    return {file.name: file.read_bytes() for file in path.iterdir()}


@pytest.mark.parametrize("storage", ["float16", "packed3"])
@pytest.mark.parametrize("pieces", [1, 3])
def test_lengths_are_kept_beside_rows(tmp_path, storage, pieces):
    given = np.arange(N, dtype=np.float32) / 2
    codes, norms = some_codes()
    rows = dataclasses.replace(codes, norms=norms, lengths=given if storage == "float16" else None)
    levels = None if storage == "float16" else PACKING.levels
    for _ in range(pieces):  # a writer that is interrupted, and continues
        with Writer(tmp_path / "codes", D, H, K, storage, HEADER, levels=levels, similarity="dot") as writer:
            done = writer.rows
            writer.append(rows[done : done + -(-N // pieces)])
    with Writer(tmp_path / "codes", D, H, K, storage, HEADER, levels=levels, similarity="dot") as writer:
        with pytest.raises(InputError, match="rows must be for similarity 'dot', not 'cosine'"):
            writer.append(some_packed() if levels else dataclasses.replace(codes, norms=norms))
        writer.finish()
    read, _, _, meta = codes_folder.read(tmp_path / "codes")
    assert read.similarity == "dot" and (meta["format_version"], meta["similarity"]) == (4, "dot")
    if levels is None:
        assert_array_equal(read.lengths, given)
        given[5] = -1
        forge(tmp_path / "codes", "lengths.npy", given.tobytes())
        with pytest.raises(FolderError, match="row 5 has the length -1"):
            codes_folder.read(tmp_path / "codes")
    reseal(tmp_path / "codes", similarity="cos")
    with pytest.raises(FolderError, match="similarity must be one of 'cosine', 'dot'"):
        codes_folder.read(tmp_path / "codes", verify=False)


def test_work_that_was_begun_without_lengths_is_not_continued_with_them(tmp_path):
    codes, norms = some_codes()
    with Writer(tmp_path / "codes", D, H, K, header=HEADER) as writer:
        writer.append(codes, norms)
    with pytest.raises(InputError, match="was begun with similarity None, now 'dot'"):
        Writer(tmp_path / "codes", D, H, K, header=HEADER, similarity="dot")


IDS = [None, names(), np.arange(N) - 5, np.array(names(), object), np.arange(N, dtype=np.uint64) + np.uint64(2**63)]


@pytest.mark.parametrize("mmap", [True, False])
@pytest.mark.parametrize("values", ["float16", "float32"])
@pytest.mark.parametrize("ids", IDS)
def test_read_of_write_is_the_same(tmp_path, ids, values, mmap):
    codes, norms, read_ids, meta = codes_folder.read(write(tmp_path / "codes", ids, values), mmap=mmap)
    wanted, wanted_norms = some_codes(values=values)
    assert_array_equal(codes.values, wanted.values, strict=True)
    assert_array_equal(codes.columns, wanted.columns, strict=True)
    assert_array_equal(norms, wanted_norms, strict=True)
    assert (read_ids is None) if ids is None else (list(read_ids) == list(ids))
    assert codes.h == H and (meta["n"], meta["h"], meta["k"], meta["d"]) == (N, H, K, D)
    assert {name: meta[name] for name in HEADER} == HEADER
    assert bool(codes.files.maps) == mmap and codes.verified and codes.values.flags.writeable != mmap
    assert codes.made_by == MadeBy("3f2a", "topk") and sorted(contents(tmp_path / "codes")) == held(ids, FILES)
    assert [path.name for path in tmp_path.iterdir()] == ["codes"]


def test_files_are_what_numpy_reads(tmp_path):
    codes, norms = some_codes()
    write(tmp_path / "codes", np.arange(N))
    for name, wanted in [("columns", codes.columns), ("values", codes.values), ("norms", norms), ("ids", range(N))]:
        assert_array_equal(np.load(tmp_path / "codes" / f"{name}.npy", allow_pickle=False), wanted)
    assert sorted(contents(tmp_path / "codes")) == FILES


def test_headers_have_one_length_up_to_any_size():
    longest = npy_header("<U1234567", (2**53, 2**31))
    assert len(longest) == len(npy_header("<f2", (1, 1))) == 128 and longest.endswith(b" \n")


def test_wide_codes_have_uint32_columns(tmp_path):
    codes = Codes(np.ones((2, 1), np.float32), np.array([[0], [70_000]]), 70_001)
    codes_folder.write(tmp_path / "codes", codes, np.ones((2, 2), np.float32), d=D)
    read = codes_folder.read(tmp_path / "codes")[0]
    assert read.columns.dtype == np.uint32 and read.columns[1, 0] == 70_000


@pytest.mark.parametrize("ids", [None, names(), np.arange(N)])
@pytest.mark.parametrize("cuts", [(1, 2, 28), (10,), tuple(range(1, N))])
def test_resumed_bytes_are_those_of_one_go(tmp_path, ids, cuts):
    whole = contents(write(tmp_path / "whole", ids))
    codes, norms = some_codes()
    for start, stop in zip((0, *cuts), (*cuts, N), strict=True):
        writer = Writer(tmp_path / "codes", D, H, K, header=HEADER)
        assert writer.rows == start and not (tmp_path / "codes").exists()
        rows = slice(start, stop)
        writer.append(codes[rows], norms[rows], None if ids is None else ids[rows])
        for name in ("values.npy", "norms.npy"):  # as a kill in the middle of the next append leaves it
            with (writer.partial / name).open("ab") as file:
                file.write(b"half a row")
        if stop < N:
            writer.close()
    writer.finish()
    assert contents(tmp_path / "codes") == whole and not writer.partial.exists()


def test_failed_append_leaves_what_was_counted(tmp_path, monkeypatch):
    codes, norms = some_codes()
    writer = Writer(tmp_path / "codes", D, H, K, header=HEADER)
    writer.append(codes[:10], norms[:10])

    def full(path, *_):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("compressae_jax.base.sealed.replace", full)
        with pytest.raises(OSError, match="No space"):
            writer.append(codes[10:], norms[10:])
    assert writer.rows == 10
    writer.append(codes[10:12], norms[10:12])  # the same object may go on, and so may another process
    writer.close()
    again = Writer(tmp_path / "codes", D, H, K, header=HEADER)
    assert again.rows == 12
    again.append(codes[12:], norms[12:])
    again.finish()
    assert contents(tmp_path / "codes") == contents(write(tmp_path / "whole"))


def test_interrupted_finish_is_finished_later(tmp_path, monkeypatch):
    codes, norms = some_codes()
    writer = Writer(tmp_path / "codes", D, H, K, header=HEADER)
    writer.append(codes, norms, names())
    with monkeypatch.context() as patch:
        patch.setattr("compressae_jax.base.files.exchange", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            writer.finish()
    writer.close()
    assert not (tmp_path / "codes").exists()
    Writer(tmp_path / "codes", D, H, K, header=HEADER).finish()
    assert contents(tmp_path / "codes") == contents(write(tmp_path / "whole", names()))


def test_other_header_refuses_to_continue(tmp_path):
    codes, norms = some_codes()
    Writer(tmp_path / "codes", D, H, K, header=HEADER).append(codes, norms)
    with pytest.raises(
        InputError, match=r"begun with fingerprint '3f2a', now 'beef'; .* remove .*codes\.partial to start"
    ):
        Writer(tmp_path / "codes", D, H, K, header=HEADER | {"fingerprint": "beef"})
    with pytest.raises(InputError, match="begun with storage 'float16', now 'float32'"):
        Writer(tmp_path / "codes", D, H, K, "float32", header=HEADER)
    assert Writer(tmp_path / "codes", D, H, K, header=HEADER).rows == N
    assert Writer(tmp_path / "codes", D, H, K, header=HEADER, resume=False).rows == 0


@pytest.mark.parametrize("name", ["columns.npy", "values.npy", "norms.npy", *TEXT_FILES, "manifest.json"])
def test_damaged_partial_folder_is_refused(tmp_path, name):
    codes, norms = some_codes()
    writer = Writer(tmp_path / "codes", D, H, K, header=HEADER)
    writer.append(codes, norms, names())
    writer.close()
    path = writer.partial / name
    whole = path.read_bytes()
    for damaged in (whole[:-2], whole[:-3] + bytes([whole[-3] ^ 1]) + whole[-2:]):
        path.write_bytes(damaged)
        with pytest.raises(FolderError, match=rf"{name} is damaged.*remove .*codes\.partial to start anew"):
            Writer(tmp_path / "codes", D, H, K, header=HEADER)
    path.write_bytes(whole)
    Writer(tmp_path / "codes", D, H, K, header=HEADER).finish()


def test_rows_damaged_before_finish_are_noticed(tmp_path):
    codes, norms = some_codes()
    writer = Writer(tmp_path / "codes", D, H, K)
    writer.append(codes, norms)
    path = writer.partial / "values.npy"
    path.write_bytes(path.read_bytes()[:-1] + b"!")
    with pytest.raises(FolderError, match=r"values\.npy is damaged"):
        writer.finish()
    assert not (tmp_path / "codes").exists()


def test_append_refuses_rows_that_do_not_fit(tmp_path):
    codes, norms = some_codes()
    writer = Writer(tmp_path / "codes", D, H, K)
    writer.append(codes[:0], norms[:0])
    with pytest.raises(InputError, match="no row to write"):
        writer.finish()
    writer.append(codes, norms, names())
    bad_column = codes.columns.copy()
    bad_column[4, 1] = H
    for bad, bad_norms, ids, message in [
        (codes.prefix(2), norms, names(), "h=41, k=3.*not h=41, k=2"),
        (codes, norms[:3], names(), r"norms must be \(29, 2\).*not \(3, 2\)"),
        (Codes(codes.values, bad_column, H), norms, names(), r"row 4 has a column outside 0\.\.40"),
        (Codes(codes.values.astype(np.float32) * 1e6, codes.columns, H), norms, names(), "row 0 has a value .* finite"),
        (codes, norms, None, "every append or with none"),
        (codes, norms, names(3), "ids must be 29, one a row, not 3"),
        (codes, norms, np.arange(N), "one kind: utf8 so far, now <i8"),
        (codes, norms, np.arange(N) / 2, "not float64"),
    ]:
        with pytest.raises(InputError, match=message):
            writer.append(bad, bad_norms, ids)
    writer.finish()
    assert codes_folder.read(tmp_path / "codes")[3]["n"] == N


def test_discard_leaves_nothing(tmp_path):
    codes, norms = some_codes()
    writer = Writer(tmp_path / "codes", D, H, K)
    writer.append(codes, norms)
    writer.discard()
    assert not list(tmp_path.iterdir())


def test_only_a_codes_folder_is_replaced(tmp_path):
    write(tmp_path / "codes", header={"fingerprint": "old"})
    write(tmp_path / "codes", header={"fingerprint": "new"})
    assert codes_folder.read(tmp_path / "codes")[3]["fingerprint"] == "new"
    assert [path.name for path in tmp_path.iterdir()] == ["codes"]

    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.tex").write_text("years of work")
    for name in ("mine", "mine/thesis.tex"):
        with pytest.raises(InputError, match="choose another name"):
            write(tmp_path / name)
    (tmp_path / "mine").rename(tmp_path / "other.partial")
    with pytest.raises(FolderError, match=r"thesis\.tex"):
        Writer(tmp_path / "other", D, H, K)
    assert (tmp_path / "other.partial" / "thesis.tex").read_text() == "years of work"


BOTH_KINDS = [(write, name) for name in held(names(), FILES)] + [
    (write_packed, name) for name in held(names(), PACKED_FILES)
]


@pytest.mark.parametrize(("write", "name"), BOTH_KINDS)
def test_any_flipped_byte_is_caught(tmp_path, write, name):
    path = write(tmp_path / "codes", names()) / name
    whole = path.read_bytes()
    for at in range(0, len(whole), max(1, len(whole) // 100)):
        path.write_bytes(whole[:at] + bytes([whole[at] ^ 4]) + whole[at + 1 :])
        with pytest.raises(FolderError, match=name):
            codes_folder.read(tmp_path / "codes")
    path.write_bytes(whole)
    codes_folder.read(tmp_path / "codes")


@pytest.mark.parametrize("verify", [True, False])
@pytest.mark.parametrize(("write", "name"), BOTH_KINDS)
def test_other_lengths_are_caught_even_unverified(tmp_path, write, name, verify):
    path = write(tmp_path / "codes", names()) / name
    whole = path.read_bytes()
    for damaged in (b"", whole[:60], whole[:-2], whole + b"x"):
        path.write_bytes(damaged)
        with pytest.raises(FolderError, match=rf"{name} is damaged.*python launch/compress\.py"):
            codes_folder.read(tmp_path / "codes", verify=verify)
    path.unlink()
    with pytest.raises(FolderError, match=f"{name} is missing; make it anew: python launch/compress.py"):
        codes_folder.read(tmp_path / "codes", verify=verify)
    shutil.rmtree(tmp_path / "codes")
    with pytest.raises(FolderError, match="does not exist"):
        codes_folder.read(tmp_path / "codes", verify=verify)


def reseal(path, **changes):
    """Metadata that somebody forged: the seal is right."""
    fields = json.loads((path / META).read_text())
    fields.pop(sealed.SEAL)
    sealed.write(path / META, fields | changes)


def forge(path, name, data):
    """Other data in a file, with the hash that fits."""
    header = (path / name).read_bytes()[:128] if name.endswith(".npy") else b""
    (path / name).write_bytes(header + data)
    files = json.loads((path / META).read_text())["files"]
    files[name] = {"bytes": len(header + data), "xxh3_128": xxhash.xxh3_128_hexdigest(header + data)}
    reseal(path, files=files)


@pytest.mark.parametrize("verify", [True, False])
@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"n": 10**12}, "columns.npy must have 6000000000128 bytes"),  # before anything is allocated
        ({"n": -1}, "meta.json is damaged: n must be"),
        ({"n": 3.0}, "meta.json is damaged: n must be"),
        ({"k": H + 1}, "meta.json is damaged: k must be an integer from 1 to 41"),
        ({"h": "x"}, "meta.json is damaged: h must be"),
        ({"dtypes": {"values": "float64", "columns": "uint16", "ids": None}}, "storage must be one of"),
        ({"dtypes": {"values": "float16", "columns": "uint32", "ids": None}}, "columns must be one of 'uint16'"),
        ({"dtypes": {"values": "float16", "columns": "uint16", "ids": "|O8"}}, "ids must be <i8 or <U"),
        ({"dtypes": None}, "meta.json is damaged"),
        ({"format_version": 7}, "format version 7, this program reads up to 6"),
        ({"format_version": 2}, "meta.json is damaged: 'storage'"),
    ],
)
def test_forged_metadata_is_refused(tmp_path, changes, message, verify):
    reseal(write(tmp_path / "codes"), **changes)
    with pytest.raises(FolderError, match=message):
        codes_folder.read(tmp_path / "codes", verify=verify)


def test_column_outside_h_is_refused_though_hashes_fit(tmp_path):
    h = int(some_codes()[0].columns.max())  # one too few
    reseal(write(tmp_path / "codes"), h=h)
    with pytest.raises(FolderError, match=rf"has a column outside 0\.\.{h - 1}"):
        codes_folder.read(tmp_path / "codes")


def test_negative_norm_is_refused(tmp_path):
    codes, norms = some_codes()
    norms[4, 1] = -1
    with pytest.raises(InputError, match="row 4 has a norm that is negative or not finite"):
        codes_folder.write(tmp_path / "codes", codes, norms, d=D)
    forge(write(tmp_path / "codes"), "norms.npy", norms.tobytes())
    with pytest.raises(FolderError, match=r"norms\.npy: row 4 has a norm that is negative"):
        codes_folder.read(tmp_path / "codes")


def test_metadata_names_no_files(tmp_path):
    path = write(tmp_path / "codes")
    files = json.loads((path / META).read_text())["files"]
    reseal(path, files=files | {"../../secret": files["values.npy"]})
    codes_folder.read(path)  # what is not in the layout is never opened


def test_header_of_other_rows_is_caught_even_unverified(tmp_path):
    path = write(tmp_path / "codes") / "columns.npy"
    path.write_bytes(path.read_bytes().replace(b"'<u2'", b"'<i2'"))
    with pytest.raises(FolderError, match=r"columns\.npy is damaged: its header is not that of <u2 \(29, 3\)"):
        codes_folder.read(tmp_path / "codes", verify=False)


@pytest.mark.parametrize("mmap", [True, False])
@pytest.mark.parametrize("ids", [None, names(), np.arange(N) - 5])
@pytest.mark.parametrize("write, wanted", [(write_packed, some_packed()), (write_fast, some_fast())])
def test_read_of_packed_rows_is_the_same(tmp_path, ids, mmap, write, wanted):
    packed, norms, read_ids, meta = codes_folder.read(write(tmp_path / "codes", ids), mmap=mmap)
    assert isinstance(packed, Packed) and packed.packing == wanted.packing and norms is None
    assert_array_equal(packed.records, wanted.records, strict=True)
    assert (read_ids is None) if ids is None else (list(read_ids) == list(ids))
    assert {name: meta[name] for name in HEADER} == HEADER
    assert (meta["storage"], meta["levels"]) == (wanted.storage, list(wanted.levels))
    assert meta["format_version"] == (4 if wanted.storage == "fast4" else 3 if isinstance(ids, list) else 2)
    assert bool(packed.files.maps) == mmap and packed.verified
    assert sorted(contents(tmp_path / "codes")) == held(ids, PACKED_FILES)
    assert_array_equal(np.load(tmp_path / "codes" / "records.npy"), packed.records)
    assert packed.nbytes == (tmp_path / "codes" / "records.npy").stat().st_size - 128


def test_folders_of_floats_stay_readable_by_older_programs(tmp_path):
    meta = json.loads((write(tmp_path / "codes") / META).read_text())
    assert list(meta) == [*HEADER, "format_version", "n", "h", "k", "d", "dtypes", "files", "seal"]
    assert meta["format_version"] == 1
    assert meta["dtypes"] == {"columns": "uint16", "values": "float16", "ids": None}


@pytest.mark.parametrize("form", ["codes", "packed"])
@pytest.mark.parametrize("cuts", [(1, 2, 28), (10,)])
def test_resumed_records_are_those_of_one_go(tmp_path, form, cuts):
    whole = contents(write_packed(tmp_path / "whole", names()))
    rows = some_packed() if form == "packed" else some_packed().unpack()
    for start, stop in zip((0, *cuts), (*cuts, N), strict=True):
        writer = Writer(tmp_path / "codes", D, H, K, "packed3", HEADER, levels=PACKING.levels)
        assert writer.rows == start and not (tmp_path / "codes").exists()
        writer.append(rows[start:stop], None, names()[start:stop])
        with (writer.partial / "records.npy").open("ab") as file:
            file.write(b"half a row")
        if stop < N:
            writer.close()
    writer.finish()
    assert contents(tmp_path / "codes") == whole and not writer.partial.exists()


def test_other_levels_refuse_to_continue(tmp_path):
    Writer(tmp_path / "codes", D, H, K, "packed3", HEADER, levels=PACKING.levels).append(some_packed())
    other = (0.125, 0.25, 0.5, 1.0)
    with pytest.raises(
        InputError, match=r"begun with levels \[0.125, 0.25, 0.5, 0.75\], now \[0.125, 0.25, 0.5, 1.0\]"
    ):
        Writer(tmp_path / "codes", D, H, K, "packed3", HEADER, levels=other)
    with pytest.raises(InputError, match="begun with storage 'packed3', now 'float16'"):
        Writer(tmp_path / "codes", D, H, K, "float16", HEADER)


def test_storage_and_levels_belong_together(tmp_path):
    for storage, levels, message in [
        ("packed3", None, "levels must be given for packed storage"),
        ("float16", PACKING.levels, "and for no other"),
        ("packed4", PACKING.levels, "levels must be 8 of 4 bits"),
        ("packed7", PACKING.levels, "storage must be one of"),
    ]:
        with pytest.raises(InputError, match=message):
            Writer(tmp_path / "codes", D, H, K, storage, levels=levels)
    assert not list(tmp_path.iterdir())


def test_append_refuses_rows_of_the_other_storage(tmp_path):
    codes, norms = some_codes()
    writer = Writer(tmp_path / "codes", D, H, K, "packed3", levels=PACKING.levels)
    damaged = dataclasses.replace(some_packed(), verified=False)
    damaged.records[4] = 255
    for bad, bad_norms, message in [
        (
            pack(codes, Packing(H, K, 3, (1.0, 2.0, 3.0, 4.0))),
            None,
            "rows must be packed by .*0.75.*, not packed by .*4.0",
        ),
        (damaged, None, "record of row 4"),
    ]:
        with pytest.raises(InputError, match=message):
            writer.append(bad, bad_norms)
    writer.append(codes)
    with pytest.raises(InputError, match="must be codes for storage 'float16', not packed"):
        Writer(tmp_path / "floats", D, H, K).append(some_packed())
    with pytest.raises(InputError, match=r"norms have no place in storage 'packed3'"):
        Writer(tmp_path / "floats", D, H, K).append(some_packed(), norms)
    with pytest.raises(InputError, match=r"norms \(b, 2\)"):
        Writer(tmp_path / "floats", D, H, K).append(codes)


@pytest.mark.parametrize("verify", [True, False])
@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"n": 10**12}, f"records.npy must have {PACKING.width}000000000128 bytes"),
        ({"k": H + 1}, "meta.json is damaged: k must be an integer from 1 to 41"),
        ({"storage": "float16"}, "meta.json is damaged: storage must be one of 'packed3'"),
        ({"storage": "packed4"}, "meta.json is damaged: levels must be 8 of 4 bits"),
        ({"storage": None}, "meta.json is damaged: storage must be one of"),
        ({"levels": [0.5, 0.25, 1, 2]}, "meta.json is damaged: levels must be positive, finite and rising"),
        ({"levels": None}, "meta.json is damaged"),
        ({"levels": [0.5, 1, 2, 10**400]}, "meta.json is damaged"),
        ({"levels": [True, 2, 3, 4]}, "levels must be a list of numbers"),
        ({"levels": ["a", "b", "c", "d"]}, "meta.json is damaged"),
        ({"format_version": 1}, "meta.json is damaged: 'values'"),
        ({"format_version": 7}, "format version 7, this program reads up to 6"),
        ({"format_version": "2"}, "meta.json has format version '2', not one of 1 to 6"),
    ],
)
def test_forged_metadata_of_packed_rows_is_refused(tmp_path, changes, message, verify):
    reseal(write_packed(tmp_path / "codes"), **changes)
    with pytest.raises(FolderError, match=message):
        codes_folder.read(tmp_path / "codes", verify=verify)


def test_records_of_no_row_are_refused_though_hashes_fit(tmp_path):
    path = write_packed(tmp_path / "codes")
    records = some_packed().records
    records[5] = 255
    forge(path, "records.npy", records.tobytes())
    with pytest.raises(
        FolderError, match=r"records\.npy: the record of row 5 is none of 3 different columns of 0\.\.40"
    ):
        codes_folder.read(path)
    codes_folder.read(path, verify=False)
