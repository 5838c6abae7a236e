"""mT5 (Xue et al., 2021), the paper's encoder-decoder: https://huggingface.co/google/mt5-xl.

Classification and span extraction by heads over the decoder, which reads the input text again; fusion goes into the
self-attention of encoder and decoder (method.md). bf16, never fp16, which overflows in T5's feed-forward.
"""

from flare_ray.models.base import Checkpoint, Family

FAMILY = Family(
    name="mt5",
    architecture="encoder_decoder",
    model_types=("mt5", "t5", "umt5"),
    forms={"classification": "classification", "question_answering": "span"},
    lora_modules=("q", "v"),
    fusion_modules=("SelfAttention.q", "SelfAttention.v"),
    heads={"classification": ("classification_head",), "span": ("qa_outputs",)},
    checkpoints={
        "mt5-xl": Checkpoint("google/mt5-xl", micro_batch=16),
        "mt5-base": Checkpoint("google/mt5-base"),
    },
)
