"""How often the statistics of a report err, and what they find, on simulated sweeps (docs/statistics.md).

    python -m benchmarks.error_rates [--sweeps 1000] [--resamples 1000]

A simulated instance is answered rightly with a probability whose logit is a sum of what the instance is like, what
the seed's base model is like (for both rows alike), what this one training is like, and what one row has of its own:
with a seed, in a language, or on an instance. Rows are drawn from one distribution, so a difference shown is an
error, but for a row's own languages: there it is real in these languages, and an error as a claim about others.
"""

from __future__ import annotations

import argparse
from collections import Counter
from dataclasses import dataclass, replace

import numpy as np

from flare_ray.report.statistics import (
    Paired,
    Verdict,
    almost_stochastic_order,
    conclude,
    paired_bootstrap,
    permutation_test,
)
from flare_ray.report.statistics.bootstrap import resample
from flare_ray.report.statistics.metrics import MacroF1, Means
from flare_ray.report.statistics.panel import Panel

CLASSES = 3
TOLD = (Verdict.BETTER, Verdict.WORSE)


@dataclass(frozen=True)
class World:
    """Standard deviations in logits: of instances, seeds, trainings; and of what a row has of its own.

    effect: what the first row gains, in logits. parallel: languages share their instances.
    """

    languages: int = 3
    seeds: int = 5
    instances: int = 200
    parallel: bool = True
    macro: bool = False
    instance: float = 1.5
    seed: float = 0.5
    training: float = 0.2
    row_seed: float = 0.0
    row_language: float = 0.0
    row_instance: float = 0.0
    effect: float = 0.0

    def family(self, chance: np.random.Generator, others: int = 1) -> dict[str, list[Paired]]:
        """A first row against so many others, each over all languages."""
        rows, cells = others + 1, (self.languages, self.seeds)
        shape = (rows, *cells, self.instances)
        by_language = (1, 1, 1) if self.parallel else (1, self.languages, 1)
        logits = 1.0 + np.zeros(shape)
        logits += self.instance * chance.standard_normal((*by_language, self.instances))
        logits += self.seed * chance.standard_normal((1, 1, self.seeds, 1))
        logits += self.training * chance.standard_normal((rows, *cells, 1))
        logits += self.row_seed * chance.standard_normal((rows, 1, self.seeds, 1))
        logits += self.row_language * chance.standard_normal((rows, self.languages, 1, 1))
        own = chance.standard_normal((rows, *by_language[1:], self.instances))
        logits += self.row_instance * own
        logits[0] += self.effect
        right = chance.random(shape) < 1 / (1 + np.exp(-logits))
        gold = chance.choice(CLASSES, (self.languages, self.instances), p=[0.5, 0.3, 0.2])
        wrong = (gold[:, None] + chance.integers(1, CLASSES, shape)) % CLASSES
        guesses = np.where(right, gold[:, None], wrong)
        return {
            f"first - {k}": [
                self._pair(code, gold[code], guesses[[0, k], code]) for code in range(self.languages)
            ]
            for k in range(1, rows)
        }

    def _pair(self, code: int, gold: np.ndarray, guesses: np.ndarray) -> Paired:
        scores = MacroF1(gold, guesses, CLASSES) if self.macro else Means(100.0 * (guesses == gold))
        ids = tuple(f"{'' if self.parallel else code}-{k}" for k in range(self.instances))
        return Paired("task", f"language {code}", tuple(range(1, self.seeds + 1)), ids, scores)


def rates(world: World, sweeps: int, resamples: int, seed: int = 0) -> dict[str, float]:
    """Shares of simulated sweeps in which each statistic of one comparison shows a difference, at 5%."""
    chance = np.random.default_rng(seed)
    shown: Counter[str] = Counter()
    for k in range(sweeps):
        family = world.family(chance)
        [pairs] = family.values()
        [concluded] = conclude(family, resamples=resamples, seed=k).values()
        panel = Panel.of(pairs)
        blocks = panel.blocks()
        low, high = np.quantile(resample(panel, resamples, k), [0.025, 0.975])
        shown["plain percentiles"] += not low <= 0 <= high
        shown["interval"] += not concluded.interval.low <= 0 <= concluded.interval.high
        shown["flip blocks"] += concluded.test.p <= 0.05
        shown["flip seeds"] += permutation_test(blocks, unit="seed").p <= 0.05
        shown["flip languages"] += permutation_test(blocks, unit="language").p <= 0.05
        shown["verdict"] += concluded.verdict in TOLD
    return {name: count / sweeps for name, count in shown.items()}


def familywise(world: World, others: int, sweeps: int, resamples: int, seed: int = 0) -> float:
    """Share of simulated sweeps with any difference told between one row and so many others."""
    chance = np.random.default_rng(seed)
    wrong = 0
    for k in range(sweeps):
        concluded = conclude(world.family(chance, others), resamples=resamples, seed=k)
        wrong += any(one.verdict in TOLD for one in concluded.values())
    return wrong / sweeps


def order_errors(runs: int, sweeps: int, seed: int = 0) -> tuple[float, float]:
    """Shares with ε_min below 0.5 and below 0.2 for two rows with the same normal scores."""
    chance = np.random.default_rng(seed)
    found = [almost_stochastic_order(*chance.standard_normal((2, runs)), seed=k) for k in range(sweeps)]
    return float(np.mean(np.less(found, 0.5))), float(np.mean(np.less(found, 0.2)))


WORLDS = {
    "no difference": World(),
    "no difference, 10 seeds": World(seeds=10),
    "no difference, own test sets": World(parallel=False),
    "no difference, macro F1": World(macro=True),
    "a row has its own luck with a seed": World(row_seed=0.3),
    "- with 10 seeds": World(row_seed=0.3, seeds=10),
    "a row has its own instances": World(row_instance=1.5),
    "- in own test sets": World(row_instance=1.5, parallel=False),
    "a row has its own languages": World(row_language=0.3),
    "- 10 languages": World(row_language=0.3, languages=10),
    "one language, 10 seeds, own luck": World(languages=1, seeds=10, row_seed=0.3, row_instance=1.0),
}
GAINS = {f"{gain} logits": replace(World(), effect=gain) for gain in (0.2, 0.4, 0.6)} | {
    "0.4 logits, macro F1": World(effect=0.4, macro=True),
    "0.4 logits, 10 languages": World(effect=0.4, languages=10),
    "0.4 logits, one language, 10 seeds": World(effect=0.4, languages=1, seeds=10),
}


def main() -> None:
    """Prints the tables of docs/statistics.md."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sweeps", type=int, default=1000)
    parser.add_argument("--resamples", type=int, default=1000)
    asked = parser.parse_args()
    for title, worlds in (("nothing to find", WORLDS), ("a gain", GAINS)):
        print(f"\n| {title} | points | plain percentiles | interval", end=" | ")
        print("flip blocks | flip seeds | flip languages | verdict |")
        print("|---|---:|---:|---:|---:|---:|---:|---:|", flush=True)
        for name, world in worlds.items():
            large = replace(world, instances=200_000 // world.languages, training=0.0)
            [pairs] = large.family(np.random.default_rng(1)).values()
            points = np.mean([pair.effect for pair in pairs]) if world.effect else 0.0
            found = rates(world, asked.sweeps, asked.resamples)
            print(
                f"| {name} | {points:.1f} | " + " | ".join(f"{found[k]:.1%}" for k in found) + " |",
                flush=True,
            )
    for others in (1, 5):
        for name in ("no difference", "a row has its own luck with a seed", "a row has its own instances"):
            share = familywise(WORLDS[name], others, asked.sweeps // 2, asked.resamples)
            print(f"any wrong verdict of {others}, {name}: {share:.1%}", flush=True)
    for runs in (3, 5, 10, 20):
        half, fifth = order_errors(runs, asked.sweeps)
        print(f"ASO of equals, {runs} runs: below 0.5 {half:.1%}, below 0.2 {fifth:.1%}", flush=True)
    pair = World(languages=1, instances=5000).family(np.random.default_rng(0))["first - 1"]
    print(f"example: {paired_bootstrap(pair)}")


if __name__ == "__main__":
    main()
