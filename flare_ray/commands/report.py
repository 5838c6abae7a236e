"""`flare-ray report SWEEP.yaml`: a sweep's tables from its store, to the terminal and, as asked for, into files.

    flare-ray report sweeps/table1.yaml
    flare-ray report sweeps/table1.yaml --format html,tex --out paper/

Without --format and --out it writes report.md and results.csv into the store. With them it writes nothing there.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from flare_ray.errors import InputError, Problem
from flare_ray.report import table
from flare_ray.report.document import Report
from flare_ray.report.render import FORMATS
from flare_ray.report.render.csv import runs as runs_csv
from flare_ray.report.results import Results
from flare_ray.store import open_store

Formats = Annotated[
    str | None,
    typer.Option("--format", help=f"Of {', '.join(FORMATS)}; several with commas; all with --out."),
]
Out = Annotated[
    Path | None, typer.Option("--out", help="Folder for the files; <sweep>-report if only --format is given.")
]


def write_report(
    file: Path, overrides: Sequence[str], formats: str | None, out: Path | None, console: Console
) -> int:
    """The command's work; returns the exit code. Raises InputError."""
    from flare_ray.commands.gather import gather
    from flare_ray.report.build import build
    from flare_ray.study import Study

    wanted = chosen(formats) if formats or out else []
    study = Study.open(file, overrides, to_execute=False)
    if not wanted:
        open_store(study.store.url)
    results = gather(study)
    for block in results.blocks():
        console.print(table.as_rich(block))
    for note in results.notes:
        console.print(note)
    if wanted:
        places = [
            str(one)
            for one in write_files(build(results), wanted, out or Path(f"{results.name}-report"), results)
        ]
    else:
        places = [
            study.store.write_text(f"reports/{results.name}/{name}", text) for name, text in _short(results)
        ]
    for place in places:
        console.print(f"written: {place}", markup=False, soft_wrap=True)
    return 0


def chosen(formats: str | None) -> list[str]:
    """The formats of a comma-separated list, all without one. Raises InputError."""
    names = [name.strip() for name in formats.split(",")] if formats else list(FORMATS)
    strange = [name for name in names if name not in FORMATS]
    if strange:
        raise InputError("report", [Problem("--format", one, f"of {', '.join(FORMATS)}") for one in strange])
    return names


def write_files(
    report: Report, formats: Sequence[str], folder: Path, results: Results | None = None
) -> list[Path]:
    """The files of a report in each format; with the CSV, a line per run too."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(
            "report", [Problem("--out", f"{folder}: {error.strerror}", "a folder to write to")]
        ) from error
    texts = {name: render(report) for name, render in (FORMATS[one] for one in formats)}
    if results and "csv" in formats:
        texts["runs.csv"] = runs_csv(results)
    for name, text in texts.items():
        (folder / name).write_text(text, encoding="utf-8")
    return [folder / name for name in texts]


def _short(results: Results) -> list[tuple[str, str]]:
    """The tables alone, as every execution writes them into the store."""
    blocks = results.blocks()
    text = f"# {results.name}\n\n" + "\n".join(map(table.as_markdown, blocks))
    text += "\n" + "\n".join(results.notes) + "\n"
    return [("report.md", text), ("results.csv", table.as_csv(blocks))]
