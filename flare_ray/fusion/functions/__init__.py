"""Fusion functions φ(S, T): a file here with a class `FUSION` is one, under the file's name."""
