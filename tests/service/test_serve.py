"""The command: what it says, refuses, and how a signal ends it."""

import functools
import http.client
import json
import re
import signal
import threading

import pytest
from absl import flags as flag_module
from jobs.test_door import ended, process
from service.test_service import NAMES, make_folder

from compressae_jax.jobs.commands import serve
from compressae_jax.notation import InputError
from compressae_jax.service import running

TOKEN = "COMPRESSAE_TOKEN"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return make_folder(tmp_path_factory.mktemp("serve") / "index")


def started(folder, *flags):
    """A process that serves, and its port."""
    at = process("serve", f"--index={folder}", "--port=0", *flags)
    line = at.stdout.readline()
    found = re.fullmatch(r"200 rows \(dense_query\) at http://127\.0\.0\.1:(\d+)/\n", line)
    assert found, (line, at.communicate(timeout=30))
    return at, int(found[1])


def waiting(port):
    """Whether a query waits for a scan."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    connection.request("GET", "/metrics")
    return float(re.search(r"^compressae_queries_waiting (\S+)$", connection.getresponse().read().decode(), re.M)[1])


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_it_once_all_is_answered(folder, number):
    at, port = started(folder, "--wait=1000")  # so that the question is under way when the signal comes
    told = []

    def ask():
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
        body = json.dumps({"ids": NAMES[:1], "top": 3})
        connection.request("POST", "/search", body, {"Content-Type": "application/json"})
        told.append(json.loads(connection.getresponse().read()))

    asking = threading.Thread(target=ask)
    asking.start()
    while asking.is_alive() and not waiting(port):
        asking.join(0.05)
    assert asking.is_alive()
    at.send_signal(number)
    code, out, errors = ended(at)
    asking.join(30)
    assert len(told[0]["ids"][0]) == 3
    assert code == 128 + number and not out
    assert errors.count("\n") == 1 and f"ended by {number.name}" in errors


def test_bad_flags_are_one_line(folder):
    code, out, errors = ended(process("serve", f"--index={folder}", "--host=0.0.0.0"))
    assert (code, out, errors.count("\n")) == (2, "", 1) and f"set {TOKEN}" in errors


@pytest.mark.parametrize(
    ("flags", "told"),
    [
        ({"port": 70_000}, "port must be"),
        ({"wait": -1.0}, "wait must be"),
        ({"poll": 0.0}, "poll must be"),
        ({"top": 0}, "top must be"),
        ({"body": 0}, "body must be"),
        ({"host": "::"}, f"set {TOKEN}"),
        ({"payload": "none.parquet"}, "none.parquet"),
        ({"index": "none"}, "nothing is there"),
        ({"space": "dence_query"}, "did you mean 'dense_query'"),
        ({"dense": "shop"}, "dense vectors have width"),
        ({"probes": 3}, "with_cells"),
    ],
)
def test_what_cannot_be_served_is_refused(flags, told, folder, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv(TOKEN, raising=False)
    one = flag_module.FlagValues()
    with monkeypatch.context() as patched:
        patched.setattr(flag_module, "FLAGS", one)
        for kind in ("string", "integer", "float"):
            define = getattr(flag_module, f"DEFINE_{kind}")
            patched.setattr(flag_module, f"DEFINE_{kind}", functools.partial(define, flag_values=one))
        serve.define()
    one(["serve", f"--index={folder}", "--port=0", *(f"--{name}={value}" for name, value in flags.items())])
    with pytest.raises(InputError, match=re.escape(told)):
        serve.main(one)


def test_a_port_that_somebody_has_is_told():
    listening = running.bound("127.0.0.1", 0)
    with pytest.raises(InputError, match=r"cannot listen at 127\.0\.0\.1:"):
        running.bound("127.0.0.1", listening.getsockname()[1])
    listening.close()


@pytest.mark.parametrize(
    ("host", "is_one"), [("127.0.0.1", True), ("::1", True), ("localhost", True), ("0.0.0.0", False), ("::", False)]
)
def test_loopback(host, is_one):
    assert running.is_loopback(host) == is_one
