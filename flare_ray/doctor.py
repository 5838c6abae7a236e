"""`flare-ray doctor [FILE]`: looks at the machine and at what a sweep names; each finding has its remedy.

Of a sweep it looks at what is left to do, as the sweep itself does before it starts. The nodes of a cluster are asked
when RAY_ADDRESS names one.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from flare_ray.errors import InputError
from flare_ray.preflight.findings import Finding, bad
from flare_ray.preflight.here import here


def findings(file: Path | None = None, overrides: Sequence[str] = ()) -> list[Finding]:
    """All findings; those of a sweep's own input when a file is given."""
    if file is None:
        return [*here(), _ray()]
    from flare_ray.study import Study

    try:
        study = Study.open(file, overrides)
    except InputError as error:
        return [
            *here(),
            _ray(),
            *(bad(one.where, one.found, f"wanted {one.wanted}") for one in error.problems),
        ]
    if os.environ.get("RAY_ADDRESS"):
        from flare_ray.execution.cluster import connect

        connect()
    from flare_ray.execution.prefetch import wanted
    from flare_ray.preflight.run import preflight

    todo = study.ahead(study.stages())
    runs = Finding("sweep", f"{file}: {len(study.grid.runs)} runs")
    return [_ray(), runs, *preflight(study, todo, wanted(todo))]


def _ray() -> Finding:
    address = os.environ.get("RAY_ADDRESS")
    return Finding("ray's cluster", address or "a local one will be started")
