"""What the rows of a sweep cost: device-hours, trained parameters, memory; and what is had for it.

Of a run: `gpu_seconds` (wall time × GPUs) where it had a GPU, else wall time × the CPU cores of its workers; from the
beginning of its turn in a worker group to its record, evaluation included. Base models and translations serve many
runs and are told apart.
"""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from flare_ray.report import figures
from flare_ray.report.compare import reference
from flare_ray.report.document import Entry, Figure, Row, Section, Table, minus, number_entry, score_entry
from flare_ray.report.paper import task_title
from flare_ray.report.results import Results, RunResult, costs_of

PAPERS_SAVING = 40
"""Percent: FLARE's average training time on TyDiQA is more than that below input-level fusion's (section 5)."""


@dataclass(frozen=True)
class RowCost:
    """A row's finished runs. hours: of a device, by run; parameters: trained ones; memory: highest, in MiB."""

    hours: tuple[float, ...]
    parameters: int | None
    memory: float | None

    @property
    def per_run(self) -> float | None:
        """Mean device-hours of a run."""
        return statistics.fmean(self.hours) if self.hours else None


def device_hours(record: Mapping[str, Any]) -> float:
    """GPU-hours of a run, CPU-core-hours where it had no GPU."""
    cost, execution = costs_of(record), record.get("execution")
    execution = execution if isinstance(execution, Mapping) else {}
    if cost.get("gpu_seconds"):
        return float(cost["gpu_seconds"]) / 3600
    cores = execution.get("workers", 1) * execution.get("cpus_per_worker", 1)
    return float(cost["wall_seconds"]) * cores / 3600


def unit(records: Sequence[Mapping[str, Any]]) -> str:
    """GPU, CPU, or `device` where both occur."""
    kinds = {"GPU" if costs_of(record).get("gpu_seconds") else "CPU" for record in records}
    return kinds.pop() if len(kinds) == 1 else "device"


def row_cost(runs: Sequence[RunResult]) -> RowCost:
    """What the finished ones of some runs cost."""
    records = [run.record for run in runs if run.record and costs_of(run.record)]
    costs = [costs_of(record) for record in records]
    parameters = [cost["trainable_parameters"] for cost in costs if "trainable_parameters" in cost]
    memory = [cost.get("peak_gpu_mib", cost.get("peak_process_mib")) for cost in costs]
    known = [one for one in memory if one is not None]
    return RowCost(
        tuple(device_hours(record) for record in records if "wall_seconds" in costs_of(record)),
        max(map(int, parameters), default=None),
        max(known, default=None),
    )


def section(results: Results) -> list[Section]:
    """Costs of all rows, a Pareto plot per model and task, FLARE's training time, and what is shared."""
    records = [run.record for run in results.runs if run.record and costs_of(run.record)]
    if not records:
        return []
    kind = unit(records)
    parts: list[Table | Figure] = [
        _rows(results, kind),
        *_plots(results, kind),
        *_training_time(results),
        *_shared(results),
    ]
    of = {"GPU": "GPUs", "CPU": "CPU cores"}.get(kind, "GPUs, or CPU cores where there was none")
    text = (
        f"{kind}-hours of a run are wall time × {of}, evaluation included; base models and translations, which many "
        "runs share, are counted apart. What was measured on other machines, or beside other work, is no comparison."
    )
    return [Section("cost", "What it costs", (text,), tuple(parts))]


def _rows(results: Results, kind: str) -> Table:
    columns = (
        "runs",
        f"{kind}-hours per run",
        "in all",
        "score",
        "points per hour",
        "gain per hour",
        "trained parameters",
        "peak memory, MiB",
    )
    rows = []
    for block in results.blocks():
        group = f"{block.model} · {task_title(results, block.task)}"
        for name in block.rows:
            rows.append(Row(name, _row(results, block.model, block.task, name), group))
    notes = (
        "score: average over languages. gain: points above zero-shot. Memory: of the GPU, else of the worker's "
        "process, which other runs of its pack have used too.",
    )
    return Table("cost", "Cost by row", "method", columns, tuple(rows), notes)


def _row(results: Results, model: str, task: str, name: str) -> tuple[Entry, ...]:
    cost = row_cost(results.of(model, task, name))
    value = results.value(model, task, name)
    score = value.mean if value else None
    start = _zero_shot(results, model, task)
    gain = score - start if score is not None and start is not None and cost.parameters else None
    return (
        number_entry(len(cost.hours), "d"),
        hours_entry(cost.per_run),
        hours_entry(sum(cost.hours) if cost.hours else None),
        score_entry(value),
        *(
            number_entry(one / cost.per_run if one is not None and cost.per_run else None, ",.0f")
            for one in (score, gain)
        ),
        number_entry(cost.parameters, ",d"),
        number_entry(cost.memory, ",.0f"),
    )


def hours_entry(hours: float | None) -> Entry:
    """Three significant digits, without an exponent."""
    return Entry("–" if hours is None else figures.significant(hours), hours)


def _zero_shot(results: Results, model: str, task: str) -> float | None:
    names = [row.name for row in results.rows(model, task).values() if row.method == "zero_shot"]
    value = results.value(model, task, names[0]) if names else None
    return value.mean if value else None


def _plots(results: Results, kind: str) -> list[Figure]:
    """Score over cost, for each model and task with two rows that have both."""
    made = []
    for block in results.blocks():
        points = []
        for name in block.rows:
            value = results.value(block.model, block.task, name)
            hours = row_cost(results.of(block.model, block.task, name)).per_run
            if value and value.mean is not None and hours:
                points.append(figures.Cost(name, hours, value.mean))
        if len(points) > 1:
            best = figures.front(points)
            rows = tuple(
                Row(
                    p.label,
                    (hours_entry(p.hours), number_entry(p.score), Entry("yes" if p in best else "no")),
                )
                for p in points
            )
            title = f"{block.model} on {task_title(results, block.task)}: score over cost"
            columns = (f"{kind}-hours per run", "score", "on the Pareto front")
            table = Table(f"pareto-{block.model}-{block.task}", title, "method", columns, rows)
            made.append(Figure(table.id, figures.pareto(points, f"{kind}-hours"), table))
    return made


def _training_time(results: Results) -> list[Table]:
    """FLARE's training time against input-level fusion's, over the languages and seeds that both have."""
    rows = []
    for block in results.blocks():
        ours = reference(results, block.model, block.task)
        theirs = next(
            (
                row.name
                for row in results.rows(block.model, block.task).values()
                if row.method == "input_fusion"
            ),
            None,
        )
        if ours and theirs:
            times = [_seconds(results, block.model, block.task, name) for name in (ours, theirs)]
            common = sorted(set(times[0]) & set(times[1]))
            if common:
                rows.append(_time_row(block.model, task_title(results, block.task), times, common))
    if not rows:
        return []
    note = (
        f"The paper (section 5): more than {PAPERS_SAVING}% less on TyDiQA; of which models it does not say."
    )
    columns = ("runs", "FLARE, s", "input-level fusion, s", "difference")
    return [
        Table(
            "training-time",
            "FLARE's training time against input-level fusion's",
            "task",
            columns,
            tuple(rows),
            (note,),
        )
    ]


def _seconds(results: Results, model: str, task: str, row: str) -> dict[tuple[str, int], float]:
    return {
        (run.facts["language"], run.facts["seed"]): costs_of(run.record)["train_seconds"]
        for run in results.of(model, task, row)
        if costs_of(run.record).get("train_seconds")
    }


def _time_row(
    model: str, task: str, times: list[dict[tuple[str, int], float]], common: list[tuple[str, int]]
) -> Row:
    ours, theirs = (statistics.fmean(one[key] for key in common) for one in times)
    percent = 100 * (ours / theirs - 1)
    entries = (
        number_entry(len(common), "d"),
        number_entry(ours),
        number_entry(theirs),
        Entry(minus(f"{percent:+.0f}%"), percent),
    )
    return Row(task, entries, model)


def _shared(results: Results) -> list[Table]:
    """Base models by model and task, translations by translator: what many runs share."""
    rows = []
    for block in results.blocks():
        wanted = {run.facts["base"] for run in results.of(block.model, block.task)}
        hours = [
            device_hours(results.bases[one])
            for one in sorted(wanted)
            if "wall_seconds" in costs_of(results.bases.get(one))
        ]
        rows.append(
            Row(
                f"{block.model} · {block.task}",
                (number_entry(len(hours), "d"), hours_entry(sum(hours))),
                "base models",
            )
        )
    by: dict[str, list[Mapping[str, Any]]] = {}
    for record in results.corpora.values():
        by.setdefault(record["translator"]["model"], []).append(costs_of(record))
    for name, costs in by.items():
        stages = {
            cost["stage_seconds"] for cost in costs if "stage_seconds" in cost
        }  # each is of all that it made
        entries = (number_entry(len(costs), "d"), hours_entry(sum(stages) / 3600))
        rows.append(Row(name, entries, "translated splits (wall time of their stages)"))
    return [Table("shared", "Shared work", "what", ("stored", "hours in all"), tuple(rows))]
