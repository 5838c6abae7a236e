"""`flare-ray doctor [FILE]`: looks at the machine and at what a sweep names; each finding has its remedy.

Of a sweep it looks at what is left to do, as the sweep itself does before it starts. The nodes of a cluster are asked
when RAY_ADDRESS names one.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from flare_ray.commands.surroundings import problem_of
from flare_ray.errors import InputError
from flare_ray.execution.cluster import cluster_address, cluster_problems
from flare_ray.preflight.findings import Finding, bad
from flare_ray.preflight.here import here
from flare_ray.store import told


def findings(file: Path | None = None, overrides: Sequence[str] = ()) -> list[Finding]:
    """All findings; those of a sweep's own input when a file is given."""
    if file is None:
        return [*here(), _ray()]
    try:
        with told():
            return _of_sweep(file, overrides)
    except InputError as error:
        problems = list(error.problems)
    except Exception as error:  # of the disk, the memory, a permission; any other is a bug, and shown as one
        if (problem := problem_of(error)) is None:
            raise
        problems = [problem]
    wrong = [bad(one.where, one.found, f"wanted {one.wanted}", one.passes) for one in problems]
    return [*here(), *filter(lambda one: one.good, [_ray()]), *wrong]


def _of_sweep(file: Path, overrides: Sequence[str]) -> list[Finding]:
    """What the sweep itself looks at before it starts. Raises InputError, StoreAway, StoreRefused."""
    from flare_ray.execution.cluster import connect
    from flare_ray.execution.prefetch import wanted
    from flare_ray.preflight.run import preflight
    from flare_ray.study import Study

    study = Study.open(file, overrides)
    if cluster_address() is not None:
        connect()
    todo = study.ahead(study.stages())
    runs = Finding("sweep", f"{file}: {len(study.grid.runs)} runs")
    return [_ray(), runs, *preflight(study, todo, wanted(todo))]


def _ray() -> Finding:
    if problems := cluster_problems():
        return bad(problems[0].where, problems[0].found, problems[0].wanted)
    return Finding("ray's cluster", cluster_address() or "a local one will be started")
