"""Files behind a url, by file systems of fsspec that need no network: in memory, local, a server of this process."""

import contextlib
import functools
import gc
import http.server
import os
import threading
from pathlib import Path

import fsspec
import numpy as np
import pytest
from compression.test_to_folder import make_weights
from data import files
from numpy.testing import assert_array_equal

from compressae_jax import data
from compressae_jax.data import remote
from compressae_jax.notation import InputError

X = np.random.default_rng(0).standard_normal((11, 5)).astype(np.float32)
COPIED = {kind for kind in files.WRITERS if kind.startswith(("npz", "arrow", "feather", "hdf5"))} | {
    "npy, Fortran order"
}


@pytest.fixture
def memory():
    """The file system in memory, empty."""
    system = fsspec.filesystem("memory")
    system.store.clear()
    system.pseudo_dirs[:] = [""]
    yield system
    system.store.clear()


def put(system, path, name):
    """Copy a file to a name of the file system; its url."""
    system.pipe_file(name, path.read_bytes())
    return f"memory:/{name}"


@pytest.fixture
def copies(tmp_path, monkeypatch):
    """The folder of what is copied here."""
    (tmp_path / "copies").mkdir()
    monkeypatch.setattr(remote.tempfile, "tempdir", str(tmp_path / "copies"))
    return tmp_path / "copies"


@pytest.mark.parametrize("kind", files.WRITERS)
def test_every_kind_of_file(kind, memory, copies, tmp_path):
    path = files.write(kind, tmp_path, X)
    url = put(memory, path, f"/in/{path.name}")
    source = data.open_source(url)
    assert source.name == url and (len(source), source.width) == X.shape
    assert_array_equal(source.read(2, 9), X[2:9])
    assert_array_equal(np.concatenate([block for _, block in source.batches(4, start=1)]), X[1:])
    assert len(list(copies.iterdir())) == (kind in COPIED)
    if source.random_access:
        assert kind in COPIED
        assert_array_equal(source.take(np.array([10, 0])), X[[10, 0]])
    else:
        staged = data.stage(source, tmp_path / "staged.npy")
        assert_array_equal(staged.take(np.array([10, 0])), X[[10, 0]])
        del staged
    del source
    assert not list(copies.iterdir())


@pytest.mark.parametrize("kind", files.WRITERS)
def test_other_contents_are_another_source(kind, memory, copies, tmp_path):
    path = files.write(kind, tmp_path, X)
    url = put(memory, path, f"/{path.name}")
    first = data.open_source(url)
    assert first.identity()["sample"] == data.open_source(url).identity()["sample"]
    put(memory, files.write(kind, tmp_path, -X), f"/{path.name}")
    assert data.open_source(url).identity()["sample"] != first.identity()["sample"]
    if kind not in COPIED:
        remote.LOOKED, before = -1.0, remote.LOOKED
        try:
            with pytest.raises(InputError, match=r"memory://.* changed while it was in use"):
                first.read(0, 11)
        finally:
            remote.LOOKED = before


@pytest.mark.parametrize("kind", files.WRITERS)
def test_a_truncated_file(kind, memory, copies, tmp_path):
    path = files.write(kind, tmp_path, X)
    path.write_bytes(path.read_bytes()[:-9])
    url = put(memory, path, f"/{path.name}")
    with pytest.raises(InputError, match="memory://"):
        list(data.open_source(url).batches(4))
    assert not list(copies.iterdir())


def test_folders_and_globs(memory, tmp_path):
    for number in (10, 9, 1):
        path = files.write("npy", tmp_path, X[number : number + 1], f"part-{number}")
        put(memory, path, f"/all/{path.name}")
    memory.pipe_file("/all/README.md", b"about")
    memory.pipe_file("/all/.part-0.npy", b"hidden")
    memory.pipe_file("/all/_temporary/part-0.npy", b"of Spark")
    for url in ("memory://all", "memory://all/", "memory://all/*.npy"):
        assert_array_equal(data.open_source(url).read(0, 3), X[[1, 9, 10]])
    put(memory, path, "/all/more/part-1.npy")
    with pytest.raises(InputError, match=r"has vectors in its folder more: .*'?memory://all/\*\*/\*\.npy"):
        data.open_source("memory://all")
    for url, message in (
        ("memory://none", "there is no file memory://none"),
        ("memory://all/*.parquet", "no file matches"),
        ("memory://all/README.md", "must end in"),
        ("memory://all/x.npy", "there is no file"),
    ):
        with pytest.raises(InputError, match=message):
            data.open_source(url)
    memory.pipe_file("/some/README.md", b"about")
    with pytest.raises(InputError, match=r"holds no \.npy"):
        data.open_source("memory://some")


def test_ids_and_scales_beside(memory, tmp_path):
    q = np.arange(55, dtype=np.int8).reshape(11, 5)
    np.save(tmp_path / "x.npy", q)
    np.save(tmp_path / "x.scale.npy", np.float32(0.5))
    (tmp_path / "ids.txt").write_text("\n".join(f"é{i}" for i in range(11)), encoding="utf-8")
    for name in ("x.npy", "x.scale.npy", "ids.txt"):
        put(memory, tmp_path / name, f"/in/{name}")
    source = data.open_source("memory://in/x.npy", ids="memory://in/ids.txt")
    assert_array_equal(source.read(0, 11), 0.5 * q)
    assert source.ids[10] == "é10"
    assert_array_equal(data.open_source("memory://in").read(0, 11), 0.5 * q)
    put(memory, tmp_path / "x.npy", "/other/y.npy")
    assert_array_equal(data.open_source("memory://other/y.npy", scale="memory://in/x.scale.npy").read(0, 11), 0.5 * q)
    with pytest.raises(InputError, match="there is no file of ids memory://in/none"):
        data.open_source("memory://in/x.npy", ids="memory://in/none.txt")


def test_a_saved_dataset(memory, copies, tmp_path):
    files.write("arrow, stream", tmp_path, X, "data-0")
    files.write("arrow, stream", tmp_path, X, "cache-1")
    for name in ("data-0", "cache-1"):
        put(memory, tmp_path / f"{name}.arrow", f"/saved/{name}.arrow")
    memory.pipe_file("/saved/state.json", b'{"_data_files": [{"filename": "data-0.arrow"}]}')
    source = data.open_source("memory://saved", ids_column="id")
    assert_array_equal(source.read(0, len(source)), X)
    assert source.ids[10] == "row-10"


def test_little_is_read_of_much(memory, tmp_path):
    """Of 32 MB, opening and reading a few rows asks for a few of them."""
    x = np.zeros((2**16, 128), np.float32)
    x[40_000] = 1
    url = put(memory, files.write("npy", tmp_path, x), "/x.npy")
    asked = []
    system = type(memory)
    plain = system.cat_file

    def counted(self, path, start=None, end=None, **more):
        asked.append(end - start)
        return plain(self, path, start=start, end=end, **more)

    system.cat_file = counted
    try:
        source = data.open_source(url)
        assert_array_equal(source.read(39_999, 40_001), x[39_999:40_001])
        source.identity()
    finally:
        system.cat_file = plain
    assert sum(asked) < 2 * remote.BUFFER


def test_files_of_this_machine(tmp_path):
    path = files.write("npy", tmp_path, X, "with space")
    source = data.open_source(path.as_uri())
    assert source.random_access and source.name == str(path)  # a path like any other
    other = data.open_source(f"local://{path}")  # the same by fsspec
    assert not other.random_access
    assert_array_equal(other.read(0, 11), X)
    before = other.identity()["sample"]
    files.write("npy", tmp_path, -X, "with space")
    os.utime(path, ns=(0, 10**18))
    assert data.open_source(f"local://{path}").identity()["sample"] != before


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("nosuch://bucket/x.npy", "no package of fsspec serves nosuch://"),
        ("memory://", "holds no .npy|there is no file"),
    ],
)
def test_urls_that_lead_nowhere(url, message, memory):
    with pytest.raises(InputError, match=message):
        data.open_source(url)


def test_a_missing_package_is_named(monkeypatch):
    def missing(url, **options):
        raise ImportError("Install s3fs to access S3")

    monkeypatch.setattr(fsspec.core, "url_to_fs", missing)
    for protocol, package in (("s3", "s3fs"), ("gs", "gcsfs"), ("https", "aiohttp"), ("az", "adlfs")):
        with pytest.raises(InputError, match=f"{protocol}:// needs the package {package}: pip install {package}"):
            data.open_source(f"{protocol}://bucket/x.npy")


def test_an_error_of_the_file_system_is_the_systems(memory, tmp_path, monkeypatch):
    url = put(memory, files.write("npy", tmp_path, X), "/x.npy")
    source = data.open_source(url)

    class OddError(Exception):
        pass

    def broken(*given, **more):
        raise OddError("the line went dead")

    monkeypatch.setattr(type(memory), "cat_file", broken)
    with pytest.raises(OSError, match=r"memory://x\.npy cannot be read: the line went dead"):
        source.read(0, 11)


def test_jobs_from_elsewhere(memory, copies, tmp_path):
    """Rows for training at hand by number, a codes folder, an index that is added to and searched, all by url."""
    import compressae_jax as cs
    from compressae_jax import compression
    from compressae_jax.training import corpus

    weights = make_weights()
    x = np.random.default_rng(0).standard_normal((50, weights.d)).astype(np.float32)
    url = put(memory, files.write("npy", tmp_path, x), "/x.npy")
    table = put(memory, files.write("parquet, lists", tmp_path, x), "/x.parquet")
    source = data.open_source(url)
    near, rows = corpus.prepared(
        source, source.identity(), data.Rest(50, np.arange(2)), "stop", tmp_path / "run", False
    )
    assert_array_equal(near.take(rows[:]), x[2:])
    folder = tmp_path / "codes"
    compression.to_folder(weights, data.open_source(table, ids_column="id"), folder, progress=False)
    model = cs.Model(weights)
    index = model.index(url, progress=False)
    index.add(table)
    scores, found = index.search(url, top=1)
    local_scores, local_found = model.index(x, progress=False).search(x, top=1)
    assert_array_equal(found, local_found)
    assert_array_equal(scores, local_scores)
    assert not list(copies.iterdir())


class Handler(http.server.SimpleHTTPRequestHandler):
    """Files of a folder; parts of them where `ranged`."""

    ranged = True

    def log_message(self, *given):
        pass

    def do_GET(self):
        if not self.ranged or "Range" not in self.headers or not Path(self.translate_path(self.path)).is_file():
            return super().do_GET()
        content = Path(self.translate_path(self.path)).read_bytes()
        start, _, end = self.headers["Range"].removeprefix("bytes=").partition("-")
        some = content[int(start) : int(end or len(content)) + 1]
        self.send_response(206)
        self.send_header("Content-Length", str(len(some)))
        self.send_header("Content-Range", f"bytes {start}-{int(start) + len(some) - 1}/{len(content)}")
        self.end_headers()
        self.wfile.write(some)


@contextlib.contextmanager
def served(folder, ranged):
    handler = functools.partial(type("Handler", (Handler,), {"ranged": ranged}), directory=str(folder))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_address[1]}"
        finally:
            server.shutdown()
            thread.join()


@pytest.mark.parametrize("ranged", [True, False])
def test_a_web_server(ranged, copies, tmp_path):
    pytest.importorskip("aiohttp")
    (tmp_path / "www").mkdir()
    for kind in ("npy", "parquet, lists", "npz"):
        files.write(kind, tmp_path / "www", X)
    with served(tmp_path / "www", ranged) as host:
        for name in ("x.npy", "x.parquet?signature=a*b", "x.npz"):
            source = data.open_source(f"{host}/{name}")
            assert_array_equal(source.read(1, 11), X[1:])
            gc.collect()  # errors that were answered may hold what they met
            assert len(list(copies.iterdir())) == (not ranged or name == "x.npz")
            assert source.identity()["sample"]
            del source
        for url in (f"{host}/none.npy", f"{host}/"):
            with pytest.raises(InputError, match=r"there is no file|must end in"):
                data.open_source(url)
        before = data.open_source(f"{host}/x.npy").identity()["sample"]
        files.write("npy", tmp_path / "www", -X)
        os.utime(tmp_path / "www" / "x.npy", (10**9, 10**9))
        assert data.open_source(f"{host}/x.npy").identity()["sample"] != before
    with pytest.raises(OSError, match="cannot be read"):
        data.open_source(f"{host}/x.npy")


def test_no_copy_is_left_of_a_full_disk(memory, copies, tmp_path, monkeypatch):
    url = put(memory, files.write("npz", tmp_path, X), "/x.npz")

    def full(self, source):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(remote.RemoteFile, "_next", full)
    with pytest.raises(OSError, match="No space left"):
        data.open_source(url)
    assert not list(copies.iterdir())
