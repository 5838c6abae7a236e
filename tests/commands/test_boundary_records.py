"""Records that hold anything in the place of numbers: no traceback, and JSON that every reader takes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.commands.boundary import call

ANYTHING: list[Any] = [float("nan"), float("inf"), None, "x", True, [], {}, 10**400]


@pytest.mark.parametrize("value", ANYTHING, ids=lambda value: repr(value)[:8])
@pytest.mark.parametrize(
    "place", [("cost",), ("cost", "wall_seconds"), ("execution",), ("provenance",)], ids=".".join
)
def test_what_is_not_a_score_spoils_no_table(
    place: tuple[str, ...], value: Any, study: Path, tmp_path: Path
) -> None:
    """In a record without checksums, as earlier versions wrote them."""
    runs = sorted((tmp_path / "results" / "runs").iterdir())
    record = json.loads((runs[0] / "record.json").read_text())
    del record["manifest"]
    spoilt = record
    for name in place[:-1]:
        spoilt = spoilt[name]
    spoilt[place[-1]] = value
    (runs[0] / "record.json").write_text(json.dumps(record))
    done = call("report", study, "--out", tmp_path / "out", "--resamples", 10)
    assert done.exit_code in (0, 1), "1 where it counts as damaged"
    assert isinstance(done.exception, SystemExit | None)
    lines = (tmp_path / "out" / "runs.csv").read_text().splitlines()
    assert len(lines) == 1 + len(runs)
    assert sum(",finished,macro_f1,100.0," in line for line in lines) >= len(runs) - 1
    plan = call("plan", study, "--json", "--set", "seeds=[1, 2, 9]")
    assert plan.exit_code in (0, 1)
    json.loads(plan.stdout, parse_constant=lambda name: pytest.fail(name))
