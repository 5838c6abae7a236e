"""Runs of one pack that read different translators' text: each gets its own, as if it were alone."""

import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from flare_ray.training.stages import train_run
from flare_ray.training.workbench import Workbench
from flare_ray.translation.corpus import ROWS

Open = Callable[..., Workbench]
Corpora = dict[tuple[str, str], Path]


def translated(bench: Workbench, name: str, folder: Path) -> Corpora:
    """Splits as a poor translator gives them: words of the real ones in an order of its own, some rows unusable."""
    rng, found = random.Random(name), {}
    for split in ("train", "validation", "test"):
        language = "eng" if split == "test" else "qal"
        table = bench.task.read(bench.subject.data, language, split, max_dropped=1.0).table
        rows = table.to_pylist()
        for row in rows:
            words = row["text"].split()
            row["text"] = " ".join(rng.sample(words, len(words)))
            row["reason"] = "empty" if rng.random() < 0.1 else None
        place = folder / name / split / ROWS
        place.parent.mkdir(parents=True)
        pq.write_table(
            pa.Table.from_pylist(rows, table.schema.append(pa.field("reason", pa.string()))), place
        )
        found["qal", split] = place
    return found


@pytest.mark.parametrize("method", ["lora", "flare", "flare_mt", "translate_test"])
def test_each_run_reads_its_own_translators_text(
    method: str, open_bench: Open, settings_of: Callable[..., dict[str, Any]], tmp_path: Path
) -> None:
    settings = settings_of(method, translation="machine")
    if method in ("flare", "translate_test"):
        settings["test_source"] = "translation"
    by = {name: translated(open_bench(), name, tmp_path) for name in ("large", "small")}

    def run(bench: Workbench, name: str, where: str) -> Any:
        bench.corpora = by[name]
        out = tmp_path / where / name
        record = train_run(bench, method, "qal", settings, 1, out)
        table = pq.read_table(out / "predictions.parquet")
        losses = [entry["train_loss"] for entry in record["history"]]
        return record["metrics"], record["rows"], record["data"], losses, table.to_pylist()

    pack = open_bench()
    packed = [run(pack, name, "packed") for name in ("large", "small", "large")]
    alone = {name: run(open_bench(), name, "alone") for name in by}
    assert packed == [alone["large"], alone["small"], alone["large"]]
    assert alone["large"] != alone["small"]
