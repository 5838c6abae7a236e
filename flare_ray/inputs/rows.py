"""What looks wrong with the rows of local data and is no reason to stop; the sweep file's check names what is."""

from __future__ import annotations

from flare_ray import registry
from flare_ray.inputs.findings import Findings
from flare_ray.plan.grid import data_source
from flare_ray.plan.load import reads_of
from flare_ray.plan.schema import Sweep
from flare_ray.tasks._problems import check_rows


def check_data(sweep: Sweep, findings: Findings) -> None:
    """Find rows with another label than their English row, copies of training rows, labels without a row."""
    for name in sweep.tasks:
        task, source = registry.load("tasks", name), data_source(sweep, name)
        targets = task.targets(source)
        chosen = (
            targets if sweep.languages == "all" else [code for code in sweep.languages if code in targets]
        )
        findings.add(*check_rows(task, source, chosen, reads_of(sweep), sweep.max_dropped))
