"""What a worker tells the driver, through Train and Tune."""

from __future__ import annotations

from typing import Any

import ray.train


class Reports:
    """The reports of one worker; every worker of its group makes the same ones, in the same order.

    Train fetches one report of a worker in each of its rounds (RAY_TRAIN_HEALTH_CHECK_INTERVAL_S), and the next one
    waits for that: so an end is told with what follows it, at once for a run that has another one behind it.
    """

    def __init__(self) -> None:
        self._held: list[dict[str, Any]] = []

    def hold(self, event: dict[str, Any]) -> None:
        """Tells it together with the next one."""
        self._held.append(event)

    def tell(self, event: dict[str, Any]) -> None:
        """Tells it now, behind what was held."""
        events, self._held = [*self._held, event], []
        ray.train.report({"events": events})
