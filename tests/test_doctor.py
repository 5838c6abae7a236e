import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from small_study import write_csv, write_study, write_sweep
from typer.testing import CliRunner

from flare_ray import cli
from flare_ray.doctor import findings
from flare_ray.preflight import here
from flare_ray.preflight.findings import Finding


@pytest.fixture(autouse=True)
def _alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("FLARE_RAY_CACHE", str(tmp_path / "deep" / "cache"))
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.delenv("RAY_ADDRESS", raising=False)


@pytest.fixture
def fields(tmp_path: Path) -> dict[str, Any]:
    return write_study(tmp_path)


def by_name(found: list[Finding]) -> dict[str, Finding]:
    return {finding.what: finding for finding in found}


def test_every_bad_finding_has_a_remedy_and_no_good_one_has() -> None:
    found = findings()
    assert {"python", "torch", "ray", "mlflow", "disk for the cache"} <= by_name(found).keys()
    for finding in found:
        assert bool(finding.remedy) == (not finding.good)


def test_python_and_packages_are_looked_at_here() -> None:
    found = by_name(findings())
    assert found["python"] == Finding("python", sys.version.split()[0])
    assert found["pydantic"].good  # this test runs on it
    assert "ruff" not in found  # of an extra


def test_a_package_that_is_absent_or_too_old_is_told_with_the_command_that_helps(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    wanted = ["numpy<1", "no-such-package[train,tune]>=2", "no-such-extra; extra == 'gpu'", "pydantic"]
    monkeypatch.setattr(here, "requires", lambda name: wanted if name == "flare-ray" else [])
    found = by_name(findings())
    assert (found["numpy"].good, found["numpy"].remedy) == (False, "pip install 'numpy<1'")
    assert found["no-such-package"].found == "absent"
    assert "no-such-extra" not in found
    done = CliRunner().invoke(cli.app, ["doctor"])
    assert done.exit_code == 2
    assert "pip install 'no-such-package[train,tune]>=2'" in done.stdout


def test_a_cache_that_is_not_there_yet_is_on_the_disk_of_its_parent(tmp_path: Path) -> None:
    assert by_name(findings())["disk for the cache"].found.endswith(f"free at {tmp_path}")
    assert not (tmp_path / "deep").exists()


def test_the_cluster_of_the_environment_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_ADDRESS", "auto")
    assert by_name(findings())["ray's cluster"].found == "auto"


def test_a_good_sweep_adds_only_good_findings(fields: dict[str, Any], tmp_path: Path) -> None:
    file = write_sweep(tmp_path / "sweep.yaml", fields)
    more = {what: one for what, one in by_name(findings(file)).items() if what not in by_name(findings())}
    assert {"sweep", "storage", "tracking", "clock of the storage", "disk for the storage"} <= more.keys()
    assert all(finding.good for finding in more.values())
    assert more["sweep"].found == f"{file}: 28 runs"
    assert more["storage"].found == fields["storage"]
    assert not list(Path(fields["storage"], ".preflight").iterdir()), "nothing is left of the probe"
    done = CliRunner().invoke(cli.app, ["doctor", str(file)])
    assert done.exit_code == (2 if any(finding.state == "bad" for finding in findings()) else 0)
    assert f"sweep: {file}: 28 runs" in done.stdout


def test_a_bad_sweep_exits_2_and_names_a_remedy_for_each_fault(
    fields: dict[str, Any], tmp_path: Path
) -> None:
    (tmp_path / "a-file").write_text("")
    write_csv(tmp_path / "data" / "acehnese" / "test.csv", [("x", "text")], header=("id", "text"))
    fields |= {
        "methods": ["flair"],
        "rank": [0],
        "storage": str(tmp_path / "a-file" / "results"),
        "tracking": {"uri": "http://localhost:port"},
    }
    file = write_sweep(tmp_path / "sweep.yaml", fields)
    bad = {finding.what: finding for finding in findings(file) if finding.state == "bad"}
    assert set(bad) == {"methods[0]", "rank[0]", "storage", "tracking.uri", "data.nusax"}
    done = CliRunner().invoke(cli.app, ["doctor", str(file)])
    assert done.exit_code == 2
    assert isinstance(done.exception, SystemExit)
    for where, finding in bad.items():
        assert not finding.good
        assert f"{where}: {finding.found} → {finding.remedy}" in done.stdout
    assert "'flare' (the nearest)" in bad["methods[0]"].remedy


def test_overrides_are_the_sweeps(fields: dict[str, Any], tmp_path: Path) -> None:
    file = write_sweep(tmp_path / "sweep.yaml", fields)
    done = CliRunner().invoke(cli.app, ["doctor", str(file), "--set", "methods=[flair]"])
    assert done.exit_code == 2
    assert "'flare' (the nearest)" in done.stdout


def test_brackets_in_what_is_found_are_printed_not_read_as_markup(
    fields: dict[str, Any], tmp_path: Path
) -> None:
    file = write_sweep(tmp_path / "sweep.yaml", {**fields, "data": {"nusax": "/nowhere[/x]/[old]"}})
    done = CliRunner().invoke(cli.app, ["doctor", str(file)])
    assert isinstance(done.exception, SystemExit)
    assert "'/nowhere[/x]/[old]', which is not there" in done.stdout


@pytest.mark.parametrize("address", ["nonsense", "http://127.0.0.1"])
def test_an_address_that_ray_refuses_is_a_finding(
    fields: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, address: str
) -> None:
    monkeypatch.setenv("RAY_ADDRESS", address)
    file = write_sweep(tmp_path / "sweep.yaml", fields)
    done = CliRunner().invoke(cli.app, ["doctor", str(file)])
    assert isinstance(done.exception, SystemExit), done.exception
    assert done.exit_code == 2
    assert f"RAY_ADDRESS: '{address}'" in done.stdout
    assert "wanted the address of a running cluster" in done.stdout
    assert "pydantic" in done.stdout, "this machine is looked at all the same"


@pytest.mark.timeout(180)
def test_a_cluster_of_no_known_size_is_a_finding(fields: dict[str, Any], tmp_path: Path) -> None:
    file = write_sweep(tmp_path / "sweep.yaml", fields)
    own = {"RAY_ADDRESS": "local", "FLARE_RAY_CLUSTER_MAX": "GPU=64"}
    command = [sys.executable, "-c", "from flare_ray.cli import app; app()", "doctor", str(file)]
    done = subprocess.run(command, env={**os.environ, **own}, capture_output=True, text=True, timeout=150)
    assert done.returncode == 2, done.stderr
    assert "FLARE_RAY_CLUSTER_MAX: 'GPU=64'" in done.stdout
    assert "Traceback" not in done.stderr


def test_a_file_that_is_not_there_is_a_finding(tmp_path: Path) -> None:
    done = CliRunner().invoke(cli.app, ["doctor", str(tmp_path / "none.yaml")])
    assert done.exit_code == 2
    assert isinstance(done.exception, SystemExit)
