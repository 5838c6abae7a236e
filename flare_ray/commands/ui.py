"""`flare-ray ui [SWEEP.yaml]`: MLflow's UI on a sweep's records, on this machine, until Ctrl-C.

    flare-ray ui sweeps/table1.yaml
    flare-ray ui --storage results

It prints the address of each task's cells: their means and intervals side by side, ready to be marked and compared.
Of records on a tracking server it prints the addresses there and starts nothing.
"""

from __future__ import annotations

import secrets
from pathlib import Path
from typing import Annotated

import typer

from flare_ray.commands.guard import guarded
from flare_ray.commands.limited import Limit, Smoke
from flare_ray.errors import InputError, Problem, refusal
from flare_ray.plan.limits import limit_options
from flare_ray.redaction import redacted


def ui(
    file: Annotated[Path | None, typer.Argument(metavar="[FILE]", help="The sweep's YAML file.")] = None,
    storage: Annotated[
        Path | None, typer.Option(help="A storage folder instead; ./results if neither is given.")
    ] = None,
    overrides: Annotated[
        list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Override a field of the sweep.")
    ] = None,
    limit: Limit = None,
    smoke: Smoke = False,
    port: Annotated[int | None, typer.Option(help="A free one if left out.")] = None,
) -> None:
    """Opens MLflow's UI on the records of a sweep; ends on Ctrl-C."""
    from flare_ray.execution.stopping import interruptible

    with interruptible():  # SIGTERM and SIGHUP end the server as Ctrl-C does
        try:
            fields = limit_options(overrides, limit, smoke)
            code = guarded(lambda: _ui(file, storage or Path("results"), fields, port))
        except KeyboardInterrupt:
            code = 0
    raise typer.Exit(code)


def _ui(file: Path | None, storage: Path, overrides: list[str], port: int | None) -> int:
    from flare_ray.tracking.database_check import sqlite_file
    from flare_ray.tracking.relocation import ARTIFACTS, relocate
    from flare_ray.tracking.ui import Ui
    from flare_ray.tracking.uris import is_server, parted, unreachable, uri_problems

    uri, folder, sweep = _place(file, storage, overrides)
    if problems := uri_problems(uri):
        raise InputError("ui", problems)
    if is_server(uri):
        server = parted(uri)[0]
        print(f"MLflow: {server}")
        _print_pages(server, sweep)
        return 0
    if (database := sqlite_file(uri)) and not database.exists():
        wanted = "a sweep that has run, or `flare-ray sync FILE`, which makes it from the store"
        raise InputError("ui", [Problem("tracking", f"no MLflow database at {redacted(uri)}", wanted)])
    if problems := unreachable(uri, to_write=False):
        raise refusal("ui", problems)
    print("starting MLflow …", flush=True)
    relocate(uri, folder / ARTIFACTS)
    token = secrets.token_urlsafe(24)
    with Ui(uri, folder / ARTIFACTS, port, token=token) as local:
        print(f"MLflow: {local.url}/?token={token}   (Ctrl-C ends it)", flush=True)
        _print_pages(local.url, sweep, token)
        return local.wait()


def _place(file: Path | None, storage: Path, overrides: list[str]) -> tuple[str, Path, str]:
    """Tracking URI, folder of the artifacts and the sweep's name ('' for all)."""
    if file is None:
        folder = storage.absolute()
        return f"sqlite:///{folder / 'mlflow.db'}", folder, ""
    from flare_ray.study import Study

    study = Study.open(file, overrides, to_execute=False)
    return study.tracking_uri, study.tracking_folder.absolute(), study.sweep.name


def _print_pages(server: str, sweep: str, token: str | None = None) -> None:
    """The address of each task's cells. token: what the server wants."""
    from flare_ray.tracking.layout import url
    from flare_ray.tracking.ui import experiments

    try:
        found = experiments(server, f"{sweep}/" if sweep else "", token)
    except OSError:  # one that wants credentials: the browser asks for them
        return
    for name, experiment in sorted(found.items()):
        if "/" in name:
            view = None if name.endswith("/translation") else "cells"
            print(f"  {name:<24} {url(server, experiment, view, token)}", flush=True)
