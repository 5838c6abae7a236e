"""The report in docs/: `python benchmarks/demo_report.py STORE SWEEP.yaml [FOLDER]`, of a finished sweep.

Writes report.md and report.html to docs/demo-report/, and predictions.parquet: what every finished run said to every
test row, from which tests/report/test_docs_report.py computes the report's numbers anew.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from flare_ray.commands.gather import gather
from flare_ray.commands.report import write_files
from flare_ray.report.build import build
from flare_ray.report.results import Results
from flare_ray.study import Study

FOLDER = Path(__file__).parents[1] / "docs" / "demo-report"
LARGEST = 1_000_000
"""Bytes that a repository should carry for it."""
_NAME = pa.dictionary(pa.int32(), pa.string())
_SCHEMA = pa.schema(
    [
        *((name, _NAME) for name in ("model", "task", "language", "row")),
        ("seed", pa.int32()),
        ("id", pa.string()),
        ("gold", pa.list_(pa.string())),
        ("prediction", pa.string()),
    ]
)


def predictions(results: Results) -> Iterator[dict[str, Any]]:
    """Each finished run's answer to each of its test rows. row: the run's row in the tables."""
    assert results.predictions
    for run in results.runs:
        if run.record is None:
            continue
        said = results.predictions(run.facts["fingerprint"])
        place = {name: run.facts[name] for name in ("model", "task", "language", "seed")} | {"row": run.row}
        for name, gold, prediction in zip(said.ids, said.gold, said.predictions, strict=True):
            yield place | {"id": name, "gold": gold, "prediction": prediction}


def main(store: str, sweep: str, folder: Path = FOLDER) -> None:
    """Writes the three files."""
    results = gather(Study.open(Path(sweep), [f"storage={store}"], to_execute=False))
    for place in write_files(build(results), ["md", "html"], folder):
        print(place)
    file = folder / "predictions.parquet"
    table = pa.Table.from_pylist(list(predictions(results)), _SCHEMA)
    pq.write_table(table, file, compression="zstd", compression_level=19)
    size = file.stat().st_size
    print(f"{file}: {table.num_rows} predictions, {size} bytes")
    if size > LARGEST:
        sys.exit(f"{file} is too large for a repository: over {LARGEST} bytes")


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], *map(Path, sys.argv[3:4]))
