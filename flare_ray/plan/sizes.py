"""What an estimate from counted operations is made of: sizes of the hub's datasets, speeds of devices."""

from __future__ import annotations

from flare_ray.plan.schema import Resources
from flare_ray.plan.shapes import shape_of

ROWS = {"xnli": (392_702, 2_490, 5_010), "tydiqa": (3_696, 440, 640), "nusax": (500, 100, 400)}
"""Rows of the hub's English train and validation splits, and of a language's test split (TyDiQA-GoldP: the mean)."""
TOKENS = {"xnli": 40, "tydiqa": 220, "nusax": 45}
"""Guessed mean tokens of an instance."""
TRANSLATED = {**TOKENS, "xnli": 22}
"""The same, each text counted once: XNLI has three hypotheses to a premise, which is about two thirds of a row."""
HUB_ROWS = "rows as in the hub's dataset, for the data cannot be counted here"
"""Said of an estimate for data that is neither on this machine nor the task's own dataset."""
PEAK = {"H200": 990e12, "H100": 990e12, "A100": 312e12, "L40S": 362e12, "L4": 121e12, "A10G": 70e12}
"""bf16 FLOP/s, dense, from the makers' data sheets."""
CPU_CORE = 50e9
UTILISATION = 0.35
"""Assumed share of the peak in training and in passes over whole texts."""
DECODING = 0.05
"""The same where text is generated: a step reads all weights for one token of each text."""


def rows(task: str, data: str, split: str) -> int | None:
    """Rows of a split, taken from the hub's dataset; None for a task that is not known and for the sandbox's rows."""
    known = ROWS.get(task) if data != "sandbox" else None
    return known[("train", "validation", "test").index(split)] if known else None


def parameters(checkpoint: str) -> float | None:
    """Parameters without embeddings: of a known checkpoint or from a local one's config.json; None for others."""
    shape = shape_of(checkpoint)
    return float(shape.blocks) if shape else None


def speed(resources: Resources, utilisation: float = UTILISATION) -> tuple[float, str]:
    """FLOP/s that a worker group is assumed to reach, and on what."""
    share = f"{utilisation:.0%} of "
    if resources.gpus_per_worker:
        kind = (resources.accelerator_type or "A100").partition("-")[0]
        peak = PEAK.get(kind, PEAK["A100"])
        count = resources.workers * resources.gpus_per_worker
        return count * peak * utilisation, f"{share}{count:g} × {kind} at {peak / 1e12:g} TFLOP/s"
    cores = resources.workers * resources.cpus_per_worker
    return cores * CPU_CORE * utilisation, f"{share}{cores:g} CPU cores at {CPU_CORE / 1e9:g} GFLOP/s"
