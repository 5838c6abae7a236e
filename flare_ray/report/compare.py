"""FLARE against each other row of a model and task, from predictions: the difference, and what can be said of it.

    compared = compare(results, "xlm-r-large", "nusax")
    compared.rows["lora (r=64)"].verdict        # or in compared.without: why there is none

`conclude_rows` is the only place that knows how a difference is judged (flare_ray.report.statistics).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from flare_ray.report.document import Entry, Figure, Row, Section, Table, minus, number_entry
from flare_ray.report.figures import Point, intervals
from flare_ray.report.paper import plain, task_title, usual
from flare_ray.report.results import Results, TaskFacts
from flare_ray.report.statistics import Conclusion, Paired, Predictions, conclude, paired
from flare_ray.report.statistics.panel import Panel
from flare_ray.store import Damaged

RESAMPLES = 10_000
Runs = Mapping[str, Mapping[int, Predictions]]
"""A row's predictions by language and seed."""


@dataclass(frozen=True)
class Comparison:
    """One row minus another. effect, low, high in points; p_adjusted: Holm over the rows of its model and task.

    aso: ε_min, None below 5 seeds. notes: what was left out.
    """

    effect: float
    low: float
    high: float
    p: float
    p_adjusted: float
    aso: float | None
    seeds: int
    languages: int
    instances: int
    verdict: str
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Compared:
    """A row against all others of its model and task. without: rows that cannot be compared, and why.

    unread: labels of runs whose predictions cannot be read.
    """

    model: str
    task: str
    first: str
    rows: Mapping[str, Comparison]
    without: Mapping[str, str] = field(default_factory=dict)
    unread: tuple[str, ...] = ()


def compare(
    results: Results, model: str, task: str, first: str | None = None, resamples: int = RESAMPLES
) -> Compared | None:
    """A row (FLARE's, if none is named) against each other one; None where there is no such row, or no other."""
    rows = list(results.rows(model, task))
    first = first or reference(results, model, task)
    if first not in rows or len(rows) < 2:
        return None
    read = {row: _predictions(results, model, task, row) for row in rows}
    runs = {row: found for row, (found, _) in read.items()}
    unread = tuple(label for _, labels in read.values() for label in labels)
    others = {row: runs[row] for row in rows if row != first}
    made, without = conclude_rows(runs[first], others, task, results.tasks[task], resamples)
    return Compared(model, task, first, made, without, unread)


def reference(results: Results, model: str, task: str) -> str | None:
    """FLARE's row: at the paper's rank and fusion function if it is there, else the first; never a search's."""
    rows = [
        row
        for row in results.rows(model, task).values()
        if row.method == "flare" and plain(row) and not row.selected
    ]
    return next((row.name for row in rows if usual(row)), rows[0].name if rows else None)


def conclude_rows(
    first: Runs, others: Mapping[str, Runs], task: str, facts: TaskFacts, resamples: int = RESAMPLES
) -> tuple[dict[str, Comparison], dict[str, str]]:
    """One row against others as one family of comparisons; the comparisons, and why others have none."""
    family: dict[str, list[Paired]] = {}
    without: dict[str, str] = {}
    for row, runs in others.items():
        common = [code for code in first if set(first[code]) & set(runs.get(code, {}))]
        try:
            pairs = [
                paired(
                    first[code],
                    runs[code],
                    task=task,
                    language=code,
                    metric=facts.metric,
                    score=facts.score,
                    labels=facts.labels,
                )
                for code in common
            ]
            Panel.of(pairs)
            family[row] = pairs
        except ValueError as error:
            without[row] = str(error) if common else "no language and seed has both rows"
    concluded = conclude(family, resamples=resamples) if family else {}
    return {row: _comparison(one, first, others[row]) for row, one in concluded.items()}, without


def _comparison(one: Conclusion, first: Runs, second: Runs) -> Comparison:
    notes = []
    lacking = sorted(
        code for code in {*first, *second} if not set(first.get(code, ())) & set(second.get(code, ()))
    )
    if lacking:
        notes.append(f"without {', '.join(lacking)}: not in both rows")
    if left_out := sorted({seed for seeds in one.left_out.values() for seed in seeds}):
        notes.append(f"without seeds {', '.join(map(str, left_out))}: not in every language of both rows")
    if one.unpaired_instances:
        notes.append(f"{one.unpaired_instances:,} instances not in all runs")
    if not one.interval.covers_seeds:
        notes.append("one seed: the interval is over test instances alone")
    return Comparison(
        one.effect,
        one.interval.low,
        one.interval.high,
        one.p,
        one.p_adjusted,
        one.aso,
        len(one.seeds),
        one.languages,
        one.instances,
        str(one.verdict),
        tuple(notes),
    )


def _predictions(
    results: Results, model: str, task: str, row: str
) -> tuple[dict[str, dict[int, Predictions]], list[str]]:
    """A row's predictions by language and seed, and the labels of runs whose predictions cannot be read."""
    found: dict[str, dict[int, Predictions]] = {}
    unread = []
    for run in results.of(model, task, row):
        if run.record is None or results.predictions is None:
            continue
        try:
            read = results.predictions(run.facts["fingerprint"])
        except (Damaged, OSError, ValueError, KeyError):
            unread.append(run.facts["label"])
            continue
        found.setdefault(run.facts["language"], {})[run.facts["seed"]] = read
    return found, unread


# ---- in a report

_COLUMNS = (
    "difference",
    "95% interval",
    "verdict",
    "p",
    "p (Holm)",
    "ASO ε",
    "seeds",
    "languages",
    "instances",
)


def section(results: Results, first: str | None = None, resamples: int = RESAMPLES) -> list[Section]:
    """Every model's and task's comparisons; nothing where FLARE is not among the rows."""
    begun = [
        block
        for block in results.blocks()
        if any(run.record is not None for run in results.of(block.model, block.task))
    ]
    found = [compare(results, block.model, block.task, first, resamples) for block in begun]
    parts = [_figure(results, one) for one in found if one]
    if not parts:
        return []
    text = (
        "Differences in points, over the languages and seeds that both rows have. Interval: seeds and test instances "
        "both drawn anew. p: the larger one of the interval's and a sign-flip test's over languages × seeds; Holm's "
        "correction is over the rows of one model and task, and the verdict is at 5% of that. ASO ε: how much speaks "
        'against the first row being stochastically larger (0 to 1, from 5 seeds on); it decides nothing. "No '
        'difference shown" is not "no difference": the interval says how large one may be.'
    )
    return [Section("comparisons", "What is better than what", (text,), tuple(parts))]


def _figure(results: Results, one: Compared) -> Figure:
    rows = [Row(name, _entries(made)) for name, made in one.rows.items()]
    none = tuple(Entry("not compared" if column == "verdict" else "–") for column in _COLUMNS)
    rows += [Row(name, none) for name in one.without]
    title = f"{one.model} on {task_title(results, one.task)}: {one.first} minus each row"
    table = Table(
        f"compare-{one.model}-{one.task}", title, "minus", _COLUMNS, tuple(rows), tuple(_notes(one))
    )
    points = [Point(name, made.effect, made.low, made.high, _told(made)) for name, made in one.rows.items()]
    return Figure(table.id, intervals(points, "points", zero=True), table, folded=False)


def _notes(one: Compared) -> list[str]:
    told: dict[str, list[str]] = {}
    for name, made in one.rows.items():
        for note in made.notes:
            told.setdefault(note, []).append(name)
    notes = [
        note[0].upper() + note[1:] + "." if len(names) == len(one.rows) else f"{', '.join(names)}: {note}."
        for note, names in told.items()
    ]
    notes += [f"Not compared: {name}: {why}." for name, why in one.without.items()]
    if one.unread:
        notes.append(f"Predictions that cannot be read: {', '.join(one.unread)}.")
    return notes


def _entries(made: Comparison) -> tuple[Entry, ...]:
    return (
        number_entry(made.effect, "+.1f"),
        Entry(_interval(made), facts={"low": made.low, "high": made.high}),
        Entry(made.verdict),
        _p_entry(made.p),
        _p_entry(made.p_adjusted),
        number_entry(made.aso, ".2f"),
        *(number_entry(number, ",d") for number in (made.seeds, made.languages, made.instances)),
    )


def _interval(made: Comparison) -> str:
    return " to ".join(minus(format(end, "+.1f")) for end in (made.low, made.high))


def _told(made: Comparison) -> str:
    return f"{minus(format(made.effect, '+.1f'))} ({_interval(made)}), {made.verdict}"


def _p_entry(p: float) -> Entry:
    return Entry(f"{p:.3f}" if p >= 0.001 else "< 0.001", p)
