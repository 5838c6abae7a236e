"""What an estimate from counted operations is made of: sizes of models, of the hub's datasets, speeds of devices."""

from __future__ import annotations

import json
from typing import Any

from flare_ray.plan.checkpoints import is_local, local_path

ROWS = {"xnli": (392_702, 2_490, 5_010), "tydiqa": (3_696, 440, 640), "nusax": (500, 100, 400)}
"""Rows of the hub's English train and validation splits, and of a language's test split (TyDiQA-GoldP: the mean)."""
TOKENS = {"xnli": 40, "tydiqa": 220, "nusax": 45}
"""Guessed mean tokens of an instance."""
PARAMETERS = {
    "FacebookAI/xlm-roberta-large": 0.30e9,
    "FacebookAI/xlm-roberta-base": 0.085e9,
    "google/mt5-xl": 2.7e9,
    "google/mt5-base": 0.20e9,
    "meta-llama/Llama-3.1-8B": 7.0e9,
    "google/gemma-2-9b": 8.3e9,
    "google/gemma-2-2b": 2.0e9,
}
"""Without embeddings: what a token's pass multiplies with."""
PEAK = {"H200": 990e12, "H100": 990e12, "A100": 312e12, "L40S": 362e12, "L4": 121e12, "A10G": 70e12}
"""bf16 FLOP/s, dense, from the makers' data sheets."""
CPU_CORE = 50e9
UTILISATION = 0.35
"""Assumed share of the peak."""


def parameters(checkpoint: str) -> float | None:
    """Parameters without embeddings: of a known checkpoint or from a local one's config.json; None for others."""
    if is_local(checkpoint):
        file = local_path(checkpoint) / "config.json"
        return _of_config(json.loads(file.read_text())) if file.is_file() else None
    return PARAMETERS.get(checkpoint.partition("@")[0])


def _of_config(config: dict[str, Any]) -> float | None:
    """Attention and feed-forward of all layers."""
    width = config.get("hidden_size") or config.get("d_model")
    inner = config.get("intermediate_size") or config.get("d_ff")
    layers = config.get("num_hidden_layers") or config.get("num_layers")
    if not (width and inner and layers):
        return None
    gated = 3 if config.get("model_type") in ("llama", "gemma2", "gemma3_text", "mt5") else 2
    decoder = config.get("num_decoder_layers") or 0
    return float((layers + decoder) * (4 * width**2 + gated * width * inner) + decoder * 4 * width**2)
