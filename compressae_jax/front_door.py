"""The front door for notebooks: fit a model, compress with it, search the codes. The pure functions lie beneath."""

from __future__ import annotations

import dataclasses
import os
from typing import TYPE_CHECKING, Any

import numpy as np

from compressae_jax import compression, data, hub
from compressae_jax.codes import on_host, spaces
from compressae_jax.codes.codes import Codes
from compressae_jax.codes.ids import as_ids
from compressae_jax.codes.lookup import check_unique
from compressae_jax.codes.rows import Rows, check_made_by
from compressae_jax.codes.storage.packed import Packed
from compressae_jax.compression import drift
from compressae_jax.compression.drift import Drift
from compressae_jax.evaluation import carded
from compressae_jax.model import budgets, card, kept, shipped
from compressae_jax.model import weights as model_weights
from compressae_jax.model.encoders import Encoder
from compressae_jax.model.weights import Weights
from compressae_jax.notation import InputError, check_choice
from compressae_jax.retrieval.index import SPACE, Index

if TYPE_CHECKING:
    from compressae_jax.data.sources import Source

Vectors = Any  # an array of any library, a list of rows, a data frame, or a path or name: see `data.open_source`


@dataclasses.dataclass(frozen=True, repr=False)
class Model:
    """A trained model: what turns vectors of width d into codes of k signed nonzeros of h, and back."""

    weights: Weights

    @property
    def d(self) -> int:
        """Width of the vectors."""
        return self.weights.d

    @property
    def h(self) -> int:
        """Width of the codes."""
        return self.weights.h

    @property
    def k(self) -> int:
        """Nonzeros kept in a row."""
        return self.weights.k

    def __repr__(self) -> str:
        made = f"{self.weights.kind}, k={self.k} of h={self.h:,}, {self.weights.storage}"
        return f"<Model of width {self.d}: {made}, fingerprint {self.weights.fingerprint}>"

    def with_budget(self, budget_bytes: int) -> Model:
        """The same dictionary for packed pursuit codes of at most so many bytes: k and storage are chosen anew.

        A dictionary that was learned for the budget itself keeps a little more.

        Raises:
            InputError: a budget that holds no nonzero, or that holds the vectors as they are.
        """
        return Model(budgets.with_budget(self.weights, budget_bytes))

    def compress(
        self,
        vectors: Vectors | Source,
        encoder: str | None = None,
        storage: str | None = None,
        zero_rows: str = "stop",
        progress: bool = True,
        similarity: str = "cosine",
        budget_bytes: int | None = None,
    ) -> Codes | Packed:
        """The codes of vectors (n, d): rows in memory, a file, folder, glob or dataset name, read piece by piece.

        `encoder`: 'topk' (one pass), 'refit' (its columns, least-squares values), 'shortlist' (a quick pursuit, nearly
        as accurate) or 'pursuit' (the most accurate, and slowest). `storage`: 'float16', 'float32', or, in a fraction
        of the bytes, 'packed3' to 'packed8' (bits of a value) and 'fast4', which is searched as fast as floats are.
        Both default to what the model was trained for.
        `zero_rows`, which have no direction: 'stop', 'keep' (codes of zeros) or 'drop'; the `ids` of the codes then say
        which rows are left. Under `similarity` 'dot' the lengths of the vectors are kept, so that an index compares
        inner products. Codes are held in memory; for a folder on disk use `launch/compress.py` or
        `compression.to_folder`. `budget_bytes`, instead of encoder and storage, gives the codes of
        `model.with_budget(budget_bytes)`, which is the model that they belong to.
        """
        if budget_bytes is not None:
            model = self._of_budget(budget_bytes, encoder=encoder, storage=storage)
            return model.compress(vectors, None, None, zero_rows, progress, similarity)
        return self._rows(vectors, encoder, storage, zero_rows, progress, similarity)

    def index(
        self,
        vectors: Vectors | Source | Codes | Packed,
        space: str = SPACE,
        encoder: str | None = None,
        storage: str | None = None,
        zero_rows: str = "stop",
        ids: Any = None,
        progress: bool = True,
        similarity: str | None = None,
        budget_bytes: int | None = None,
    ) -> Index:
        """An exact search index over vectors, or over codes that this model made, in one of the three spaces.

        The default compares dense queries as they are, and codes as their reconstructions. `encoder` and the others as
        in `compress`; queries that the space compares as codes are encoded by `encoder` too. `ids`, one a vector,
        default to those of the source; an id that comes twice is refused before anything is encoded. `similarity`:
        'cosine' (the default), or 'dot', for vectors whose lengths mean something: scores are then inner products.
        `budget_bytes` a vector, instead of encoder and storage, chooses k and storage anew, as `with_budget` does.
        """
        if budget_bytes is not None:
            if isinstance(vectors, Rows):
                raise InputError("budget_bytes is for vectors; rows that are made have the bytes that they have")
            model = self._of_budget(budget_bytes, encoder=encoder, storage=storage)
            return model.index(vectors, space, None, None, zero_rows, ids, progress, similarity)
        check_choice("space", space, spaces.SPACES)
        if isinstance(vectors, Rows):
            if similarity not in (None, vectors.similarity):
                raise InputError(f"rows were made for similarity {vectors.similarity!r}, not {similarity!r}")
            return Index(vectors, self.weights, space, ids, encoder)
        source = data.open_source(vectors)
        ids = None if ids is None else as_ids(ids, len(source))
        if ids is not None and source.ids is not None and zero_rows == "drop":
            raise InputError(f"{source.name} has ids of its own, by which the rows left by zero_rows='drop' are told")
        if (names := source.ids if ids is None else ids) is not None:
            check_unique(names)  # before the work
        rows = self._rows(source, encoder, storage, zero_rows, progress, similarity or "cosine")
        if ids is not None and zero_rows == "drop":
            ids = ids[np.asarray(rows.ids)]  # the numbers of the rows that are left
        return Index(rows, self.weights, space, ids, verify=False)

    def reconstruct(self, codes: Codes | Packed) -> np.ndarray:
        """z = s W_d (n, d) float32: the vectors that codes stand for, up to lengths that the codes do not have."""
        if codes.h != self.h:
            fingerprint = self.weights.fingerprint
            raise InputError(f"codes have width h={codes.h}, the model {self.h} (fingerprint {fingerprint})")
        check_made_by(codes, self.weights.fingerprint)
        return on_host.reconstructed(codes.check().codes(), self.weights.params["decoder_w"])

    def drift(
        self,
        vectors: Vectors | Source,
        reference: Vectors | Source | None = None,
        tolerance: float = drift.TOLERANCE,
        seed: int = 0,
    ) -> Drift:
        """Whether new vectors are reconstructed as well as those that the model was trained for; print it.

        The mean cosine of vectors and their reconstructions, by the model's own encoder and storage, is compared with
        that of rows which were held out of the training, as the model notes it, or of `reference` rows; a drop of up
        to `tolerance` does not count. Of more than 8,192 rows so many are looked at. `seed` draws the interval.

        Raises:
            InputError: vectors of another width, fewer than ten, zero or not finite; a model that notes nothing, and no
                `reference`.
        """
        how = Encoder(self.weights, self.weights.encoder, self.weights.storage)
        return drift.of(how, vectors, reference, tolerance=tolerance, seed=seed)

    def save(self, folder: str | os.PathLike, evaluation: Any = None, licence: str | None = None) -> None:
        """Write a model folder, complete or not at all, with a model card, README.md, for people and for the Hub.

        `evaluation`, for the card: what `cs.evaluate` gives, a list of such, or a run folder with its report.
        `licence`: an identifier such as 'mit'; without one the card says that none is stated. In a card that is there
        already what was written above or below the lines of this program stays, and one whose lines were changed is
        left alone.

        Raises:
            InputError: an evaluation of another model, a licence that is no identifier.
            FolderError: something else stands at that name.
        """
        model_weights.save(self.weights, folder, self._told(evaluation, licence))

    def push(
        self,
        repository: str,
        evaluation: Any = None,
        licence: str | None = None,
        private: bool | None = None,
        message: str | None = None,
    ) -> str:
        """Write the model and its card to the Hugging Face Hub, as one commit; its address. See `save`.

        `repository`: 'owner/name', which is made where it is missing, 'owner/name@branch' for a branch that is there.
        The token is huggingface_hub's: HF_TOKEN, or `hf auth login`. `cs.load('hf://owner/name')` reads it back.

        Raises:
            InputError: as `save`; no right to write there, no network, huggingface_hub is not installed.
            FolderError: a repository that holds something else.
        """
        told = self._told(evaluation, licence)
        return hub.push(self.weights, repository, told, private=private, message=message)

    def _of_budget(self, budget_bytes: int, **chosen: str | None) -> Model:
        """The model of a budget, the same one each time, so that rows of one day join those of another."""
        if given := [f"{name}={value!r}" for name, value in chosen.items() if value is not None]:
            raise InputError(f"budget_bytes={budget_bytes} chooses encoder and storage, but {given[0]} is asked for")
        made = kept.of(
            self.weights,
            ("budget", budget_bytes),
            lambda: budgets.with_budget(self.weights, budget_bytes),
            lambda made: 0 if made.h == self.weights.h else 8 * made.d * made.h,  # else they are those of the model
        )
        return Model(made)

    def _told(self, evaluation: Any, licence: str | None) -> card.Told:
        found = None if evaluation is None else carded.table(evaluation, self.weights.fingerprint)
        return card.Told(found, licence)

    def _rows(
        self,
        vectors: Vectors | Source,
        encoder: str | None,
        storage: str | None,
        zero_rows: str,
        progress: bool,
        similarity: str,
    ) -> Any:
        return compression.in_memory(
            self.weights,
            data.open_source(vectors),
            encoder=encoder,
            storage=storage,
            zero_rows=zero_rows,
            progress=progress,
            similarity=similarity,
        )


def fit(
    vectors: Vectors | Source,
    h: int | None = None,
    k: int | None = None,
    steps: int | None = None,
    budget_bytes: int | None = None,
    recipe: str | None = None,
    seed: int = 0,
    workdir: str | os.PathLike | None = None,
    progress: bool = True,
    start: Model | str | os.PathLike | None = None,
    held_out: int | None = None,
    **fields: Any,
) -> Model:
    """Train a model on vectors (n, d): whatever `open_source` takes, in memory, by path or by name of a dataset.

    By default it makes *packed pursuit codes* of `budget_bytes` a vector in an index, everything included: they keep
    the most of a vector in given bytes, and dense queries search them as they are. The budget (64; of vectors narrower
    than 128 half a byte a number) chooses h, k, encoder and storage. The dictionary is learned by rounds, each from a
    sample of the rows (some ten thousands), so a file of 10^8 rows is read once to see that its values are sound, and
    of its rows at most some millions are learned from.

    With h, k or steps by hand, or recipe='published' (or 'paper', with the paper's own batches and rates), it makes
    *published one-pass codes*: one product a vector, plain sparse rows that any sparse engine ranks, and codes that
    serve as queries, too. What is left open then comes from 'published': h=2048, k=16, 3,000 steps. `fields` are any
    others of the recipe's table (batch, lr, dtype, …). recipe='sparse' makes one-pass codes for the sparse space, in
    which queries are compressed, too: by *landmarks*, h rows of the data (up to 32,768), moved in a few steps by a loss
    on neighbours. With a `workdir`, checkpoints are kept there and the same call continues.

    `start`, a model or its folder, is trained on with these vectors: h, activation, encoder and storage stay as they
    are, k too unless it is given, and the recipe is 'continue', of fewer steps, or of rounds where the start was
    made for pursuit. The result is another model, with rows of its own: compress again what it is to search.

    `held_out` rows, drawn whatever the seed, are not trained on and tell `Model.drift` how well such vectors are
    reconstructed; by default one of twenty, at most 1,000, and none of fewer than 200 rows.

    Raises:
        InputError: bad vectors, an unknown field, values out of range or that contradict each other (a budget beside h,
            k, steps or what only steps read), or others than the start has.
        FolderError: a start that is no model folder.
        NonFiniteLossError: the loss left the finite numbers.
    """
    from compressae_jax.training import loop

    given: dict[str, Any] = {name: value for name, value in (("h", h), ("k", k), ("steps", steps)) if value is not None}
    source = data.open_source(vectors)
    given |= {"budget_bytes": budget_bytes} if budget_bytes is not None else {}
    begun = start.weights if isinstance(start, Model) else start
    own: dict[str, Any] = {
        "workdir": workdir,
        "recipe": recipe,
        "seed": seed,
        "progress": progress,
        "held_out": held_out,
    }
    weights = loop.fit(source, start=begun, **own, **given, **fields)
    return Model(weights)


def load(folder: str | os.PathLike) -> Model:
    """Read a model folder, a model of the Hugging Face Hub, 'hf://owner/name' or 'hf://owner/name@revision', or one
    that comes with the package: 'minilm' or 'mpnet', by the encoder whose vectors it compresses without training.

    These names win over folders that are called so; './minilm' is a folder.

    Sparse encoders of sentence-transformers are read, too: those that were exported, and CSR models
    (`serving.sentence_transformers.read` says what becomes of them).

    Raises:
        FolderError: a folder, or a repository, that is missing, damaged, foreign, or newer than this program.
        InputError: of the Hub, also: no right to read it, no network, huggingface_hub is not installed.
    """
    from compressae_jax.serving import sentence_transformers

    if shipped.named(folder):
        return Model(model_weights.load(folder))
    place = hub.fetched(folder, sentence_transformers.FETCHED) if hub.named(folder) else folder
    theirs = sentence_transformers.stands_at(place)
    return Model(sentence_transformers.read(place) if theirs else model_weights.load(place))


def load_index(folder: str | os.PathLike, verify: bool = True) -> Index:
    """Open an index folder by memory map; `verify=False` skips its checksums."""
    return Index.load(folder, verify=verify)
