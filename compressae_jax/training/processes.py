"""Several processes that train together: how they meet, and how they come to one mind, errors included."""

import json
import os
import secrets
import socket
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

import jax
import numpy as np
from jax.experimental import multihost_utils

from compressae_jax import notation
from compressae_jax.notation import InputError

AUTO, ALONE = "auto", "none"  # as a coordinator: found by JAX in the cluster's environment; none at all
PATIENCE = 300  # seconds that processes wait for each other at the start
TOKEN = ".compressae-together"  # in the run folder while processes see whether it is the same one
# Of a launcher's environment, the number of processes that it started with this one.
STARTED = ("SLURM_STEP_NUM_TASKS", "OMPI_COMM_WORLD_SIZE", "PMI_SIZE")


def start(
    coordinator: str | None = None, count: int | None = None, number: int | None = None, patience: int = PATIENCE
) -> None:
    """Join the processes that train together, before anything else of JAX runs; without a coordinator, stay alone.

    `coordinator`: host:port of process 0; or 'auto', where JAX finds it in a cluster (SLURM, Open MPI, Kubernetes, a
    TPU pod), and then count and number may be left out; or 'none', which says that this process is meant to be alone.

    Raises:
        InputError: flags that do not go together, a launcher that started several processes without a coordinator,
            or others that did not come within `patience` seconds.
    """
    launched = {name: int(os.environ[name]) for name in STARTED if os.environ.get(name, "").isdecimal()}
    if coordinator is None or coordinator == ALONE:
        if count is not None or number is not None:
            raise InputError("num_processes and process_id need --coordinator=host:port, that of process 0, or 'auto'")
        several = [f"{name}={size}" for name, size in launched.items() if size > 1]
        if several and coordinator is None:
            raise InputError(
                f"a launcher started several processes ({several[0]}), and each would train alone; give "
                "--coordinator=auto (or host:port, --num_processes and --process_id), or 'none' if each is a run by "
                "itself"
            )
        return
    if coordinator != AUTO:
        _check(coordinator, count, number)
    where = "the cluster's coordinator" if coordinator == AUTO else coordinator
    own = "this process" if number is None else f"process {number} of {count}"
    print(f"{own} waits for the others at {where}, {patience} seconds at most", file=sys.stderr, flush=True)
    try:
        jax.distributed.initialize(
            None if coordinator == AUTO else coordinator, count, number, initialization_timeout=patience
        )
    except ValueError as error:  # JAX's word where nothing in the environment names a coordinator
        raise InputError(f"coordinator={coordinator!r}: {error}") from None
    except RuntimeError as error:
        reason = " ".join(str(error).split())[:200]
        raise InputError(
            f"{own} did not meet the others at {where} within {patience} seconds ({reason}); start all of them, each "
            "with the same coordinator and number of processes and with its own number"
        ) from None


def together(name: str) -> None:
    """Wait for the other processes, where there are any."""
    if jax.process_count() > 1:
        multihost_utils.sync_global_devices(name)


def all_of(work: Callable[[], Any]) -> list[Any]:
    """What `work` gives in each process, JSON, known to all; what it raises in one of them is raised in all."""
    if jax.process_count() == 1:
        return [work()]
    result, problem = None, None
    try:
        result = work()
    except Exception as error:  # goes on below, once the others know
        problem = error
    said = _gathered([result, problem and [type(problem).__name__, str(problem)]])
    if problem is not None:
        raise problem
    for number, (_, failed) in enumerate(said):
        if failed:
            _raise(number, *failed)
    return [given for given, _ in said]


def first(work: Callable[[], Any]) -> Any:
    """What `work` gives in process 0, which alone does it, known to all; what it raises is raised in all."""
    return all_of(lambda: work() if jax.process_index() == 0 else None)[0]


def check_shared(folder: Path) -> None:
    """Raise InputError in all processes unless all see the folder of process 0."""
    if jax.process_count() == 1:
        return
    path, host = folder / TOKEN, socket.gethostname()
    try:
        token, writer = first(lambda: [_written(path), host])
        seen = all_of(lambda: [_read(path) == token, host])
        for number, (same, other) in enumerate(seen):
            if not same:
                raise InputError(
                    f"workdir {folder} of process {number} (host {other}) is not that of process 0 (host {writer}); "
                    "processes that train together need one folder that all of them see"
                )
    finally:
        if jax.process_index() == 0:
            path.unlink(missing_ok=True)


def _check(coordinator: str, count: int | None, number: int | None) -> None:
    host, _, port = coordinator.rpartition(":")
    if not host or not port.isdecimal():
        raise InputError(f"coordinator must be host:port of process 0, 'auto' or 'none', not {coordinator!r}")
    if count is None or number is None:
        raise InputError(f"coordinator={coordinator} needs --num_processes and --process_id, too")
    if count < 1 or not 0 <= number < count:
        raise InputError(f"process_id must be from 0 to num_processes - 1, and {number} of {count} is not")


def _gathered(value: Any) -> list[Any]:
    """Every process's value, which goes as JSON."""
    text = np.frombuffer(json.dumps(value).encode(), np.uint8)
    sizes = np.asarray(multihost_utils.process_allgather(np.array([len(text)], np.int32))).reshape(-1)
    padded = np.zeros(int(sizes.max()), np.uint8)
    padded[: len(text)] = text
    rows = np.asarray(multihost_utils.process_allgather(padded)).reshape(len(sizes), -1)
    return [json.loads(row[:size].tobytes()) for row, size in zip(rows, sizes, strict=True)]


def _raise(number: int, kind: str, message: str) -> NoReturn:
    """Another process's error as one of this process: of ours by its kind, else the system's."""
    ours = getattr(notation, kind, OSError)
    raise (ours if isinstance(ours, type) and issubclass(ours, InputError) else OSError)(f"process {number}: {message}")


def _written(path: Path) -> str:
    token = secrets.token_hex(8)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(token, encoding="ascii")
    return token


def _read(path: Path) -> str | None:
    try:
        return path.read_text(encoding="ascii")
    except (FileNotFoundError, NotADirectoryError):
        return None
