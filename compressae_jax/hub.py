"""Model folders on the Hugging Face Hub: fetched by name, and pushed, through huggingface_hub, which knows the tokens.

A repository holds what a model folder holds, at its root: `params.safetensors`, `model.json` and the card, README.md.
"""

from __future__ import annotations

import contextlib
import importlib
import os
import re
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple, TypeGuard

from compressae_jax.base import progress
from compressae_jax.model import card
from compressae_jax.model import weights as model_weights
from compressae_jax.model.card import CARD, Told
from compressae_jax.model.weights import META, PARAMS, Weights
from compressae_jax.notation import FolderError, InputError

PREFIX = "hf://"
FILES = (META, PARAMS, CARD)  # nothing else of a repository is fetched or written
FOREIGN = (CARD, ".gitattributes", ".gitignore")  # what a repository may hold before a model is pushed there
BENEATH = ("httpcore", "httpx", "httpx2", "huggingface_hub", "requests", "urllib3")  # packages whose errors are its own
NAME = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")


class Place(NamedTuple):
    """A repository, 'owner/name', and a branch, tag or commit of it, None for the default."""

    repository: str
    revision: str | None

    def __str__(self) -> str:
        return PREFIX + self.repository + ("" if self.revision is None else f"@{self.revision}")


def named(place: Any) -> TypeGuard[str]:
    """Whether a place is one of the Hub, 'hf://owner/name'."""
    return isinstance(place, str) and place.startswith(PREFIX)


def parsed(place: str) -> Place:
    """The parts of 'hf://owner/name@revision', or without either end.

    Raises:
        InputError: anything else.
    """
    name, at, revision = place.removeprefix(PREFIX).partition("@") if isinstance(place, str) else ("", "", "")
    if not NAME.fullmatch(name) or (at and not revision.strip()) or ".." in name or "--" in name:
        raise InputError(
            f"a model on the Hub is named {PREFIX}owner/name or {PREFIX}owner/name@revision, not {place!r}"
        )
    return Place(name, revision or None)


def fetched(place: str, others: Sequence[str] = ()) -> Path:
    """The folder, in huggingface_hub's cache, of a repository's model; what is there already is not fetched again.

    `others`: files, by name or pattern, that are fetched, too; a repository that has one of them may lack a model of
    this program. Without a network, what was fetched before is used. The token is huggingface_hub's: HF_TOKEN, or
    `hf auth login`.

    Raises:
        InputError: no such repository or revision, no right to read it, no network, huggingface_hub is not installed.
        FolderError: a repository without a model of this program.
    """
    where = parsed(place)
    hub = _hub()
    with _in_our_words(where, "read"), _bars():
        folder = Path(
            hub.snapshot_download(
                where.repository,
                revision=where.revision,
                allow_patterns=[*FILES, *others],
                library_name="compressae_jax",
            )
        )
    if not any((folder / name).exists() for name in (META, *others)):
        raise FolderError(f"{where} holds no model of compressae_jax: it has no {META}")
    return folder


def push(
    weights: Weights,
    place: str,
    told: Told | None = None,
    *,
    private: bool | None = None,
    message: str | None = None,
) -> str:
    """Write a model and its card into a repository, which is made where it is missing, as one commit; its address.

    The card that is there keeps what its owner wrote (see `model.card`).

    Raises:
        InputError: no right to write there, no network, no such branch, huggingface_hub is not installed.
        FolderError: a repository that holds something else than a model of this program.
    """
    where, told = parsed(place), told or Told()
    card.check_licence(told.licence)
    hub = _hub()
    api = hub.HfApi(library_name="compressae_jax")
    with _in_our_words(where, "write"), _bars(), tempfile.TemporaryDirectory() as scratch:
        api.create_repo(where.repository, private=private, exist_ok=True)
        state = api.repo_info(where.repository, revision=where.revision)
        if private and state.private is False:
            raise InputError(f"{where} is public, and private=True makes none that is there private: see its settings")
        there = {one.rfilename for one in state.siblings or ()}
        if (foreign := sorted(there - set(FOREIGN))) and META not in there:
            raise FolderError(
                f"{where} holds other files ({', '.join(foreign[:3])}), so no model is pushed there; choose another"
            )
        folder = Path(scratch) / "model"
        model_weights.save(weights, folder, told._replace(place=str(where)))
        if CARD in there:
            older = api.hf_hub_download(
                where.repository, CARD, revision=state.sha, local_dir=os.path.join(scratch, "there")
            )
            text = card.renewed(card.read(Path(older).parent), weights, told._replace(place=str(where)))
            (folder / CARD).write_bytes(text.encode())
        commit = api.upload_folder(
            repo_id=where.repository,
            folder_path=str(folder),
            allow_patterns=list(FILES),
            revision=where.revision,
            parent_commit=state.sha,  # so that nothing written meanwhile is lost
            commit_message=message or f"Model {weights.fingerprint} of compressae_jax",
        )
    return str(commit.commit_url)


def _hub() -> Any:
    try:
        return importlib.import_module("huggingface_hub")
    except ImportError as error:
        raise InputError("the Hub needs huggingface_hub: pip install 'compressae_jax[hub]'") from error


@contextlib.contextmanager
def _bars() -> Iterator[None]:
    """Bars of huggingface_hub where ours would be drawn, too."""
    utils = importlib.import_module("huggingface_hub.utils")
    silent = not progress.drawn() and not utils.are_progress_bars_disabled()
    if silent:
        utils.disable_progress_bars()
    try:
        yield
    finally:
        if silent:
            utils.enable_progress_bars()


@contextlib.contextmanager
def _in_our_words(where: Place, doing: str) -> Iterator[None]:
    """What huggingface_hub raises, as an InputError that says what to do."""
    errors = importlib.import_module("huggingface_hub.errors")
    token = "give a token of an account that may, in HF_TOKEN or by `hf auth login`"
    try:
        yield
    except InputError:
        raise
    except errors.GatedRepoError as error:
        raise InputError(f"{where} is gated: ask for access on its page, then {token}") from error
    except errors.RevisionNotFoundError as error:
        raise InputError(f"{where.repository} has no revision {where.revision!r} on the Hub") from error
    except errors.RepositoryNotFoundError as error:
        raise InputError(f"the Hub has no model {where}, or only for others: {token}") from error
    except errors.HFValidationError as error:
        raise InputError(f"{where} is no name of a repository: {error}") from error
    except errors.LocalEntryNotFoundError as error:
        raise InputError(f"the Hub cannot be reached, and {where} was not fetched before: {_last(error)}") from error
    except errors.HfHubHTTPError as error:
        status = getattr(error.response, "status_code", None)
        if status in (401, 403):
            raise InputError(f"the Hub lets nobody {doing} {where} without a right to: {token}") from error
        raise InputError(f"the Hub answers {status} for {where}: {_last(error)}") from error
    except Exception as error:
        # What is raised beneath differs with the version: httpx2 now, httpx and requests before; hf_xet raises its own.
        beneath = type(error).__module__.split(".")[0] in BENEATH
        if not beneath and not isinstance(error, (ConnectionError, TimeoutError, RuntimeError)):
            raise
        raise InputError(f"the Hub cannot be reached to {doing} {where}: {_last(error)}") from error


def _last(error: BaseException) -> str:
    """The first cause of an error, on one line."""
    while error.__cause__ is not None:
        error = error.__cause__
    return " ".join(f"{type(error).__name__}: {error}".split())[:200]
