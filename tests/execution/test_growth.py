"""How far a cluster may grow: by what manifests declare, or by the autoscaler's own file."""

from __future__ import annotations

from typing import Any

import pytest

from flare_ray.errors import InputError
from flare_ray.execution import growth
from flare_ray.execution.capacity import Capacity
from flare_ray.plan.schema import Resources
from tests.execution.test_board import base_of

CONFIG = {
    "max_workers": 10,
    "head_node_type": "head",
    "available_node_types": {
        "head": {"resources": {"CPU": 8}, "max_workers": 0},
        "gpu": {"resources": {"CPU": 16, "GPU": 8, "accelerator_type:A100": 1}, "max_workers": 4},
        "cpu": {"resources": {"CPU": 32}},
        "many": {"resources": {"GPU": 1}, "max_workers": 99},
    },
}


def test_of_each_resource_there_is_what_the_best_nodes_have() -> None:
    """Ten nodes in all, whatever their groups may have together."""
    found = growth.of_config(CONFIG)
    assert found == {"CPU": 10 * 32, "GPU": 4 * 8 + 6 * 1, "accelerator_type:A100": 4}


def test_what_manifests_declare_comes_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(growth.VARIABLE, '{"GPU": 64, "CPU": 512}')
    assert growth.most() == {"GPU": 64.0, "CPU": 512.0}


@pytest.mark.parametrize("text", ["64", "{", '{"GPU": "many"}', "[1]", '{"GPU": null}'])
def test_a_declaration_that_is_none_is_told(monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    monkeypatch.setenv(growth.VARIABLE, text)
    with pytest.raises(InputError, match="JSON object of amounts"):
        growth.most()


def test_a_worker_that_no_single_node_can_hold_is_told_before_it_starts() -> None:
    """Sums say that there is room: four nodes of 16 CPUs, one A100 among small GPUs."""
    nodes = [{"CPU": 16.0, "GPU": 1.0}, {"CPU": 16.0, "GPU": 1.0, "accelerator_type:A100": 1.0}]
    whole = {"CPU": 64.0, "GPU": 4.0, "accelerator_type:A100": 1.0}

    def problems(known: list[dict[str, float]] | None, **fields: Any) -> list[str]:
        resources = Resources(**fields)
        try:
            Capacity(whole, lambda model, task: resources, resources, known).check([base_of(0)])
        except InputError as error:
            return [problem.found for problem in error.problems]
        return []

    assert not problems(nodes, cpus_per_worker=16, workers=4)
    assert not problems(nodes, gpus_per_worker=1, accelerator_type="A100", cpus_per_worker=1)
    for fields in ({"cpus_per_worker": 32}, {"gpus_per_worker": 2, "cpus_per_worker": 1}):
        (found,) = problems(nodes, **fields)
        assert "one needs" in found
        assert not problems(None, **fields), "what nodes have is not known"
    (found,) = problems(nodes, cpus_per_worker=32, workers=4)
    assert "on a cluster that can have 64 CPU" in found, "the whole is too small: that is told instead"


def test_kinds_of_nodes_are_the_groups_of_the_autoscaler(monkeypatch: pytest.MonkeyPatch) -> None:
    kinds = growth.types_of(CONFIG)
    assert {"CPU": 32.0} in kinds
    assert {"GPU": 1.0} in kinds
    assert {"CPU": 8.0} not in kinds, "the head is there already"
    monkeypatch.setenv(growth.VARIABLE, '{"CPU": 512}')
    assert growth.types() is None
