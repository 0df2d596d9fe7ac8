# mypy: ignore-errors
# (its base has types only where sentence-transformers is installed)
"""The module in a folder of `sentence_transformers.export`, compressae_module.py there: codes and queries by torch.

The file is copied there as it is, so it needs torch and sentence-transformers alone, and imports nothing of
compressae_jax. Vectors become rows by `encode_document` and u by `encode_query`; their inner products are the scores of
compressae_jax in the space that was chosen (docs/SPACES.md there).
"""

import shutil
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from sentence_transformers.base.modules.module import Module

PARAMS, META = "params.safetensors", "model.json"  # a model folder of compressae_jax
NAME = "compressae_module"


class CompresSAE(Module):
    """One pass from vectors (b, d) to codes (b, h): documents as values × ρ, queries as u."""

    config_keys = ["d", "h", "k", "activation", "space", "query_times"]  # noqa: RUF012, the base's way
    forward_kwargs = {"task", "max_active_dims"}  # noqa: RUF012

    def __init__(self, d: int, h: int, k: int, activation: str, space: str, query_times: int = 1):
        super().__init__()
        self.d, self.h, self.k, self.activation, self.space = d, h, k, activation, space
        self.query_times = query_times  # nonzeros of a query in the sparse space, for each of a row
        self.meta = ""  # model.json, kept for whoever reads the folder back
        self.register_buffer("encoder_w", torch.zeros(d, h))
        self.register_buffer("encoder_b", torch.zeros(h))
        self.register_buffer("decoder_w", torch.zeros(h, d))

    def forward(self, features, task=None, max_active_dims=None):
        """Replace `sentence_embedding` by rows, or, where `task` is 'query', by u. Fewer nonzeros make shorter rows."""
        x = _units(features["sentence_embedding"].to(self.decoder_w.dtype))
        if task == "query" and self.space == "dense_query":
            features["sentence_embedding"] = x @ self.decoder_w.T
            return features
        k = self.h if self.activation == "identity" else self.k
        if task == "query" and self.space == "sparse":
            k = min(self.h, k * self.query_times)
        s = self._code(x, k if task == "query" or max_active_dims is None else min(k, max_active_dims))
        if self.space == "sparse":
            features["sentence_embedding"] = _units(s)
            return features
        z = s @ self.decoder_w
        if task == "query":
            features["sentence_embedding"] = _units(z) @ self.decoder_w.T
        else:
            features["sentence_embedding"] = s / z.norm(dim=-1, keepdim=True).clamp_min(1e-30)
        return features

    def _code(self, x, k):
        """The k entries of largest magnitude of the pre-activations, with their sign; a zero row has none."""
        a = x @ self.encoder_w + self.encoder_b
        a = torch.where((x != 0).any(dim=-1, keepdim=True), a, torch.zeros_like(a))
        if self.activation in ("relu_topk", "relu2_topk"):
            a = a.relu()
        if self.activation == "relu2_topk":
            a = a.square()
        columns = a.abs().topk(k, dim=-1).indices
        return torch.zeros_like(a).scatter_(-1, columns, a.gather(-1, columns))

    def get_embedding_dimension(self):
        """Width of rows and of u."""
        return self.h

    def save(self, output_path, *args, safe_serialization=True, **kwargs):
        """Write the module, which is a model folder of compressae_jax, too, and this file where it is looked for."""
        self.save_config(output_path)
        state = {name: one.detach().float().cpu().contiguous() for name, one in self.state_dict().items()}
        save_file(state, str(Path(output_path) / PARAMS))
        (Path(output_path) / META).write_text(self.meta, encoding="utf-8")
        there = Path(output_path).parent / f"{NAME}.py"
        if not there.exists():
            shutil.copyfile(__file__, there)

    @classmethod
    def load(cls, model_name_or_path, subfolder="", **kwargs):
        """Read the module from a folder or a repository."""
        where = {name: kwargs.get(name) for name in ("token", "cache_folder", "revision")}
        where |= {"subfolder": subfolder, "local_files_only": kwargs.get("local_files_only", False)}
        module = cls(**cls.load_config(model_name_or_path, **where))
        module.load_state_dict(load_file(cls.load_file_path(model_name_or_path, PARAMS, **where)))
        meta = cls.load_file_path(model_name_or_path, META, **where)
        module.meta = Path(meta).read_text(encoding="utf-8") if meta is not None else ""
        return module


def _units(x):
    return x / x.norm(dim=-1, keepdim=True).clamp_min(1e-30)
