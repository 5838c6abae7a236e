"""A sweep's state as Prometheus metrics: every Ray node serves what its processes tell, as `ray_` and these names.

with SweepMetrics("table1", price=2.5) as metrics:
    metrics.counts, metrics.load = progress.counts, execution.load
    metrics.trained(tokens)

A thread tells them every few seconds, beside the driver: Ray forgets a gauge that is not told again (20 s), so that
a dead driver leaves no old numbers behind. Counters stay with the node until it ends; a driver that starts again
begins with new ones, so sums over all of them are the sweep's.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any

EVERY = 5.0
"""Seconds between two looks."""
log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Described:
    """A metric. labels: beside `sweep`. grows: whether it is a counter, to whose name Prometheus gets `_total`."""

    text: str
    labels: tuple[str, ...] = ()
    grows: bool = False


METRICS = {
    "flare_ray_runs": Described("Runs of the sweep that are finished, failed and left", ("state",)),
    "flare_ray_seconds_left": Described("Seconds to the end at the pace so far"),
    "flare_ray_stages_running": Described("Translations, base models and packs at work", ("kind",)),
    "flare_ray_devices_reserved": Described(
        "GPUs, or CPU cores of stages without one, waited for or at work", ("device",)
    ),
    "flare_ray_device_seconds": Described("Seconds times devices of stages at work", ("device",), grows=True),
    "flare_ray_cost": Described("Their price, where the sweep's price_per_hour is set", grows=True),
    "flare_ray_trained_tokens": Described("Target tokens of finished trainings", grows=True),
}


def exported(name: str) -> str:
    """A metric's name in Prometheus."""
    return f"ray_{name}" + ("_total" if METRICS[name].grows else "")


@dataclass(frozen=True)
class Load:
    """What runs now. stages: their number by kind; devices: what they reserve, GPUs or else CPU cores, or wait for;
    working: those of stages that are at work."""

    stages: Mapping[str, int] = field(default_factory=dict)
    devices: Mapping[str, float] = field(default_factory=dict)
    working: Mapping[str, float] = field(default_factory=dict)


class SweepMetrics:
    """Told from its entry to its exit. Use it where Ray is joined; what goes wrong in it stays in it.

    price: of a device-hour. counts: runs by state, and `seconds_left` as soon as it is known; load: what runs. Both
    are called from another thread.
    """

    def __init__(self, sweep: str, price: float | None = None, every: float = EVERY):
        self.sweep, self.price, self.every = sweep, price, every
        self.counts: Callable[[], Mapping[str, float]] = dict
        self.load: Callable[[], Load] = Load
        self._tokens = 0.0
        self._shown: dict[str, set[str]] = {}
        self._made: dict[str, Any] = {}
        self._lock, self._ended = threading.Lock(), threading.Event()
        self._thread = threading.Thread(target=self._watch, name="metrics", daemon=True)

    def __enter__(self) -> SweepMetrics:
        self._looked = time.monotonic()
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ended.set()
        self._thread.join(timeout=5)

    def trained(self, tokens: float) -> None:
        """A training has ended that read so many."""
        with self._lock:
            self._tokens += tokens

    def _watch(self) -> None:
        try:
            while not self._ended.wait(self.every):
                self._tell()
            self._tell()
        except Exception as error:  # the boundary: a sweep needs no metrics
            log.warning("no metrics any more: %s: %s", type(error).__name__, error)

    def _tell(self) -> None:
        import ray

        now = time.monotonic()
        seconds, self._looked = now - self._looked, now
        if not ray.is_initialized():
            return
        load, counts = self.load(), dict(self.counts())
        left = counts.pop("seconds_left", None)
        self._gauges("flare_ray_runs", "state", counts)
        if left is not None:
            self._of("flare_ray_seconds_left").set(left)
        self._gauges("flare_ray_stages_running", "kind", load.stages)
        self._gauges("flare_ray_devices_reserved", "device", load.devices)
        for device, count in load.working.items():
            self._grow("flare_ray_device_seconds", seconds * count, {"device": device})
        self._grow("flare_ray_cost", sum(load.working.values()) * seconds * (self.price or 0.0) / 3600)
        with self._lock:
            tokens, self._tokens = self._tokens, 0.0
        self._grow("flare_ray_trained_tokens", tokens)

    def _gauges(self, name: str, label: str, values: Mapping[str, float]) -> None:
        """One for each value; a label of which there is nothing any more is at 0."""
        known = self._shown.setdefault(name, set())
        known.update(values)
        for value in known:
            self._of(name).set(values.get(value, 0.0), {label: value})

    def _grow(self, name: str, by: float, labels: Mapping[str, str] | None = None) -> None:
        if by > 0:
            self._of(name).inc(by, dict(labels or {}))

    def _of(self, name: str) -> Any:
        if name not in self._made:
            from ray.util.metrics import Counter, Gauge

            known = METRICS[name]
            made = (Counter if known.grows else Gauge)(name, known.text, ("sweep", *known.labels))
            self._made[name] = made.set_default_tags({"sweep": self.sweep})
        return self._made[name]
