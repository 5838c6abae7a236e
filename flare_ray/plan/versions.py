"""Versions of what the code computes: raised by hand when a change of code changes a result, for the work it changes.

A version is part of a fingerprint, so finished work that a change does not reach stays recognised.
"""

from __future__ import annotations

BASE_VERSION = "2"
"""Version of base models in fp32."""
RUN_VERSION = "2"
"""Version of the training and evaluation of runs in fp32, and of runs without training."""
_BF16 = "3"
"""Version of trained work in bf16: 2 made an AdamW step before the first batch, unless ZeRO was on."""


def base_version(precision: str) -> str:
    """Return the version of a base model's training. precision: fp32 or bf16."""
    return _BF16 if precision == "bf16" else BASE_VERSION


def run_version(precision: str | None) -> str:
    """Return the version of a run's training and evaluation. precision: None for a run without training."""
    return _BF16 if precision == "bf16" else RUN_VERSION
