"""A pytest plugin that writes every test's outcome into a file as it comes: a run that is cut off has told what it had.

python -m pytest -p benchmarks.told --told=told.jsonl
"""

import json
from pathlib import Path
from typing import Any


def pytest_addoption(parser: Any) -> None:
    """The file, of lines [test, outcome, what was said where it failed]."""
    parser.addoption("--told", required=True)


def pytest_configure(config: Any) -> None:
    """Listen, but not in a worker of xdist, which tells its master."""
    if not hasattr(config, "workerinput"):
        config.pluginmanager.register(Told(Path(config.getoption("told"))))


class Told:
    """Who listens."""

    def __init__(self, path: Path) -> None:
        self.path = path
        path.touch()

    def pytest_runtest_logreport(self, report: Any) -> None:
        """A test has ended, or could not begin."""
        if report.when == "call" or not report.passed:
            self._write(report)

    def pytest_collectreport(self, report: Any) -> None:
        """A file has been read, or cannot be."""
        if report.failed:
            self._write(report)

    def _write(self, report: Any) -> None:
        said = report.longreprtext[-1500:] if report.failed else ""
        with self.path.open("a", encoding="utf-8") as out:
            out.write(json.dumps([report.nodeid, report.outcome, said]) + "\n")
