"""X-Mixup's loss: α · source task + (1 − α) · target task + MSE of representations + KL(source ‖ target).

Every term is a mean over the batch; the MSE one over features too, as in Yang et al.'s code. Gradients go to both
sides of MSE and KL unless `detach_source` is set.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from flare_ray.fusion.call import IGNORED_LABEL
from flare_ray.mixup.config import MixupConfig
from flare_ray.mixup.gate import masked_mean
from flare_ray.mixup.texts import SPANS, Text, last_column


@dataclass
class Reading:
    """What the model made of a text: its output, and the states its head read, [b, n, d]."""

    text: Text
    output: Any
    final: Tensor


@dataclass
class Losses:
    """The loss and its terms, before their weights; None for a term that there is not."""

    loss: Tensor
    target: Tensor
    source: Tensor | None = None
    mse: Tensor | None = None
    kl: Tensor | None = None


def combine(config: MixupConfig, base: Any, causal: bool, target: Reading, source: Reading) -> Losses:
    """The loss of a call whose target has labels.

    A source without labels, such as a back-translation that lost its answer, leaves the task loss to the target
    alone, with weight 1 (Yang et al.'s code).

    Args:
        config: a resolved configuration.
        base: the Hugging Face model.
        causal: whether its self-attention is.
        target, source: what the model made of both texts.
    """
    losses = Losses(loss := task_loss(config.form, target), loss)
    if source.text.labels:
        assert config.alpha is not None
        losses.source = task_loss(config.form, source)
        losses.loss = config.alpha * losses.source + (1 - config.alpha) * losses.target
    if config.mse_weight:
        ours, theirs = (representation(config, base, causal, side) for side in (target, source))
        losses.mse = functional.mse_loss(ours, _fixed(theirs, config))
        losses.loss = losses.loss + config.mse_weight * losses.mse
    if config.kl_weight:
        losses.kl = divergence(_fixed(prediction(config, source), config), prediction(config, target))
        losses.loss = losses.loss + config.kl_weight * losses.kl
    return losses


def _fixed(values: Tensor, config: MixupConfig) -> Tensor:
    return values.detach() if config.detach_source else values


def task_loss(form: str, reading: Reading) -> Tensor:
    """Cross-entropy of a text's labels. Spans compete among real tokens only."""
    labels, output = reading.text.labels, reading.output
    if form == "generation":
        return output.loss
    if form == "classification":
        return functional.cross_entropy(output.logits.float(), labels["labels"])
    lowest = torch.finfo(torch.float32).min
    scores = (
        logits.float().masked_fill(~reading.text.mask, lowest)
        for logits in (output.start_logits, output.end_logits)
    )
    ends = [
        functional.cross_entropy(logits, labels[name], ignore_index=IGNORED_LABEL)
        for logits, name in zip(scores, SPANS, strict=True)
    ]
    return (ends[0] + ends[1]) / 2


def representation(config: MixupConfig, base: Any, causal: bool, reading: Reading) -> Tensor:
    """What stands for a text in the MSE, float32 [b, d], of the states the head reads.

    QA: the mean over the prompt's real tokens. Classification: the state the head itself reads, which is the CLS
    token's in an encoder, the end-of-sequence token's in T5, the last token's in a causal model; of a model that
    classifies by generating, the prompt's last token's.
    """
    states, text = reading.final.float(), reading.text
    if config.task == "qa":
        return masked_mean(states, text.prompt)
    if config.form == "generation":
        column = text.last_of_prompt
    elif base.config.is_encoder_decoder:
        column = last_column(text.inputs["input_ids"] == base.config.eos_token_id)
    elif causal:
        column = last_column(text.mask)
    else:
        return states[:, 0]
    return pick(states, column)


def prediction(config: MixupConfig, reading: Reading) -> Tensor:
    """Logits whose distributions KL compares: of the classes or of the answer's first token, [b, classes or V]."""
    if config.form == "classification":
        return reading.output.logits
    return pick(reading.output.logits, reading.text.last_of_prompt)


def divergence(source: Tensor, target: Tensor) -> Tensor:
    """KL(source ‖ target) of two batches of logits [b, classes], averaged over the batch."""
    theirs, ours = source.float().log_softmax(-1), target.float().log_softmax(-1)
    return functional.kl_div(ours, theirs, reduction="batchmean", log_target=True)


def pick(values: Tensor, columns: Tensor) -> Tensor:
    """One column of each row: [b, n, d], long [b] → [b, d]."""
    return values[torch.arange(values.shape[0], device=values.device), columns]
