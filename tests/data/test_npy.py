import errno
import io
import os
import zipfile

import numpy as np
import pytest
from data import files

from compressae_jax import data
from compressae_jax.data import opened
from compressae_jax.notation import InputError

X = np.random.default_rng(0).standard_normal((11, 5)).astype(np.float32)


def test_two_arrays(tmp_path):
    np.savez(tmp_path / "x.npz", one=X, two=X)
    with pytest.raises(InputError, match="2 2-d arrays \\(one, two\\); give the wanted one as key"):
        data.open_source(tmp_path / "x.npz")


def test_a_newer_version(tmp_path):
    with (tmp_path / "x.npy").open("wb") as file:
        np.lib.format.write_array(file, X, version=(3, 0))
    with pytest.raises(InputError, match=r"version \(3, 0\), wanted 1.0 or 2.0"):
        data.open_source(tmp_path / "x.npy")


MALFORMED = ("()", "((),)", "[()]", "{}", "('<f4', 10**30)", "'<M8[99999999999s]'", "((((", "'<f4'*9", "'\0'")


@pytest.mark.parametrize("descr", MALFORMED)
def test_a_malformed_header(descr, tmp_path):
    text = f"{{'descr': {descr}, 'fortran_order': False, 'shape': (11, 5), }}\n".encode()
    (tmp_path / "x.npy").write_bytes(b"\x93NUMPY\1\0" + len(text).to_bytes(2, "little") + text + bytes(220))
    with pytest.raises(InputError, match=r"x\.npy "):
        data.open_source(tmp_path / "x.npy")


@pytest.mark.parametrize("kind", ["npz", "npz, deflated"])
@pytest.mark.parametrize("number", [errno.EIO, errno.ESTALE])
def test_an_error_of_the_system_is_no_damage(kind, number, tmp_path, monkeypatch):
    """Whichever read it is: zipfile makes some of them a BadZipFile."""
    path = files.write(kind, tmp_path, X)
    reads, refused = [], [0]

    class Failing(io.BufferedReader):
        def read(self, size=-1):
            reads.append(size)
            if len(reads) == refused[0]:
                raise OSError(number, os.strerror(number))
            return super().read(size)

    def read_all():
        reads.clear()
        list(data.open_source(path).batches(4))
        return len(reads)

    monkeypatch.setattr(opened.File, "open", lambda self: Failing(io.FileIO(self.path)))
    for refused[0] in range(1, read_all() + 1):
        with pytest.raises(OSError, match=os.strerror(number)):
            read_all()


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
@pytest.mark.parametrize("rows", [12, 10, 11 + 2**62])  # in 64 bits the last one has as many bytes as 11
def test_a_header_that_lies(method, rows, tmp_path):
    np.save(tmp_path / "x.npy", X)
    whole = (tmp_path / "x.npy").read_bytes()
    longer = len(str(rows)) - 2
    lying = whole.replace(b"(11, 5), }" + b" " * longer, f"({rows}, 5), }}".encode())
    assert len(lying) == len(whole) and lying != whole
    (tmp_path / "x.npy").write_bytes(lying)
    with zipfile.ZipFile(tmp_path / "x.npz", "w", method) as archive:
        archive.write(tmp_path / "x.npy", "x.npy")
    for path in (tmp_path / "x.npy", tmp_path / "x.npz"):
        with pytest.raises(InputError, match="truncated" if rows > 11 else "followed by other bytes"):
            data.open_source(path)


def test_a_flipped_bit_in_what_is_deflated(tmp_path):
    np.savez_compressed(tmp_path / "x.npz", X)
    whole = bytearray((tmp_path / "x.npz").read_bytes())
    whole[len(whole) // 2] ^= 1
    (tmp_path / "x.npz").write_bytes(whole)
    with pytest.raises(InputError, match=r"x\.npz"):
        list(data.open_source(tmp_path / "x.npz").batches(4))


def test_a_checksum_alone(tmp_path):
    np.savez_compressed(tmp_path / "x.npz", X)
    with zipfile.ZipFile(tmp_path / "x.npz") as archive:
        checksum = archive.infolist()[0].CRC.to_bytes(4, "little")
    whole = (tmp_path / "x.npz").read_bytes()
    (tmp_path / "x.npz").write_bytes(whole.replace(checksum, bytes(4)))
    with pytest.raises(InputError, match="CRC"):
        list(data.open_source(tmp_path / "x.npz").batches(4))


def test_deflated_in_fortran_order(tmp_path):
    np.savez_compressed(tmp_path / "x.npz", np.asfortranarray(X))
    with pytest.raises(InputError, match="Fortran order"):
        data.open_source(tmp_path / "x.npz")


@pytest.mark.parametrize("order", ["C", "F"])
def test_a_pass_over_a_file_stays_small(order, tmp_path):
    """What was read goes back: at the end hardly a page of the file is resident in this process."""
    smaps = "/proc/self/smaps"
    try:
        open(smaps).close()
    except OSError:
        pytest.skip("needs /proc")
    np.save(tmp_path / "large.npy", np.ones((2**14, 256), np.float32, order=order))  # 16 MiB
    source = data.open_source(tmp_path / "large.npy")
    for _ in source.batches(1000):
        pass
    with open(smaps) as file:
        lines = file.read().splitlines()
    at = next((i for i, line in enumerate(lines) if "large.npy" in line), None)
    assert (at is None) == (order == "C")
    resident = next(int(line.split()[1]) for line in lines[at or 0 :] if line.startswith("Rss:"))
    assert at is None or resident < 1024, f"{resident} KiB"


def header(text, shape=None):
    """An .npy with any header, followed by 44 numbers."""
    if shape is not None:
        text = f"{{'descr': '<f4', 'fortran_order': False, 'shape': {shape}}}"
    return b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text.encode() + bytes(4 * 44)


@pytest.mark.parametrize(
    "content",
    [
        header("{'descr': '<f4', 'shape"),
        header("  {'descr'\n:\n 1"),
        header("("),
        header("(" * 9000),
        header("-" * 9000 + "1"),
        header("[" * 190 + "]" * 190),
        header("1" * 9000),
        header("{1: 2, 'shape': 3, 'descr': 4}"),
        header("{[]: 2}"),
        header("{'descr': ('<f4', -1), 'fortran_order': False, 'shape': (11, 4)}"),
        header("{'descr': [('a',)], 'fortran_order': False, 'shape': (11, 4)}"),
        header("{'descr': ('i1', (2,)), 'fortran_order': False, 'shape': (22, 4)}"),
        header("{'descr': None, 'fortran_order': 3, 'shape': (11, 4)}"),
        header("\0"),
        header("", (-11, -4)),
        header("", (True, 44)),
        header("", ("'11'", 4)),
        header("", (11.0, 4)),
    ],
)
def test_a_header_that_is_none(content, tmp_path):
    (tmp_path / "x.npy").write_bytes(content)
    with zipfile.ZipFile(tmp_path / "x.npz", "w") as archive:
        archive.write(tmp_path / "x.npy", "x.npy")
    for path in (tmp_path / "x.npy", tmp_path / "x.npz"):
        with pytest.raises(InputError, match=path.name):
            data.open_source(path)


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_the_one_matrix_of_several_arrays(save, tmp_path):
    save(tmp_path / "x.npz", ids=np.arange(11), vectors=X, scale=np.float32(2))
    for key in (None, "vectors"):
        np.testing.assert_array_equal(data.open_source(tmp_path / "x.npz", key=key).read(0, 11), X)
    with pytest.raises(InputError, match="did you mean 'vectors'"):
        data.open_source(tmp_path / "x.npz", key="vector")
    with pytest.raises(InputError, match="1-d"):
        data.open_source(tmp_path / "x.npz", key="ids")


@pytest.mark.parametrize("method", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_a_way_to_compress_that_knows_no_small_pieces(method, tmp_path):
    np.save(tmp_path / "x.npy", X)
    with zipfile.ZipFile(tmp_path / "x.npz", "w", method) as archive:
        archive.write(tmp_path / "x.npy", "x.npy")
    with pytest.raises(InputError, match="another way"):
        data.open_source(tmp_path / "x.npz")
