"""Gemma 3's text models (Gemma Team, 2025): https://huggingface.co/google/gemma-3-270m. Not in the paper.

No soft-capping any more; queries and keys are normalised inside of attention, after the projections that adapt.
"""

from flare_ray.models.base import Checkpoint, Family

FAMILY = Family(
    name="gemma3",
    architecture="decoder",
    model_types=("gemma3_text", "gemma3"),
    forms={"classification": "generation", "question_answering": "generation"},
    lora_modules=("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"),
    fusion_modules=("q_proj", "v_proj"),
    heads={"generation": ()},
    checkpoints={
        "gemma-3-270m": Checkpoint("google/gemma-3-270m", gated="https://huggingface.co/google/gemma-3-270m")
    },
)
