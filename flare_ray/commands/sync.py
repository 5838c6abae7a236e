"""`flare-ray sync SWEEP.yaml`: MLflow again from the store, or what it lacks.

    flare-ray sync sweeps/table1.yaml
    flare-ray sync sweeps/table1.yaml --to http://mlflow.example:5000     # another server
    flare-ray sync sweeps/table1.yaml --to sqlite:////tmp/mlflow.db --artifacts /tmp/mlflow-artifacts

Exit codes: 0 all is there; 1 something is not; 2 the input is wrong; 75 the storage or MLflow does not answer.
"""

from __future__ import annotations

import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from flare_ray.commands.guard import guarded
from flare_ray.commands.limited import Limit, Smoke
from flare_ray.errors import refusal
from flare_ray.plan.limits import limit_options
from flare_ray.redaction import redacted


def sync(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="The sweep's YAML file.")],
    overrides: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="Override a field: tracking.uri=… Repeatable."),
    ] = None,
    limit: Limit = None,
    smoke: Smoke = False,
    to: Annotated[
        str | None, typer.Option("--to", metavar="URI", help="Another MLflow than the sweep's.")
    ] = None,
    artifacts: Annotated[
        Path | None, typer.Option(help="Folder for the artifacts of a database given by --to.")
    ] = None,
) -> None:
    """Writes to MLflow all that the store has of a sweep and MLflow has not; replaces what is half written."""
    raise typer.Exit(guarded(lambda: _sync(file, limit_options(overrides, limit, smoke), to, artifacts)))


def _sync(file: Path, overrides: list[str], to: str | None, artifacts: Path | None) -> int:
    from flare_ray.recording import Recording
    from flare_ray.study import Study
    from flare_ray.tracking.uris import unreachable

    study = Study.open(file, overrides, to_execute=False)
    uri = to or study.tracking_uri
    if problems := unreachable(uri):
        raise refusal(str(file), [replace(problem, where="--to") for problem in problems] if to else problems)
    started = time.perf_counter()
    with Recording(study, uri=uri, artifacts=artifacts, thorough=True) as recording:
        recording.everything()
        handed_over = recording.count
    writer = recording.writer
    for error in writer.errors:
        print(f"not in MLflow: {error}", file=sys.stderr)
    seconds = time.perf_counter() - started
    there = f"{handed_over} records in the store, {writer.written} of them written to {redacted(uri)}"
    cells = f"; {writer.restored} cells put right" if writer.restored else ""
    print(f"{there} in {seconds:.1f} s{cells}")
    return 1 if writer.errors else 0
