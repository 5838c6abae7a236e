"""What Prometheus gets of a sweep: names, sums, what a failing source of numbers does; and the dashboard."""

from __future__ import annotations

import json
import logging
import re
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import ray
import yaml

from flare_ray.execution.metrics import METRICS, Load, SweepMetrics, exported
from tests.ray_cluster import RayCluster

GRAFANA = Path(__file__).parents[2] / "cluster" / "grafana"


class Written(SweepMetrics):
    """Keeps what it would tell Ray."""

    def __init__(self, **settings: Any):
        super().__init__("study", **settings)
        self.told: dict[tuple[str, ...], float] = {}

    def _of(self, name: str) -> Any:
        return _Metric(self.told, name)


class _Metric:
    def __init__(self, told: dict[tuple[str, ...], float], name: str):
        self.told, self.name = told, name

    def set(self, value: float, labels: dict[str, str] | None = None) -> None:
        assert set(labels or {}) == set(METRICS[self.name].labels)
        assert not METRICS[self.name].grows
        self.told[(self.name, *(labels or {}).values())] = value

    def inc(self, value: float, labels: dict[str, str] | None = None) -> None:
        assert set(labels or {}) == set(METRICS[self.name].labels)
        assert METRICS[self.name].grows
        key = (self.name, *(labels or {}).values())
        self.told[key] = self.told.get(key, 0.0) + value


@pytest.fixture
def joined(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ray, "is_initialized", lambda: True)


@pytest.mark.usefixtures("joined")
def test_hours_and_money_are_of_what_is_at_work_and_not_of_what_waits() -> None:
    metrics = Written(price=7.2, every=0.02)
    metrics.load = lambda: Load({"pack": 2}, {"GPU": 11.0}, {"GPU": 3.0})
    started = time.monotonic()
    with metrics:
        time.sleep(0.3)
    seconds = time.monotonic() - started
    spent = metrics.told[("flare_ray_device_seconds", "GPU")]
    assert spent == pytest.approx(3 * seconds, rel=0.1)
    assert metrics.told[("flare_ray_cost",)] == pytest.approx(spent * 7.2 / 3600)


@pytest.mark.usefixtures("joined")
def test_runs_stages_and_tokens() -> None:
    metrics = Written(every=0.02)
    metrics.counts = lambda: {"finished": 3, "failed": 1, "left": 6, "seconds_left": 42.0}
    loads = [Load({"base": 1}, {"CPU": 2.0})]
    metrics.load = lambda: loads[0]
    with metrics:
        metrics.trained(100.0)
        metrics.trained(20.0)
        time.sleep(0.2)
        loads[0] = Load({"pack": 2}, {"CPU": 2.0})
    told = metrics.told
    assert {key[1]: value for key, value in told.items() if key[0] == "flare_ray_runs"} == {
        "finished": 3,
        "failed": 1,
        "left": 6,
    }
    assert told[("flare_ray_seconds_left",)] == 42
    assert told[("flare_ray_trained_tokens",)] == 120
    assert told[("flare_ray_stages_running", "base")] == 0, "of what ended it says so"
    assert told[("flare_ray_stages_running", "pack")] == 2
    assert told[("flare_ray_devices_reserved", "CPU")] == 2
    assert ("flare_ray_cost",) not in told, "the sweep has no price"


@pytest.mark.usefixtures("joined")
def test_what_goes_wrong_in_it_stays_in_it(caplog: pytest.LogCaptureFixture) -> None:
    metrics = Written(every=0.01)

    def broken() -> Load:
        raise RuntimeError("no numbers")

    metrics.load = broken
    with caplog.at_level(logging.WARNING), metrics:
        time.sleep(0.1)
        metrics.trained(1.0)
    assert [record.message for record in caplog.records] == ["no metrics any more: RuntimeError: no numbers"]


def test_without_a_ray_nothing_is_told() -> None:
    metrics = Written(every=0.01)
    metrics.counts = lambda: {"finished": 1}
    with metrics:
        time.sleep(0.05)
    assert not metrics.told


def test_ray_takes_their_names_and_descriptions() -> None:
    assert all(name.isidentifier() and known.text.isascii() for name, known in METRICS.items())


def test_the_dashboard_asks_for_metrics_that_exist_and_for_all_of_them() -> None:
    board = json.loads((GRAFANA / "flare_ray.json").read_text())
    queries = [target["expr"] for panel in board["panels"] for target in panel["targets"]]
    queries += [str(one["query"]) for one in board["templating"]["list"] if one["type"] == "query"]
    asked = {name for query in queries for name in re.findall(r"\bray_[a-z_]+", query)}
    assert asked == {exported(name) for name in METRICS}
    labels = {
        label
        for query in queries
        for group in re.findall(r"by \(([^)]*)\)", query)
        for label in group.split(", ")
    }
    assert labels <= {"sweep"} | {label for known in METRICS.values() for label in known.labels}
    numbers = [panel["id"] for panel in board["panels"]]
    assert len(numbers) == len(set(numbers))


def test_no_two_panels_lie_on_each_other() -> None:
    taken: set[tuple[int, int]] = set()
    for panel in json.loads((GRAFANA / "flare_ray.json").read_text())["panels"]:
        at = panel["gridPos"]
        cells = {(at["x"] + x, at["y"] + y) for x in range(at["w"]) for y in range(at["h"])}
        assert not cells & taken
        assert max(x for x, _ in cells) < 24
        taken |= cells


def test_prometheus_reads_the_file_that_ray_writes() -> None:
    from ray._private.ray_constants import PROMETHEUS_SERVICE_DISCOVERY_FILE

    config = yaml.safe_load((GRAFANA / "prometheus.yml").read_text())
    [job] = config["scrape_configs"]
    assert job["file_sd_configs"] == [{"files": [f"/tmp/ray/{PROMETHEUS_SERVICE_DISCOVERY_FILE}"]}]


PROGRAM = """
import sys, time
import ray
from flare_ray.execution.metrics import Load, SweepMetrics
ray.init(address=sys.argv[1], log_to_driver=False)
with SweepMetrics("study", price=3600.0, every=1.0) as metrics:
    metrics.counts = lambda: {"finished": 2, "failed": 0, "left": 5, "seconds_left": 9.0}
    metrics.load = lambda: Load({"pack": 1}, {"CPU": 2.0}, {"CPU": 2.0})
    metrics.trained(1234.0)
    print("told", flush=True)
    sys.stdin.read()
"""


@pytest.mark.slow
def test_a_real_node_serves_them_as_long_as_there_is_a_driver(tmp_path: Path) -> None:
    with RayCluster(tmp_path) as cluster:
        driver = subprocess.Popen(
            [sys.executable, "-c", PROGRAM, cluster.address],
            env=cluster.environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        assert driver.stdin
        try:
            served = cluster.sample_when(lambda sample: exported("flare_ray_trained_tokens") in sample)
            assert {exported(name) for name in METRICS} == {name for name in served if "flare_ray" in name}
            assert served["ray_flare_ray_trained_tokens_total"] == {("study",): 1234.0}
            runs = served["ray_flare_ray_runs"]
            assert runs == {("finished", "study"): 2, ("failed", "study"): 0, ("left", "study"): 5}
            time.sleep(30)  # longer than Ray keeps a gauge that is not told again
            later = cluster.sample()
            assert later["ray_flare_ray_runs"] == runs
            seconds = later["ray_flare_ray_device_seconds_total"][("CPU", "study")]
            assert seconds > 2 * 20
            assert later["ray_flare_ray_cost_total"][("study",)] == pytest.approx(seconds, rel=0.2)
        finally:
            driver.stdin.close()
            driver.wait(60)
        gone = cluster.sample_when(lambda sample: "ray_flare_ray_runs" not in sample)
        assert "ray_flare_ray_device_seconds_total" in gone, "counters stay"
