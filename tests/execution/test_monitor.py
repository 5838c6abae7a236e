"""Samples of what a worker's machine does: always some, never many, and means over all of them."""

from __future__ import annotations

import time
from unittest.mock import patch

from flare_ray.execution.monitor import SAMPLES, Monitor


def test_work_shorter_than_a_sample_has_one() -> None:
    with Monitor() as monitor:
        bytes(1000)
        facts = monitor.facts()
    assert set(facts["summary"]) == {"process_cpu_percent", "process_memory_mib", "cpu_percent"}
    assert facts["summary"]["process_memory_mib"]["peak"] > 1
    assert len(facts["seconds"]) == 1
    assert all(len(values) == 1 for values in facts["series"].values())


def test_long_work_keeps_few_samples_and_the_mean_of_all() -> None:
    values = iter(range(10_000))
    with patch("flare_ray.execution.monitor._probe", lambda device: lambda: {"x": float(next(values))}):
        monitor = Monitor(every=1e9)
        with monitor:
            for _ in range(1000):
                monitor._sample()
            facts = monitor.facts()
    assert facts["summary"]["x"] == {"mean": 501.0, "peak": 1001.0}
    assert len(facts["seconds"]) <= SAMPLES
    assert facts["seconds"] == sorted(facts["seconds"])
    assert facts["every"] > 1e9


def test_a_busy_processor_is_seen() -> None:
    with Monitor(every=0.05) as monitor:
        end = time.perf_counter() + 0.5
        while time.perf_counter() < end:
            pass
    facts = monitor.facts()
    assert facts["summary"]["process_cpu_percent"]["peak"] > 10
    assert len(facts["seconds"]) >= 2
