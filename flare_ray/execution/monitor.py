"""What a worker's machine did during a piece of work: processor, memory, GPU; sampled by a thread, kept short.

    with Monitor("cuda:0") as monitor:
        ...
    monitor.facts()["summary"]  # {"process_cpu_percent": {"mean": …, "peak": …}, …}

A sample takes less than a millisecond. Work of any length leaves at most `SAMPLES` of them: when there are more,
every second one goes and the next ones come half as often. Mean and peak are over all samples that were ever taken.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from types import TracebackType
from typing import Any

import psutil

SAMPLES = 24
_MIB = 2**20
log = logging.getLogger(__name__)


class Monitor:
    """Samples from its entry to its exit. device: torch's name of the worker's device. every: seconds at first."""

    def __init__(self, device: str = "cpu", every: float = 1.0):
        self.every = every
        self._probe: Callable[[], dict[str, float]] = _probe(device)
        self._seconds: list[float] = []
        self._samples: list[dict[str, float]] = []
        self._sums: dict[str, float] = {}
        self._peaks: dict[str, float] = {}
        self._counts: dict[str, int] = {}
        self._ended, self._lock = threading.Event(), threading.Lock()
        self._thread = threading.Thread(target=self._watch, name="monitor", daemon=True)

    def __enter__(self) -> Monitor:
        self._start = time.perf_counter()
        self._take()  # processor use is measured since the call before
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ended.set()
        self._thread.join(timeout=5)

    def facts(self) -> dict[str, Any]:
        """What has been seen so far, as plain values: summary by name, and the series with its seconds."""
        if not self._ended.is_set():
            self._sample()  # short work has one at least
        with self._lock:
            return self._facts()

    def _facts(self) -> dict[str, Any]:
        names = list(self._sums)
        return {
            "every": self.every,
            "summary": {
                name: {
                    "mean": round(self._sums[name] / self._counts[name], 2),
                    "peak": round(self._peaks[name], 2),
                }
                for name in names
            },
            "seconds": [round(second, 1) for second in self._seconds],
            "series": {name: [round(one.get(name, 0.0), 2) for one in self._samples] for name in names},
        }

    def _watch(self) -> None:
        while not self._ended.wait(self.every):
            self._sample()

    def _sample(self) -> None:
        found = self._take()
        with self._lock:
            self._keep(found)

    def _take(self) -> dict[str, float]:
        """A sample, empty where the machine gives none: nothing that is trained depends on it."""
        try:
            return self._probe()
        except Exception as error:
            log.debug("no sample: %s: %s", type(error).__name__, error)
            return {}

    def _keep(self, found: dict[str, float]) -> None:
        for name, value in found.items():
            self._counts[name] = self._counts.get(name, 0) + 1
            self._sums[name] = self._sums.get(name, 0.0) + value
            self._peaks[name] = max(self._peaks.get(name, value), value)
        self._seconds.append(time.perf_counter() - self._start)
        self._samples.append(found)
        if len(self._samples) > SAMPLES:
            self._seconds, self._samples = self._seconds[1::2], self._samples[1::2]
            self.every *= 2


def _probe(device: str) -> Callable[[], dict[str, float]]:
    """What takes a sample. A process's use of the processor is in percent of one core."""
    process = psutil.Process()
    gpu = _gpu(device)

    def probe() -> dict[str, float]:
        return {
            "process_cpu_percent": process.cpu_percent(),
            "process_memory_mib": process.memory_info().rss / _MIB,
            "cpu_percent": psutil.cpu_percent(),
            **gpu(),
        }

    return probe


def _gpu(device: str) -> Callable[[], dict[str, float]]:
    """What samples the worker's GPU; nothing where there is none. Its use needs pynvml (the extra `gpu`)."""
    if not device.startswith("cuda"):
        return dict
    import torch

    def probe() -> dict[str, float]:
        free, total = torch.cuda.mem_get_info(device)
        found = {"gpu_memory_mib": (total - free) / _MIB}
        try:
            found["gpu_percent"] = float(torch.cuda.utilization(device))
        except (ImportError, RuntimeError):
            return found  # no pynvml, or a driver that does not tell
        return found

    return probe
