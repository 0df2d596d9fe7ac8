"""Datasets that the package does not carry, made from public sources: one file a dataset, and the encoder of texts."""
