"""Sequence numbers in, a model's arguments out: as text, or with source states that were computed before."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any

import numpy as np
import torch

from flare_ray.cache import cache_folder
from flare_ray.methods.base import Batch, Method
from flare_ray.training.data import Split
from flare_ray.training.source_disk import States
from flare_ray.training.sources import Compute, SourceStates, pad_states
from flare_ray.training.workbench import Workbench
from flare_ray.translation.states import StatesFolder, ensure


class Feeder:
    """One split arranged for one run.

    encode_source: the model's function from English tokens to states, None where the method has none.
    """

    def __init__(
        self,
        bench: Workbench,
        method: Method,
        settings: Mapping[str, Any],
        split: Split,
        language: str,
        name: str,
        encode_source: Any = None,
    ):
        self.bench, self.method, self.settings, self.split = bench, method, settings, split
        self.form, self.device = bench.posed.form, bench.group.device
        self.items = self.form.items(split.target)
        self.states: SourceStates | None = None
        self._encode: Compute | None = None
        if translator := method.translator(settings):
            self._from_translator(translator, language, name)
        elif split.source is not None and encode_source is not None:
            self._from_base(split, encode_source)

    def __len__(self) -> int:
        return len(self.split)

    @property
    def lengths(self) -> np.ndarray:
        """Tokens that a pass over each sequence reads, the source's included where it is read as text."""
        lengths = self.split.target.lengths
        if self.split.source is None or self.split.source_of is None:
            return lengths
        return lengths + self.split.source.lengths[self.split.source_of]

    def inputs(self, sequences: Sequence[int], step: int | None = None) -> dict[str, Any]:
        """The model's arguments for these sequences, with labels when `step` says that this is training."""
        target = self.form.inputs(self.split.target, sequences, self.bench.tokenizer, step is not None)
        source = states = None
        if self._encode is not None:
            states = self._stated(sequences)
        elif self.split.source is not None:
            source = self._to_device(self._source(sequences, step is not None))
        batch = Batch(self._to_device(target), source, states, step)
        return self.method.inputs(batch, self.settings)

    def tokens(self, sequences: Sequence[int]) -> int:
        """Target tokens of these sequences."""
        return int(self.split.target.lengths[list(sequences)].sum())

    def _source(self, sequences: Sequence[int], training: bool) -> dict[str, Any]:
        """English rows as text: whole with labels where the method trains on them, else without their answers."""
        assert self.split.source is not None
        assert self.split.source_of is not None
        others = self.split.source_of[list(sequences)].tolist()
        labelled = training and self.method.trains_on_source
        return self.form.inputs(self.split.source, others, self.bench.tokenizer, labelled)

    def _stated(self, sequences: Sequence[int]) -> dict[str, Any]:
        """Source states: from memory, or computed now where they did not fit."""
        assert self._encode is not None
        of = self.split.source_of
        keys = list(sequences) if of is None else of[list(sequences)].tolist()
        states, mask = self.states.padded(keys) if self.states else pad_states(self._encode(keys))
        moved = tuple(tensor.to(self.device) for tensor in states)
        return {
            "source_states": moved[0] if len(moved) == 1 else moved,
            "source_attention_mask": mask.to(self.device),
        }

    def _from_base(self, split: Split, encode_source: Any) -> None:
        """States of the frozen base on the English text; read as text where they are not kept (sources.py)."""
        bench, source = self.bench, split.source
        assert source is not None

        def compute(chosen: list[int]) -> list[States]:
            inputs = self._to_device(self.form.inputs(source, chosen, bench.tokenizer, False))
            found = encode_source(inputs["input_ids"], inputs["attention_mask"])
            stacks = found if isinstance(found, tuple) else (found,)
            masks = inputs["attention_mask"].bool().cpu()
            stacks = tuple(stack.cpu().transpose(1, 2) for stack in stacks)
            return [tuple(stack[row][mask] for stack in stacks) for row, mask in enumerate(masks)]

        needed, key = bench.needed(split)
        offset = self.settings.get("source_offset", 1)
        self.states = bench.sources.get(
            (key, offset, bench.posed.family.fusion_modules),
            needed,
            source.lengths[needed],
            compute,
            lambda: bench.about_states(source, needed, offset),
        )
        self._encode = compute if self.states is not None else None

    def _from_translator(self, translator: str, language: str, name: str) -> None:
        """States of a translation model's encoder on the target text: from this machine's folder of them.

        The first run that needs a split's states encodes what the folder lacks and lets go of the encoder. Splits
        within the budget are held in memory as well.
        """
        features, length = self.split.target, self.settings["max_length"]

        @cache
        def folder() -> tuple[StatesFolder, np.ndarray]:
            texts = self.form.texts(self.bench.task, features, range(len(features)))
            encoder = self.bench.translator(translator)
            states = ensure(cache_folder() / "mt-states", encoder, texts, language, length)
            encoder.unload()  # the memory is the training's, whether or not there was something to encode
            return states, states.places(texts)

        def compute(chosen: list[int]) -> list[States]:
            states, places = folder()
            return [(states.at(place).clone(),) for place in places[chosen]]

        everything = list(range(len(features)))
        key = (translator, language, name, length, self.bench.origin(language, name))
        self.states = self.bench.sources.get(key, everything, features.lengths, compute)
        self._encode = compute

    def _to_device(self, tensors: dict[str, torch.Tensor]) -> dict[str, Any]:
        return {name: tensor.to(self.device) for name, tensor in tensors.items()}
