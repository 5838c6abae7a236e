"""How far a cluster may grow: by what manifests declare, or by the autoscaler's own file."""

from __future__ import annotations

import pytest

from flare_ray.errors import InputError
from flare_ray.execution import growth

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
