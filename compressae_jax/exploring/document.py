"""The page as one file: markup, style and script of `page/`, and the data in it; what the data are is in `door`."""

import base64
import gzip
import hashlib
import html
import json
import re
from importlib import resources
from typing import Any

import numpy as np

SCRIPTS = ("data.js", "similarity.js", "map.js", "page.js")  # one after the other, as one script


def packed(told: dict[str, Any], arrays: dict[str, np.ndarray]) -> bytes:
    """The data of a page: gzip of JSON, its length before it (4 bytes, little-endian), then the arrays' bytes.

    The JSON is `told` with the arrays' names, dtypes and shapes as `arrays`. Integers of several bytes are laid out
    byte by byte, all lowest ones first, which gzip makes less of. The same bytes for the same arguments.
    """
    laid = {name: np.ascontiguousarray(array, array.dtype.newbyteorder("<")) for name, array in arrays.items()}
    about = [{"name": name, "dtype": one.dtype.name, "shape": one.shape} for name, one in laid.items()]
    head = json.dumps({**told, "arrays": about}, ensure_ascii=False, separators=(",", ":")).encode()
    content = [len(head).to_bytes(4, "little"), head, *map(_planes, laid.values())]
    return gzip.compress(b"".join(content), compresslevel=9, mtime=0)


def of(title: str, data: bytes) -> bytes:
    """The whole page. It asks for nothing from anywhere, and a browser is told to let it run its own script alone."""
    style, script = _read("page.css"), "\n".join(map(_read, SCRIPTS))
    hashes = {"script-src": script, "style-src": style}
    policy = "; ".join(f"{name} '{_hash(text)}'" for name, text in hashes.items())
    parts = {
        "policy": f"default-src 'none'; img-src data:; {policy}",
        "title": html.escape(title),
        "style": style,
        "data": base64.b64encode(data).decode(),
        "script": script,
    }
    whole = re.sub(r"\{\{(\w+)\}\}", lambda name: parts[name[1]], _read("index.html"))
    return whole.encode("utf-8")


def _planes(array: np.ndarray) -> bytes:
    if array.dtype.kind not in "iu" or array.dtype.itemsize == 1:
        return array.tobytes()
    return np.ascontiguousarray(array.reshape(-1, 1).view(np.uint8).T).tobytes()


def _read(name: str) -> str:
    return resources.files("compressae_jax.exploring").joinpath("page", name).read_text(encoding="utf-8")


def _hash(text: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
