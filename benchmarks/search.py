"""Does a search find the best fusion function of the sandbox more often than chance that trains as many runs?

    python benchmarks/search.py [--store results/search] [--repeats 100] [--planted 4]

A small sweep is run through the product: FLARE on the sandbox's XLM-R and one far language, every fusion function ×
rank × learning rate, on every seed. What is finished in `--store` stays finished, so a second call only replays. The
mean of a configuration's validation metric over the seeds is the truth, and its best is what a search should find.

Then the product's own searches are replayed over these runs: whatever one wants is answered from the records. It gets
as many configurations as its runs fit into a budget, since those that halving stops cost less. "Best" is the share of
repetitions that select the best configuration, "fusion" its fusion function, "regret" how far the truth of what is
selected lies below the best, in points of the metric, with a 95% interval. Repetitions differ in the sampler's seed.
Only seeds are halved here: no run stops within its training.

With --planted, the same runs get other values: one fusion function, drawn anew in each repetition, is better by so
many points in every configuration; rank, learning rate, seeds and noise have the effects that the sandbox has.
"""

from __future__ import annotations

import argparse
import itertools
import random
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from statistics import mean, stdev
from typing import Any

from flare_ray import registry
from flare_ray.execution.racing import rungs
from flare_ray.execution.sampling import points
from flare_ray.execution.search import Rules, Search
from flare_ray.plan.grid import Run
from flare_ray.plan.load import load_sweep
from flare_ray.plan.search import Question, questions
from flare_ray.store import Store

SWEEP = """\
name: search_truth
models: [sandbox-xlm-r]
tasks: [nusax]
languages: [qko]
methods: [flare]
fusion: {fusion}
rank: [2, 16]
axes: {{learning_rate: [3.0e-4, 1.0e-3, 3.0e-3]}}
seeds: {seeds}
data: {{nusax: sandbox}}
base: {{epochs: 10, batch_size: 32, learning_rate: 2.0e-3, max_length: 48}}
training: {{epochs: 4, batch_size: 32, max_length: 48}}
storage: {storage}
"""
SEARCH = (
    "searches=[{method: flare, space: {fusion: %s, rank: [2, 16], learning_rate: [3.0e-4, 1.0e-3, 3.0e-3]}}]"
)
WAYS = {
    "tpe, halving": ("tpe", 2),
    "random, halving": ("random", 2),
    "tpe": ("tpe", 1),
    "random": ("random", 1),
}
"""Sampler, and one in how many configurations gets more seeds."""
Config = Mapping[str, Any]
Key = tuple[Any, ...]


@dataclass(frozen=True)
class Truth:
    """A search's question with all its answers.

    runs: of a configuration, by seed. values: by fingerprint. means: what a configuration is worth.
    """

    question: Question
    runs: Mapping[Key, Mapping[int, Run]]
    values: Mapping[str, float]
    means: Mapping[Key, float]

    @classmethod
    def measured(
        cls, question: Question, values: Mapping[str, float], runs: Mapping[Key, Mapping[int, Run]]
    ) -> Truth:
        """What a configuration is worth is its mean over all seeds."""
        found = {
            key: mean(values[run.fingerprint] for run in by_seed.values()) for key, by_seed in runs.items()
        }
        return cls(question, runs, values, found)

    @property
    def best(self) -> Key:
        """The configuration with the highest mean."""
        return max(self.runs, key=self.means.__getitem__)

    def regret(self, key: Key) -> float:
        """How far a configuration is below the best."""
        return self.means[self.best] - self.means[key]

    def planted(self, lead: float, draw: random.Random) -> Truth:
        """The same question with drawn answers: one fusion function leads, all else is as measured."""
        winner, noise, shift = draw.choice(sorted({key[0] for key in self.runs})), self.noise, self.shifts
        means = {
            key: mean(self.means[other] for other in self.runs if other[1:] == key[1:])
            + lead * (key[0] == winner)
            for key in self.runs
        }
        values = {
            run.fingerprint: means[key] + shift[seed] + draw.gauss(0, noise)
            for key, by_seed in self.runs.items()
            for seed, run in by_seed.items()
        }
        return Truth(self.question, self.runs, values, means)

    @cached_property
    def shifts(self) -> dict[int, float]:
        """What a seed does to all configurations."""
        total = mean(self.values.values())
        return {
            seed: mean(self.values[by_seed[seed].fingerprint] for by_seed in self.runs.values()) - total
            for seed in self.question.seeds
        }

    @cached_property
    def noise(self) -> float:
        """Standard deviation between seeds within a configuration, without what a seed does to all of them."""
        left = [
            self.values[run.fingerprint] - self.means[key] - self.shifts[seed]
            for key, by_seed in self.runs.items()
            for seed, run in by_seed.items()
        ]
        free = (len(self.runs) - 1) * (len(self.question.seeds) - 1)
        return (sum(one**2 for one in left) / free) ** 0.5


def key_of(config: Config) -> Key:
    return config["fusion"], config["rank"], config["learning_rate"]


def train(store: Path, seeds: Sequence[int]) -> Path:
    """The sweep file; all that it says is in the store."""
    store.mkdir(parents=True, exist_ok=True)
    file = store / "search_truth.yaml"
    fusion = sorted(registry.names("fusion.functions"))
    file.write_text(SWEEP.format(fusion=fusion, seeds=list(seeds), storage=store.absolute()))
    done = subprocess.run([sys.executable, "-m", "flare_ray.sweep", str(file)], check=False)
    if done.returncode:
        sys.exit(done.returncode)
    return file


def read(file: Path) -> tuple[Truth, Truth]:
    """What the store has: validation and test."""
    fusion = load_sweep(file).fusion
    sweep = load_sweep(file, [SEARCH % f"[{', '.join(fusion)}]"])
    [question] = questions(sweep)
    store = Store(sweep.storage)
    runs = {
        key_of(config): {seed: question.runs(config, seed)[0] for seed in question.seeds}
        for config in points(question.space) or []
    }
    every = [run.fingerprint for by_seed in runs.values() for run in by_seed.values()]
    records = store.records("runs", every)
    metric = registry.load("tasks", question.task).metric
    validation = {one: float(records[one]["validation"][f"validation_{metric}"]) for one in every}
    test = {one: float(records[one]["metrics"][metric]) for one in every}
    return Truth.measured(question, validation, runs), Truth.measured(question, test, runs)


@dataclass(frozen=True)
class Replayed:
    """A question as a search sees it, with runs that are made once."""

    truth: Truth
    label: str = "replayed"
    fingerprint: str = "0" * 20

    @property
    def space(self) -> dict[str, Any]:
        """Axis -> values."""
        return self.truth.question.space

    def runs(self, config: Config, seed: int) -> tuple[Run, ...]:
        """One."""
        return (self.truth.runs[key_of(config)][seed],)


def replay(truth: Truth, rules: Rules, budget: int) -> Key | None:
    """What a search selects; None when it wants more runs. They end in the order in which they were asked for."""
    with tempfile.TemporaryDirectory() as folder:
        search = Search(Replayed(truth), rules, Store(folder))
        waiting = search.wanted()
        while waiting and budget:
            run, budget = waiting.pop(0), budget - 1
            search.settled(run, truth.values[run.fingerprint])
            waiting += search.wanted()
        selected = search.selected()
        return key_of(selected[0]) if selected and not waiting else None


def within(truth: Truth, budget: int, seed: int, sampler: str, factor: int) -> tuple[Key, int]:
    """What the largest search selects whose runs fit into a budget, and its number of configurations."""
    seeds = truth.question.seeds
    for count in range(len(truth.runs), 0, -1):
        if fewest(count, len(seeds), factor) <= budget:
            found = replay(truth, Rules(count, seeds, factor=factor, sampler=sampler, seed=seed), budget)
            if found:
                return found, count
    raise ValueError(f"no search within {budget} runs")


def fewest(count: int, seeds: int, factor: int) -> int:
    """Runs of a search that gives nobody another seed who falls behind later."""
    steps = rungs(seeds, factor)
    total = count * steps[0]
    for step, following in itertools.pairwise(steps):
        count = max(count // factor, 1)
        total += count * (following - step)
    return total


def compare(title: str, truths: Sequence[Truth], budgets: Sequence[int]) -> None:
    """Prints how often each kind of search finds the best within each budget, over the repetitions."""
    print(f"\n{title}, {len(truths)} repetitions\n")
    print("| runs | search | configurations | best, % | fusion, % | regret |\n|---:|---|---:|---:|---:|---:|")
    for budget, (name, way) in itertools.product(budgets, WAYS.items()):
        found = [(truth, *within(truth, budget, seed, *way)) for seed, truth in enumerate(truths)]
        best = 100 * mean(key == truth.best for truth, key, _ in found)
        fusion = 100 * mean(key[0] == truth.best[0] for truth, key, _ in found)
        regrets = [truth.regret(key) for truth, key, _ in found]
        error = 1.96 * stdev(regrets) / len(regrets) ** 0.5
        cells = [
            str(budget),
            name,
            f"{mean(count for *_, count in found):.1f}",
            f"{best:.0f}",
            f"{fusion:.0f}",
        ]
        print("| " + " | ".join([*cells, f"{mean(regrets):.2f} ± {error:.2f}"]) + " |", flush=True)


def show(truth: Truth, test: Truth) -> None:
    """Prints the table of truth."""
    columns = sorted({key[1:] for key in truth.runs})
    print(f"validation (test), mean over seeds; noise between seeds {truth.noise:.2f}\n")
    print(
        "| fusion | "
        + " | ".join(f"r={r}, {lr:g}" for r, lr in columns)
        + " |\n|---|"
        + "---:|" * len(columns)
    )
    for fusion in sorted({key[0] for key in truth.runs}):
        cells = [f"{truth.means[fusion, *c]:.1f} ({test.means[fusion, *c]:.1f})" for c in columns]
        print(f"| {fusion} | " + " | ".join(cells) + " |")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--store", type=Path, default=Path("results/search"))
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3, 4, 5])
    parser.add_argument("--repeats", type=int, default=100)
    parser.add_argument("--budgets", type=int, nargs="+", default=[30, 60])
    parser.add_argument("--planted", type=float, nargs="*", default=[4.0])
    options = parser.parse_args()
    truth, test = read(train(options.store, options.seeds))
    show(truth, test)
    compare("The sandbox's own values", [truth] * options.repeats, options.budgets)
    for lead in options.planted:
        drawn = [truth.planted(lead, random.Random(number)) for number in range(options.repeats)]
        compare(f"Planted: one fusion function leads by {lead:g} points", drawn, options.budgets)


if __name__ == "__main__":
    main()
