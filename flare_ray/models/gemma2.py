"""Gemma 2 (Gemma Team, 2024), a decoder of the paper: https://huggingface.co/google/gemma-2-9b.

Its attention logits are soft-capped, which SDPA cannot: eager attention, or FlashAttention where it is installed.
NF4 weights with bf16 compute (QLoRA); fusion on the query and value projections only.
"""

from flare_ray.models.base import Checkpoint, Family

FAMILY = Family(
    name="gemma2",
    architecture="decoder",
    model_types=("gemma2",),
    forms={"classification": "generation", "question_answering": "generation"},
    lora_modules=("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"),
    fusion_modules=("q_proj", "v_proj"),
    heads={"generation": ()},
    attention="eager",
    checkpoints={
        "gemma-2-9b": Checkpoint(
            "google/gemma-2-9b",
            quantization="nf4",
            micro_batch=8,
            gradient_checkpointing=True,
            gated="https://huggingface.co/google/gemma-2-9b",
        ),
        "gemma-2-2b": Checkpoint("google/gemma-2-2b", gated="https://huggingface.co/google/gemma-2-2b"),
    },
)
