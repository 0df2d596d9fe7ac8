"""Compress embeddings into sparse codes and search them."""
