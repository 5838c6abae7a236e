"""Further axes: which methods each multiplies, what its values are, and that they only name runs anew."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from small_study import write_translations

from flare_ray import registry
from flare_ray.errors import InputError
from flare_ray.plan.grid import Cell, Grid
from flare_ray.plan.schema import Axes, Sweep, Training

MakeGrid = Callable[..., Grid]
Load = Callable[..., Sweep]
METHODS = ["zero_shot", "translate_test", "lora", "input_fusion", "flare"]


def cells(grid: Grid, method: str, language: str = "ace") -> list[Cell]:
    return [cell for cell in grid.cells if cell.method == method and cell.language == language]


def prints(grid: Grid, method: str | None = None) -> set[str]:
    return {run.fingerprint for run in grid.runs if method in (None, run.cell.method)}


def counts(grid: Grid) -> dict[str, int]:
    return {method: len(cells(grid, method)) for method in METHODS}


@pytest.fixture
def one(grid: MakeGrid, tmp_path: Path) -> MakeGrid:
    """A grid of five methods with one cell each, unless the changes say more."""
    write_translations(tmp_path / "data")
    return lambda **changes: grid(
        **{"methods": METHODS, "rank": [8], "fusion": ["add_relu"], "seeds": [1], **changes}
    )


# ---- which methods an axis multiplies


AXES: dict[str, tuple[list[Any], set[str]]] = {
    "learning_rate": ([1e-4, 5e-4, 1e-3], {"lora", "input_fusion", "flare"}),
    "epochs": ([1, 2, 3], {"lora", "input_fusion", "flare"}),
    "dropout": ([0, 0.1, 0.2], {"lora", "input_fusion", "flare"}),
    "alpha": ([4, 8, 32], {"lora", "input_fusion", "flare"}),
    "max_length": ([16, 32, 64], set(METHODS)),
    "source_offset": ([0, 1], {"flare"}),
    "test_source": (["translation", "gold"], {"translate_test", "input_fusion", "flare"}),
    "translation": (["gold", "files"], {"translate_test", "input_fusion", "flare"}),
}


@pytest.mark.parametrize("axis", sorted(AXES))
def test_an_axis_multiplies_exactly_the_methods_whose_result_it_changes(one: MakeGrid, axis: str) -> None:
    values, changed = AXES[axis]
    sweep = {"translation": TWO[0]} if axis == "test_source" else {}
    made = one(axes={axis: values}, **sweep)
    assert counts(made) == {method: len(values) if method in changed else 1 for method in METHODS}
    assert len({run.fingerprint for run in made.runs}) == len(made.runs)
    assert len({run.label for run in made.runs}) == len(made.runs)
    assert {run.fingerprint for run in one(**sweep).runs if run.cell.method not in changed} <= prints(made)


@pytest.mark.parametrize("axis", sorted(Training.model_fields))
def test_every_hyperparameter_of_training_may_be_an_axis_and_is_the_same_run_as_the_field(
    one: MakeGrid, axis: str
) -> None:
    value = 3 if axis not in ("warmup", "dropout", "weight_decay") else 0.5
    assert prints(one(axes={axis: [value]})) == prints(one(training={axis: value}))


def test_every_option_of_a_method_may_be_an_axis() -> None:
    options = {
        name
        for method in registry.names("methods")
        for name in registry.load("methods", method).Options.model_fields
    }
    assert options <= set(Axes.model_fields)
    assert not options & set(Training.model_fields)


def test_axes_multiply_one_another(one: MakeGrid) -> None:
    made = one(axes={"learning_rate": [1e-4, 5e-4], "source_offset": [1, 0], "alpha": [8, 16]}, rank=[4, 8])
    assert counts(made) == {
        "zero_shot": 1,
        "translate_test": 1,
        "lora": 2 * 2 * 2,
        "input_fusion": 2 * 2 * 2,
        "flare": 2 * 2 * 2 * 2,
    }


# ---- identity and names


@pytest.mark.parametrize(
    ("axis", "default"),
    [("learning_rate", 2e-4), ("warmup", 0.1), ("alpha", 16), ("source_offset", 1), ("translation", "gold")],
)
def test_a_value_equal_to_the_default_is_the_run_without_the_axis(
    one: MakeGrid, axis: str, default: Any
) -> None:
    assert prints(one(axes={axis: [default]})) == prints(one())


def test_the_order_of_axes_and_of_their_values_changes_no_fingerprint(one: MakeGrid) -> None:
    axes = {"epochs": [1, 2], "source_offset": [0, 1]}
    turned = {name: values[::-1] for name, values in reversed(axes.items())}
    assert prints(one(axes=axes)) == prints(one(axes=turned))


def test_null_is_the_papers_value_and_no_second_cell_of_it(one: MakeGrid) -> None:
    made = one(axes={"learning_rate": [None, 2e-4, 5e-4]})
    assert [dict(cell.axes)["learning_rate"] for cell in cells(made, "lora")] == [2e-4, 5e-4]
    twice = one(axes={"alpha": [None, 16.0, 32]}, alpha=3)
    assert [dict(cell.axes)["alpha"] for cell in cells(twice, "lora")] == [16, 32]
    assert prints(one(axes={"validate_every": [None]})) == prints(one())


def test_labels_tell_values_of_axes_and_options(one: MakeGrid) -> None:
    made = one(axes={"learning_rate": [1e-4, 5e-4], "source_offset": [1, 0]})
    assert [cell.variant for cell in cells(made, "flare")] == [
        "flare (add_relu, r=8, learning_rate=0.0001)",
        "flare (add_relu, r=8, learning_rate=0.0001, source_offset=0)",
        "flare (add_relu, r=8, learning_rate=0.0005)",
        "flare (add_relu, r=8, learning_rate=0.0005, source_offset=0)",
    ]


def test_an_option_beside_the_name_is_fixed_and_no_cell_comes_twice(one: MakeGrid) -> None:
    fixed = {"name": "flare", "source_offset": 0}
    both = one(methods=["flare", fixed], axes={"source_offset": [0, 1]})
    assert len(both.cells) == len({run.fingerprint for run in both.runs}) == 2 * 2  # two languages


def test_options_that_contradict_each_other_are_skipped_with_the_reason(one: MakeGrid) -> None:
    axes = {"train_only": [False, True], "test_source": ["translation", "gold"]}
    made = one(methods=["flare"], translation=TWO[0], axes=axes)
    assert len(cells(made, "flare")) == 3
    (skipped,) = made.skipped
    assert skipped.label == "tiny/nusax/flare (train_only=True, test_source=gold)"
    assert "train_only reads no source at test" in skipped.reason


# ---- translation


TWO = ["nllb-200-3.3b", "nllb-200-distilled-600m"]


def test_translators_multiply_what_reads_translated_text(one: MakeGrid) -> None:
    made = one(axes={"translation": ["gold", *TWO]})
    assert counts(made) == {
        "zero_shot": 1,
        "translate_test": 3,
        "lora": 3,
        "input_fusion": 3,
        "flare": 3,
    }
    assert len(prints(made)) == len(made.runs)
    for name in TWO:
        alone = one(translation=name)
        assert prints(alone) <= prints(made)
    assert prints(one()) <= prints(made)
    assert len(made.corpora) == 2 * 2 * 3  # languages, translators, splits


def test_a_translator_that_nothing_reads_makes_no_second_run(one: MakeGrid) -> None:
    gold = {"name": "translate_test", "test_source": "gold"}
    made = one(methods=["zero_shot", gold], axes={"translation": TWO})
    assert [len(cells(made, method)) for method in ("zero_shot", "translate_test")] == [1, 1]
    assert prints(made) == prints(one(methods=["zero_shot", gold], translation=TWO[0]))


def test_the_axis_keeps_how_the_sweep_translates(one: MakeGrid) -> None:
    section = {"model": TWO[0], "beams": 4}
    made = one(translation=section, axes={"translation": TWO})
    assert prints(one(translation=section)) < prints(made)
    assert prints(one(translation={**section, "model": TWO[1]})) < prints(made)


# ---- one result, one cell

ONE_RESULT: dict[str, tuple[str, dict[str, Any], int]] = {
    "a bias of cross-attention": (
        "flare",
        {"fusion": ["add_relu", "cross_attention"], "axes": {"cross_attention_bias": [False, True]}},
        3,
    ),
    "gold at test, twice": ("flare", {"axes": {"test_source": ["translation", "gold"]}}, 1),
    "gold at test beside files": (
        "flare",
        {"axes": {"translation": ["gold", "files"], "test_source": ["gold"]}},
        1,
    ),
    "gold at test, files and a translator": (
        "translate_test",
        {"axes": {"translation": [*TWO, "files", "gold"], "test_source": ["gold", "translation"]}},
        4,
    ),
    "trained on translations, tested on gold": (
        "flare",
        {"axes": {"translation": [TWO[0], "gold"], "test_source": ["gold", "translation"]}},
        3,
    ),
    "no English at test": (
        "flare",
        {"axes": {"translation": ["gold", "files"], "train_only": [True]}},
        1,
    ),
    "the usual values": (
        "x_mixup",
        {"axes": {"block": [None, 0], "loss_alpha": [None, 0.4], "kl_weight": [1, None, 0]}},
        2,
    ),
}


@pytest.mark.parametrize("case", sorted(ONE_RESULT))
def test_points_of_one_result_are_one_cell(one: MakeGrid, case: str) -> None:
    method, changes, count = ONE_RESULT[case]
    made = one(methods=[method], **changes)
    assert len(cells(made, method)) == len(prints(made)) / 2 == count  # two languages
    assert prints(one(methods=[method])) <= prints(made) or "train_only" in changes["axes"]
    turned = {name: values[::-1] for name, values in changes["axes"].items()}
    assert prints(one(methods=[method], **{**changes, "axes": turned})) == prints(made)


def test_gold_at_test_is_not_gold_in_training(one: MakeGrid) -> None:
    made = one(methods=["flare"], translation=TWO[0], axes={"test_source": ["translation", "gold"]})
    assert len(cells(made, "flare")) == 2


# ---- rules and errors


def test_a_null_in_a_rule_is_what_it_is_in_the_axis(one: MakeGrid) -> None:
    rates = one(axes={"learning_rate": [None, 5e-4]}, exclude=[{"learning_rate": None}])
    assert [dict(cell.axes)["learning_rate"] for cell in cells(rates, "lora")] == [5e-4]
    steps = one(axes={"validate_every": [None, 10]}, exclude=[{"validate_every": [None]}])
    assert counts(steps) == dict.fromkeys(METHODS, 1), "what has no such axis is not left out"
    for value in (None, 0):
        mixed = one(methods=["x_mixup"], axes={"block": [None, 0, 1]}, exclude=[{"block": [value]}])
        assert [cell.options for cell in cells(mixed, "x_mixup")] == [(("block", 1),)]


def test_rules_name_axes_and_options(one: MakeGrid) -> None:
    axes = {"learning_rate": [1e-4, 5e-4], "source_offset": [1, 0]}
    rest = one(axes=axes, exclude=[{"learning_rate": 5e-4, "source_offset": 0}, {"source_offset": [1]}])
    assert [cell.variant for cell in cells(rest, "flare")] == [
        "flare (add_relu, r=8, learning_rate=0.0001, source_offset=0)"
    ]
    assert len(cells(rest, "lora")) == 2
    kept = one(axes=axes, include=[{"learning_rate": 5e-4}])
    assert counts(kept) == {"zero_shot": 0, "translate_test": 0, "lora": 1, "input_fusion": 1, "flare": 2}


def problems(load: Callable[[], Any]) -> dict[str, str]:
    with pytest.raises(InputError) as caught:
        load()
    return {problem.where: f"{problem.found}; {problem.wanted}" for problem in caught.value.problems}


def test_what_is_wrong_with_axes_is_told_at_once(load: Load) -> None:
    found = problems(
        lambda: load(
            axes={
                "learning_rat": [1],
                "learning_rate": [1e-4, -1],
                "epochs": [],
                "source_offset": [0, 2],
                "warmup": [0.1, 0.1],
                "translation": ["gold", "nllb"],
                "dropout": [None],
            },
        )
    )
    assert set(found) == {
        "axes.learning_rat",
        "axes.learning_rate[1]",
        "axes.epochs",
        "axes.source_offset[1]",
        "axes.warmup",
        "axes.translation[1]",
        "axes.dropout[0]",
    }
    assert "'learning_rate' (the nearest)" in found["axes.learning_rat"]
    assert "nllb-200-distilled-600m" in found["axes.translation[1]"]


def test_axes_of_no_method_and_translators_that_are_the_same_are_problems(load: Load) -> None:
    found = problems(
        lambda: load(
            methods=["zero_shot", "lora"],
            axes={"block": [0, 1], "translation": ["nllb-200-3.3b", "facebook/nllb-200-3.3B"]},
        )
    )
    assert set(found) == {"axes.block", "axes.translation[1]"}
    assert "the same model as axes.translation[0]" in found["axes.translation[1]"]


def test_a_hyperparameter_is_a_field_or_an_axis(load: Load) -> None:
    found = problems(lambda: load(training={"learning_rate": 1e-3}, axes={"learning_rate": [None, 5e-4]}))
    assert set(found) == {"training.learning_rate"}


def test_rank_and_fusion_stand_beside_axes(load: Load) -> None:
    assert "rank beside `axes`" in problems(lambda: load(axes={"rank": [4]}))["axes"]


def test_a_rule_on_an_axis_or_value_that_the_sweep_lacks_is_a_problem(load: Load) -> None:
    found = problems(
        lambda: load(
            axes={"epochs": [1, 2]},
            exclude=[{"epochs": 3}, {"learning_rate": 1e-4}, {"source_offset": 1}, {"epoch": 1}],
        )
    )
    assert set(found) == {"exclude[0].epochs", "exclude[1].learning_rate", "exclude[3].epoch"}


def test_text_that_stands_for_a_number_is_the_number(one: MakeGrid) -> None:
    assert prints(one(axes={"epochs": ["3"]})) == prints(one(training={"epochs": 3}))
