"""What the runs of a pack share: one loaded frozen base model, encoded rows, source states."""

from __future__ import annotations

import copy
import hashlib
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers
from transformers import PreTrainedModel

from flare_ray import registry
from flare_ray.cache import cache_folder
from flare_ray.errors import InputError, Problem
from flare_ray.forms._features import Features
from flare_ray.forms._reading import USUAL, ReadingOptions
from flare_ray.forms.base import Prediction
from flare_ray.inputs.positions import check_length, positions_of
from flare_ray.inputs.tokenizers import special_token_problems, vocabulary_problem, vocabulary_size
from flare_ray.inputs.unknown_tokens import unknown_problem
from flare_ray.loading import load_config
from flare_ray.methods.base import Method, Posed
from flare_ray.models.base import origin
from flare_ray.plan.checkpoints import checkpoint_identity
from flare_ray.plan.english import english_of
from flare_ray.plan.fingerprint import fingerprint
from flare_ray.tasks._rows import Rows
from flare_ray.training.data import Split, english_rows_of, pair
from flare_ray.training.engine import Group
from flare_ray.training.row_checks import check_passages, check_some_paired, check_training_labels
from flare_ray.training.source_disk import VERSION, SourceDisk
from flare_ray.training.sources import Mode, SourceCache
from flare_ray.translation.corpus import read as read_corpus
from flare_ray.translation.encoder import TranslationEncoder

DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16}


@dataclass(frozen=True)
class Subject:
    """What a pack is about: which checkpoint of which family, on which task and data. Plain values.

    limit: rows per split that are read, the first ones; None for all.
    """

    family: str
    checkpoint: str
    task: str
    data: str
    precision: str = "fp32"
    quantization: str = "none"
    attention: str | None = None
    max_dropped: float = 0.01
    limit: int | None = None


@dataclass
class Workbench:
    """A checkpoint opened for several runs.

    tested: predictions of the base model itself, by what it reads and row id: runs that train nothing share them.
    corpora: machine-translated splits by target language and split: train and validation in that language, test in
    English; what is not there is read from the task's own data. source_cache: where source states are kept, within
    source_cache_mb of memory and source_cache_disk_gb of this machine's disk (sources.py).
    """

    subject: Subject
    group: Group
    source_cache_mb: float = 2048
    source_cache: Mode = "auto"
    source_cache_disk_gb: float = 50
    tested: dict[str, dict[str, Prediction]] = field(default_factory=dict)
    corpora: dict[tuple[str, str], Path] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.family = registry.load("models", self.subject.family)
        self.task = registry.load("tasks", self.subject.task)
        self.posed = Posed(self.family, self.family.form(self.task.kind), self.task)
        self.tokenizer = self.family.tokenizer(self.subject.checkpoint)
        config = load_config(**origin(self.subject.checkpoint)).to_dict()
        self.positions = positions_of(config)
        self._check_tokenizer(config)
        self.sources = self._source_cache()
        self._dropped: dict[tuple[str, str, str], Mapping[str, int]] = {}
        self._features: dict[tuple, Features] = {}
        self._translators: dict[str, TranslationEncoder] = {}
        self._base: PreTrainedModel | None = None

    def _check_tokenizer(self, config: Mapping[str, Any]) -> None:
        """Raise InputError for a tokenizer that cannot be the model's: one from the hub was not looked at before."""
        name = self.subject.checkpoint
        problem = vocabulary_problem(self.tokenizer, vocabulary_size(config), name)
        problems = [problem] if problem else []
        problems = problems or special_token_problems(self.tokenizer, config, self.family.architecture, name)
        if problems:
            raise InputError(name, problems)

    @property
    def longest(self) -> int:
        """Tokens that an input has at most: of the tokenizer's limit and the model's positions the smaller one."""
        return min(self.tokenizer.model_max_length, self.positions or sys.maxsize)

    def _source_cache(self) -> SourceCache:
        mode = self.source_cache
        if self.group.zero_stage == 3 and self.group.workers > 1 and mode != "off":
            mode = "memory"  # a pass takes all workers, and one might find on its disk what another one lacks
        disk = SourceDisk(cache_folder() / "source-states", self.source_cache_disk_gb * 1e9)
        return SourceCache(self.source_cache_mb * 2**20, mode, disk)

    # ---- models

    def load_base(self, quantization: str | None = None) -> PreTrainedModel:
        """The checkpoint with its task head, frozen; a head it lacks is made from the current random state."""
        model = self.family.load(
            self.subject.checkpoint,
            self.posed.form,
            len(self.task.labels),
            DTYPES[self.subject.precision],
            self.subject.quantization if quantization is None else quantization,
            self.subject.attention,
            self.group.device,
        )
        model.config.pad_token_id = self.tokenizer.pad_token_id
        if self.posed.form.name == "classification":
            model.config.id2label = dict(enumerate(self.task.labels))
            model.config.label2id = {label: place for place, label in enumerate(self.task.labels)}
        self.posed.form.prepare(model)
        return model

    def model(self) -> PreTrainedModel:
        """A model of its own for one run: new modules over the one loaded copy of the weights.

        Adapters, hooks and trained heads go into the new modules and vanish with them; the frozen weights are
        shared. ZeRO-3 cuts the weights themselves into pieces, so there each run loads them again.
        """
        if self.group.zero_stage == 3:
            return self.load_base()
        if self._base is None:
            self._base = self.load_base()
        shared = [*self._base.parameters(), *self._base.buffers()]
        return copy.deepcopy(self._base, {id(tensor): tensor for tensor in shared})

    def translator(self, checkpoint: str) -> TranslationEncoder:
        """A translation model's encoder, whose weights are loaded when a text is encoded."""
        if checkpoint not in self._translators:
            dtype = DTYPES[self.subject.precision]
            self._translators[checkpoint] = TranslationEncoder(checkpoint, dtype, self.group.device)
        return self._translators[checkpoint]

    # ---- rows

    def features(
        self,
        language: str,
        split: str,
        max_length: int,
        translated: bool = False,
        parallel_to: str = "",
        reading: ReadingOptions = USUAL,
    ) -> Features:
        """One encoded split, read once. translated: the English translation of a language's rows instead.

        parallel_to: the language whose limited rows have these ids; empty where no rows are left out.
        """
        origin = self.origin(language, split, translated)
        key = (language, split, max_length, translated, parallel_to, origin, reading)
        if key not in self._features:
            rows = self._rows(language, split, translated, parallel_to)
            if rows is None:
                found = f"no English translation of the {language} {split} split"
                raise InputError(
                    "translation", [Problem(f"data.{self.task.name}", found, "translation: gold, or files")]
                )
            if not translated:  # a row whose translation is unusable counts as one without English
                self._dropped[language, split, origin] = rows.dropped
            check_training_labels(self.task, rows.table, language, split)
            training = split == "train"
            encode = self.posed.form.encode
            features = encode(self.task, rows.table, self.tokenizer, max_length, training, reading)
            self._check_features(features, language, split, max_length)
            self._features[key] = features
        return self._features[key]

    def _check_features(self, features: Features, language: str, split: str, max_length: int) -> None:
        """Raise InputError for more tokens than the model has positions, or too many unknown ones."""
        name = self.subject.checkpoint
        check_length(min(max_length, int(features.lengths.max(initial=0))), self.positions, name)
        share = self.unknown_share(features)
        if problem := unknown_problem(share, language, f"{self.task.name} {split}", name):
            raise InputError(name, [problem])

    def unknown_share(self, features: Features) -> float:
        """Share of unknown tokens among all tokens of a split, 0 to 1."""
        unknown = self.tokenizer.unk_token_id
        if unknown is None or not len(features.tokens):
            return 0.0
        return float(np.mean(features.tokens == unknown))

    def origin(self, language: str, split: str, translated: bool = False) -> str:
        """Where a split's rows are read now: a translated one's file, or "" for the task's own data.

        Runs of one pack may read the same split by different translators; whatever is shared between runs is known by
        this too.
        """
        corpus = self.corpora.get((language, split))
        return str(corpus) if corpus and (translated or split != "test") else ""

    def dropped(self, language: str, split: str) -> Mapping[str, int]:
        """Rows left out of a split when it was read, by reason."""
        return self._dropped.get((language, split, self.origin(language, split)), {})

    def _rows(self, language: str, split: str, translated: bool, parallel_to: str) -> Rows | None:
        if corpus := self.origin(language, split, translated):
            return read_corpus(self.task, Path(corpus))
        data, bounds = self.subject.data, {"max_dropped": self.subject.max_dropped}
        if translated:
            return self.task.read_translation(data, language, split, limit=self.subject.limit, **bounds)
        return self.task.read(
            data, language, split, limit=self.subject.limit, parallel_to=parallel_to, **bounds
        )

    def has(self, language: str, split: str) -> bool:
        """Whether a split is there; one that is there with too many unusable rows is an error when it is read."""
        try:
            self.task.read(self.subject.data, language, split, max_dropped=1.0)
        except InputError:
            return False
        return True

    def split(self, method: Method, settings: Mapping[str, Any], language: str, name: str) -> Split:
        """Rows as the method reads them: target, English, both beside each other, or both in one input."""
        length, reading = settings["max_length"], ReadingOptions.of(settings)
        if method.joins:  # both texts must have room in one input
            length = min(length, self.longest // 2)
        target = self.features(language, name, length, reading=reading)
        english = english_of(
            name,
            reads_source=method.reads_source,
            source_at_test=method.source_at_test(settings),
            translation=settings.get("translation", "gold"),
        )
        if english == "none":
            return Split(target)
        translated = english in ("beside", "machine")
        spoken = language if translated else self.task.source_language
        limited = self.subject.limit is not None and not self.origin(language, name)
        parallel_to = language if limited and not translated else ""
        source = self.features(spoken, name, length, translated, parallel_to, reading)
        origin = self.origin(spoken, name, translated)
        read = {
            "language": spoken,
            "split": name,
            "length": length,
            "translated": translated,
            "origin": origin,
            **({"parallel_to": parallel_to} if parallel_to else {}),
        }
        if reading != USUAL:
            read["reading"] = vars(reading)
        key = fingerprint(read)
        if english == "own" and not self.origin(language, name):
            check_passages(self.task, target, source, language, name)
        if method.reads == "source":
            rows, unpaired = english_rows_of(target, source)
            check_some_paired(self.task, target, unpaired, language, name)
            return Split(rows, source_key=key, unpaired=unpaired)
        paired = pair(target, source, key)
        check_some_paired(self.task, target, paired.unpaired, language, name)
        if not method.joins:
            return paired
        assert paired.source is not None
        assert paired.source_of is not None
        limit = min(2 * length, self.longest)
        joined = self.posed.form.join(paired.target, paired.source, paired.source_of, self.tokenizer, limit)
        return Split(joined, unpaired=paired.unpaired, differ=paired.differ)

    def needed(self, split: Split) -> tuple[list[int], str]:
        """Source sequences that a split needs, and a key of which they are."""
        assert split.source_of is not None
        needed = np.unique(split.source_of).tolist()
        whole = len(needed) == len(split.source or ())
        return needed, split.source_key + ("" if whole else fingerprint({"needed": needed}))

    def about_states(self, source: Features, needed: list[int], offset: int) -> dict[str, Any]:
        """All that determines the bits of the base's states on these English sequences, on this machine."""
        texts, form = hashlib.blake2b(digest_size=16), self.posed.form
        for index in needed:
            tokens = form.read(source, index, training=False)
            texts.update(len(tokens).to_bytes(4, "little") + tokens.astype("<i4").tobytes())
        gpu = self.group.device.startswith("cuda")
        return {
            "version": VERSION,
            "base": checkpoint_identity(self.subject.checkpoint),
            "family": self.subject.family,
            "form": form.name,
            "precision": self.subject.precision,
            "quantization": self.subject.quantization,
            "attention": self.subject.attention,
            "offset": offset,
            "modules": list(self.posed.family.fusion_modules),
            "texts": texts.hexdigest(),
            "device": torch.cuda.get_device_name(self.group.device) if gpu else "cpu",
            "threads": None if gpu else torch.get_num_threads(),  # they cut sums in pieces
            "torch": torch.__version__,
            "transformers": transformers.__version__,
        }
