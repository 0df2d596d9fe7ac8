"""The door of every command: what signals, bad input and the system's refusals get, and what --help says.

Exit codes: 0 done, 1 the system (a full disk, no rights), 2 bad input, 130 SIGINT, 143 SIGTERM. Each comes with one
line on stderr; only an error that nobody foresaw, which is a fault of this program, shows a traceback. 3 is that of
`diagnose --strict`, without a line: it has told what it found.
"""

import codecs
import importlib
import os
import signal
import sys
import types
from collections.abc import Callable
from typing import Any, NoReturn

COMMANDS = {
    "quickstart": "run, on data that comes with the program: some minutes",
    "run": "train, compress, search and evaluate for one config",
    "train": "train a model",
    "compress": "a source of vectors into a codes folder",
    "join": "codes folders of parts into one",
    "add": "vectors to an index folder, which it begins where there is none",
    "remove": "rows of an index folder, by their ids",
    "compact": "an index folder: the room of removed rows given back",
    "search": "the nearest rows of every query",
    "merge": "what was found in several shards into one",
    "serve": "an index over HTTP, with a page to look at it",
    "explore": "one page, without a server, that shows what the latents mean",
    "judge": "what was found, here or by other engines, scored by judgements",
    "ab_test": "a log of impressions and clicks: lifts, intervals, power",
    "export": "the rows of an index into a search engine",
    "check_engine": "a search engine's answers and time beside our exact search",
    "reproduce": "an experiment of the project's: a question, its trainings and measurements, its page",
    "advise": "what to do with vectors, measured on a sample of them",
    "diagnose": "what is wrong with a model, or with vectors for it",
    "evaluate": "a run's model beside dense search and other methods",
    "compare": "runs beside each other, over the same queries",
}
HELP = ("-h", "-help", "--help", "--helpshort", "--helpfull")
AGAIN = 0.2  # seconds
KEPT = "what was complete is kept, and the same command continues"


def main() -> NoReturn:
    """The console script: `compressae COMMAND --flags`."""
    name = sys.argv[1] if len(sys.argv) > 1 else "--help"
    if name in COMMANDS:
        sys.argv[:2] = [f"{os.path.basename(sys.argv[0])} {name}"]
        run(name)
    if name == "--version":
        from compressae_jax import __version__

        print(__version__)
    elif name in HELP:
        print(
            "compressae COMMAND --flags; `compressae COMMAND --help` lists them, experiments and fields of configs.\n"
        )
        print("\n".join(f"  {command:14s}{what}" for command, what in COMMANDS.items()))
    else:
        sys.exit(_say(f"the command must be one of {', '.join(COMMANDS)}, not {name!r}", 2))
    sys.exit(0)


def run(name: str) -> NoReturn:
    """Run a command with the flags of sys.argv, and end the process."""
    heard = Heard()
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors=_plainly.__name__)  # an ASCII terminal, a file name that is not UTF-8
    command = importlib.import_module(f"compressae_jax.jobs.commands.{name}")
    try:
        own = _defined(command)
    except ValueError as error:  # an InputError, whose module would be waited for here: an experiment of no name
        sys.exit(_say(str(error), 2))
    if any(argument in HELP for argument in sys.argv[1:]):
        sys.exit(_answered(lambda: print(_help(command, own)), heard))
    flags = _parsed(sys.argv)
    heard.working = True
    code = _answered(lambda: _begun(command, flags), heard)
    sys.exit(code)


class Heard:
    """SIGINT and SIGTERM. Before the work they end the process at once; in it, they unwind it; twice: at once.

    Python drops what is raised in a destructor or a callback, so it is raised again until something unwinds.
    """

    def __init__(self) -> None:
        self.working, self.number = False, 0
        sys.unraisablehook = self._dropped
        signal.signal(signal.SIGALRM, self._again)
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, self._hear)

    def done(self) -> None:
        """From here on a signal has nothing to interrupt."""
        self.working = False
        signal.setitimer(signal.ITIMER_REAL, 0)

    def _hear(self, number: int, frame: types.FrameType | None) -> None:
        del frame
        if not self.working or self.number:
            os.write(2, f"{self.line(number)}\n".encode(errors="replace"))
            os._exit(128 + number)
        self.number = number
        signal.setitimer(signal.ITIMER_REAL, AGAIN, AGAIN)
        raise KeyboardInterrupt

    def _again(self, number: int, frame: types.FrameType | None) -> None:
        del number, frame
        error = sys.exception()
        while error is not None and not isinstance(error, KeyboardInterrupt):
            error = error.__context__
        if error is None and self.working:
            raise KeyboardInterrupt

    def _dropped(self, dropped: Any) -> None:
        if not (self.number and isinstance(dropped.exc_value, KeyboardInterrupt)):
            sys.__unraisablehook__(dropped)

    @staticmethod
    def line(number: int) -> str:
        """What is said of a signal."""
        return f"{sys.argv[0]}: ended by {signal.Signals(number).name}; {KEPT}"


def _answered(work: Callable[[], None], heard: Heard) -> int:
    """The exit code of some work, what is wrong with it said in one line."""
    from compressae_jax.notation import InputError, Stopped

    try:
        work()
        sys.stdout.flush()
    except Stopped as stop:
        return _say(str(stop), 128 + stop.signal)
    except BaseException as error:
        heard.done()
        if heard.number:  # whatever the unwinding has met
            return _say(heard.line(heard.number).removeprefix(f"{sys.argv[0]}: "), 128 + heard.number)
        if isinstance(error, InputError):
            return _say(str(error), 2)
        if isinstance(error, BrokenPipeError):
            _forget_stdout()  # who reads has left; the interpreter would complain once more at its end
        if isinstance(error, OSError):
            return _say(f"{_of_system(error)}; {KEPT}", 1)
        if isinstance(error, MemoryError) or "RESOURCE_EXHAUSTED" in str(error):
            return _say(f"out of memory ({error or 'no more to be had'}); {KEPT}", 1)
        raise
    finally:
        heard.done()
    return 0


def _begun(command: types.ModuleType, flags: Any) -> None:
    from absl import logging

    from compressae_jax.base import progress, threads

    if not flags["verbosity"].present:
        logging.set_verbosity(logging.WARNING)  # checkpointing narrates every file at the default level
    if flags.threads is not None:
        os.environ[threads.VARIABLE] = str(flags.threads)
        threads.cores()
    if not flags.progress:
        os.environ[progress.VARIABLE] = "0"
    command.main(flags)


def _parsed(argv: list[str]) -> Any:
    from absl import flags

    try:
        left = flags.FLAGS(argv)
    except (AttributeError, KeyError) as error:  # of ml_collections, which has no error of its own for it
        name, _, hint = str(error).replace("\\n", " ").translate(dict.fromkeys(map(ord, "\\'\""))).partition(" ")
        sys.exit(_say(f"the config has no field {name!r}. {hint}", 2))
    except (flags.Error, TypeError, ValueError, FileNotFoundError) as error:
        told = str(error.args[0] if error.args else error)
        first, inner, _ = told.partition("Traceback (most recent call last)")  # of an experiment's own file
        sys.exit(_say(first + told.strip().splitlines()[-1] if inner else told, 2))
    if len(left) > 1:
        sys.exit(_say(f"arguments are flags (--name=value), not {left[1]!r}", 2))
    return flags.FLAGS


def _defined(command: types.ModuleType) -> list[str]:
    """Define the flags of a command and of all commands; their names."""
    from absl import flags

    from compressae_jax.jobs.commands import common

    before = set(flags.FLAGS)
    command.define()
    common.define()
    return [name for name in flags.FLAGS if name not in before]


def _help(command: types.ModuleType, own: list[str]) -> str:
    """The command's docstring, its flags, and the fields of a config with their defaults."""
    from absl import flags

    lines = [(command.__doc__ or "").strip(), "", "Flags:"]
    for flag in (flags.FLAGS[name] for name in own):
        default = "" if flag.default is None else f" (default: {flag.default})"
        lines.append(f"  --{flag.name}: {flag.help}{default}")
    if "config" in own:
        from compressae_jax.jobs.commands import experiment

        described = getattr(command, "described", experiment.described)
        lines += ["", *described()]
    return "\n".join(lines)


def _of_system(error: OSError) -> str:
    """The system's word and the file it is about."""
    if error.strerror is None:
        return str(error)
    names = [os.fsdecode(name) for name in (error.filename, error.filename2) if isinstance(name, (str, bytes))]
    return ": ".join([*names[:1], error.strerror]) + (f" ({names[1]})" if len(names) > 1 else "")


def _say(message: str, code: int) -> int:
    print(f"{sys.argv[0]}: {' '.join(message.split())}", file=sys.stderr)
    return code


def _forget_stdout() -> None:
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _plainly(error: UnicodeError) -> tuple[str, int]:
    """What an encoding lacks: x for ×, ? for all else."""
    assert isinstance(error, UnicodeEncodeError)
    lacking = error.object[error.start : error.end]
    return "".join("x" if letter == "×" else "?" for letter in lacking), error.end


codecs.register_error(_plainly.__name__, _plainly)
