"""What a model family is: how its checkpoints are loaded, and where adapters, fusion and the task head go."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from flare_ray import registry
from flare_ray.errors import InputError, Problem
from flare_ray.loading import load_model, load_tokenizer
from flare_ray.plan.checkpoints import SANDBOX, is_local, local_path
from flare_ray.store import shelf
from flare_ray.tasks.base import Kind, sandbox_folder

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

    from flare_ray.forms.base import Form

_MOST_DRAWN = 0.5
"""Share of weights that a checkpoint may lack, which are then random; some classes have parts that others lack."""
_NEVER_DRAWN = re.compile(r"\.\d+\.|(?:^|\.)(?:word_embeddings|embed_tokens|shared|lm_head)\.weight$")
"""Weights that a checkpoint never lacks: those of numbered layers, and embeddings of tokens."""

Architecture = Literal["encoder", "encoder_decoder", "decoder"]


@dataclass(frozen=True)
class Checkpoint:
    """A checkpoint the package knows by name, ready at full size for an 80 GB GPU.

    reference: hub id. precision: of frozen weights and passes. quantization: of the frozen weights. micro_batch and
    gradient_checkpointing: what the study's batch of 64 is cut down to (a pass that still does not fit is halved
    further, see training/memory.py). gated: the page where the licence is accepted.
    """

    reference: str
    precision: Literal["fp32", "bf16"] = "bf16"
    quantization: Literal["none", "nf4", "int8"] = "none"
    micro_batch: int | None = None
    gradient_checkpointing: bool = False
    gated: str | None = None


@dataclass(frozen=True)
class Family:
    """Models of one Hugging Face class.

    name: the file's name, used in sweep files.
    forms: kind of task -> form it is posed in (a file of flare_ray/forms/).
    lora_modules: projections that get an adapter; fusion_modules: those of them that fuse (method.md, "Where
        adapters go").
    heads: form -> modules of the task head, trained beside the adapters, never adapted nor quantised.
    attention: the kernel, for transformers' `attn_implementation`.
    checkpoints: names the package knows.
    model_types: values of `model_type` in the config.json of its checkpoints; empty where any may be.
    """

    name: str
    architecture: Architecture
    forms: Mapping[Kind, str]
    lora_modules: tuple[str, ...]
    fusion_modules: tuple[str, ...]
    heads: Mapping[str, tuple[str, ...]]
    attention: str = "sdpa"
    checkpoints: Mapping[str, Checkpoint] = field(default_factory=dict)
    model_types: tuple[str, ...] = ()

    def form(self, kind: Kind) -> Form:
        """The form in which a kind of task is posed to this family."""
        return registry.load("forms", self.forms[kind])

    def tokenizer(self, checkpoint: str) -> PreTrainedTokenizerBase:
        """The checkpoint's tokenizer; its end token pads where it has no padding token of its own."""
        tokenizer = load_tokenizer(**origin(checkpoint))
        if tokenizer.pad_token_id is None:
            tokenizer.pad_token = tokenizer.eos_token
        return tokenizer

    def load(
        self,
        checkpoint: str,
        form: Form,
        labels: int,
        dtype: torch.dtype,
        quantization: str = "none",
        attention: str | None = None,
        device: str = "cpu",
    ) -> PreTrainedModel:
        """The checkpoint with the form's head, frozen, on a device.

        A head that the checkpoint lacks is drawn from the current random state. Quantised weights stay
        differentiable (QLoRA, paper section 4.1); heads and output embeddings are not quantised. Raises InputError
        for a checkpoint without weights of a layer, or most of the model's weights, which would be random.
        """
        settings: dict[str, Any] = {"dtype": dtype, "attn_implementation": attention or self.attention}
        if form.name == "classification":
            settings["num_labels"] = labels
        if quantization != "none":
            settings |= {
                "quantization_config": quantized(quantization, dtype, self.heads[form.name]),
                "device_map": {"": device},
            }
        model, report = load_model(
            form.auto_class, **origin(checkpoint), **settings, output_loading_info=True
        )
        _check_loaded(model, report["missing_keys"], self.heads[form.name], checkpoint)
        if quantization == "none":
            return model.to(device).requires_grad_(False)
        from flare_ray.fusion.quantised import keep_differentiable

        keep_differentiable(model)
        return model.requires_grad_(False)


def _check_loaded(model: Any, missing: Iterable[str], heads: tuple[str, ...], checkpoint: str) -> None:
    """Raise InputError where more than a part of the weights, the task head aside, is not the checkpoint's."""
    drawn = sorted(name for name in missing if name.split(".")[0] not in heads)
    total = sum(name.split(".")[0] not in heads for name in model.state_dict())
    essential = [name for name in drawn if _NEVER_DRAWN.search(name)]
    if essential or len(drawn) > _MOST_DRAWN * total:
        example = (essential or drawn)[0]
        got = f"{checkpoint} without {len(drawn)} of {total} weights of {type(model).__name__}, such as {example}"
        raise InputError(checkpoint, [Problem("checkpoint", got, "the weights of such a model")])


def quantized(kind: str, dtype: torch.dtype, heads: tuple[str, ...]) -> Any:
    """bitsandbytes' configuration: NF4 with double quantisation (Dettmers et al., 2023), or int8."""
    from transformers import BitsAndBytesConfig

    kept = [*heads, "lm_head"]
    if kind == "int8":
        return BitsAndBytesConfig(load_in_8bit=True, llm_int8_skip_modules=kept)
    return BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=dtype,
        llm_int8_skip_modules=kept,
    )


def origin(checkpoint: str) -> dict[str, Any]:
    """Where `from_pretrained` finds a checkpoint: a folder, or a hub id and revision."""
    if checkpoint.startswith(SANDBOX):
        name = checkpoint.removeprefix(SANDBOX)
        return {"pretrained_model_name_or_path": str(sandbox_folder() / "models" / name)}
    if is_local(checkpoint):
        return {"pretrained_model_name_or_path": str(local_path(checkpoint))}
    if folder := shelf.found("model", checkpoint):
        return {"pretrained_model_name_or_path": str(folder)}
    name, _, revision = checkpoint.partition("@")
    return {"pretrained_model_name_or_path": name, "revision": revision or None}
