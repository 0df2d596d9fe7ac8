"""Bits that flipped and files that were never ours: caught, or harmless; no other error, no hang, no memory."""

import io
import json
import mmap
import re
import resource
import signal
import struct
import tempfile
import time
import zipfile
import zlib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from faults import forked, memory
from faults.counts import Count
from faults.injected import IN_MEMORY, same
from faults.readers import Reader

from compressae_jax.base import sealed
from compressae_jax.notation import InputError

SECONDS = 10  # for one input, on a machine that does other things besides
ALLOWED = 64 * 2**20  # bytes of memory besides twice the file
GUARD = 2**32  # bytes of addresses besides those in use: what asks for more must not endanger the machine

Change = Callable[[np.random.Generator, bytes], bytes]


def flipped(readers: Sequence[Reader], flips: int, seed: int = 0) -> Iterator[Count]:
    """One bit at a time of the files of hashed things: seen by the reader, or without a trace in what it gives."""
    for reader in readers:
        yield _tried("flips", reader, flips, seed, lambda rng, content: _flip(rng, content, 1), _same_or_refused)


def fuzzed(readers: Sequence[Reader], inputs: int, seed: int = 0) -> Iterator[Count]:
    """Files changed in many ways, and sealed anew where they have a seal: read, or refused in our own words."""
    for reader in readers:
        yield _tried("fuzz", reader, inputs, seed, _mutated, _any_or_refused)


def _tried(part: str, reader: Reader, inputs: int, seed: int, change: Change, judge: Callable) -> Count:
    began = time.monotonic()
    count = Count(part, reader.name)
    refused = 0
    with tempfile.TemporaryDirectory(prefix="faults-", dir=IN_MEMORY) as scratch:
        path = forked.run(lambda: reader.make(Path(scratch))).value  # in a child, since it may start JAX
        paths = sorted(each for each in (path.rglob("*") if path.is_dir() else [path]) if each.is_file())
        contents = {each: each.read_bytes() for each in paths}
        at = mmap.mmap(-1, 8)  # which input a child is at, for when it does not come back
        next_one = 0

        def work() -> tuple[list[str], int]:
            failures, refused = [], 0
            whole = reader.read(path)
            _guard()
            for number in range(next_one, inputs):
                at[:] = struct.pack("q", number)
                rng = np.random.default_rng([seed, zlib.crc32(reader.name.encode()), number])
                damaged = paths[rng.integers(len(paths))]
                _overwrite(damaged, change(rng, contents[damaged]))
                signal.alarm(SECONDS)
                said = _peaked(reader, path, damaged, judge, whole)
                signal.alarm(0)
                _overwrite(damaged, contents[damaged])
                refused += said == ""
                failures += [f"{reader.name}, input {number} ({damaged.name}): {said}"] if said else []
            return failures, refused

        while next_one < inputs:
            done = forked.run(work, seconds=inputs * SECONDS)
            for each, content in contents.items():
                _overwrite(each, content)
            number = struct.unpack("q", at[:])[0]
            if done.whole:
                count.failures += done.value[0]
                refused += done.value[1]
                break
            count.failures.append(f"{reader.name}, input {number}: {done}")
            next_one = number + 1
    count.tried, count.seconds, count.more = inputs, time.monotonic() - began, {"refused": refused}
    return count


def _guard() -> None:
    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + GUARD, resource.RLIM_INFINITY))


def _peaked(reader: Reader, path: Path, damaged: Path, judge: Callable, whole: Any) -> str | None:
    """What went wrong, '' where it was refused as it should be, None where it was read."""
    before = memory.reset_peak()
    said = judge(lambda: reader.read(path), whole)
    grown = memory.now("VmHWM") - before
    allowed = 2 * damaged.stat().st_size + ALLOWED
    if not said and grown > allowed:
        return f"took {grown >> 20} MiB for {damaged.stat().st_size:,} bytes"
    return said


def _any_or_refused(read: Callable[[], Any], whole: Any) -> str | None:
    try:
        read()
    except InputError:
        return ""
    except Exception as error:  # all others are what is looked for
        return f"{type(error).__name__}: {str(error)[:300]}"
    return None


def _same_or_refused(read: Callable[[], Any], whole: Any) -> str | None:
    try:
        there = read()
    except InputError:
        return ""
    except Exception as error:
        return f"{type(error).__name__}: {str(error)[:300]}"
    return None if same(there, whole) else "another result, without a word"


def _overwrite(path: Path, content: bytes) -> None:
    """A new file each time: an older one may still be mapped."""
    path.unlink(missing_ok=True)
    path.write_bytes(content)


def _flip(rng: np.random.Generator, content: bytes, bits: int) -> bytes:
    if not content:
        return b"\0"
    changed = bytearray(content)
    for bit in rng.integers(0, 8 * len(content), bits):
        changed[bit // 8] ^= 1 << (bit % 8)
    return bytes(changed)


def _mutated(rng: np.random.Generator, content: bytes) -> bytes:
    """One of the ways below; sealed JSON is sealed anew as often as not, so that the fields behind the seal are met."""
    ways = [_flips, _truncated, _spliced, _inserted, _number, _integers, _nested]
    if content.startswith(b"\x93NUMPY"):
        ways += [_header] * 3
    if content.startswith(b"PK"):
        ways += [_zipped] * 4
    if content.startswith(b"{"):
        ways += [_field] * 6
    return ways[rng.integers(len(ways))](rng, content)


def _flips(rng: np.random.Generator, content: bytes) -> bytes:
    return _flip(rng, content, int(rng.integers(1, 9)))


def _truncated(rng: np.random.Generator, content: bytes) -> bytes:
    return content[: rng.integers(0, len(content) + 1)]


def _spliced(rng: np.random.Generator, content: bytes) -> bytes:
    one, other, third = sorted(rng.integers(0, len(content) + 1, 3))
    return content[:one] + content[other:third] + content[one:]


def _inserted(rng: np.random.Generator, content: bytes) -> bytes:
    at = int(rng.integers(0, len(content) + 1))
    return content[:at] + rng.bytes(int(rng.integers(1, 64))) + content[at:]


NUMBERS = [
    b"0",
    b"-1",
    b"1.5",
    b"true",
    b"null",
    b"1" * 25,
    b"9223372036854775807",
    b"4294967296",
    b"1e999",
    b"1" * 5000,
]


def _number(rng: np.random.Generator, content: bytes) -> bytes:
    """One of the numbers written in digits, near the start, becomes an extreme one."""
    found = list(re.finditer(rb"\d+", content[:4096]))
    if not found:
        return _integers(rng, content)
    one = found[rng.integers(len(found))]
    return content[: one.start()] + NUMBERS[rng.integers(len(NUMBERS))] + content[one.end() :]


def _integers(rng: np.random.Generator, content: bytes) -> bytes:
    """Four or eight bytes become an extreme integer, near the start or the end, where headers lie."""
    extreme = [0, 1, -1, 2**31 - 1, -(2**31), 2**16, 2**24 + 7, 2**62][rng.integers(8)]
    word = struct.pack("<q", extreme)[: 4 << int(rng.integers(2))]
    reach = max(1, min(len(content), 512))
    at = int(rng.integers(0, reach)) + (max(0, len(content) - reach) if rng.integers(2) else 0)
    return content[:at] + word + content[at + len(word) :]


def _nested(rng: np.random.Generator, content: bytes) -> bytes:
    at, depth = int(rng.integers(0, min(len(content), 256) + 1)), int(rng.choice([100, 5000, 200_000]))
    return content[:at] + rng.choice([b"[", b'{"a":', b"(", b"-"]) * depth + content[at:]


TOKENS = [
    *(
        "True",
        "None",
        "-1",
        "0",
        "1",
        "2.5",
        "'<f4'",
        "'|O'",
        "'<U9'",
        "()",
        "(3,)",
        "(-8, -4)",
        "(True, 8)",
        "{}",
        "lambda: 0",
    ),
    *(
        "(30, 8)",
        "(8, 30)",
        "(2**62, 8)",
        f"({2**62}, 8)",
        f"(1, {2**62})",
        f"({10**400}, 8)",
        "'<f2'",
        "'>f4'",
        "'<f8'",
        "'<i4'",
    ),
    *(
        "[('a', '<f4')]",
        "'<M8[ns]'",
        "'V3'",
        "'\\x00'",
        "(" * 300,
        "1 if",
        "\\\n  x",
        "'''",
        "¹",
        "(1.0, 8)",
        "'<f4', 'a': 1",
    ),
]


def _header(rng: np.random.Generator, content: bytes) -> bytes:
    """An .npy header of other tokens, of the right length and version, before the same data."""
    tokens = {"descr": "'<f4'", "fortran_order": "False", "shape": "(30, 8)"}
    for name in rng.choice(list(tokens), int(rng.integers(1, 3)), replace=False):
        tokens[name] = TOKENS[rng.integers(len(TOKENS))]
    text = ("{" + ", ".join(f"'{name}': {token}" for name, token in tokens.items()) + ", }").encode() + b"\n"
    size = int.from_bytes(content[8:10], "little")
    return content[:6] + b"\x01\x00" + len(text).to_bytes(2, "little") + text + content[10 + size :]


def _zipped(rng: np.random.Generator, content: bytes) -> bytes:
    """An archive, whole, of a member that is not."""
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        name = archive.namelist()[rng.integers(len(archive.namelist()))]
        inside = _mutated(rng, archive.read(name))
    packed = io.BytesIO()
    kind = [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_LZMA, zipfile.ZIP_BZIP2][rng.integers(4)]
    with zipfile.ZipFile(packed, "w", kind) as archive:
        archive.writestr(name if rng.integers(4) else "../x.npy", inside)
    return packed.getvalue() if rng.integers(2) else _flips(rng, packed.getvalue())


VALUES: list[Any] = [
    None,
    True,
    -1,
    0,
    1.5,
    "",
    "x",
    "²",
    [],
    {},
    [[]],
    2**63,
    10**400,
    "9" * 5000,
    1e308,
    [None],
    {"a": {}},
]


def _field(rng: np.random.Generator, content: bytes) -> bytes:
    """A field of sealed JSON, however deep, gone or of another value, under a seal that is right."""
    try:
        fields = json.loads(content)
        fields.pop(sealed.SEAL)
    except (ValueError, KeyError, AttributeError):
        return _flips(rng, content)
    inside = fields
    while True:
        name = list(inside)[rng.integers(len(inside))] if isinstance(inside, dict) else int(rng.integers(len(inside)))
        deeper = inside[name]
        if not (isinstance(deeper, dict | list) and deeper and rng.integers(4)):
            break
        inside = deeper
    if rng.integers(5) == 0:
        del inside[name]
    else:
        inside[name] = VALUES[rng.integers(len(VALUES))]
    return sealed.encoded(fields)
