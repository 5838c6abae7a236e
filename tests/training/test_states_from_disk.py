"""FLARE MT reads its encoder's states from this machine's folder: the encoder sees a text once, ever."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from flare_ray import registry
from flare_ray.training.feeder import Feeder
from flare_ray.training.stages import train_run
from flare_ray.training.workbench import Workbench
from flare_ray.translation.encoder import TranslationEncoder

Open = Callable[..., Workbench]
Settings = Callable[..., dict[str, Any]]
WORKER = Path(__file__).with_name("two_workers.py")


@pytest.fixture
def encoded(monkeypatch: pytest.MonkeyPatch) -> Counter[tuple[str, str]]:
    """How often the encoder was asked for a text's states, by language and text."""
    asked: Counter[tuple[str, str]] = Counter()
    states = TranslationEncoder.states

    def counted(self: TranslationEncoder, texts: Any, language: str, max_length: int) -> Any:
        asked.update((language, text) for text in texts)
        return states(self, texts, language, max_length)

    monkeypatch.setattr(TranslationEncoder, "states", counted)
    return asked


def told(record: dict[str, Any]) -> dict[str, Any]:
    """What a record says of the result, times left out."""
    history = [
        {name: value for name, value in entry.items() if name != "seconds"} for entry in record["history"]
    ]
    return {"history": history, **{name: record[name] for name in ("metrics", "validation", "chosen_step")}}


@pytest.mark.parametrize("megabytes", [0, 2048])
def test_the_encoder_sees_a_text_once(
    megabytes: float,
    own_cache: Path,
    encoded: Counter[tuple[str, str]],
    open_bench: Open,
    settings_of: Settings,
    tmp_path: Path,
) -> None:
    """Over two runs of three epochs in a pack, and a second pack; whether or not memory holds the states."""
    settings, row = settings_of("flare_mt", epochs=3), registry.load("methods", "flare_mt")
    bench = open_bench(source_cache_mb=megabytes)
    for seed in (1, 2):
        train_run(bench, "flare_mt", "qtu", settings, seed, tmp_path / str(seed))
    texts: set[str] = set()
    for name in ("train", "validation", "test"):
        features = bench.split(row, settings, "qtu", name).target
        texts.update(bench.posed.form.texts(bench.task, features, range(len(features))))
    assert encoded == Counter(("qtu", text) for text in texts)
    assert len(list((own_cache / "mt-states").iterdir())) == 1
    (translator,) = bench._translators.values()
    assert "encoder" not in vars(translator), "training has the memory to itself"

    other = open_bench(source_cache_mb=megabytes)
    train_run(other, "flare_mt", "qtu", settings | {"rank": 2}, 1, tmp_path / "other")
    assert set(encoded.values()) == {1}
    (translator,) = other._translators.values()
    assert not {"encoder", "tokenizer"} & vars(translator).keys(), "nothing to encode, nothing to load"


def test_it_does_not_show_in_a_record_who_encoded(
    own_cache: Path, open_bench: Open, settings_of: Settings, tmp_path: Path
) -> None:
    """With dropout, whose draws would show that a model was loaded in between."""
    settings = settings_of("flare_mt", dropout=0.1)
    records = [
        told(train_run(open_bench(), "flare_mt", "qal", settings, 1, tmp_path / name))
        for name in ("encodes", "reads")
    ]
    records.append(
        told(train_run(open_bench(source_cache_mb=0), "flare_mt", "qal", settings, 1, tmp_path / "from disk"))
    )
    assert records[0] == records[1] == records[2]


@pytest.mark.parametrize("megabytes", [0, 2048])
def test_a_batch_has_each_sequences_own_states(
    megabytes: float, own_cache: Path, open_bench: Open, settings_of: Settings
) -> None:
    """Rows whose texts are alike share states, and no row has another's."""
    settings, row = settings_of("flare_mt"), registry.load("methods", "flare_mt")
    bench = open_bench(source_cache_mb=megabytes)
    split = bench.split(row, settings, "qal", "train")
    feeder = Feeder(bench, row, settings, split, "qal", "train")
    chosen = np.random.default_rng(0).integers(0, len(feeder), 24).tolist()
    inputs = feeder.inputs(chosen)
    encoder = bench.translator(settings["mt_model"])
    texts = bench.posed.form.texts(bench.task, split.target, chosen)
    for place, text in enumerate(texts):
        expected = encoder.states([text], "qal", settings["max_length"])[0]
        real = inputs["source_attention_mask"][place].bool()
        assert int(real.sum()) == len(expected)
        assert np.allclose(inputs["source_states"][place][real], expected, atol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("workers", [1, 2])
def test_another_process_reads_the_same_folder(
    workers: int, own_cache: Path, open_bench: Open, settings_of: Settings, tmp_path: Path
) -> None:
    """A run here and the same run in a process of its own, bit for bit; and by two workers, who share a cache."""
    bench, settings = open_bench(), settings_of("flare_mt", batch_size=24)
    job = {
        "subject": asdict(bench.subject),
        "method": "flare_mt",
        "settings": settings,
        "stage": 0 if workers == 1 else 2,
        "micro_batch": None,
        "out": str(tmp_path / "there"),
    }
    file = tmp_path / "job.json"
    file.write_text(json.dumps(job))
    run = [
        "-m",
        "torch.distributed.run",
        "--standalone",
        f"--nproc_per_node={workers}",
        str(WORKER),
        str(file),
    ]
    quiet = {"OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": "", "DS_ACCELERATOR": "cpu"}

    def there() -> dict[str, Any]:
        done = subprocess.run(
            [sys.executable, *run], capture_output=True, text=True, check=False, env=os.environ | quiet
        )
        assert done.returncode == 0, done.stderr[-3000:]
        return json.loads((tmp_path / "there" / "record.json").read_text())

    first = there()  # encodes
    shards = {path: path.stat().st_mtime_ns for path in own_cache.glob("mt-states/*/states-*")}
    here = train_run(bench, "flare_mt", "qal", settings, 1, tmp_path / "here")
    after = {path: path.stat().st_mtime_ns for path in own_cache.glob("mt-states/*/states-*")}
    assert shards == after, "the second process wrote nothing"
    assert len({path.parent for path in shards}) == 1
    if workers == 1:
        assert told(first) == told(here)
    else:
        losses = [[entry["train_loss"] for entry in record["history"]] for record in (first, here)]
        assert losses[0] == pytest.approx(losses[1], abs=1e-3)
