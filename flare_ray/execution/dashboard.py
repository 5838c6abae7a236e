"""Searches for optuna-dashboard: a database that only shows them. A search needs nothing of it."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from flare_ray.execution.sampling import Config, distribution

_LOCKED_SECONDS = 2.0
"""Seconds that a database which another program has locked is waited for."""
log = logging.getLogger(__name__)


class Dashboard:
    """A file of Optuna's studies. What goes wrong with it is reported once, and then it is left alone."""

    def __init__(self, file: Path | None, storage: Any = None):
        self.file, self._storage, self._given_up = file, storage, False

    @classmethod
    def of(cls, storage: Any) -> Dashboard:
        """Return a dashboard in a storage of Optuna's, or the dashboard itself."""
        return storage if isinstance(storage, Dashboard) else Dashboard(None, storage)

    def storage(self) -> Any:
        """Return Optuna's storage, opened at the first call; None where it cannot be used."""
        if self._storage is None and self.file is not None and not self._given_up:
            try:
                self._storage = self._open(self.file)
            except Exception as error:  # the boundary to Optuna and its database
                self.give_up(error)
        return None if self._given_up else self._storage

    def _open(self, file: Path) -> Any:
        import optuna

        if file.exists() and not file.is_file():
            raise FileExistsError("it is no file")
        url = f"sqlite:///{file}"
        return optuna.storages.RDBStorage(url, {"connect_args": {"timeout": _LOCKED_SECONDS}})

    def give_up(self, error: Exception) -> None:
        """Use the file no more; warn the first time."""
        if not self._given_up:
            self._given_up = True
            reason = str(error).splitlines()[0] if str(error) else ""
            text = "optuna-dashboard gets nothing of this sweep, which goes on: %s: %s: %s"
            log.warning(text, self.file, type(error).__name__, reason)


class View:
    """A study that optuna-dashboard can open, written again at each start.

    storage: a Dashboard or a storage of Optuna's; None for no view.
    """

    def __init__(self, name: str, space: Mapping[str, Any], storage: Any):
        self._dashboard = dashboard = Dashboard.of(storage)
        self._distributions = {axis: distribution(values) for axis, values in space.items()}
        self._study: Any = None
        storage = dashboard.storage()
        if storage is None:
            return
        import optuna

        try:
            if name in [summary.study_name for summary in optuna.get_all_study_summaries(storage)]:
                optuna.delete_study(study_name=name, storage=storage)
            self._study = optuna.create_study(storage=storage, study_name=name, direction="maximize")
        except Exception as error:
            dashboard.give_up(error)

    def add(self, config: Config, value: float | None, dropped: bool) -> None:
        """Show a configuration that has ended: its objective, None when it failed. dropped: within a training."""
        if self._study is None or self._dashboard.storage() is None:
            return
        from optuna.trial import TrialState, create_trial

        state = TrialState.FAIL if value is None else TrialState.PRUNED if dropped else TrialState.COMPLETE
        try:
            self._study.add_trial(
                create_trial(
                    params=dict(config),
                    distributions=self._distributions,
                    value=value if state is TrialState.COMPLETE else None,
                    intermediate_values={0: value} if value is not None and dropped else {},
                    state=state,
                )
            )
        except Exception as error:
            self._dashboard.give_up(error)
