"""Laws of whole simulated sweeps: places stay busy, nothing is executed twice, the clock only jumps."""

import random
from collections.abc import Callable

import pytest

from flare_ray.execution.durations import Work
from flare_ray.execution.simulation import simulate
from flare_ray.plan.corpora import Corpus
from flare_ray.plan.grid import Base, Cell, Run
from flare_ray.plan.schema import ModelSpec
from flare_ray.plan.stages import Pack, Stages, Translating


def full_grid(models: int, tasks: int, seeds: int, languages: int, methods: int, translated: bool) -> Stages:
    """The full study's shape: a base model for each model, task and seed; runs for each language and method."""
    bases, packs, translations = [], [], []
    for t in range(tasks):
        corpora = {
            k: Corpus(
                f"t{t}", "hub", f"l{k}", "train", {"model": "nllb"}, {}, {"t": t, "k": k, "translator": {}}
            )
            for k in range(languages)
        }
        translations += [Translating((corpus,)) for corpus in corpora.values()] if translated else []
        for m in range(models):
            model = ModelSpec.model_construct(name=f"m{m}", family="bert", checkpoint=f"org/m{m}")
            for seed in range(seeds):
                base = Base(model, f"t{t}", "hub", seed, {}, {"m": m, "t": t, "seed": seed})
                runs = [
                    Run(
                        Cell(model, f"t{t}", f"l{k}", f"method{n}"),
                        seed,
                        base,
                        {},
                        {"base": base.fingerprint, "k": k, "n": n},
                        (corpora[k],) if translated else (),
                    )
                    for k in range(languages)
                    for n in range(methods)
                ]
                bases.append(base)
                packs.append(Pack(base, tuple(runs)))
    return Stages(tuple(bases), tuple(packs), (), 0, tuple(translations))


def drawn(seed: int, run: float = 1800, base: float = 3600) -> Callable[[Work], float]:
    """Lognormal seconds by fingerprint, whatever the order they are asked in."""

    def seconds(work: Work) -> float:
        mean = {Run: run, Base: base, Corpus: 600.0}[type(work)]
        return mean * random.Random(f"{seed}/{work.fingerprint}").lognormvariate(0, 0.5)

    return seconds


def everything(stages: Stages) -> set[str]:
    corpora = [corpus for work in stages.translations for corpus in work.corpora]
    return {work.fingerprint for work in [*corpora, *stages.bases, *stages.todo]}


@pytest.mark.parametrize("translated", [False, True])
def test_without_failures_everything_is_executed_once(translated: bool) -> None:
    stages = full_grid(2, 2, 2, 5, 4, translated)
    found = simulate(stages, 8, drawn(1), random.Random(1))
    assert found.finished == everything(stages)
    assert set(found.executed.values()) == {1}


@pytest.mark.parametrize("known", [1.0, 0.1, 5.0])
@pytest.mark.parametrize("seed", range(3))
def test_2000_runs_keep_64_places_busy_until_the_last_packs(seed: int, known: float) -> None:
    stages = full_grid(4, 3, 5, 11, 3, translated=True)
    assert len(stages.todo) == 1980
    found = simulate(
        stages,
        64,
        drawn(seed),
        random.Random(seed),
        expected=lambda work: known * {Run: 1800, Base: 3600, Corpus: 600}[type(work)],
        hours_between_deaths=48,
        bugs=0.01,
        start_seconds=120,
    )
    assert found.busy >= 0.95
    assert found.useful >= 0.90
    assert found.makespan <= 1.15 * found.drained


def test_what_workers_deaths_cost_is_what_they_were_in() -> None:
    stages = full_grid(2, 2, 3, 8, 4, translated=False)
    found = simulate(stages, 16, drawn(2), random.Random(2), hours_between_deaths=6, max_attempts=9)
    assert found.finished == everything(stages)
    again = {key: count for key, count in found.executed.items() if count > 1}
    assert again, "some must have died"
    assert sum(found.executed.values()) - len(found.executed) <= found.decisions, "one piece for each death"


def test_runs_that_fail_by_themselves_are_not_tried_again() -> None:
    stages = full_grid(1, 1, 2, 20, 5, translated=False)
    found = simulate(stages, 4, drawn(3), random.Random(3), bugs=0.2)
    assert found.failed
    assert {failure.kind for failure in found.failed.values()} == {"bug"}
    assert found.failed.keys() | found.finished == everything(stages)
    assert not found.failed.keys() & found.finished
    assert set(found.executed.values()) == {1}


@pytest.mark.parametrize("slots", [1, 4, 64])
def test_no_place_is_idle_while_a_stage_could_start(slots: int) -> None:
    """Graham's bound for list scheduling: at most the mean load plus the longest chain."""
    stages = full_grid(2, 1, 2, 6, 3, translated=False)
    seconds = drawn(4)
    found = simulate(stages, slots, seconds, random.Random(4), start_seconds=0, pack_size=1)
    load = sum(seconds(work) for work in [*stages.bases, *stages.todo]) / slots
    chain = max(map(seconds, stages.bases)) + max(map(seconds, stages.todo))
    assert found.makespan <= load + chain
