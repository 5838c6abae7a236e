"""Which of the paper's tables a sweep's records fill, and those tables.

A table only selects: every number is a cell of `results.blocks()`. Where the paper prints a number for the same row,
it stands below ours with the difference (ours minus the paper's).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from flare_ray.report import published
from flare_ray.report.document import Entry, Row, Table, bold_best, minus, score_entry
from flare_ray.report.results import Results, RowFacts
from flare_ray.report.table import AVERAGE, Value

BELOW = "paper (difference)"
BY_LANGUAGE = {"xnli": "6", "tydiqa": "7", "nusax": "8"}
_TITLES = {"xnli": "XNLI", "tydiqa": "TyDiQA", "nusax": "NusaX"}
_METRICS = {"macro_f1": "macro F1", "exact_match": "exact match"}
Keep = Callable[[RowFacts], bool]


@dataclass(frozen=True)
class Asked:
    """A table of averages. axis: what varies; source: the table whose published numbers stand beside ours."""

    id: str
    title: str
    source: str = ""
    axis: str | None = None


def tables(results: Results) -> list[Table]:
    """Tables 1 to 4, Appendix E's comparison, then a table by language for each task (Tables 6, 7 and 8)."""
    made = [
        _averages(results, Asked("table-1", "Table 1: all methods, average over languages", "1"), _table_1),
        _averages(results, Asked("table-2", "Table 2: fusion functions", "2", "fusion"), _varied("fusion")),
        _averages(results, Asked("table-3", "Table 3: size of the bottleneck", "3", "rank"), _varied("rank")),
        _averages(results, Asked("table-4", "Table 4: gold English at test"), _optional("test_source")),
        _averages(
            results, Asked("appendix-e", "Appendix E: fusion in training only"), _optional("train_only")
        ),
    ]
    tasks = sorted(results.planned_tasks, key=lambda task: BY_LANGUAGE.get(task, "9"))
    return [one for one in made if one] + [_by_language(results, task) for task in tasks]


def task_title(results: Results, task: str) -> str:
    """`NusaX (macro F1)`."""
    return f"{_TITLES.get(task, task)} ({metric_title(results.tasks[task].metric)})"


def metric_title(metric: str) -> str:
    """`macro F1` for macro_f1."""
    return _METRICS.get(metric, metric.replace("_", " "))


def score(results: Results, model: str, task: str, row: str, column: str = AVERAGE) -> Entry:
    """A cell; empty where no run was asked for."""
    runs = results.of(model, task, row)
    if not runs or (column != AVERAGE and all(run.facts["language"] != column for run in runs)):
        return Entry()
    return score_entry(results.value(model, task, row, column))


# ---- which rows a table has: of one model and task


def plain(row: RowFacts) -> bool:
    """Whether it reads at test what Table 1's rows read: a translation, by the main translator."""
    usual = row.options.get("test_source", "translation") == "translation" and not row.options.get(
        "train_only"
    )
    return bool(usual) and row.axes.get("translation", published.TRANSLATOR) != published.TRANSLATORS[1]


def at_defaults(rows: Sequence[RowFacts], axis: str | None = None) -> list[RowFacts]:
    """Of each method, the rows at the paper's rank and fusion function (`axis` aside), or all if there are none."""
    kept = []
    for method in dict.fromkeys(row.method for row in rows):
        mine = [row for row in rows if row.method == method]
        fixed = [row for row in mine if not row.selected and usual(row, axis)]
        kept += [row for row in mine if row.selected or not fixed or row in fixed]
    return [row for row in rows if row in kept]


def usual(row: RowFacts, axis: str | None = None) -> bool:
    """Whether it is at the paper's rank and fusion function, where it has them; `axis` may be anything."""
    wanted = {"rank": published.RANK, "fusion": published.FUSION}
    return all(row.axes.get(name, value) == value for name, value in wanted.items() if name != axis)


def _table_1(rows: Sequence[RowFacts]) -> list[RowFacts]:
    kept = at_defaults([row for row in rows if plain(row)])
    return kept if len({row.method for row in kept}) > 1 else []


def _varied(axis: str) -> Callable[[Sequence[RowFacts]], list[RowFacts]]:
    """FLARE's rows, of the methods that have several values of an axis."""

    def keep(rows: Sequence[RowFacts]) -> list[RowFacts]:
        ours = [
            row for row in rows if row.method in ("flare", "flare_mt") and plain(row) and axis in row.axes
        ]
        methods = {
            method
            for method in ("flare", "flare_mt")
            if len({row.axes[axis] for row in ours if row.method == method}) > 1
        }
        return at_defaults([row for row in ours if row.method in methods], axis)

    return keep


def _optional(option: str) -> Callable[[Sequence[RowFacts]], list[RowFacts]]:
    """Rows with an option, and beside them their method's rows without it."""

    def keep(rows: Sequence[RowFacts]) -> list[RowFacts]:
        methods = {row.method for row in rows if option in row.options}
        mine = [row for row in rows if row.method in methods and (plain(row) or option in row.options)]
        return at_defaults([row for row in mine if not row.selected])

    return keep


# ---- tables of averages over languages


def _averages(
    results: Results, asked: Asked, keep: Callable[[Sequence[RowFacts]], list[RowFacts]]
) -> Table | None:
    """A row per model and kept row, a column per task; None when nothing is kept."""
    kept: dict[tuple[str, str], dict[str, RowFacts]] = {}
    for model in results.models:
        for task in results.planned_tasks:
            for row in keep(list(results.rows(model, task).values())):
                kept.setdefault((model, row.name), {})[task] = row
    if not kept:
        return None
    tasks = [task for task in results.planned_tasks if any(task in found for found in kept.values())]
    rows = [
        averages_row(results, asked, model, name, found, tasks)
        for (model, name), found in sorted(kept.items(), key=lambda one: results.models.index(one[0][0]))
    ]
    notes = departures(results, asked, kept) + legend(rows)
    columns = tuple(task_title(results, task) for task in tasks)
    return Table(asked.id, asked.title, "method", columns, bold_best(rows), tuple(notes))


def averages_row(
    results: Results, asked: Asked, model: str, name: str, found: dict[str, RowFacts], tasks: Sequence[str]
) -> Row:
    """One row: its average of each task, and the published ones. found: the row by task."""
    entries, below = [], []
    for task in tasks:
        entries.append(score(results, model, task, name) if task in found else Entry())
        number = _published(asked, model, task, found[task]) if task in found else None
        below.append(beside(entries[-1], number, same_languages(results, model, task)))
    return _row(name, entries, model, below)


def beside(ours: Entry, theirs: float | None, comparable: bool = True) -> Entry:
    """The published number with ours minus it; without the difference where both are not the same quantity."""
    if theirs is None:
        return Entry()
    difference = ours.number - theirs if ours.number is not None and comparable else None
    text = f"{theirs:.2f}" + ("" if difference is None else f" ({minus(format(difference, '+.1f'))})")
    return Entry(text, theirs, facts={"published": theirs, "difference": difference})


def departures(results: Results, asked: Asked, kept: dict[tuple[str, str], dict[str, RowFacts]]) -> list[str]:
    """What keeps a row with a published number from being under the paper's conditions, each said once."""
    notes: dict[str, list[str]] = {}
    for (model, _), found in kept.items():
        for task, row in found.items():
            if _published(asked, model, task, row) is None:
                continue
            if not same_languages(results, model, task):
                languages = ", ".join(_languages(results, model, task))
                few = f"averaged over {languages}, so no difference to the paper's average"
                notes.setdefault(f"{model} on {task}", []).append(few)
            notes.setdefault(f"{model} on {task}", []).extend(published.departures(results, model, task, row))
    places: dict[str, list[str]] = {}
    for where, what in notes.items():
        for one in dict.fromkeys(what):
            places.setdefault(one, []).append(where)
    return [f"Not as in the paper: {', '.join(where)}: {one}." for one, where in places.items()]


def _published(asked: Asked, model: str, task: str, row: RowFacts) -> float | None:
    if not asked.source or not published.is_default(row, asked.axis):
        return None
    variant = f"{asked.axis}={row.axes[asked.axis]}" if asked.axis and asked.axis in row.axes else ""
    return published.find(asked.source, model, row.method, variant, task, AVERAGE)


# ---- a task by language


def _by_language(results: Results, task: str) -> Table:
    """Every row of every model on a task; with English as the base models do it, where their records are there."""
    number = BY_LANGUAGE.get(task)
    blocks = [block for block in results.blocks() if block.task == task]
    languages = list(dict.fromkeys(code for block in blocks for code in block.columns if code != AVERAGE))
    english = {block.model: results.english(block.model, task) for block in blocks}
    columns = (["en"] if any(english.values()) else []) + [*languages, AVERAGE]
    rows = []
    for block in blocks:
        for name, facts in results.rows(block.model, task).items():
            entries = [
                _language_entry(results, block.model, task, name, column, english) for column in columns
            ]
            below = _published_by_language(results, block.model, task, facts, columns, entries)
            rows.append(_row(name, entries, block.model, below))
    title = f"{task_title(results, task)} by language"
    notes = legend(rows)
    if columns[0] == "en":
        notes.insert(0, "en: the base model on English, the same for all rows; not in avg.")
    title = f"Table {number}: {title}" if number else title
    return Table(f"table-{number or task}", title, "method", tuple(columns), bold_best(rows), tuple(notes))


def _language_entry(
    results: Results, model: str, task: str, row: str, column: str, english: dict[str, Value | None]
) -> Entry:
    if column == "en":
        return score_entry(english[model])
    return score(results, model, task, row, column)


def _published_by_language(
    results: Results,
    model: str,
    task: str,
    row: RowFacts,
    columns: Sequence[str],
    entries: Sequence[Entry],
) -> list[Entry]:
    source = BY_LANGUAGE.get(task, "")
    if not published.is_default(row):
        return [Entry() for _ in columns]
    same = same_languages(results, model, task)
    return [
        beside(
            entry,
            published.find(source, model, row.method, "", task, column),
            column != AVERAGE or same,
        )
        for column, entry in zip(columns, entries, strict=True)
    ]


# ---- shared


def legend(rows: Iterable[Row]) -> list[str]:
    """What the signs in a table mean, those that it has."""
    rows = list(rows)
    states = {entry.state for row in rows for entry in row.entries}
    told = ["mean ± standard deviation over seeds; the best of each model and column is bold."]
    if "partial" in states:
        told.append("(n=…): of fewer seeds than planned.")
    if "missing" in states:
        told.append("–: planned, not finished; an average over languages needs all of them.")
    if states & {"failed", "damaged"}:
        told.append("failed, damaged: no seed has a result; see the list of what is missing.")
    if any("†" in row.label for row in rows):
        told.append("†: chosen by a search on validation, language by language; see Searches.")
    return told


def _row(name: str, entries: Sequence[Entry], group: str, below: Sequence[Entry]) -> Row:
    told = any(entry.text for entry in below)
    return Row(name, tuple(entries), group, BELOW if told else "", tuple(below) if told else ())


def same_languages(results: Results, model: str, task: str) -> bool:
    """Whether a model's languages of a task are those that the paper averages over."""
    return set(_languages(results, model, task)) == set(results.tasks[task].languages)


def _languages(results: Results, model: str, task: str) -> list[str]:
    block = results.block(model, task)
    return [code for code in block.columns if code != AVERAGE] if block else []
