"""The door of every launch script: bad input is one line on stderr and exit code 2, a stop by signal a clean exit."""

import sys
from collections.abc import Callable
from pathlib import Path

from absl import app, flags, logging

sys.path.append(str(Path(__file__).resolve().parent.parent))  # experiments in configs/ import configs.default


def run(main: Callable[[list[str]], None]) -> None:
    """Parse flags and run `main`; expected errors end without a traceback."""
    app.run(lambda argv: _guarded(main, argv), flags_parser=_parse)


def _parse(argv: list[str]) -> list[str]:
    try:
        return flags.FLAGS(argv)
    except (AttributeError, KeyError) as error:  # of ml_collections, which has no error of its own for it
        name, _, hint = str(error).replace("\\n", " ").translate(dict.fromkeys(map(ord, "\\'\""))).partition(" ")
        _stop(argv[0], ValueError(f"the config has no field {name!r}. {hint}"))
    except (flags.Error, TypeError, ValueError, FileNotFoundError) as error:
        _stop(argv[0], error)


def _guarded(main: Callable[[list[str]], None], argv: list[str]) -> None:
    from compressae_jax.notation import InputError, Stopped

    if not flags.FLAGS["verbosity"].present:
        logging.set_verbosity(logging.WARNING)  # checkpointing narrates every file at the default level
    if len(argv) > 1:
        _stop(argv[0], InputError(f"arguments are flags (--name=value), not {argv[1]!r}"))
    try:
        main(argv)
    except Stopped as stop:
        print(stop, file=sys.stderr)
    except InputError as error:
        _stop(argv[0], error)


def _stop(program: str, error: Exception) -> None:
    message = " ".join(str(error.args[0] if error.args else error).split())
    print(f"{program}: {message}", file=sys.stderr)
    sys.exit(2)
