"""Every cell of every table of a report as a line, unrounded beside what is printed; and every run as a line."""

from __future__ import annotations

import io
import json

from flare_ray.report.csv_cells import CsvWriter
from flare_ray.report.document import Report
from flare_ray.report.results import Results, costs_of

FACTS = ("std", "n", "planned", "failed", "damaged", "published", "difference", "low", "high")
_RUN = ("fingerprint", "model", "task", "language", "method", "variant", "seed")
_COST = (
    "wall_seconds",
    "train_seconds",
    "gpu_seconds",
    "trainable_parameters",
    "peak_gpu_mib",
    "peak_process_mib",
)


def render(report: Report) -> str:
    """table, group, row, column, shown, value, then what is known of the cell. Empty cells are left out."""
    text = io.StringIO()
    out = CsvWriter(text)
    out.writerow(["table", "group", "row", "column", "shown", "value", *FACTS])
    for table in report.tables():
        for row in table.rows:
            lines = [(row.label, row.entries), (f"{row.label}: {row.below_label}", row.below)]
            for label, entries in lines:
                for column, entry in zip(table.columns, entries, strict=bool(entries)):
                    if entry.text:
                        facts = [entry.facts.get(name) for name in FACTS]
                        number = entry.number
                        out.writerow([table.id, row.group, label, column, entry.text, number, *facts])
    return text.getvalue()


def runs(results: Results) -> str:
    """A line per planned run: which it is, what became of it, its metrics (JSON) and what it cost."""
    text = io.StringIO()
    out = CsvWriter(text)
    out.writerow([*_RUN, "selected_by", "outcome", "metric", "score", "metrics", *_COST, "error"])
    for run in results.runs:
        metric = results.tasks[run.facts["task"]].metric
        record = run.record or {"metrics": {}, "cost": {}}
        score, cost = record["metrics"].get(metric), costs_of(record)
        out.writerow(
            [run.facts.get(name) for name in _RUN]
            + [run.selected.sampler if run.selected else "", run.outcome, metric, score]
            + [json.dumps(record["metrics"]), *(cost.get(name) for name in _COST), run.error]
        )
    return text.getvalue()
