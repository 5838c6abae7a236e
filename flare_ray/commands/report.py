"""`flare-ray report` and `flare-ray diff`: a sweep's tables from its store, and two sweeps cell by cell.

    flare-ray report sweeps/table1.yaml
    flare-ray report sweeps/table1.yaml --format html,tex --out paper/
    flare-ray report --experiment table1 --uri http://mlflow.example:5000
    flare-ray diff sweeps/mine.yaml sweeps/mine.yaml --set-b storage=/elsewhere

Without --format and --out, `report` writes report.md and results.csv into the store; with them nothing goes there.
"""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from flare_ray import registry
from flare_ray.commands.guard import guarded
from flare_ray.commands.limited import Limit, Smoke
from flare_ray.commands.output import make_console
from flare_ray.commands.surroundings import is_refused, naming, problem_of
from flare_ray.errors import InputError, Problem, refusal
from flare_ray.plan.limits import limit_options
from flare_ray.report import table
from flare_ray.report.document import Report
from flare_ray.report.render import FORMATS
from flare_ray.report.render.csv import runs as runs_csv
from flare_ray.report.results import Results
from flare_ray.store import Store

Formats = Annotated[
    str | None,
    typer.Option("--format", help=f"Of {', '.join(FORMATS)}; several with commas; all with --out."),
]
Out = Annotated[
    Path | None, typer.Option("--out", help="Folder for the files; <sweep>-report if only --format is given.")
]


_DAMAGED_SHOWN = 20
File = Annotated[Path, typer.Argument(metavar="FILE", help="The sweep's YAML file.")]
Overrides = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY=VALUE", help="Override a field: training.epochs=3. Repeatable."),
]


def report(
    file: Annotated[Path | None, typer.Argument(metavar="[FILE]", help="The sweep's YAML file.")] = None,
    overrides: Overrides = None,
    limit: Limit = None,
    smoke: Smoke = False,
    formats: Formats = None,
    out: Out = None,
    compare: Annotated[
        str | None,
        typer.Option(
            metavar="ROW", help="The row that each other one is compared with; FLARE's if left out."
        ),
    ] = None,
    resamples: Annotated[
        int,
        typer.Option(
            min=0, max=1_000_000, help="Of the comparisons' bootstrap; 0 leaves the comparisons out."
        ),
    ] = 10_000,
    experiment: Annotated[
        str | None, typer.Option(metavar="SWEEP", help="A sweep's name: from MLflow alone, without FILE.")
    ] = None,
    uri: Annotated[
        str | None,
        typer.Option(metavar="URI", help="That MLflow; MLFLOW_TRACKING_URI, else ./results, if left out."),
    ] = None,
) -> None:
    """Prints a sweep's tables from the store, and writes them there, or a whole report as md, html, tex, csv."""

    def work() -> int:
        if (file is None) == (experiment is None):
            found = "both" if file else "neither"
            raise InputError("report", [Problem("FILE, --experiment", found, "one of them")])
        fields = limit_options(overrides, limit, smoke)
        source = _from_store(file, fields) if file else _from_mlflow(str(experiment), uri)
        return _report(*source, formats, out, (compare, resamples))

    raise typer.Exit(guarded(work))


def diff(
    a: Annotated[Path, typer.Argument(metavar="A", help="A sweep's YAML file.")],
    b: Annotated[Path, typer.Argument(metavar="B", help="Another's, or the same.")],
    overrides: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="Override a field of both. Repeatable."),
    ] = None,
    overrides_a: Annotated[
        list[str] | None,
        typer.Option("--set-a", metavar="KEY=VALUE", help="Override a field of A. Repeatable."),
    ] = None,
    overrides_b: Annotated[
        list[str] | None,
        typer.Option("--set-b", metavar="KEY=VALUE", help="Override a field of B. Repeatable."),
    ] = None,
    formats: Formats = None,
    out: Out = None,
) -> None:
    """Two sweeps cell by cell: what both have with the difference, and what only one has."""
    given = [[*(overrides or []), *(own or [])] for own in (overrides_a, overrides_b)]
    raise typer.Exit(guarded(lambda: _diff((a, b), given, formats, out)))


def _diff(
    files: Sequence[Path], overrides: Sequence[Sequence[str]], formats: str | None, out: Path | None
) -> int:
    from flare_ray.commands.gather import gather
    from flare_ray.report.difference import difference
    from flare_ray.report.render.terminal import as_rich
    from flare_ray.study import Study

    wanted = chosen(formats) if formats or out else []
    if wanted and out:
        writable_folder(out)
    studies = [Study.open(file, own, to_execute=False) for file, own in zip(files, overrides, strict=True)]
    both = [gather(study) for study in studies]
    made = difference(*both)
    console = make_console()
    for fact in made.facts:
        console.print(fact, markup=False, soft_wrap=True)
    for found in made.tables():
        console.print(as_rich(found))
    names = "-".join(study.sweep.name for study in studies)
    for place in write_files(made, wanted, out or Path(f"{names}-diff")) if wanted else []:
        console.print(f"written: {place}", markup=False, soft_wrap=True)
    return 1 if sum([print_damaged(results, console) for results in both]) else 0


def _from_store(file: Path, overrides: Sequence[str]) -> tuple[Results, Store | None]:
    """A sweep's results, and the store that they are of."""
    from flare_ray.commands.gather import gather
    from flare_ray.study import Study

    study = Study.open(file, overrides, to_execute=False)
    return gather(study), study.store


def _from_mlflow(experiment: str, uri: str | None) -> tuple[Results, Store | None]:
    """The results of a sweep that MLflow has."""
    from flare_ray.commands.gather_mlflow import gather_mlflow
    from flare_ray.study import tracking_uri
    from flare_ray.tracking.uris import unreachable

    place = tracking_uri(uri) or f"sqlite:///{Path('results/mlflow.db').absolute()}"
    if problems := unreachable(place, to_write=False):
        raise refusal(
            "report", [replace(problem, where="--uri") for problem in problems] if uri else problems
        )
    return gather_mlflow(place, experiment), None


def _report(
    results: Results,
    store: Store | None,
    formats: str | None,
    out: Path | None,
    comparison: tuple[str | None, int],
) -> int:
    from flare_ray.report.build import build

    console = make_console()
    wanted = chosen(formats) if formats or out else []
    if wanted:
        writable_folder(out or Path(f"{results.name}-report"))
    _check_row(results, comparison[0])
    places: Sequence[object] = show(results, console, None if wanted else store)
    if wanted:
        made = build(results, *comparison)
        places = write_files(made, wanted, out or Path(f"{results.name}-report"), results)
    for place in places:
        console.print(f"written: {place}", markup=False, soft_wrap=True)
    return 1 if print_damaged(results, console) else 0


def print_damaged(results: Results, console: Console) -> int:
    """Print the work that is not what was written, at most 20 runs and 20 of the rest; return how much there is."""
    for line in results.damage[:_DAMAGED_SHOWN]:
        console.print(f"damaged: {line}", markup=False, soft_wrap=True)
    if len(results.damage) > _DAMAGED_SHOWN:
        hidden = len(results.damage) - _DAMAGED_SHOWN
        console.print(f"damaged: … and {hidden} more base models, translated splits or search answers")
    if results.damage:
        console.print("`flare-ray run` makes again what of these is still needed", markup=False)
    damaged = [run for run in results.runs if run.outcome == "damaged"]
    for run in damaged[:_DAMAGED_SHOWN]:
        console.print(
            f"damaged: {run.facts['label']} ({run.facts['fingerprint']}): {run.error}",
            markup=False,
            soft_wrap=True,
        )
    if damaged:
        rest = len(damaged) - _DAMAGED_SHOWN
        more = f"… and {rest} more damaged runs. " if rest > 0 else ""
        console.print(
            f"{more}Damaged runs have no score here. `flare-ray store verify --repair` moves them to quarantine/, "
            "then `flare-ray run` trains them again",
            markup=False,
            soft_wrap=True,
        )
    return len(damaged) + len(results.damage)


def show(results: Results, console: Console, store: Store | None) -> list[str]:
    """Prints the tables alone and writes them, as Markdown and CSV, into a store if there is one; returns where."""
    for block in results.blocks():
        console.print(table.as_rich(block))
    for note in _short_notes(results):
        console.print(note, markup=False)
    texts = _short(results) if store else []
    try:
        return [store.write_text(f"reports/{results.name}/{name}", text) for name, text in texts if store]
    except OSError as error:
        if not is_refused(error):
            raise
        got = f"not written: {error}; `report --out FOLDER` writes elsewhere"
        console.print(got, markup=False, soft_wrap=True)  # a store may be there to be read only
        return []


def _check_row(results: Results, row: str | None) -> None:
    rows = list(dict.fromkeys(run.row for run in results.runs))
    if row is not None and row not in rows:
        raise InputError("report", [Problem("--compare", repr(row), registry.wanted(row, rows))])


def chosen(formats: str | None) -> list[str]:
    """The formats of a comma-separated list, all without one. Raises InputError."""
    names = [name.strip() for name in formats.split(",")] if formats else list(FORMATS)
    strange = [name for name in names if name not in FORMATS]
    if strange:
        raise InputError(
            "report", [Problem("--format", one, f"one of: {', '.join(FORMATS)}") for one in strange]
        )
    return names


def writable_folder(folder: Path) -> None:
    """Make the folder of a report, and try to write into it. Raises InputError, Unreachable where that may pass."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        found = problem_of(error) or Problem("--out", str(error), "a folder to write to")
        expected = f"a folder to write to: {found.wanted}"
        problem = Problem("--out", f"{folder}: {found.found}", expected, found.passes)
        raise refusal("report", [problem]) from error


def write_files(
    report: Report, formats: Sequence[str], folder: Path, results: Results | None = None
) -> list[Path]:
    """The files of a report in each format; with the CSV, a line per run too."""
    writable_folder(folder)
    texts = {name: render(report) for name, render in (FORMATS[one] for one in formats)}
    if results and "csv" in formats:
        texts["runs.csv"] = runs_csv(results)
    for name, text in texts.items():
        with naming(folder / name):
            (folder / name).write_text(text, encoding="utf-8")
    return [folder / name for name in texts]


def _short_notes(results: Results) -> list[str]:
    """What searches have chosen, and over how many; then the notes on the text that went in."""
    return [*dict.fromkeys(str(run.selected) for run in results.runs if run.selected), *results.notes]


def _short(results: Results) -> list[tuple[str, str]]:
    """The tables alone, as every execution writes them into the store."""
    blocks = results.blocks()
    text = f"# {results.name}\n\n" + "\n".join(map(table.as_markdown, blocks))
    text += "\n" + "\n".join(_short_notes(results)) + "\n"
    return [("report.md", text), ("results.csv", table.as_csv(blocks))]
