"""XLM-RoBERTa (Conneau et al., 2020), the paper's encoder: https://huggingface.co/FacebookAI/xlm-roberta-large."""

from flare_ray.models.base import Checkpoint, Family

FAMILY = Family(
    name="xlm_roberta",
    architecture="encoder",
    model_types=("xlm-roberta", "roberta", "camembert", "xlm-roberta-xl"),
    forms={"classification": "classification", "question_answering": "span"},
    lora_modules=("query", "value"),
    fusion_modules=("query", "value"),
    heads={"classification": ("classifier",), "span": ("qa_outputs",)},
    checkpoints={
        "xlm-r-large": Checkpoint("FacebookAI/xlm-roberta-large"),
        "xlm-r-base": Checkpoint("FacebookAI/xlm-roberta-base"),
    },
)
