"""All checks of a sweep's checkpoints and texts that need more than the sweep file and the rows alone.

    found = check_inputs(sweep, runs)
    found.problems, found.warnings

What lies on the hub cannot be looked at before it is fetched; the workers check it when they read it.
"""

from __future__ import annotations

from collections.abc import Sequence

from flare_ray.inputs.answers import check_answers
from flare_ray.inputs.checkpoints import check_checkpoints
from flare_ray.inputs.data_files import check_data_files
from flare_ray.inputs.findings import Findings
from flare_ray.inputs.positions import check_positions
from flare_ray.inputs.rows import check_data
from flare_ray.inputs.translators import check_translators
from flare_ray.inputs.unknown_tokens import check_unknown_tokens
from flare_ray.plan.grid import Run
from flare_ray.plan.schema import Sweep


def check_inputs(sweep: Sweep, runs: Sequence[Run]) -> Findings:
    """Return the findings of all checks. runs: those of the grid, and those that searches may ask for."""
    findings = check_models(sweep, runs)
    check_data_files(sweep, findings)
    check_data(sweep, findings)
    if not findings.problems:  # what follows loads tokenizers and reads rows
        check_unknown_tokens(sweep, findings)
        check_answers(runs, findings)
    return findings


def check_models(sweep: Sweep, runs: Sequence[Run]) -> Findings:
    """Return the findings about checkpoints, whatever the rows are."""
    findings = Findings()
    check_positions(runs, findings)
    check_checkpoints(sweep, findings)
    check_translators(sweep, runs, findings)
    return findings
