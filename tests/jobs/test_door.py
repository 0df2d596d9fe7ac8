"""The door of the commands: exit codes, one line for each expected end, help; signals meet real processes."""

import io
import os
import pathlib
import signal
import subprocess
import sys
import time

import pytest

from compressae_jax.jobs import door
from compressae_jax.notation import FolderError, InputError, Stopped

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent


@pytest.fixture
def heard(monkeypatch):
    """A door that hears no signal of the test's own process."""
    monkeypatch.setattr(signal, "signal", lambda *_: None)
    monkeypatch.setattr(sys, "unraisablehook", sys.unraisablehook)
    return door.Heard()


def raises(error):
    def work():
        raise error

    return work


@pytest.mark.parametrize(
    ("work", "code", "line"),
    [
        (lambda: None, 0, ""),
        (raises(InputError("k must be\n1")), 2, "k must be 1"),
        (raises(FolderError("m is damaged")), 2, "m is damaged"),
        (raises(Stopped("stopped at step 3")), 143, "stopped at step 3"),
        (raises(Stopped("stopped at step 3", signal.SIGINT)), 130, "stopped at step 3"),
        (
            lambda: pathlib.Path("/no such folder/x").touch(),
            1,
            "/no such folder/x: No such file or directory; what was complete",
        ),
        (raises(OSError(28, "No space left on device")), 1, "No space left on device; what was complete is kept"),
        (lambda: os.rename("/a b", "/c d"), 1, "/a b: No such file or directory (/c d); what"),
        (raises(MemoryError("Unable to allocate 9 TiB")), 1, "out of memory (Unable to allocate 9 TiB)"),
        (raises(RuntimeError("RESOURCE_EXHAUSTED: 9 bytes")), 1, "out of memory (RESOURCE_EXHAUSTED"),
    ],
)
def test_each_end_has_its_code_and_one_line(heard, capsys, work, code, line):
    assert door._answered(work, heard) == code
    said = capsys.readouterr().err
    assert line in said and said.count("\n") == bool(line)


def test_a_fault_of_ours_is_no_expected_end(heard):
    with pytest.raises(ZeroDivisionError):
        door._answered(lambda: 1 / 0, heard)


def test_a_signal_explains_whatever_its_unwinding_meets(heard, capsys):
    def work():
        heard.working = True
        try:
            heard._hear(signal.SIGTERM, None)
        except KeyboardInterrupt:
            raise OSError("of the unwinding") from None

    assert door._answered(work, heard) == 143
    assert capsys.readouterr().err.endswith("ended by SIGTERM; " + door.KEPT + "\n")


def test_a_signal_that_a_destructor_swallows_comes_again(monkeypatch, capsys):
    class Swallows:
        def __del__(self):
            os.kill(os.getpid(), signal.SIGTERM)

    def work():
        heard.working = True
        del swallowing[:]
        time.sleep(10)

    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGALRM)}
    monkeypatch.setattr(sys, "unraisablehook", None)  # put back at the end
    swallowing, heard = [Swallows()], door.Heard()
    try:
        assert door._answered(work, heard) == 143
        assert "Traceback" not in capsys.readouterr().err
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@pytest.mark.parametrize("encoding", ["ascii", "utf-8"])
def test_any_text_can_be_said(encoding):
    stream = io.TextIOWrapper(io.BytesIO(), encoding=encoding, errors="_plainly")
    stream.write("3.5× caf\udce9 é")
    stream.flush()
    assert stream.buffer.getvalue().decode() == {"ascii": "3.5x caf? ?", "utf-8": "3.5× caf? é"}[encoding]


def process(script, *flags, **options):
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "XLA_FLAGS": ""}
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    return subprocess.Popen([sys.executable, f"{ROOT}/launch/{script}.py", *flags], env=environment, **pipes, **options)


def ended(at, timeout=60):
    out, errors = at.communicate(timeout=timeout)
    return at.returncode, out, errors


LONG = [
    "--config.data.source=shop",
    "--config.train.steps=1000000",
    "--config.model.h=128",
    "--config.train.batch=64",
    "--config.data.validation=0",
]


@pytest.mark.parametrize(
    ("number", "moment"), [(signal.SIGINT, "imports"), (signal.SIGTERM, "config.json"), (signal.SIGINT, "steps")]
)
def test_a_signal_is_one_line_at_any_moment(tmp_path, number, moment):
    run = tmp_path / "run"
    at = process("train", *LONG, f"--workdir={run}", cwd=tmp_path)
    there = {
        "imports": lambda: "_jax" in pathlib.Path(f"/proc/{at.pid}/maps").read_text(),
        "config.json": lambda: (run / "config.json").exists(),
        "steps": lambda: (run / "metrics.jsonl").exists() and (run / "metrics.jsonl").stat().st_size > 2000,
    }[moment]
    while not there() and at.poll() is None:
        time.sleep(0.01)
    at.send_signal(number)
    code, _, errors = ended(at)

    assert code == 128 + number, errors
    assert "Traceback" not in errors and "same command continues" in errors.strip().splitlines()[-1]


def test_help_names_all_flags_and_fields():
    code, out, errors = ended(process("run", "--help"))
    assert (code, errors) == (0, "")
    for name in (
        "--config:",
        "--workdir:",
        "--threads:",
        "--config.evaluation.ks=()",
        "--config.train.lr=0.006",
        "tuple",
    ):
        assert name in out
    assert "compressae run --config=default" in out and "launch/" not in out  # what a wheel has, too


def test_the_console_script_knows_its_commands():
    def console(*arguments):
        code = "import sys; from compressae_jax.jobs import door; sys.argv[0] = '/bin/compressae'; door.main()"
        return subprocess.run([sys.executable, "-c", code, *arguments], capture_output=True, text=True, check=False)

    listed = console()
    assert listed.returncode == 0 and all(name in listed.stdout for name in door.COMMANDS)
    refused = console("trian")
    assert refused.returncode == 2 and "not 'trian'" in refused.stderr
    absent = console("search", "--index=none", "--queries=none")
    assert absent.returncode == 2 and absent.stderr.startswith("compressae search: ") and "jax" not in absent.stdout


def test_all_commands_have_a_script():
    scripts = {path.stem for path in (ROOT / "launch").glob("*.py")} - {"door"}
    assert scripts | {"quickstart"} == set(door.COMMANDS) and (ROOT / "launch" / "quickstart.sh").is_file()
