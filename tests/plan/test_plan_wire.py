import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from flare_ray.plan.grid import Grid, Run
from flare_ray.plan.wire import base_from_dict, base_to_dict, run_facts, run_from_dict, run_to_dict


def travelled(run: Run) -> Run:
    base = base_from_dict(json.loads(json.dumps(base_to_dict(run.base))))
    return run_from_dict(json.loads(json.dumps(run_to_dict(run))), base)


def test_runs_and_bases_survive_the_trip(grid: Callable[..., Grid]) -> None:
    for run in grid(alpha=2.5).runs:
        back = travelled(run)
        assert back.fingerprint == run.fingerprint
        assert back.base.fingerprint == run.base.fingerprint
        assert (back.label, back.base.label, back.cell, back.seed) == (
            run.label,
            run.base.label,
            run.cell,
            run.seed,
        )
        assert back.settings == run.settings
        assert back.base.settings == run.base.settings
        assert back.base.source == run.base.source
        assert run_facts(back) == run_facts(run)


def test_a_run_arrives_where_its_checkpoints_folder_is_not(grid: Callable[..., Grid], tmp_path: Path) -> None:
    run = grid().runs[0]
    sent = json.dumps(base_to_dict(run.base))
    shutil.rmtree(tmp_path / "checkpoint")
    assert base_from_dict(json.loads(sent)).fingerprint == run.base.fingerprint


def test_facts_are_json_and_tell_the_run(grid: Callable[..., Grid], tmp_path: Path) -> None:
    run = next(run for run in grid().runs if run.cell.method == "flare")
    facts: dict[str, Any] = json.loads(json.dumps(run_facts(run)))
    assert facts["fingerprint"] == run.fingerprint
    assert facts["base"] == run.base.fingerprint
    assert facts["checkpoint"] == str(tmp_path / "checkpoint")
    assert facts["label"] == "tiny/nusax/ace/flare (add_relu, r=4)/seed 1"
    assert facts["cell"] == "tiny/nusax/ace/flare (add_relu, r=4)"
    assert facts["axes"] == {"rank": 4, "fusion": "add_relu"}


@pytest.mark.parametrize("method", ["zero_shot", "lora", "flare"])
def test_settings_hold_what_training_reads(grid: Callable[..., Grid], method: str) -> None:
    run = next(run for run in grid().runs if run.cell.method == method)
    trained = {"epochs", "batch_size", "learning_rate", "rank", "alpha", "dropout", "warmup"}
    assert "max_length" in run.settings
    assert (trained <= run.settings.keys()) == (method != "zero_shot")
    assert ("fusion" in run.settings) == (method == "flare")
    assert None not in run.settings.values()
