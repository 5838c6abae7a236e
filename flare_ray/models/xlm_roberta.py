"""XLM-RoBERTa (Conneau et al., 2020), the paper's encoder: https://huggingface.co/FacebookAI/xlm-roberta-large."""

from flare_ray.models.base import Family

FAMILY = Family(
    name="xlm_roberta",
    architecture="encoder",
    lora_modules=("query", "value"),
    fusion_modules=("query", "value"),
    head_modules=("classifier",),
    checkpoints={
        "xlm-r-large": "FacebookAI/xlm-roberta-large",
        "xlm-r-base": "FacebookAI/xlm-roberta-base",
    },
)
