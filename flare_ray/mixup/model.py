"""`MixupModel`: a Hugging Face model, with adapters or without, that is trained and used with X-Mixup."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from peft import PeftModel
from torch import Tensor, nn
from transformers.utils import ModelOutput

from flare_ray.fusion.quantised import keep_differentiable
from flare_ray.mixup import generation, saving
from flare_ray.mixup.config import MixupConfig
from flare_ray.mixup.gate import MixupGate
from flare_ray.mixup.losses import Losses, Reading, combine
from flare_ray.mixup.mixing import Mixture, SourceStates, mixed, recorded
from flare_ray.mixup.placement import find_place, kept_out_of_checkpointing
from flare_ray.mixup.schedule import draw_gold
from flare_ray.mixup.texts import Text, read_text

Side = Mapping[str, Any]


@dataclass
class MixupOutput(ModelOutput):
    """Of a call; a field is None where there is nothing to say.

    loss: with its terms target_loss, source_loss, mse and kl, before their weights; where the target has labels.
    logits: of the target: [b, classes], or [b, n, V] of a model that generates.
    start_logits, end_logits: of the target's span in the caller's columns, [b, n]; the lowest there is on padding.
    ratio: λ, float32 [b].
    source_logits: of a classification's source, [b, classes]. Yang et al.'s trainer predicts by the mean of both.
    gold: whether the source was the gold one, and not the back-translation.
    """

    loss: Tensor | None = None
    logits: Tensor | None = None
    start_logits: Tensor | None = None
    end_logits: Tensor | None = None
    ratio: Tensor | None = None
    source_logits: Tensor | None = None
    target_loss: Tensor | None = None
    source_loss: Tensor | None = None
    mse: Tensor | None = None
    kl: Tensor | None = None
    gold: bool | None = None


class MixupModel(nn.Module):
    """A model one block of which mixes the target's attention with attention over the source (Yang et al., 2022).

    In a call the same model, adapters included, first runs on the source, then on the target; both runs train it.
    Which block: see `MixupConfig.block`. What is mixed is the output of the block's attention, in what the block
    continues to do with it: XLM-R and BERT add the residual and normalise (post-norm), mT5 and Llama add it to the
    residual, Gemma 2 normalises it before that.

    Args:
        model: a PEFT model or a Hugging Face model.
        config: settings.

    Raises:
        ValueError: for a model whose attention is not known or does not go with the configuration.
    """

    def __init__(self, model: nn.Module, config: MixupConfig) -> None:
        super().__init__()
        self.model = model
        self.mixup_config = config.resolved()
        if any(parameter.requires_grad for parameter in model.parameters()):
            keep_differentiable(model)  # before the first run in evaluation mode, which find_place does
        self.place = find_place(self.base, self.mixup_config)
        self.mixup = MixupGate(config.ratio_limit).to(self.base.device)

    @property
    def base(self) -> Any:
        """The Hugging Face model, adapters in it."""
        return self.model.get_base_model() if isinstance(self.model, PeftModel) else self.model

    @property
    def config(self) -> Any:
        """The Hugging Face model's configuration."""
        return self.base.config

    @property
    def device(self) -> torch.device:
        """Where the model is."""
        return self.base.device

    def forward(
        self,
        input_ids: Tensor,
        attention_mask: Tensor | None = None,
        labels: Tensor | None = None,
        source: Side | None = None,
        back_translation: Side | None = None,
        step: int | None = None,
        **more: Tensor | None,
    ) -> MixupOutput:
        """Run on a target beside its source.

        Args:
            input_ids, attention_mask: the target, long [b, n]; padding on either side.
            labels: classes [b]; of a generating model tokens [b, n], -100 up to the answer.
            source: input_ids and attention_mask [b, m], token_type_ids, and in training labels of its own. The
                labels of a classification are the target's where the source has none.
            back_translation: the source another time, from which scheduled sampling chooses while training.
            step: optimiser steps done, which scheduled sampling goes by; wanted with `back_translation`.
            more: token_type_ids; start_positions and end_positions [b] as columns, for spans; prompt_mask [b, n],
                the prompt's columns in a text of a generating model with an answer but without labels.

        Raises:
            ValueError: for a call without source, a gold source that lacks labels while training, or arguments that
                are not known.
        """
        given = {"input_ids": input_ids, "attention_mask": attention_mask, "labels": labels, **more}
        target = read_text(self.base, self.mixup_config.form, given, "target")
        chosen, gold = self._choose(source, back_translation, step)
        other = self._source_text(chosen, target, gold)
        with kept_out_of_checkpointing(self.base, self.place.block):
            with recorded(self.place.attention) as found:
                theirs = self._run(other, None if target.labels else 1)
            mixture = self.mixture(found[0], other, target.prompt)
            ours = self._run(target, None, mixed(mixture))
        losses = (
            combine(self.mixup_config, self.base, self.place.causal, ours, theirs) if target.labels else None
        )
        return self._output(ours, theirs, mixture, losses, gold)

    def generate(
        self,
        input_ids: Tensor,
        attention_mask: Tensor | None = None,
        source: Side | None = None,
        **kwargs: Any,
    ) -> Any:
        """The base's `generate` on prompts beside their sources; see `generation.generate`."""
        return generation.generate(self, input_ids, attention_mask, source, kwargs)

    def save_pretrained(self, folder: str | Path, state_dict: Mapping[str, Tensor] | None = None) -> None:
        """Write adapter, settings, w and b; see `saving.save`."""
        saving.save(self, Path(folder), state_dict)

    @classmethod
    def from_pretrained(cls, base: nn.Module, folder: str | Path, is_trainable: bool = False) -> MixupModel:
        """What `save_pretrained` wrote, on its base; see `saving.load`."""
        return saving.load(cls, base, Path(folder), is_trainable)

    # ---- parts of a call -------------------------------------------------------------------------------------

    def mixture(self, states: SourceStates, source: Text, prompt: Tensor) -> Mixture:
        """The mixing of one call: the source's answer is never seen, and λ reads the target's prompt alone."""
        rows, wanted = states.states.shape[0], prompt.shape[0]
        if rows != wanted:
            raise ValueError(f"{rows} source rows for {wanted} targets: each target wants its own source")
        return Mixture(self.place.attention, self.mixup, states, source.prompt, prompt)

    def _choose(
        self, source: Side | None, back_translation: Side | None, step: int | None
    ) -> tuple[Side, bool]:
        """The source to read, and whether it is the gold one."""
        if source is None:
            raise ValueError(
                "X-Mixup wants source={'input_ids': …, 'attention_mask': …}: mixup is on at test too"
            )
        if back_translation is None or not self.training:
            return source, True
        if step is None:
            raise ValueError(
                "back_translation is given, and scheduled sampling wants step=<steps done> beside it"
            )
        assert self.mixup_config.sampling_k is not None
        gold = draw_gold(step, self.mixup_config.sampling_k)
        return (source if gold else back_translation), gold

    def _source_text(self, chosen: Side, target: Text, gold: bool) -> Text:
        name = "source" if gold else "back_translation"
        text = read_text(self.base, self.mixup_config.form, chosen, name)
        if target.labels and not text.labels:
            if self.mixup_config.form == "classification":
                text.labels = dict(target.labels)
            elif gold and self.training:
                raise ValueError(
                    f"the target has {', '.join(target.labels)} and its source has none: give both, or alpha has "
                    "no source loss to weigh"
                )
        return text

    def _run(
        self, text: Text, keep: int | None, mixing: AbstractContextManager[None] | None = None
    ) -> Reading:
        """Run the model on a text. keep: how many of a generating model's last logits are wanted, None for all."""
        parameters = inspect.signature(self.base.forward).parameters
        inputs: dict[str, Any] = dict(text.inputs)
        if "use_cache" in parameters:
            inputs["use_cache"] = False
        if keep is not None and "logits_to_keep" in parameters:
            inputs["logits_to_keep"] = keep
            inputs.pop("labels", None)
        final: list[Tensor] = []
        handle = self.place.final.register_forward_hook(lambda module, args, output: final.append(output[0]))
        try:
            if mixing is None:
                output = self.model(**inputs)
            else:
                with mixing:
                    output = self.model(**inputs)
        finally:
            handle.remove()
        return Reading(text, output, final[0])

    def _output(
        self, ours: Reading, theirs: Reading, mixture: Mixture, losses: Losses | None, gold: bool
    ) -> MixupOutput:
        output = MixupOutput(ratio=mixture.ratio, gold=gold)
        if self.mixup_config.form == "span":
            output["start_logits"] = ours.text.as_given(ours.output.start_logits)
            output["end_logits"] = ours.text.as_given(ours.output.end_logits)
        else:
            output["logits"] = ours.output.logits
        if self.mixup_config.form == "classification":
            output["source_logits"] = theirs.output.logits
        if losses is not None:
            output["loss"], output["target_loss"] = losses.loss, losses.target
            output["source_loss"], output["mse"], output["kl"] = losses.source, losses.mse, losses.kl
        return output
