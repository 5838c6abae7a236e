"""`--plan` starts nothing: neither torch nor ray is even imported, so it answers at once."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from small_study import write_sweep

HEAVY = ("torch", "ray", "mlflow", "transformers", "datasets", "deepspeed", "peft")
SCRIPT = f"""
import atexit, runpy, sys
atexit.register(lambda: print("IMPORTED", sorted(set({HEAVY}) & set(sys.modules)), file=sys.stderr))
runpy.run_module("flare_ray.sweep", run_name="__main__", alter_sys=True)
"""


def python(*words: str, cwd: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *words],
        cwd=cwd,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=120,
    )


def test_the_plan_imports_no_heavy_package(fields: dict[str, Any], tmp_path: Path) -> None:
    file = write_sweep(tmp_path / "sweep.yaml", fields)
    done = python("-c", SCRIPT, str(file), "--plan", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "small: 14 cells, 28 runs" in done.stdout
    assert done.stderr.split() == ["IMPORTED", "[]"]


def test_another_process_with_another_hash_seed_plans_the_same_runs(
    fields: dict[str, Any], tmp_path: Path
) -> None:
    file = write_sweep(tmp_path / "sweep.yaml", fields)
    script = "import sys; from flare_ray.cli import app; app()"
    plans = [
        json.loads(
            python("-c", script, "plan", str(file), "--json", cwd=tmp_path, PYTHONHASHSEED=seed).stdout
        )
        for seed in ("1", "2")
    ]
    assert plans[0] == plans[1]
    assert len(plans[0]["runs"]) == 28
