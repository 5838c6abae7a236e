"""What the runs of a pack share: one loaded frozen base model, tokenised rows, source states."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any

import torch
from transformers import PreTrainedModel

from flare_ray import registry
from flare_ray.plan.fingerprint import fingerprint
from flare_ray.training.data import Encoded, Split, encode, pair
from flare_ray.training.engine import Group
from flare_ray.training.sources import EncodeSource, SourceCache

DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16}


class Workbench:
    """A base model's checkpoint opened for several runs."""

    def __init__(
        self,
        family: str,
        checkpoint: str,
        task: str,
        data: str,
        precision: str,
        group: Group,
        source_cache_mb: float = 2048,
    ):
        self.family = registry.load("models", family)
        self.task = registry.load("tasks", task)
        self.checkpoint, self.data, self.precision, self.group = checkpoint, data, precision, group
        self.tokenizer = self.family.tokenizer(checkpoint)
        self.sources = SourceCache(source_cache_mb * 2**20)
        self._encoded: dict[tuple, Encoded] = {}
        self._base: PreTrainedModel | None = None

    def load_base(self) -> PreTrainedModel:
        """The checkpoint with its task head, frozen; a head it lacks is made from the current random state."""
        model = self.family.classifier(self.checkpoint, len(self.task.labels), DTYPES[self.precision])
        model.config.pad_token_id = self.tokenizer.pad_token_id
        return model.to(self.group.device).requires_grad_(False)

    def model(self) -> PreTrainedModel:
        """A model of its own for one run: new modules over the one loaded copy of the weights.

        Adapters, hooks and trained heads go into the new modules and vanish with them; the frozen weights are
        shared. ZeRO-3 cuts the weights themselves into pieces, so there each run loads them anew.
        """
        if self.group.zero_stage == 3:
            return self.load_base()
        if self._base is None:
            self._base = self.load_base()
        shared = [*self._base.parameters(), *self._base.buffers()]
        return copy.deepcopy(self._base, {id(tensor): tensor for tensor in shared})

    def rows(self, language: str, split: str, max_length: int) -> Encoded:
        """One tokenised split, read once."""
        key = (language, split, max_length)
        if key not in self._encoded:
            table = self.task.read(self.data, language, split)
            self._encoded[key] = encode(table, self.tokenizer, self.task.text_columns, max_length)
        return self._encoded[key]

    def split(self, language: str, split: str, max_length: int, with_source: bool) -> Split:
        """Target rows, paired with their English rows when the method reads them."""
        target = self.rows(language, split, max_length)
        if not with_source:
            return Split(target)
        source = self.rows(self.task.source_language, split, max_length)
        order = fingerprint({"ids": list(target.ids), "split": split, "max_length": max_length})
        return pair(target, source, order)

    def feeder(
        self, split: Split, encode_source: EncodeSource | None = None, key: Sequence[Any] = ()
    ) -> Feeder:
        """Model inputs for the rows of a split; `key` names what else the source states depend on."""
        return Feeder(self, split, encode_source, (split.source_key, *key))


class Feeder:
    """Turns row numbers into a model's keyword arguments."""

    def __init__(self, bench: Workbench, split: Split, encode_source: EncodeSource | None, key: tuple):
        self.split, self.device = split, bench.group.device
        self.pad = bench.tokenizer.pad_token_id
        self.states = None
        if split.source is not None and encode_source is not None:
            self.states = bench.sources.get(key, split.source, self.pad, encode_source, self.device)

    def __len__(self) -> int:
        return len(self.split)

    def inputs(self, rows: Sequence[int]) -> dict[str, torch.Tensor]:
        """input_ids, attention_mask [b, t], labels [b], and the source as states or as text when there is one."""
        input_ids, mask = self.split.target.padded(rows, self.pad)
        found = {
            "input_ids": input_ids,
            "attention_mask": mask,
            "labels": torch.from_numpy(self.split.target.labels[list(rows)]),
        }
        if self.states is not None:
            found["source_states"], found["source_attention_mask"] = self.states.padded(rows)
        elif self.split.source is not None:
            ids, source_mask = self.split.source.padded(rows, self.pad)
            found |= {"source_input_ids": ids, "source_attention_mask": source_mask}
        return {name: tensor.to(self.device) for name, tensor in found.items()}

    def tokens(self, rows: Sequence[int]) -> int:
        """Target tokens of these rows."""
        return int(self.split.target.lengths[list(rows)].sum())
