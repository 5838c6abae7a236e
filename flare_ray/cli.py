"""The console script `flare-ray`: run, submit, plan, report, sync, ui, translate, doctor, store, cache, schema.

Exit codes: 0 all runs finished; 1 some failed; 2 the input, a permission or a setting is wrong (one message names it
and what to do); 75 what may pass by itself: a storage or hub that does not answer, a full disk (the same command goes
on later from what is finished); 130 stopped; 141 the reader of what is printed has gone.
"""

from __future__ import annotations

import gc
import os
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.markup import escape

from flare_ray.commands.cache import app as cache_app
from flare_ray.commands.guard import GuardedGroup, guarded
from flare_ray.commands.limited import Limit, Smoke
from flare_ray.commands.output import json_text, make_console
from flare_ray.commands.plan import plan_json, print_plan
from flare_ray.commands.report import diff, report
from flare_ray.commands.schema import schema
from flare_ray.commands.stoppable import stoppable
from flare_ray.commands.store import app as store_app
from flare_ray.commands.submit import submit
from flare_ray.commands.sync import sync
from flare_ray.commands.ui import ui
from flare_ray.damage import damaged_work
from flare_ray.errors import InputError, Problem
from flare_ray.plan.limits import limit_options
from flare_ray.redaction import redacted
from flare_ray.study import Study
from flare_ray.tracking.uris import is_server, uri_problems

app = typer.Typer(
    cls=GuardedGroup, no_args_is_help=True, add_completion=False, help=__doc__, pretty_exceptions_enable=False
)
app.add_typer(store_app, name="store")
app.add_typer(cache_app, name="cache")
app.command()(report)
app.command()(diff)
app.command()(submit)
app.command()(schema)
app.command()(sync)
app.command()(ui)
console = make_console()

_SIGNS = {"good": "[green]ok[/green]  ", "warning": "[yellow]warn[/yellow]", "bad": "[red]bad[/red] "}
File = Annotated[Path, typer.Argument(metavar="FILE", help="The sweep's YAML file.")]
Overrides = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY=VALUE", help="Override a field: training.epochs=3. Repeatable."),
]


@app.command()
def run(
    file: File,
    overrides: Overrides = None,
    limit: Limit = None,
    smoke: Smoke = False,
    only_plan: Annotated[bool, typer.Option("--plan", help="Print the plan and start nothing.")] = False,
    retry_failed: Annotated[
        bool, typer.Option("--retry-failed", help="Try again what failed in the code or diverged.")
    ] = False,
    wait: Annotated[bool, typer.Option("--wait", help="Wait for another driver of the same sweep.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="With --plan: as JSON.")] = False,
) -> None:
    """Runs a sweep; what is finished already is not trained again. Ctrl-C stops it at the next checkpoint."""
    overrides = limit_options(overrides, limit, smoke)
    if as_json and not only_plan:
        raise typer.BadParameter("goes with --plan", param_hint="--json")
    if only_plan:
        raise typer.Exit(guarded(lambda: _plan(file, overrides, as_json)))
    raise typer.Exit(guarded(lambda: stoppable(lambda: _run(file, overrides, retry_failed, wait))))


@app.command()
def plan(
    file: File,
    overrides: Overrides = None,
    limit: Limit = None,
    smoke: Smoke = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the plan as JSON.")] = False,
    places: Annotated[
        int | None,
        typer.Option(min=1, help="Worker groups at a time, for the wall time; max_concurrent if left out."),
    ] = None,
) -> None:
    """Prints what a sweep would do and cost: cells, runs, stages, what is done, what is skipped and why."""
    fields = limit_options(overrides, limit, smoke)
    raise typer.Exit(guarded(lambda: _plan(file, fields, as_json, places)))


@app.command()
def translate(
    file: Annotated[
        Path | None, typer.Argument(metavar="[FILE]", help="A CSV, TSV, JSONL or Parquet.")
    ] = None,
    task: Annotated[str | None, typer.Option(help="A task instead of a file.")] = None,
    to: Annotated[list[str] | None, typer.Option(help="Target language. Repeatable with --task.")] = None,
    model: Annotated[str, typer.Option(help="An NLLB by name, a hub id or a folder.")] = "nllb-200-3.3b",
    column: Annotated[list[str] | None, typer.Option(help="Column of the file. Repeatable.")] = None,
    source: Annotated[str, typer.Option("--from", help="Language of the file's text.")] = "eng",
    out: Annotated[
        Path | None, typer.Option(help="File to write; <name>.<language>.<format> if left out.")
    ] = None,
    data: Annotated[str | None, typer.Option(help="The task's data, as in a sweep.")] = None,
    split: Annotated[
        list[str] | None,
        typer.Option(
            help="With --task: train, validation, test; all three if left out. sentence: each sentence by itself."
        ),
    ] = None,
    backend: Annotated[str, typer.Option(help="transformers or ctranslate2.")] = "transformers",
    precision: Annotated[str, typer.Option(help="fp32, bf16, fp16, int8.")] = "fp32",
    beams: Annotated[int, typer.Option(help="1 is greedy.")] = 1,
    max_length: Annotated[
        int | None, typer.Option(help="Most tokens of a translation; 512 if left out.")
    ] = None,
    gpus: Annotated[float, typer.Option(help="GPUs of one translator.")] = 0,
    translators: Annotated[int | None, typer.Option(help="Most at once; what fits, if left out.")] = None,
    storage: Annotated[str, typer.Option(help="Folder or URL that keeps every translation.")] = "results",
) -> None:
    """Translates a task's splits, or columns of a table. What was translated before is not translated again."""
    fields = {"model": model, "backend": backend, "precision": precision, "beams": beams}
    fields |= {"max_length": max_length} if max_length is not None else {}
    fields |= {"split": "sentence"} if "sentence" in (split or []) else {}
    split = [name for name in split or [] if name != "sentence"]
    many = {"translators": translators, "gpus_per_translator": gpus}
    work = (
        (lambda: _translate_task(task or "", data, to or [], split, fields, many, storage))
        if task
        else (lambda: _translate_table(file, column or [], source, to or [], out, fields, many, storage))
    )
    raise typer.Exit(guarded(lambda: stoppable(work)))


@app.command()
def doctor(
    file: Annotated[Path | None, typer.Argument(metavar="[FILE]")] = None,
    overrides: Overrides = None,
    limit: Limit = None,
    smoke: Smoke = False,
) -> None:
    """Looks at this machine and, given a sweep, at everything it names; says what to do about each finding."""
    raise typer.Exit(guarded(lambda: _doctor(file, limit_options(overrides, limit, smoke))))


def _doctor(file: Path | None, overrides: Sequence[str]) -> int:
    from flare_ray.doctor import findings

    found = findings(file, overrides)
    for finding in found:
        console.print(_SIGNS[finding.state], escape(str(finding)), soft_wrap=True)
    return 2 if any(finding.state == "bad" for finding in found) else 0


def _run(file: Path, overrides: list[str] | None, retry_failed: bool, wait: bool) -> int:
    from flare_ray.execution.driver import Interrupted
    from flare_ray.execution.local_ray import keep_ray_files
    from flare_ray.execution.watchdog import start_again
    from flare_ray.running import execute

    def on_death(what: str) -> None:
        start_again(sum(len(study.store.finished(kind)) for kind in ("runs", "bases", "corpora")))
        place = keep_ray_files() or "Ray's temporary folder"
        console.print(f"Ray keeps crashing without progress; see the logs in {place}", soft_wrap=True)
        os._exit(1)

    try:
        study = Study.open(file, overrides or [])
        if study.searches or study.stages().todo:
            _check_folders()
        print_plan(study, console, damage=damaged_work(study))
        outcome = execute(study, console, retry_failed, wait, on_death)
        return _conclude(study, outcome, overrides or [])
    except Interrupted as error:
        raise KeyboardInterrupt from error


def _check_folders() -> None:
    """Look at the folders that the cache and Ray write into, before Ray is started. Raises InputError."""
    from flare_ray.preflight.findings import refuse
    from flare_ray.preflight.here import needed_here

    refuse(needed_here())


def _conclude(study: Study, outcome: Any, overrides: Sequence[str]) -> int:
    from flare_ray.commands.gather import gather
    from flare_ray.commands.report import print_damaged, show
    from flare_ray.console import only_shows

    results, written = gather(study), list[str]()
    with only_shows("no report is written; `flare-ray report` writes it"):
        written = show(results, console, study.store)
    damaged = print_damaged(results, console)
    console.print()
    for error in outcome.tracking_errors:
        console.print(
            f"not in MLflow (the store has it, the next start tries again): {error}",
            markup=False,
            soft_wrap=True,
        )
    for failed in outcome.failed:
        failure = study.store.failure(failed.fingerprint) or {"error": "no record"}
        place = study.store.failure_place(failed.fingerprint)
        console.print(
            f"failed: {failed.label}: {failure['error']}\n  log: {place}", markup=False, soft_wrap=True
        )
    for name in outcome.unanswered:
        console.print(f"no answer: {name}: no configuration came to its end", markup=False, soft_wrap=True)
    if outcome.failed:
        console.print("flare-ray run --retry-failed tries all of them again", soft_wrap=True)
    ui = _mlflow_line(study, overrides)
    console.print(f"records in MLflow:  {ui}", markup=False, soft_wrap=True)
    if written:
        console.print(f"report:             {written[0]}", markup=False, soft_wrap=True)
    return 1 if outcome.failed or outcome.unanswered or damaged else 0


def _mlflow_line(study: Study, overrides: Sequence[str]) -> str:
    """What opens the MLflow UI on the records: a server's own address, or a command that serves the file."""
    if is_server(study.tracking_uri):
        return redacted(study.tracking_uri)
    beside = Path(sys.executable).with_name("flare-ray")
    command = os.path.relpath(beside) if beside.is_relative_to(Path.cwd()) else str(beside)
    words = [command, "ui", str(study.file), *(word for one in overrides for word in ("--set", one))]
    return redacted(shlex.join(words))


def _plan(file: Path, overrides: list[str] | None, as_json: bool = False, places: int | None = None) -> int:
    gc.disable()  # a plan makes a million objects that stay: looking for garbage is a sixth of its time
    try:
        study = Study.open(file, overrides or [], to_execute=False, check=True)
        if problems := uri_problems(study.tracking_uri):
            raise InputError(str(file), problems)
        damage = damaged_work(study)
        if as_json:
            print(json_text(plan_json(study, places, damage)))
        else:
            print_plan(study, console, places, damage)
    finally:
        gc.enable()
    return 1 if damage else 0


def _translate_task(
    task: str,
    data: str | None,
    to: list[str],
    split: list[str] | None,
    fields: dict[str, Any],
    many: dict[str, Any],
    storage: str,
) -> int:
    from flare_ray import translate

    if not to:
        raise InputError("translate", [Problem("--to", "nothing", "a target language")])
    settings = translate.parse_settings(fields, many, storage)
    _check_folders()
    splits = split or ["train", "validation", "test"]
    places = translate.translate_task(task, data, to, splits, *settings, console)
    for place in places:
        console.print(f"written: {place}", markup=False, soft_wrap=True)
    return 0


def _translate_table(
    file: Path | None,
    columns: list[str],
    source: str,
    to: list[str],
    out: Path | None,
    fields: dict[str, Any],
    many: dict[str, Any],
    storage: str,
) -> int:
    from flare_ray import translate

    problems = [Problem("FILE", "nothing", "a table to translate, or --task")] if file is None else []
    problems += [] if columns else [Problem("--column", "nothing", "a column of the table")]
    problems += [] if len(to) == 1 else [Problem("--to", ", ".join(to) or "nothing", "one target language")]
    if problems or file is None:
        raise InputError("translate", problems)
    place = out or file.with_suffix(f".{to[0]}{file.suffix}")
    settings = translate.parse_settings(fields, many, storage)
    _check_folders()
    counts = translate.translate_table(file, columns, (source, to[0]), place, *settings, console)
    failed = "".join(f", {count} {reason}" for reason, count in counts["failed"].items())
    console.print(f"written: {place} ({counts['rows']} rows{failed})", markup=False, soft_wrap=True)
    if counts["flagged"]:
        flagged = ", ".join(f"{count} {flag}" for flag, count in counts["flagged"].items())
        console.print(f"warning: suspicious translations: {flagged}", markup=False, soft_wrap=True)
    return 0
