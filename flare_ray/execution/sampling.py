"""Who proposes configurations: Ray Tune's OptunaSearch over a flat space, and its view for optuna-dashboard."""

from __future__ import annotations

import json
import logging
import math
import random
from collections.abc import Mapping, Sequence
from itertools import product
from typing import Any, Protocol

_METRIC = "validation"
_REPEATS = 20
"""Proposals in a row that were made before, after which one that was not is drawn at random."""
_DRAWS = 1000
_STARTUP = 5
"""Configurations drawn at random before TPE learns. Optuna's 10 are half of a search, or all of it."""
Config = Mapping[str, Any]
log = logging.getLogger(__name__)


class Rules(Protocol):
    """What of a search's rules the sampler goes by."""

    @property
    def sampler(self) -> str:
        """`tpe` or `random`."""

    @property
    def seed(self) -> int:
        """Of the sampler."""


class Sampler:
    """Ray Tune's OptunaSearch, asked for and told about configurations.

    before: configurations proposed by earlier starts; one that continues must not draw the same ones again.
    """

    def __init__(self, space: Mapping[str, Any], rules: Rules, before: int = 0):
        import optuna
        from ray.tune.search.optuna import OptunaSearch

        optuna.logging.set_verbosity(optuna.logging.WARNING)
        logging.getLogger("ray.tune.search.optuna").setLevel(logging.ERROR)
        seed = rules.seed + 7919 * before
        makers = {
            "tpe": lambda: optuna.samplers.TPESampler(
                seed=seed, constant_liar=True, n_startup_trials=_STARTUP
            ),
            "random": lambda: optuna.samplers.RandomSampler(seed=seed),
        }
        self._searcher: Any = OptunaSearch(
            {axis: distribution(values) for axis, values in space.items()},
            metric=_METRIC,
            mode="max",
            sampler=makers[rules.sampler](),
        )
        self._space, self._rng = dict(space), random.Random(seed)
        self._open: dict[str, str] = {}
        self._asked = 0

    def ask(self, entered: Sequence[Config]) -> dict[str, Any] | None:
        """A configuration that is not among those entered; None when there is no other.

        Proposals that were made before stay open meanwhile: TPE takes what is open for bad, and looks elsewhere.
        """
        repeated: list[str] = []
        try:
            for _ in range(_REPEATS):
                self._asked += 1
                trial = str(self._asked)
                config = dict(self._searcher.suggest(trial))
                if config not in entered:
                    self._open[json.dumps(config, sort_keys=True)] = trial
                    return config
                repeated.append(trial)
        finally:
            for trial in repeated:
                self._searcher.on_trial_complete(trial, error=True)  # which the sampler leaves out
        return self._drawn(entered)

    def _drawn(self, entered: Sequence[Config]) -> dict[str, Any] | None:
        every = points(self._space)
        if every is not None:
            rest = [config for config in every if config not in entered]
            return self._rng.choice(rest) if rest else None
        for _ in range(_DRAWS):
            config = {axis: _draw(values, self._rng) for axis, values in self._space.items()}
            if config not in entered:
                return config
        return None

    def tell(self, config: Config, value: float | None) -> None:
        """The objective of a configuration; None when it failed."""
        trial = self._open.pop(json.dumps(dict(config), sort_keys=True), None)
        if trial is not None:
            result = None if value is None else {_METRIC: value}
            self._searcher.on_trial_complete(trial, result, error=value is None)
        elif value is not None:  # proposed before this start, or by a grid
            self._searcher.add_evaluated_point(dict(config), value)


def points(space: Mapping[str, Any]) -> list[dict[str, Any]] | None:
    """All configurations of a space of lists; None where an axis is a range."""
    if any(isinstance(values, Mapping) for values in space.values()):
        return None
    return [dict(zip(space, point, strict=True)) for point in product(*space.values())]


def distribution(values: Any) -> Any:
    """Optuna's distribution of an axis: a list of values, or {low, high, log}."""
    import optuna

    if isinstance(values, Mapping):
        low, high = values["low"], values["high"]
        whole = isinstance(low, int) and isinstance(high, int)
        kind = optuna.distributions.IntDistribution if whole else optuna.distributions.FloatDistribution
        return kind(low, high, log=values.get("log", False))
    return optuna.distributions.CategoricalDistribution(tuple(values))


def _draw(values: Any, rng: random.Random) -> Any:
    """A value of an axis, as its distribution would draw it."""
    if not isinstance(values, Mapping):
        return rng.choice(values)
    low, high = values["low"], values["high"]
    if values.get("log", False):
        drawn = math.exp(rng.uniform(math.log(low), math.log(high)))
        return round(drawn) if isinstance(low, int) and isinstance(high, int) else drawn
    return (
        rng.randint(low, high) if isinstance(low, int) and isinstance(high, int) else rng.uniform(low, high)
    )
