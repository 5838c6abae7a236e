"""Llama (Grattafiori et al., 2024), a decoder of the paper: https://huggingface.co/meta-llama/Llama-3.1-8B.

NF4 weights with bf16 compute (QLoRA); LoRA on all linear layers, fusion on the query and value projections only.
"""

from flare_ray.models.base import Checkpoint, Family

FAMILY = Family(
    name="llama",
    architecture="decoder",
    model_types=("llama",),
    forms={"classification": "generation", "question_answering": "generation"},
    lora_modules=("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"),
    fusion_modules=("q_proj", "v_proj"),
    heads={"generation": ()},
    checkpoints={
        "llama-3.1-8b": Checkpoint(
            "meta-llama/Llama-3.1-8B",
            quantization="nf4",
            micro_batch=16,
            gated="https://huggingface.co/meta-llama/Llama-3.1-8B",
        ),
        "smollm2-135m": Checkpoint("HuggingFaceTB/SmolLM2-135M"),
    },
)
