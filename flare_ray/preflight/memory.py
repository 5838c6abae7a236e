"""Memory that a worker needs: weights by counted parameters, which are certain; activations by a rule of thumb.

    need = need_of(run_or_base, resources)
    need.weights      # bytes that must fit, or nothing can be trained
    need.whole        # with activations of the micro-batch as asked; what does not fit is halved while it trains

Activations: 17 values of the model's width per token and layer (Korthikanti et al., 2022, section 4.1, without the
attention matrices, which the fused kernels do not keep), 1 with gradient checkpointing and 17 of a single layer. A
frozen base keeps less. Generation also keeps the vocabulary's scores of each token, in fp32 and with gradients.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from flare_ray import registry
from flare_ray.plan.corpora import Corpus
from flare_ray.plan.grid import Base, Run
from flare_ray.plan.schema import Resources
from flare_ray.plan.shapes import Shape, shape_of

_BYTES = {"fp32": 4.0, "bf16": 2.0, "fp16": 2.0, "int8": 1.0, "nf4": 0.516}
"""Of a weight; NF4 with the scales of its double quantisation (Dettmers et al., 2023)."""
_TRAINED = 16
"""Bytes of a trained weight: fp32 with its gradient and AdamW's two moments."""
_PER_LAYER, _SCORES = 17, 8
PROCESS = 1.5 * 2**30
"""Of a worker's process, or of its CUDA context, besides: its libraries."""


@dataclass(frozen=True)
class Need:
    """Bytes of one worker. weights: of the frozen ones; trained: of adapters with their optimiser; activations."""

    weights: float
    trained: float = 0.0
    activations: float = 0.0

    @property
    def whole(self) -> float:
        """All of it, with what a process takes anyway."""
        return self.weights + self.trained + self.activations + PROCESS


def need_of(work: Run | Base, resources: Resources) -> Need | None:
    """Of a piece of training work; None for a model whose shape is not known."""
    base = work.base if isinstance(work, Run) else work
    model, settings = base.model, work.settings
    shape = shape_of(model.checkpoint)
    if shape is None:
        return None
    value = _BYTES[base.settings["precision"]]
    packed = _BYTES.get(model.quantization, value)
    weights = shape.blocks * packed + shape.embeddings * value
    if resources.zero_stage == 3:
        weights /= resources.workers
    family = registry.load("models", model.family)
    adapter = shape.adapter(family.lora_modules, settings.get("rank") or 0) or 0
    # what only evaluates has no batch
    batch = settings.get("batch_size")
    if not batch:
        return Need(weights)
    micro = resources.micro_batch or model.micro_batch or -(-batch // resources.workers)
    tokens = min(micro, batch) * settings["max_length"]
    generates = family.forms[registry.load("tasks", base.task).kind] == "generation"
    kept = _activations(shape, tokens, value, model.gradient_checkpointing, generates)
    return Need(weights, _TRAINED * adapter, kept)


def translator_need(corpus: Corpus) -> Need | None:
    """Of the process that translates: its weights."""
    shape = shape_of(corpus.translator["checkpoint"])
    return Need(shape.parameters * _BYTES[corpus.translator["precision"]]) if shape else None


def largest(needs: Iterable[Need]) -> Need:
    """The one that takes most."""
    return max(needs, key=lambda need: need.whole)


def _activations(shape: Shape, tokens: float, value: float, checkpointing: bool, generates: bool) -> float:
    layers = shape.layers + shape.decoder_layers
    per_token = (layers + _PER_LAYER) if checkpointing else _PER_LAYER * layers
    scores = _SCORES * shape.vocabulary if generates else 0
    return tokens * (per_token * shape.width * value + scores)
