"""The two kinds of training work: a base model on English, and one run on a target language.

Both return plain records and leave files in a folder; neither knows Ray, the store, or the other runs.
"""

from __future__ import annotations

import gc
import resource
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import torch
from transformers import set_seed

from flare_ray import registry
from flare_ray.forms.base import Prediction
from flare_ray.methods.base import Method
from flare_ray.training.activations import FILE as ACTIVATIONS
from flare_ray.training.activations import measure
from flare_ray.training.checkpoints import Checkpoint, Checkpoints, Keeper
from flare_ray.training.data import Split
from flare_ray.training.engine import release
from flare_ray.training.evaluation import predict, predictions_table, score
from flare_ray.training.feeder import Feeder
from flare_ray.training.fit import Fitted, OnValidation, fit
from flare_ray.training.memory import fitting_micro_batch
from flare_ray.training.row_checks import absent_labels
from flare_ray.training.workbench import Workbench


def train_base(
    bench: Workbench,
    settings: Mapping[str, Any],
    seed: int,
    out: Path,
    on_validation: OnValidation | None = None,
    *,
    keeper: Keeper | None = None,
) -> dict[str, Any]:
    """Fine-tunes the checkpoint on English task data with LoRA and writes the merged model to `out`.

    The merge is done on a freshly loaded checkpoint in its own dtype, never quantised: 16 bit first, 4 bit when the
    merged model is loaded (paper, appendix B). Nothing of the engine (ZeRO pieces, devices) reaches the file. With a
    keeper it continues from the last checkpoint there, to the same result (see fit). Returns the record, with the
    English test metrics where there is an English test split. Raises Diverged, Stopped.
    """
    lora, english = registry.load("methods", "lora"), bench.task.source_language
    work = _Work(bench, lora, english, settings, seed, keeper)
    with _young_garbage(), closing(work):
        fitted = work.train(bench.load_base, on_validation)
        metrics = work.test()[0] if bench.has(work.language, "test") else {}
    if bench.group.first:
        set_seed(seed)
        merged: Any = work.method.build(bench.load_base(quantization="none"), settings, bench.posed)
        unknown = merged.load_state_dict(fitted.state, strict=False).unexpected_keys
        if unknown:
            raise RuntimeError(f"the trained state has parameters that the checkpoint lacks: {unknown}")
        merged.merge_and_unload().save_pretrained(out)
        bench.tokenizer.save_pretrained(out)
    return work.record(fitted, metrics)


def train_run(
    bench: Workbench,
    method_name: str,
    language: str,
    settings: Mapping[str, Any],
    seed: int,
    out: Path,
    on_validation: OnValidation | None = None,
    *,
    keeper: Keeper | None = None,
) -> dict[str, Any]:
    """Trains one method on one target language and tests the state chosen on validation.

    Writes `predictions.parquet` and, where something was trained, `adapter/` to `out`; where something was fused,
    `activations.parquet` (activations.py). The test split is predicted once, by the chosen state. With a keeper it
    continues from the last checkpoint there, to the same result (see fit). Returns the record.
    Raises Diverged, Stopped.
    """
    work = _Work(bench, registry.load("methods", method_name), language, settings, seed, keeper)
    with _young_garbage(), closing(work):
        fitted = work.train(bench.model, on_validation) if work.method.trains else Fitted()
        metrics, feeder, predictions = work.test()
        measured = measure(work.engine, work.model, feeder)
        if bench.group.first:
            out.mkdir(parents=True, exist_ok=True)
            found = predictions_table(bench.task, feeder.split.target, predictions)
            pq.write_table(found, out / "predictions.parquet")
            if measured is not None:
                pq.write_table(measured, out / ACTIVATIONS, compression="zstd")
            if work.model is not None:
                work.model.save_pretrained(out / "adapter", state_dict=fitted.state)
    return work.record(fitted, metrics)


_failed = False
"""Whether the work before failed: its exception held what it had made until after its end."""


@contextmanager
def _young_garbage() -> Iterator[None]:
    """The garbage collector looks at what is made in here alone: at the libraries' objects it takes 0.4 s a time."""
    global _failed
    if _failed:
        gc.collect()
    _failed = True
    gc.freeze()
    try:
        yield
        _failed = False
    finally:
        gc.unfreeze()


class _Work:
    """One training and its test."""

    def __init__(
        self,
        bench: Workbench,
        method: Method,
        language: str,
        settings: Mapping[str, Any],
        seed: int,
        keeper: Keeper | None,
    ):
        self.clock = Clock()
        self.bench, self.method, self.language, self.seed = bench, method, language, seed
        self.settings = dict(settings)
        self.group = bench.group
        self.checkpoints = Checkpoints(keeper, bench.group) if keeper else None
        self.splits: dict[str, Split] = {}
        self.model: Any = None
        self.engine: Any = None
        self.test_seconds = 0.0

    def close(self) -> None:
        """Frees what was trained, for the memory's next user."""
        if self.engine is not None:
            release(self.engine)
        self.engine = self.model = None
        gc.collect()  # a model, its hooks and its engine hold each other
        if torch.cuda.is_available():
            torch.cuda.empty_cache()

    def train(self, load: Callable[[], Any], on_validation: OnValidation | None) -> Fitted:
        """Builds the model and fits it, with a smaller micro-batch where memory runs out.

        A smaller micro-batch begins again: a result must not depend on when a checkpoint was written.
        """
        if translator := self.method.translator(self.settings):
            self.settings["source_width"] = self.bench.translator(translator).width
        resumed = self.checkpoints.newest() if self.checkpoints else None
        if resumed:
            self.group = replace(self.group, micro_batch=resumed.facts["micro_batch"])
        while True:
            try:
                return self._fit(load, on_validation, resumed)
            except torch.OutOfMemoryError:
                rows = self.group.micro_batch or self.settings["batch_size"]
                if self.group.workers > 1 or rows == 1:
                    raise  # other workers wait in a collective operation
                self.group, resumed = replace(self.group, micro_batch=-(-rows // 2)), None
            self.close()

    def _fit(
        self, load: Callable[[], Any], on_validation: OnValidation | None, resumed: Checkpoint | None
    ) -> Fitted:
        set_seed(self.seed)  # a head that the checkpoint lacks is the same in a second attempt
        base = load()
        set_seed(self.seed)  # whether this run is the first of its pack must not show in its adapter
        self.model = self.method.build(base, self.settings, self.bench.posed)
        if self.group.gradient_checkpointing:
            base.gradient_checkpointing_enable({"use_reentrant": False})
        train, validation = self.feeder("train"), self.feeder("validation")
        if not (len(train) and len(validation)):
            raise ValueError(
                f"no {self.language} row to train or to validate on has an English row beside it"
            )
        if self.group.device != "cpu" and resumed is None:
            rows = fitting_micro_batch(self.model, train, self.settings, self.group)
            self.group = replace(self.group, micro_batch=rows)
        self.engine, fitted = fit(
            self.model,
            train,
            validation,
            self.settings,
            self.seed,
            self.group,
            on_validation,
            self.checkpoints,
            resumed,
        )
        return fitted

    def feeder(self, name: str) -> Feeder:
        """A split as this run reads it."""
        split = self.bench.split(self.method, self.settings, self.language, name)
        self.splits[name] = split
        encode = self.method.encode_source(self.model) if self.model is not None else None
        return Feeder(self.bench, self.method, self.settings, split, self.language, name, encode)

    def test(self) -> tuple[dict[str, float], Feeder, list[Prediction]]:
        """Predictions for the test split and their metrics; what is not trained shares its predictions."""
        feeder = self.feeder("test")
        started = time.perf_counter()
        predictions = predict(self.engine, feeder) if self.engine is not None else self._untrained(feeder)
        self.test_seconds = time.perf_counter() - started
        return score(self.bench.task, feeder.split.target.table, predictions), feeder, predictions

    def _untrained(self, feeder: Feeder) -> list[Prediction]:
        """One pass for all runs of a pack that read the same rows."""
        split = feeder.split
        key = f"{split.source_key or self.language} {self.settings['max_length']} {split.target.reading}"
        ids = split.target.table["id"].to_pylist()
        known = self.bench.tested.setdefault(key, {})
        if not all(row in known for row in ids):
            known.update(zip(ids, predict(self.bench.model(), feeder), strict=True))
        return [known[row] for row in ids]

    def record(self, fitted: Fitted, metrics: dict[str, float]) -> dict[str, Any]:
        """What is known of this work, as plain values."""
        seconds, group = self.clock.seconds() + fitted.earlier_seconds, self.group
        rates = {}
        if fitted.steps:
            rates = {
                "step_ms": 1000 * fitted.train_seconds / fitted.steps,
                "tokens_per_second": fitted.tokens / fitted.train_seconds,
                "micro_batch": group.micro_batch or self.settings["batch_size"],
            }
        chosen = fitted.chosen
        in_loops = sum(entry["seconds"] for entry in fitted.history) + self.test_seconds
        return {
            "metrics": metrics,
            "validation": {name: value for name, value in chosen.items() if name.startswith("validation_")},
            "history": fitted.history,
            "chosen_step": fitted.chosen_step,
            "chosen_epoch": chosen.get("epoch", 0),
            "rows": {name: split.target.rows for name, split in self.splits.items()},
            "data": {name: self._data_counts(name, split) for name, split in self.splits.items()},
            "unknown_tokens": self._unknown_shares(),
            **({"labels": list(self.bench.task.labels)} if self.bench.task.labels else {}),
            **self._ceilings(),
            "cost": {
                "wall_seconds": seconds,
                "train_seconds": fitted.train_seconds,
                "evaluation_seconds": in_loops - fitted.train_seconds,
                "gpu_seconds": seconds * group.workers if group.device != "cpu" else 0.0,
                "trainable_parameters": fitted.trainable_parameters,
                **({"resumptions": fitted.resumptions} if fitted.resumptions else {}),
                **rates,
                **self.clock.memory(),
            },
            "started": self.clock.started,
            "ended": time.time(),
        }

    def _ceilings(self) -> dict[str, dict[str, float]]:
        """Highest exact match of each split, in points, where no prediction can answer some rows exactly."""
        every = {name: split.target.ceiling for name, split in self.splits.items()}
        some = {name: ceiling for name, ceiling in every.items() if ceiling < 100}
        return {"ceilings": some} if some else {}

    def _unknown_shares(self) -> dict[str, dict[str, float]]:
        """Share of unknown tokens (0 to 1) of each split's target and source texts, where there are any."""
        shares = {
            name: {
                side: self.bench.unknown_share(features)
                for side, features in (("target", split.target), ("source", split.source))
                if features is not None
            }
            for name, split in self.splits.items()
        }
        some = {name: {side: one for side, one in sides.items() if one} for name, sides in shares.items()}
        return {name: sides for name, sides in some.items() if sides}

    def _data_counts(self, name: str, split: Split) -> dict[str, Any]:
        """Rows left out by reason, rows without English, and what was cut to fit."""
        counts: dict[str, Any] = {
            f"dropped: {reason}": count for reason, count in self.bench.dropped(self.language, name).items()
        }
        counts |= {reason: count for reason, count in split.target.counts.items() if count}
        counts |= split.target.lost_counts
        counts |= {"no English row": split.unpaired} if split.unpaired else {}
        absent = absent_labels(self.bench.task, split.target.table)
        counts |= {"labels without a row": len(absent)} if absent else {}
        return counts | ({"label is not the English row's": split.differ} if split.differ else {})


class Clock:
    """Wall time and peak memory since it was made."""

    def __init__(self) -> None:
        self.started, self.start = time.time(), time.perf_counter()
        if torch.cuda.is_available():
            torch.cuda.reset_peak_memory_stats()

    def seconds(self) -> float:
        """Wall time in seconds."""
        return time.perf_counter() - self.start

    def memory(self) -> dict[str, float]:
        """Peak memory in MiB: of the process since it began and, on a GPU, of its allocations since then."""
        peak = {"peak_process_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024}
        if torch.cuda.is_available():
            peak["peak_gpu_mib"] = torch.cuda.max_memory_allocated() / 2**20
        return peak
