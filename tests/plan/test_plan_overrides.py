"""Overrides: fields that differ for some models, tasks and methods, and what they leave alone."""

from collections.abc import Callable
from typing import Any

import pytest
from small_study import write_data

from flare_ray.errors import InputError
from flare_ray.plan.grid import Grid, expand
from flare_ray.plan.schema import Resources, Sweep

MakeGrid = Callable[..., Grid]
Load = Callable[..., Sweep]
TINY = {"model": "tiny"}


@pytest.fixture
def two(grid: MakeGrid, fields: dict[str, Any]) -> MakeGrid:
    """A grid with a second model, of the hub."""
    models = [*fields["models"], {"name": "hub", "family": "bert", "checkpoint": "org/model"}]
    return lambda **changes: grid(**{"models": models, **changes})


def changed(before: Grid, after: Grid) -> set[tuple[str, str]]:
    """Model and method of runs whose fingerprint differs."""
    pairs = list(zip(before.runs, after.runs, strict=True))
    assert all(old.label == new.label for old, new in pairs)
    return {
        (old.cell.model.name, old.cell.method) for old, new in pairs if old.fingerprint != new.fingerprint
    }


def test_training_is_overridden_for_the_runs_that_match(two: MakeGrid) -> None:
    before = two()
    faster = {"training": {"epochs": 1}}
    assert changed(before, two(overrides=[{**TINY, **faster}])) == {("tiny", "lora"), ("tiny", "flare")}
    assert changed(before, two(overrides=[{"method": "lora", **faster}])) == {
        ("tiny", "lora"),
        ("hub", "lora"),
    }
    assert changed(before, two(overrides=[{"task": ["nusax"], "method": ["flare"], **TINY, **faster}])) == {
        ("tiny", "flare")
    }


def test_base_is_overridden_for_models_and_tasks_and_changes_all_their_runs(two: MakeGrid) -> None:
    before, after = two(), two(overrides=[{**TINY, "base": {"rank": 8}}])
    assert changed(before, after) == {("tiny", method) for method in ("zero_shot", "lora", "flare")}
    assert [base.settings["rank"] for base in after.bases] == [8, 8, 64, 64]
    assert [base.settings["alpha"] for base in after.bases] == [16, 16, 128, 128]


def test_an_override_is_the_field_itself_where_it_holds_for_all(grid: MakeGrid) -> None:
    whole = grid(training={"learning_rate": 1e-3, "warmup": 0.2}, base={"epochs": 2})
    parts = grid(
        training={"warmup": 0.2},
        overrides=[{**TINY, "training": {"learning_rate": 1e-3}}, {"task": "nusax", "base": {"epochs": 2}}],
    )
    assert changed(whole, parts) == set()


def test_later_entries_win_field_by_field(load: Load) -> None:
    overrides = [
        {"resources": {"workers": 2, "gpus_per_worker": 1}},
        {**TINY, "resources": {"workers": 4, "accelerator_type": "A100"}},
    ]
    sweep = load(resources={"pack_size": 3}, overrides=overrides)
    assert sweep.resources_of("tiny", "nusax") == Resources(
        pack_size=3, workers=4, gpus_per_worker=1, accelerator_type="A100"
    )
    assert sweep.resources_of("other", "nusax") == Resources(pack_size=3, workers=2, gpus_per_worker=1)
    assert load().resources_of("tiny", "nusax") == Resources()


def test_null_takes_a_field_back_to_its_default(grid: MakeGrid) -> None:
    back = grid(training={"epochs": 3}, overrides=[{**TINY, "training": {"epochs": None}}])
    assert changed(grid(), back) == set()


def test_resources_change_no_fingerprint(grid: MakeGrid) -> None:
    resources = {"workers": 4, "gpus_per_worker": 0.5, "zero_stage": 2, "micro_batch": 1}
    assert changed(grid(), grid(overrides=[{**TINY, "resources": resources}])) == set()


def problems(load: Callable[[], Any]) -> dict[str, str]:
    with pytest.raises(InputError) as caught:
        load()
    return {problem.where: f"{problem.found}; {problem.wanted}" for problem in caught.value.problems}


def test_what_is_wrong_with_overrides_is_told_at_once(load: Load) -> None:
    found = problems(
        lambda: load(
            axes={"epochs": [1, 2]},
            overrides=[
                {"model": "tyni", "training": {"warmup": 0.2}},
                {"task": "xnli", "method": ["lorra"], "training": {"warmup": 0.2}},
                {"method": "lora", "base": {"rank": 4}},
                {"method": "lora", "resources": {"workers": 4}},
                {**TINY},
                {**TINY, "training": {"epochs": 3}},
                {**TINY, "resources": {"pack_size": 3}},
            ],
        )
    )
    assert set(found) == {
        "overrides[0].model",
        "overrides[1].task",
        "overrides[1].method",
        "overrides[2].method",
        "overrides[3].method",
        "overrides[4]",
        "overrides[5].training.epochs",
        "overrides[6].resources.pack_size",
    }
    assert "'tiny' (the nearest)" in found["overrides[0].model"]


def test_fields_of_an_override_are_checked_as_the_sections_are(load: Load) -> None:
    found = problems(
        lambda: load(overrides=[{"training": {"epoch": 1, "warmup": 2}, "resources": {"zero_stage": 4}}])
    )
    assert set(found) == {
        "overrides[0].training.epoch",
        "overrides[0].training.warmup",
        "overrides[0].resources.zero_stage",
    }
    assert "'epochs' (the nearest)" in found["overrides[0].training.epoch"]


def test_zero_3_on_quantised_weights_is_found_in_an_override(load: Load) -> None:
    found = problems(
        lambda: load(
            models=["llama-3.1-8b"], overrides=[{"model": "llama-3.1-8b", "resources": {"zero_stage": 3}}]
        )
    )
    assert "llama-3.1-8b in nf4" in found["resources.zero_stage"]


def test_overrides_apply_to_the_task_that_they_name(fields: dict[str, Any], tmp_path: Any) -> None:
    write_data(tmp_path / "data")
    rule = {"task": "xnli", "training": {"epochs": 1}}
    tasks = {"tasks": ["nusax", "xnli"], "data": {**fields["data"], "xnli": "org/xnli"}, "languages": "all"}
    plain = expand(Sweep.model_validate({**fields, **tasks}))
    made = expand(Sweep.model_validate({**fields, **tasks, "overrides": [rule]}))
    differ = {
        new.cell.task
        for old, new in zip(plain.runs, made.runs, strict=True)
        if old.fingerprint != new.fingerprint
    }
    assert differ == {"xnli"}


# ---- for languages


def test_training_is_overridden_for_a_language_alone(grid: MakeGrid) -> None:
    before, after = grid(), grid(overrides=[{"language": "jav", "training": {"max_length": 512}}])
    both = list(zip(before.runs, after.runs, strict=True))
    assert {new.cell.language for old, new in both if old.fingerprint != new.fingerprint} == {"jav"}
    assert {run.settings["max_length"] for run in after.runs if run.cell.language == "jav"} == {512}
    assert [base.fingerprint for base in after.bases] == [base.fingerprint for base in before.bases]


@pytest.mark.parametrize("section", ["base", "resources"])
def test_what_belongs_to_no_language_is_not_overridden_for_one(load: Load, section: str) -> None:
    changes = {"base": {"rank": 8}, "resources": {"workers": 2}}[section]
    with pytest.raises(InputError, match=r"overrides\[0\].language.*for a language"):
        load(overrides=[{"language": "jav", section: changes}])


def test_an_override_names_languages_of_the_sweep(load: Load) -> None:
    for languages in (["ace"], "all"):
        with pytest.raises(InputError, match=r"overrides\[0\].language.*'javanes'"):
            load(languages=languages, overrides=[{"language": "javanes", "training": {"epochs": 1}}])
    assert load(languages="all", overrides=[{"language": ["jav", "ace"], "training": {"epochs": 1}}])
