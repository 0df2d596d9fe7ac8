"""The pass of a batch on one CPU device, the loops of `pass_kernels` dealt out to its cores."""

import numpy as np
from jaxtyping import Float

from compressae_jax.base.threads import deal
from compressae_jax.model.compressae import CompresSAE
from compressae_jax.model.losses import Mix

ROWS, LATENTS = 64, 64  # of a thread's turn: many more turns than threads, each long beside the cost of dealing it


class Workspace:
    """The pass of batches of one size; its arrays are used again, so a pass's results last until the next one."""

    def __init__(self, module: CompresSAE, mix: Mix, rows: int) -> None:
        b, d, h, keep = rows, module.d, module.h, min(4 * module.k, module.h)
        self._k, self._relu = module.k, module.activation == "relu_topk"
        self._weights = np.array([1, mix.weight_4k], np.float32) / np.float32(b)
        self._columns = np.empty((b, keep), np.int32)
        self._values, self._slopes = np.empty((2, b, keep), np.float32)
        self._pulls = np.empty((2, b, d), np.float32)
        self._ends, self._counts = np.empty(h + 1, np.int64), np.empty(h, np.int32)
        self._rows_of, self._pulls_of = np.empty((2, b * keep), np.int32)
        self._sorted = np.empty((2, b * keep), np.float32)
        self._cosines = np.empty((b, 2), np.float32)
        self._decoder_w, self._encoder_w = np.empty((2, h, d), np.float32)
        self._encoder_b = np.empty(h, np.float32)

    def __call__(
        self, a: Float[np.ndarray, "b h"], x: Float[np.ndarray, "b d"], decoder_w: Float[np.ndarray, "h d"]
    ) -> tuple[np.ndarray, np.ndarray, dict[str, np.ndarray]]:
        """Cosines (b, 2) from k and from 4k nonzeros, counts (h,), and the gradient; that of W_e is transposed.

        a: pre-activations; x: unit rows.
        """
        from compressae_jax.training import pass_kernels as kernels

        def forward(row: int) -> None:
            here = slice(row, row + ROWS)
            given = a[here], x[here], decoder_w, self._k, self._weights
            wanted = self._columns, self._values, self._slopes, *self._pulls, self._cosines
            kernels.forward(*given, *(array[here] for array in wanted))

        deal(forward, range(0, len(a), ROWS))
        if self._relu:
            self._slopes[self._values <= 0] = 0
        nonzeros = self._columns, self._values, self._slopes
        places = self._ends, self._rows_of, self._pulls_of, *self._sorted
        kernels.by_latent(*nonzeros, self._k, *places, self._counts)
        gradient = {"decoder_w": self._decoder_w, "encoder_w": self._encoder_w, "encoder_b": self._encoder_b}
        of_z = self._pulls.reshape(-1, x.shape[1])

        def backward(latent: int) -> None:
            last = min(latent + LATENTS, len(decoder_w))
            kernels.backward(latent, last, *places, x, of_z, *gradient.values())

        deal(backward, range(0, len(decoder_w), LATENTS))
        return self._cosines, self._counts, gradient
