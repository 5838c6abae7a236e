"""The report of a sweep: what is there, the paper's tables, comparisons, costs, searches, what is missing.

report = build(results)
file, render = FORMATS["html"]
Path(file).write_text(render(report))
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from flare_ray.report import compare, cost, paper, paper_figures
from flare_ray.report.document import Entry, Report, Row, Section, State, Table, number_entry
from flare_ray.report.results import Outcome, Results

_LISTED = 200
"""Runs without a result that are listed one by one."""
OUTCOMES: tuple[Outcome, ...] = ("finished", "failed", "damaged", "missing")


def build(results: Results, first: str | None = None, resamples: int = compare.RESAMPLES) -> Report:
    """Everything that the records of a sweep can say.

    first: the row that each other one is compared with, FLARE's if left out. resamples: of the statistics; 0 leaves
    them out.
    """
    sections = [
        Section("state", "What is there", results.notes, (_state(results),)),
        Section("tables", "The paper's tables", (), tuple(paper.tables(results))),
        *paper_figures.section(results),
        *(compare.section(results, first, resamples) if resamples else []),
        *cost.section(results),
        *_searches(results),
        *_lost(results),
        Section("origin", "Where the numbers come from", tuple(_origin(results))),
    ]
    return Report(results.name, tuple(_facts(results)), tuple(sections))


def _facts(results: Results) -> Iterable[str]:
    counts = Counter(run.outcome for run in results.runs)
    yield f"{len(results.runs)} runs planned: " + ", ".join(f"{counts[one]} {one}" for one in OUTCOMES)
    seeds = sorted({run.facts["seed"] for run in results.runs})
    if len(seeds) == 1:
        yield "One seed: there is no spread over seeds, and nothing about another training can be concluded."
    else:
        yield f"{len(seeds)} seeds: {', '.join(map(str, seeds))}"
    yield "Scores are in points (0 to 100) on the test set; the checkpoint is chosen on validation."


def _state(results: Results) -> Table:
    """Runs by model, task and outcome."""
    rows = []
    for model in results.models:
        for task in results.planned_tasks:
            counts = Counter(run.outcome for run in results.of(model, task))
            if counts:
                entries = [
                    Entry(str(counts[one]), counts[one], state=_state_of(one) if counts[one] else "")
                    for one in OUTCOMES
                ]
                rows.append(Row(task, (number_entry(counts.total(), "d"), *entries), model))
    return Table("state", "Runs by outcome", "task", ("planned", *OUTCOMES), tuple(rows))


def _searches(results: Results) -> list[Section]:
    """What searches chose, once for each; the rows they make are marked † in every table."""
    chosen = {
        (run.selected.label, run.selected.sampler): run.selected for run in results.runs if run.selected
    }
    if not chosen:
        return []
    rows = tuple(
        Row(
            one.label,
            (
                Entry(one.sampler),
                number_entry(one.configurations, "d"),
                Entry(", ".join(f"{axis}={value}" for axis, value in one.config.items())),
                number_entry(one.validation),
            ),
        )
        for one in chosen.values()
    )
    text = (
        "Rows marked † were chosen on validation out of many configurations; rows that were not searched had no such "
        "choice."
    )
    columns = ("by", "configurations", "chosen", "validation")
    return [
        Section(
            "searches", "Searches", (text,), (Table("searches", "What was chosen", "search", columns, rows),)
        )
    ]


def _lost(results: Results) -> list[Section]:
    """Runs without a result, with the reason where there is one."""
    lost = [run for run in results.runs if run.outcome in ("failed", "damaged")]
    waiting = sum(run.outcome == "missing" for run in results.runs)
    if not lost and not waiting:
        return []
    text = [f"{waiting} runs are planned and not finished." if waiting else "Every other run is finished."]
    if len(lost) > _LISTED:
        text.append(
            f"{len(lost)} runs failed or are damaged; the first {_LISTED} are listed, runs.csv has all."
        )
    rows = tuple(
        Row(run.facts["label"], (Entry(run.outcome, state=_state_of(run.outcome)), Entry(_short(run.error))))
        for run in lost[:_LISTED]
    )
    parts = (Table("lost", "Runs without a result", "run", ("what", "why"), rows),) if rows else ()
    return [Section("lost", "What is missing", tuple(text), parts)]


def _state_of(outcome: Outcome) -> State:
    return "" if outcome == "finished" else outcome


def _short(error: str, most: int = 160) -> str:
    line = error.strip().splitlines()[0] if error.strip() else ""
    return line if len(line) <= most else line[: most - 1] + "…"


def _origin(results: Results) -> Iterable[str]:
    """Versions, code and machines of the finished runs."""
    known = [run.record.get("provenance") for run in results.runs if run.record]
    origins = [one for one in known if isinstance(one, dict)]
    for name, found in (
        ("Code", {_commit(one) for one in origins}),
        ("Devices", {str(one.get("device", "unknown")) for one in origins}),
        ("Hosts", {str(one.get("host", "unknown")) for one in origins}),
        ("torch", {str(one.get("versions", {}).get("torch", "unknown")) for one in origins}),
    ):
        yield f"{name}: {', '.join(sorted(found)) or 'no run is finished'}."
    yield (
        "Published numbers: Borchert et al., Language Fusion for Parameter-Efficient Cross-lingual Transfer; Table 1 "
        "as read off the authors' result charts, Tables 2, 3 and 7 as printed. Tables 4, 6 and 8 and standard "
        "deviations are not to be had."
    )


def _commit(origin: dict[str, object]) -> str:
    commit = str(origin.get("git_commit") or "unknown")[:9]
    return f"{commit} (changed)" if origin.get("git_changed") else commit
