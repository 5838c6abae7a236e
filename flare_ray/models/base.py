"""What a model family is: how its checkpoints are loaded, and where adapters and fusion go."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from flare_ray.plan.checkpoints import SANDBOX, is_local, local_path
from flare_ray.sandbox import world
from flare_ray.tasks.base import sandbox_folder

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

Architecture = Literal["encoder", "encoder_decoder", "decoder"]


@dataclass(frozen=True)
class Family:
    """Models of one Hugging Face class.

    name: the file's name, used in sweep files.
    lora_modules: projections that get an adapter; fusion_modules: those of them that fuse (method.md, "Where
        adapters go").
    head_modules: the task head, trained beside the adapters, never adapted.
    checkpoints: names the package knows -> hub id.
    """

    name: str
    architecture: Architecture
    lora_modules: tuple[str, ...]
    fusion_modules: tuple[str, ...]
    head_modules: tuple[str, ...]
    checkpoints: Mapping[str, str] = field(default_factory=dict)

    def tokenizer(self, checkpoint: str) -> PreTrainedTokenizerBase:
        """The checkpoint's tokenizer."""
        from transformers import AutoTokenizer

        return AutoTokenizer.from_pretrained(**origin(checkpoint))

    def classifier(self, checkpoint: str, labels: int, dtype: torch.dtype) -> PreTrainedModel:
        """The checkpoint with a sequence-classification head (new and random where it has none)."""
        from transformers import AutoModelForSequenceClassification

        return AutoModelForSequenceClassification.from_pretrained(
            **origin(checkpoint), num_labels=labels, dtype=dtype
        )


def origin(checkpoint: str) -> dict[str, Any]:
    """Where `from_pretrained` finds a checkpoint: a folder, the sandbox's folder, or a hub id and revision."""
    if checkpoint.startswith(SANDBOX):
        facts = world.MODELS[checkpoint.removeprefix(SANDBOX)]
        return {"pretrained_model_name_or_path": str(sandbox_folder() / facts["folder"])}
    if is_local(checkpoint):
        return {"pretrained_model_name_or_path": str(local_path(checkpoint))}
    name, _, revision = checkpoint.partition("@")
    return {"pretrained_model_name_or_path": name, "revision": revision or None}
