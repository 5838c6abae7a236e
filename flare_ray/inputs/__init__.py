"""Checks of what a sweep reads, before it is trained on: checkpoints, tokenizers, lengths, answers, pairs."""
