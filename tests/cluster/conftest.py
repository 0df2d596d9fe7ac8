"""Collected only by `launch/test_cluster.sh`, which sets COMPRESSAE_CLUSTER: these start clusters, and take minutes."""

import os
import sys

import pytest

collect_ignore_glob = [] if os.environ.get("COMPRESSAE_CLUSTER") else ["test_*"]


@pytest.fixture(scope="session")
def home(tmp_path_factory):
    """What every test reads: see `made.Made`."""
    from cluster import made

    return made.Made(tmp_path_factory.mktemp("home"))


@pytest.fixture(scope="session")
def environment():
    """Variables of the commands that tests start: this Python's programs first, and none of the suite's devices."""
    path = f"{os.path.dirname(sys.executable)}{os.pathsep}{os.environ['PATH']}"
    return {**os.environ, "PATH": path, "XLA_FLAGS": "", "COMPRESSAE_PROGRESS": "0", "PYSPARK_PYTHON": sys.executable}
