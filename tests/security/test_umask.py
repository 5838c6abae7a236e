"""Who may read what is made: its owner alone, or a group where the environment says so."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.small_study import write_study, write_sweep

COMMAND = [sys.executable, "-c", "from flare_ray.cli import app; app()"]


def modes(place: Path) -> set[int]:
    return {path.stat().st_mode & 0o077 for path in [place, *place.rglob("*")]}


@pytest.mark.parametrize(("umask", "others"), [(None, {0}), ("007", {0o070, 0o060}), ("0o077", {0})])
def test_what_a_command_makes_is_open_as_the_umask_says(
    umask: str | None, others: set[int], tmp_path: Path
) -> None:
    fields = write_study(tmp_path)
    file = write_sweep(tmp_path / "sweep.yaml", fields)
    environment = os.environ | {"FLARE_RAY_CACHE": str(tmp_path / "cache"), "RAY_ADDRESS": "nonsense"}
    environment.pop("FLARE_RAY_UMASK", None)
    environment |= {"FLARE_RAY_UMASK": umask} if umask else {}
    # the cluster is wrong, and asked for after the store is made
    found = subprocess.run([*COMMAND, "run", str(file)], env=environment, capture_output=True, umask=0o022)
    assert found.returncode == 2, found.stderr
    assert modes(tmp_path / "results") == others


def test_a_folder_that_exists_keeps_its_mode(tmp_path: Path) -> None:
    fields = write_study(tmp_path)
    (tmp_path / "results").mkdir()
    (tmp_path / "results").chmod(0o2775)
    file = write_sweep(tmp_path / "sweep.yaml", fields)
    environment = os.environ | {"FLARE_RAY_CACHE": str(tmp_path / "cache"), "RAY_ADDRESS": "nonsense"}
    subprocess.run([*COMMAND, "run", str(file)], env=environment, capture_output=True)
    assert (tmp_path / "results").stat().st_mode & 0o7777 == 0o2775


@pytest.mark.parametrize("value", ["777", "9", "group", "0700", "-7", "00077"])
def test_a_wrong_umask_is_one_message(value: str, tmp_path: Path) -> None:
    environment = os.environ | {"FLARE_RAY_UMASK": value}
    command = [*COMMAND, "plan", str(tmp_path / "none.yaml")]
    found = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert found.returncode == 2
    assert "FLARE_RAY_UMASK" in found.stderr
    assert repr(value) in found.stderr
    assert "Traceback" not in found.stderr
