"""A search finds the sandbox's best fusion function more often than chance does at the same budget.

The table is what the sandbox's XLM-R reached with FLARE on sentiment in qko: macro F1 on validation, mean over five
seeds, by fusion function, rank and learning rate, from 150 runs of the product (`benchmarks/search.py`, sandbox
bac55a88). Nothing is trained here: what a search wants is answered from the table.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from flare_ray.execution.search import Rules, Search
from flare_ray.plan.grid import Base, Cell, Run
from flare_ray.plan.schema import ModelSpec
from flare_ray.store import Store

MODEL = ModelSpec.model_construct(name="m", family="xlm_roberta", checkpoint="org/m")
COLUMNS = [(rank, rate) for rank in (2, 16) for rate in (3e-4, 1e-3, 3e-3)]
TABLE = {
    "add": [52.8, 61.1, 66.4, 60.2, 70.6, 78.5],
    "add_relu": [52.2, 58.1, 63.6, 55.4, 65.5, 72.0],
    "cross_attention": [52.1, 56.5, 57.5, 54.8, 60.2, 68.4],
    "mul": [51.5, 61.6, 68.2, 56.8, 69.9, 78.8],
    "mul_relu": [51.0, 56.9, 66.1, 55.7, 65.9, 74.3],
}
SPACE = {"fusion": list(TABLE), "rank": [2, 16], "learning_rate": [3e-4, 1e-3, 3e-3]}
BEST = {"fusion": "mul", "rank": 16, "learning_rate": 3e-3}


def truth(config: Mapping[str, Any]) -> float:
    return TABLE[config["fusion"]][COLUMNS.index((config["rank"], config["learning_rate"]))]


@dataclass(frozen=True)
class Measured:
    """The table as a question. fingerprint: of a repetition, each with a journal of its own."""

    fingerprint: str
    label: str = "measured"

    @property
    def space(self) -> Mapping[str, Any]:
        return SPACE

    def runs(self, config: Mapping[str, Any], seed: int) -> tuple[Run, ...]:
        base = Base(MODEL, "nusax", "sandbox", seed, {}, {"base": seed})
        axes = tuple(sorted(config.items()))
        cell = Cell(MODEL, "nusax", "qko", "flare", axes)
        return (Run(cell, seed, base, {}, {"config": dict(axes), "seed": seed}),)


def selected(folder: Path, sampler: str, repetition: int) -> dict[str, Any]:
    """What a search selects that trains 18 of the 30 configurations. Runs end in the order in which it asked."""
    question = Measured(f"{repetition:020}")
    rules = Rules(18, seeds=(1,), factor=1, sampler=sampler, seed=repetition)
    search = Search(question, rules, Store(str(folder)))
    waiting, count = search.wanted(), 0
    while waiting:
        run, count = waiting.pop(0), count + 1
        search.settled(run, truth(dict(run.cell.axes)))
        waiting += search.wanted()
    assert count == 18
    found = search.selected()
    assert found is not None
    return dict(found[0])


def test_the_best_fusion_of_the_sandbox_is_found_more_often_than_at_random(tmp_path: Path) -> None:
    found = {
        sampler: [selected(tmp_path, sampler, number) for number in range(20)]
        for sampler in ("tpe", "random")
    }
    hits = {s: sum(config["fusion"] == BEST["fusion"] for config in every) for s, every in found.items()}
    lost = {s: sum(truth(BEST) - truth(config) for config in every) for s, every in found.items()}
    assert hits["tpe"] > hits["random"]
    assert lost["tpe"] < lost["random"]
