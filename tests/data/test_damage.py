"""Whatever bytes a file of vectors holds: rows, or an InputError, or the system's word, and soon."""

import contextlib
import json

import numpy as np
import pytest
from data import files
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from compressae_jax import data
from compressae_jax.notation import InputError

X = np.random.default_rng(0).standard_normal((11, 5)).astype(np.float32)
EXAMPLES = 60  # of each kind; the full form of the counts of faults takes more

Edit = tuple[str, int, bytes]
EDITS = st.lists(
    st.tuples(
        st.sampled_from(["flip", "set", "insert", "cut", "end", "repeat"]),
        st.integers(0, 2**16),
        st.one_of(
            st.binary(min_size=1, max_size=8),
            st.sampled_from([b"\xff" * 4, bytes(4), b"\x7f" + b"\xff" * 7, b"-1", b"[[[[[[", b"\\u0000", b"1e999"]),
        ),
    ),
    min_size=1,
    max_size=6,
)


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A whole file of each kind, as bytes, and a folder to write in."""
    folder = tmp_path_factory.mktemp("whole")
    written = {kind: files.write(kind, folder, X, str(i)) for i, kind in enumerate(files.WRITERS)}
    return {kind: (path.read_bytes(), path.suffix) for kind, path in written.items()}, folder


@pytest.mark.parametrize("kind", files.WRITERS)
@settings(max_examples=EXAMPLES, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(edits=EDITS)
def test_damaged_bytes(kind, whole, edits):
    contents, folder = whole
    content, ending = contents[kind]
    path = folder / f"damaged{ending}"
    path.write_bytes(damaged(content, edits))
    read_all(path)


def damaged(content: bytes, edits: list[Edit]) -> bytes:
    """The bytes after some edits; most of them near the ends, where the kinds keep what they say about themselves."""
    for how, place, by in edits:
        at = place % max(1, len(content)) if place % 2 else (place // 2) % 200
        at = max(0, len(content) - at) if place % 3 == 0 else min(at, len(content))
        if how == "flip" and at < len(content):
            content = content[:at] + bytes([content[at] ^ by[0]]) + content[at + 1 :]
        elif how == "set":
            content = content[:at] + by + content[at + len(by) :]
        elif how == "insert":
            content = content[:at] + by + content[at:]
        elif how == "cut":
            content = content[:at] + content[at + len(by) :]
        elif how == "end":
            content = content[:at]
        elif how == "repeat":
            content = content[:at] + content[max(0, at - 20) : at] + content[at:]
    return content


def read_all(path):
    """Read what can be read; only what a door may raise is passed over."""
    with contextlib.suppress(InputError):
        source = data.open_source(path)
        for _, block in source.batches(4):
            assert block.shape[1] == source.width
        source.identity()


HEADERS = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.floats() | st.sampled_from(["F32", "F16", "²", "x"]),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from(["dtype", "shape", "a"]), inner),
)
TENSORS = st.fixed_dictionaries(
    {
        "dtype": st.just("F32") | HEADERS,
        "shape": st.just([11, 4]) | HEADERS,
        "data_offsets": st.just([0, 176]) | HEADERS,
    }
)


@settings(max_examples=EXAMPLES, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(header=st.dictionaries(st.sampled_from(["v", "w", "__metadata__"]), TENSORS | HEADERS) | HEADERS)
def test_any_json_before_tensors(header, whole):
    path = whole[1] / "any.safetensors"
    path.write_bytes(files.safetensors_bytes(header, bytes(176)))
    read_all(path)


@pytest.mark.parametrize("depth", [900, 10**5])
def test_deep_json(depth, tmp_path):
    for text in ("[" * depth + "]" * depth, '{"v":' * depth + "1" + "}" * depth):
        content = len(text).to_bytes(8, "little") + text.encode() + bytes(176)
        (tmp_path / "x.safetensors").write_bytes(content)
        with pytest.raises(InputError, match="is damaged"):
            data.open_source(tmp_path / "x.safetensors")


def test_a_tensor_twice(tmp_path):
    tensor = json.dumps({"dtype": "F32", "shape": [11, 4], "data_offsets": [0, 176]})
    text = f'{{"v": {tensor}, "v": {tensor}}}'
    (tmp_path / "x.safetensors").write_bytes(len(text).to_bytes(8, "little") + text.encode() + bytes(176))
    with pytest.raises(InputError, match="is damaged"):
        data.open_source(tmp_path / "x.safetensors")
