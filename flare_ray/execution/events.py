"""From Tune's callbacks to the driver's listeners."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ray.tune import Callback

from flare_ray.execution.searcher import StageSearcher

_FACTS = (
    "event",
    "kind",
    "fingerprint",
    "label",
    "seconds",
    "metrics",
    "tokens",
    "error",
    "texts",
    "missing",
    "rate",
    "share",
    "value",
)


class Events(Callback):
    """Passes what workers report on to a listener, and how trials ended to the searcher.

    Like the searcher it lives in the driver alone; Tune pickles both beside its own state, where they leave nothing.
    """

    def __init__(self, searcher: StageSearcher, on_event: Callable[[dict[str, Any]], None]):
        self.searcher, self.on_event = searcher, on_event

    def __getstate__(self) -> dict[str, Any]:
        return {}

    def on_trial_result(self, iteration: int, trials: list, trial: Any, result: dict, **_: Any) -> None:
        """A worker reported: a run or base started, finished or failed."""
        for event in result.get("events", [result]):
            self._told(trial, event)

    def _told(self, trial: Any, told: dict[str, Any]) -> None:
        if told.get("event") == "next":
            self.searcher.next(trial.trial_id)
        elif told.get("event") == "pool":
            self.searcher.pool(trial.trial_id, told["question"], told["wanted"])
        elif "event" in told:
            facts = {name: told[name] for name in _FACTS if name in told}
            self.on_event(facts | {"trial": self.searcher.key(trial.trial_id)})

    def on_trial_complete(self, iteration: int, trials: list, trial: Any, **_: Any) -> None:
        """A trial ended by itself."""
        self.searcher.ended(trial.trial_id, None)

    def on_trial_error(self, iteration: int, trials: list, trial: Any, **_: Any) -> None:
        """A trial died, or its stage raised."""
        self.searcher.ended(trial.trial_id, _error_text(trial))


def _error_text(trial: Any) -> str:
    """What killed the trial, in one line, and the place of the whole."""
    cause = " ".join(str(trial.get_error() or "its worker group died").split())
    return f"{cause[-500:]} (the trial's log: {trial.error_file})"
