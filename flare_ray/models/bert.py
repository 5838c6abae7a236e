"""BERT-class encoders (Devlin et al., 2019): multilingual BERT, E5, MiniLM and their like.

Not in the paper. The pooler belongs to the head: sentence encoders are often published without one, and a random
pooler that is frozen would throw information away.
"""

from flare_ray.models.base import Checkpoint, Family

FAMILY = Family(
    name="bert",
    architecture="encoder",
    model_types=("bert",),
    forms={"classification": "classification", "question_answering": "span"},
    lora_modules=("query", "value"),
    fusion_modules=("query", "value"),
    heads={"classification": ("pooler", "classifier"), "span": ("qa_outputs",)},
    checkpoints={
        "mbert": Checkpoint("google-bert/bert-base-multilingual-cased"),
        "me5-small": Checkpoint("intfloat/multilingual-e5-small"),
    },
)
