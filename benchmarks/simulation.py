"""How busy a sweep keeps its places, by simulation, and whether a live sweep agrees with it.

    python benchmarks/simulation.py [--live-places 8] [--live-runs 96] [--live-seconds 8]

Everything but the work itself is the real thing: the board, its graph, priorities, packs, retries. First the full
study's shape on 64 places, with drawn durations and failures; then sweeps of 200 to 20,000 runs, for what a decision
costs; then a live sweep on Ray and Tune with logical GPUs whose workers sleep, and its simulation with the same
seconds.
"""

from __future__ import annotations

import argparse
import random
import tempfile
import time
import tracemalloc
from collections.abc import Callable
from typing import Any

from flare_ray.execution.durations import Work
from flare_ray.execution.simulation import Simulated, simulate
from flare_ray.plan.corpora import Corpus
from flare_ray.plan.grid import Base, Cell, Run
from flare_ray.plan.schema import ModelSpec, Resources
from flare_ray.plan.stages import Pack, Stages, Translating
from flare_ray.plan.wire import base_from_dict, run_from_dict
from flare_ray.store import Store

MEAN = {Run: 5400.0, Base: 7200.0, Corpus: 1200.0}
"""Seconds of the simulated study: 3,200 runs and 60 base models of it make the paper's 5,000 GPU hours."""


def study(models: int, tasks: int, seeds: int, languages: int, methods: int) -> Stages:
    """A study of that many base models (models × tasks × seeds), each with languages × methods runs."""
    bases, packs, translations = [], [], []
    for t in range(tasks):
        identity = [{"t": t, "k": k, "translator": {}} for k in range(languages)]
        corpora = [
            Corpus(f"t{t}", "hub", f"l{k}", "train", {"model": "nllb"}, {}, identity[k])
            for k in range(languages)
        ]
        translations += [Translating((corpus,)) for corpus in corpora]
        for m in range(models):
            model = ModelSpec.model_construct(name=f"m{m}", family="bert", checkpoint=f"org/m{m}")
            for seed in range(seeds):
                base = Base(model, f"t{t}", "hub", seed, {}, {"m": m, "t": t, "seed": seed})
                runs = tuple(
                    Run(
                        Cell(model, f"t{t}", f"l{k}", f"method{n}"),
                        seed,
                        base,
                        {},
                        {"base": base.fingerprint, "k": k, "n": n},
                        (corpora[k],),
                    )
                    for k in range(languages)
                    for n in range(methods)
                )
                bases.append(base)
                packs.append(Pack(base, runs))
    return Stages(tuple(bases), tuple(packs), (), 0, tuple(translations))


def drawn(seed: int, mean: dict[type, float] = MEAN, spread: float = 0.5) -> Callable[[Work], float]:
    """Lognormal seconds, of a piece of work the same whenever it is asked for."""

    def seconds(work: Work) -> float:
        rng = random.Random(f"{seed}/{work.fingerprint}")
        return mean[type(work)] * rng.lognormvariate(-spread * spread / 2, spread)

    return seconds


def expected(work: Work) -> float:
    """What is thought before: the mean."""
    return MEAN[type(work)]


def busy_table() -> None:
    print("| places | hours between deaths of a worker | busy | useful | makespan, h | ÷ work ÷ places |")
    print("|---:|---:|---:|---:|---:|---:|")
    for hours in (float("inf"), 48.0, 12.0):
        stages = study(4, 3, 5, 11, 3)
        found = simulate(
            stages, 64, drawn(1), random.Random(1), expected, 120, hours, bugs=0.01, max_attempts=9
        )
        works = [*stages.bases, *stages.todo, *(c for t in stages.translations for c in t.corpora)]
        ideal = sum(map(drawn(1), works)) / 64
        print(
            f"| 64 | {hours:g} | {found.busy:.1%} | {found.useful:.1%} | {found.makespan / 3600:.1f} "
            f"| {found.makespan / ideal:.3f} |"
        )


def decisions_table() -> None:
    print("\n| runs | decisions | decisions/s | peak memory of the board, MB |\n|---:|---:|---:|---:|")
    for languages, methods in ((2, 2), (4, 9), (10, 34), (20, 84)):
        stages = study(4, 3, 5, languages, methods)
        for work in [*stages.bases, *stages.todo]:
            _ = work.fingerprint  # part of the plan
        started = time.process_time()
        found = simulate(stages, 64, lambda work: 1000.0, random.Random(1), expected, 120, pack_size=8)
        seconds = time.process_time() - started
        tracemalloc.start()
        simulate(stages, 64, lambda work: 1000.0, random.Random(1), expected, 120, pack_size=8)
        peak = tracemalloc.get_traced_memory()[1] / 1e6
        tracemalloc.stop()
        print(f"| {len(stages.todo)} | {found.decisions} | {found.decisions / seconds:.0f} | {peak:.1f} |")


def sleeping_trial(config: dict[str, Any]) -> None:
    """A trial whose work is to sleep, and to leave records; then it asks for more."""
    from ray import tune

    from flare_ray.execution.desk import Errand

    errand, stage = Errand(config["desk"]), config["stage"]
    while stage is not None:
        sleep(stage, config)
        tune.report({"event": "next"})
        stage = errand.ask(f"next/{stage['key']}")


def sleep(stage: dict[str, Any], config: dict[str, Any]) -> None:
    """One stage."""
    from ray import tune

    store = Store(config["storage"])
    base = base_from_dict(stage["base"])
    seconds = drawn(1, {Run: config["provenance"]["mean"], Base: config["provenance"]["mean"]})
    works: list[Any] = [base] if stage["kind"] == "base" or stage.get("first") else []
    works += [run_from_dict(value, base) for value in stage.get("runs", [])]
    for work in works:
        started = time.time()
        time.sleep(seconds(work))
        kind = "base" if isinstance(work, Base) else "run"
        store.write(f"{kind}s", work.fingerprint, {"label": work.label, "metrics": {}})
        facts = {"event": "finished", "kind": kind, "fingerprint": work.fingerprint, "label": work.label}
        tune.report({**facts, "seconds": seconds(work), "begun": started})


def live(places: int, runs: int, mean: float) -> None:
    """Prints the busy share of a live sweep and of its simulation."""
    import ray

    from flare_ray.execution.driver import Execution

    stages = study(2, 1, 2, runs // 12, 3)
    stages = Stages(stages.bases, tuple(_untranslated(pack) for pack in stages.packs), (), 0)
    ray.init(num_cpus=places, num_gpus=places, include_dashboard=False, log_to_driver=False)
    work = {one.fingerprint: one for one in [*stages.bases, *stages.todo]}
    spans: list[tuple[float, float]] = []
    handed: dict[str, float] = {}

    def on_event(event: dict[str, Any]) -> None:
        if event["event"] == "finished":
            end = time.time()
            spans.append((end - event["seconds"], end))
            handed[event["fingerprint"]] = end - event["seconds"]

    with tempfile.TemporaryDirectory(prefix="flare-ray-") as storage:
        store = Store(storage)

        def plan() -> Stages:
            done = store.finished("runs")
            packs = [
                Pack(p.base, tuple(r for r in p.runs if r.fingerprint not in done)) for p in stages.packs
            ]
            return Stages(stages.bases, tuple(p for p in packs if p.runs), (), 0)

        resources = Resources(gpus_per_worker=1, cpus_per_worker=1)
        started = time.time()
        Execution(
            plan,
            store,
            resources,
            lambda model, task: resources,
            {"mean": mean},
            lambda work: mean,
            on_event,
            trial=sleeping_trial,
        ).run()
        assert store.finished("runs") == {run.fingerprint for run in stages.todo}
    makespan = max(end for _, end in spans) - started
    useful = sum(end - begin for begin, end in spans) / (places * makespan)
    firsts = min(begin for begin, _ in spans) - started
    ray.shutdown()
    found: Simulated = simulate(
        stages,
        places,
        drawn(1, {Run: mean, Base: mean}),
        random.Random(1),
        lambda work: mean,
        start_seconds=firsts,
    )
    ideal = sum(drawn(1, {Run: mean, Base: mean})(one) for one in work.values())
    simulated = ideal / (places * found.makespan)
    print(f"\n{places} logical GPUs, {len(stages.todo)} runs that sleep {mean:g} s on average")
    print("| | busy with work | makespan, s |\n|---|---:|---:|")
    print(f"| live | {useful:.1%} | {makespan:.0f} |")
    print(f"| simulated, a start taking {firsts:.1f} s | {simulated:.1%} | {found.makespan:.0f} |")


def _untranslated(pack: Pack) -> Pack:
    runs = (Run(run.cell, run.seed, run.base, run.settings, run.identity) for run in pack.runs)
    return Pack(pack.base, tuple(runs))


def main() -> None:
    """Prints three tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--live-places", type=int, default=8)
    parser.add_argument("--live-runs", type=int, default=96)
    parser.add_argument("--live-seconds", type=float, default=8.0, help="a run's sleep, on average")
    options = parser.parse_args()
    busy_table()
    decisions_table()
    if options.live_places:
        live(options.live_places, options.live_runs, options.live_seconds)


if __name__ == "__main__":
    main()
