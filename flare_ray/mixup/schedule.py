"""Scheduled sampling: early in training the source is gold, later more and more often back-translated.

The target of a translated training set is machine text beside human English, while at test the English is the
machine's: back-translations bring that mismatch into training by degrees (Yang et al., section 3.4).
"""

from __future__ import annotations

import math

import torch


def gold_probability(step: int, k: float) -> float:
    """p = k / (k + e^{step/k}), the probability of the gold source; 0 where e^{step/k} passes all bounds.

    Args:
        step: optimiser steps done, from 0.
        k: how slowly p falls; it is one half at step k · ln k.

    Raises:
        ValueError: for a negative step.
    """
    if step < 0:
        raise ValueError(f"step: wanted 0 or more, got {step}")
    exponent = step / k - math.log(k)  # p = 1 / (1 + e^exponent)
    if exponent > 0:
        return math.exp(-exponent) / (1 + math.exp(-exponent))
    return 1 / (1 + math.exp(exponent))


def draw_gold(step: int, k: float) -> bool:
    """Whether this step's batch reads the gold source: one draw from torch's CPU generator."""
    return float(torch.rand(())) <= gold_probability(step, k)
