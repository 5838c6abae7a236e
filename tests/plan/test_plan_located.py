"""Fields that name a translation model: one that is there, by an absolute path, each once."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from flare_ray.errors import InputError
from flare_ray.plan.schema import Sweep

Load = Callable[..., Sweep]
NLLB = "facebook/nllb-200-distilled-600M"


def test_entries_that_name_one_translation_model_differently_are_told(load: Load) -> None:
    for axes in ({}, {"mt_model": ["nllb-200-distilled-600m", "nllb-200-1.3b"]}):
        with pytest.raises(InputError) as error:
            load(methods=["flare_mt", {"name": "flare_mt", "mt_model": NLLB}], axes=axes)
        [problem] = error.value.problems
        assert problem.where == "methods[1].mt_model"
        assert "methods[0]" in problem.found
    assert load(methods=["flare_mt", {"name": "flare_mt", "mt_model": NLLB, "projection": "mlp"}])


@pytest.mark.parametrize("name", ["./nope", "nllb-200-destilled-600m"])
def test_a_translation_model_that_is_not_there_is_told_wherever_it_is_named(load: Load, name: str) -> None:
    places: dict[str, dict[str, Any]] = {
        "methods[0].mt_model": {"methods": [{"name": "flare_mt", "mt_model": name}]},
        "axes.mt_model[0]": {"methods": ["flare_mt"], "axes": {"mt_model": [name]}},
        "searches[0].space.mt_model": {"searches": [{"method": "flare_mt", "space": {"mt_model": [name]}}]},
    }
    for where, changes in places.items():
        with pytest.raises(InputError) as error:
            load(**changes)
        [problem] = error.value.problems
        assert problem.where == where
        assert "hub id" in problem.wanted


def test_a_relative_translation_model_is_made_absolute(
    load: Load, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "config.json").write_text("{}")
    monkeypatch.chdir(tmp_path)
    sweep = load(methods=[{"name": "flare_mt", "mt_model": "./mine"}])
    assert sweep.methods[0].mt_model == str(tmp_path / "mine")
    sweep = load(methods=["flare_mt"], axes={"mt_model": ["./mine"]})
    assert sweep.axes.given()["mt_model"] == [str(tmp_path / "mine")]
