"""The two kinds of training work: a base model on English, and one run on a target language.

Both return plain records and leave files in a folder; neither knows Ray, the store, or the other runs.
"""

from __future__ import annotations

import resource
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import torch
from peft import LoraConfig, get_peft_model
from transformers import set_seed

from flare_ray import registry
from flare_ray.methods.base import lora_settings
from flare_ray.training.engine import Group
from flare_ray.training.evaluation import predict, predictions_table
from flare_ray.training.fit import Fitted, OnEpoch, fit
from flare_ray.training.workbench import Feeder, Workbench


def train_base(
    bench: Workbench, settings: Mapping[str, Any], seed: int, out: Path, on_epoch: OnEpoch | None = None
) -> dict[str, Any]:
    """Fine-tunes the checkpoint on English task data with LoRA and writes the merged model to `out`.

    The merge is done on a freshly loaded checkpoint in its own dtype, so that nothing of the engine (ZeRO pieces,
    devices) reaches the file (paper, appendix B). Returns the record, with the English test metrics.
    """
    clock = Clock()
    set_seed(seed)
    english, length = bench.task.source_language, settings["max_length"]
    config = LoraConfig(**lora_settings(settings, bench.family))
    model = get_peft_model(bench.load_base(), config)
    splits = {name: bench.feeder(bench.split(english, name, length, False)) for name in _SPLITS}
    engine, fitted = fit(
        model, splits["train"], splits["validation"], bench.task, settings, seed, bench.group, on_epoch
    )
    metrics, _ = _test(engine, splits["test"], bench)
    if bench.group.first:
        set_seed(seed)
        merged: Any = get_peft_model(bench.load_base(), config)
        unknown = merged.load_state_dict(fitted.state, strict=False).unexpected_keys
        if unknown:
            raise RuntimeError(f"the trained state has parameters that the checkpoint lacks: {unknown}")
        merged.merge_and_unload().save_pretrained(out)
        bench.tokenizer.save_pretrained(out)
    return _record(clock, bench.group, fitted, metrics, splits)


def train_run(
    bench: Workbench,
    method_name: str,
    language: str,
    settings: Mapping[str, Any],
    seed: int,
    out: Path,
    on_epoch: OnEpoch | None = None,
) -> dict[str, Any]:
    """Trains one method on one target language and tests the epoch chosen on validation.

    Writes `predictions.parquet` and, where something was trained, `adapter/` (PEFT format) to `out`. The test
    split is read once, by the chosen epoch. Returns the record.
    """
    clock = Clock()
    method = registry.load("methods", method_name)
    config = method.adapter(settings, bench.family) if method.trains else None
    model: Any = bench.model()
    set_seed(seed)  # after loading: whether this run is the first of its pack must not show in its adapter
    encode_source = None
    if config is not None:
        model = get_peft_model(model, config)
        encode_source = model.base_model.encode_source if method.reads_source else None
    key = (settings.get("source_offset", 1), tuple(bench.family.fusion_modules))
    splits = {
        name: bench.feeder(
            bench.split(language, name, settings["max_length"], method.reads_source), encode_source, key
        )
        for name in _SPLITS
    }
    fitted = Fitted()
    tested = model
    if config is not None:
        tested, fitted = fit(
            model, splits["train"], splits["validation"], bench.task, settings, seed, bench.group, on_epoch
        )
    metrics, predictions = _test(tested, splits["test"], bench)
    if bench.group.first:
        out.mkdir(parents=True, exist_ok=True)
        pq.write_table(predictions, out / "predictions.parquet")
        if config is not None:
            model.save_pretrained(out / "adapter", state_dict=fitted.state)
    return _record(clock, bench.group, fitted, metrics, splits)


_SPLITS = ("train", "validation", "test")


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


def _test(model: Any, feeder: Feeder, bench: Workbench) -> tuple[dict[str, float], pa.Table]:
    logits = predict(model, feeder, bench.group)
    metrics = bench.task.score(feeder.split.target.labels.tolist(), logits.argmax(1).tolist())
    return metrics, predictions_table(feeder, logits, bench.task.labels)


def _record(
    clock: Clock, group: Group, fitted: Fitted, metrics: dict[str, float], splits: Mapping[str, Feeder]
) -> dict[str, Any]:
    seconds = clock.seconds()
    chosen = next((entry for entry in fitted.history if entry["epoch"] == fitted.chosen_epoch), {})
    rates = {}
    if fitted.steps:
        rates = {
            "step_ms": 1000 * fitted.train_seconds / fitted.steps,
            "tokens_per_second": fitted.tokens / fitted.train_seconds,
        }
    return {
        "metrics": metrics,
        "validation": {name: value for name, value in chosen.items() if name.startswith("validation_")},
        "history": fitted.history,
        "chosen_epoch": fitted.chosen_epoch,
        "chosen_step": fitted.chosen_step,
        "rows": {name: len(feeder) for name, feeder in splits.items()},
        "cost": {
            "wall_seconds": seconds,
            "train_seconds": fitted.train_seconds,
            "gpu_seconds": seconds * group.workers if group.device != "cpu" else 0.0,
            "trainable_parameters": fitted.trainable_parameters,
            **rates,
            **clock.memory(),
        },
        "started": clock.started,
        "ended": time.time(),
    }
