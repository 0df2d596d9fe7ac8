"""Kinds of stored rows, one file each; `codes.codes` has the plain one, two arrays of floats and columns."""
