"""What a method may be told, where its English comes from, and where its adapters go."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from pydantic import ValidationError

from flare_ray import registry
from flare_ray.methods.base import Batch, Posed
from flare_ray.mixup import MixupConfig

ALL = registry.names("methods")
READS_SOURCE = {"translate_test", "input_fusion", "flare", "x_mixup"}
FAMILIES = registry.names("models")
TASKS = ["nusax", "tydiqa"]

REFUSED = [
    ("flare", {"source_offset": 2}),
    ("flare", {"source_offset": -1}),
    ("flare", {"test_source": "none"}),
    ("flare_mt", {"projection": "conv"}),
    ("flare_mt", {"test_source": "gold"}),
    ("flare_mt", {"mt_model": "nllb-200-destilled-600m"}),
    ("flare_mt", {"mt_model": "./nowhere"}),
    ("input_fusion", {"test_source": "files"}),
    ("translate_test", {"test_source": "silver"}),
    ("x_mixup", {"block": -1}),
    ("x_mixup", {"loss_alpha": 1.5}),
    ("x_mixup", {"mse_weight": -0.1}),
    ("x_mixup", {"kl_weight": float("nan")}),
    ("x_mixup", {"sampling_k": 0}),
    ("lora", {"rank": 4}),
    ("zero_shot", {"test_source": "gold"}),
]


def test_the_seven_rows_are_there() -> None:
    assert ALL == ["flare", "flare_mt", "input_fusion", "lora", "translate_test", "x_mixup", "zero_shot"]
    for name in ALL:
        assert registry.load("methods", name).name == name


@pytest.mark.parametrize(("name", "options"), REFUSED)
def test_what_an_option_cannot_be_is_refused(name: str, options: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        registry.load("methods", name).Options(**options)


@pytest.mark.parametrize("name", ALL)
def test_defaults_are_the_papers_and_unknown_keys_are_errors(name: str) -> None:
    Options = registry.load("methods", name).Options
    with pytest.raises(ValidationError):
        Options(nonsense=1)
    found = Options().model_dump()
    wanted = {
        "source_offset": 1,
        "cross_attention_bias": False,
        "train_only": False,
        "test_source": "translation",
        "mt_model": "nllb-200-distilled-600m",
        "projection": "linear",
        "mse_weight": 1.0,
    }
    assert all(found[key] == wanted.get(key) for key in found)


@pytest.mark.parametrize("name", ALL)
def test_where_the_english_of_the_test_rows_comes_from(name: str) -> None:
    method = registry.load("methods", name)
    assert method.reads_source == (name in READS_SOURCE)
    options = method.Options().model_dump()
    if name in READS_SOURCE:
        assert method.source_at_test(options) == "translation"
        assert method.source_at_test({**options, "test_source": "gold"}) == "gold"
    assert method.trains == (name not in ("zero_shot", "translate_test"))
    assert ("rank" in method.axes) == method.trains
    assert ("fusion" in method.axes) == name.startswith("flare")


def test_train_only_has_no_source_at_test_and_half_of_it_in_training(
    posed: Callable[..., Posed], settings_of: Callable[..., dict[str, Any]]
) -> None:
    method = registry.load("methods", "flare")
    settings = settings_of("flare", train_only=True)
    assert method.source_at_test(settings) == "none"
    assert method.adapter(settings, posed("xlm_roberta", "nusax")).source_dropout == 0.5
    assert method.adapter(settings_of("flare"), posed("xlm_roberta", "nusax")).source_dropout == 0


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize("name", [name for name in ALL if registry.load("methods", name).trains])
def test_adapters_go_where_the_family_says_and_the_head_is_saved(
    posed: Callable[..., Posed], settings_of: Callable[..., dict[str, Any]], family: str, task: str, name: str
) -> None:
    place = posed(family, task)
    settings = {**settings_of(name), "source_width": 24}
    config = registry.load("methods", name).adapter(settings, place)
    assert (config.r, config.lora_alpha, config.lora_dropout) == (8, 16, 0.0)
    assert set(config.target_modules) == set(place.family.lora_modules)
    assert config.modules_to_save == (list(place.family.heads[place.form.name]) or None)
    assert config.task_type == place.form.task_type
    if name.startswith("flare"):
        assert set(config.fusion_modules) == set(place.family.fusion_modules)
        assert config.fusion == "add_relu"
    if name == "flare_mt":
        assert (config.source, config.source_width, config.projection) == ("mt_encoder", 24, "linear")


@pytest.mark.parametrize("name", ["zero_shot", "translate_test"])
def test_what_is_not_trained_has_no_adapter(posed: Callable[..., Posed], name: str) -> None:
    method, model = registry.load("methods", name), object()
    assert method.adapter({}, posed("xlm_roberta", "nusax")) is None
    assert method.build(model, {}, posed("xlm_roberta", "nusax")) is model


def batch(training: bool, **more: Any) -> Batch:
    target = {"input_ids": 1, "attention_mask": 2, **({"labels": 3} if training else {})}
    return Batch(target, step=7 if training else None, **more)


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("name", ["lora", "input_fusion", "zero_shot", "translate_test"])
def test_a_model_of_one_text_gets_the_target_alone(name: str, training: bool) -> None:
    one = batch(training)
    assert registry.load("methods", name).inputs(one, {}) == one.target


@pytest.mark.parametrize("training", [True, False])
def test_flare_gets_states_or_text_or_is_told_that_there_is_none(training: bool) -> None:
    inputs = registry.load("methods", "flare").inputs
    states = {"source_states": 4, "source_attention_mask": 5}
    text = {"input_ids": 6, "attention_mask": 7}
    one = batch(training, states=states)
    assert inputs(one, {}) == one.target | states
    one = batch(training, source=text)
    assert inputs(one, {}) == one.target | {"source_input_ids": 6, "source_attention_mask": 7}
    one = batch(training)
    assert inputs(one, {}) == one.target | {"without_source": True}


def test_flare_mt_gets_states() -> None:
    states = {"source_states": 4, "source_attention_mask": 5}
    one = batch(True, states=states)
    assert registry.load("methods", "flare_mt").inputs(one, {}) == one.target | states


def test_x_mixup_gets_both_texts_and_in_training_the_step() -> None:
    inputs = registry.load("methods", "x_mixup").inputs
    text = {"input_ids": 6, "attention_mask": 7}
    one = batch(True, source=text)
    assert inputs(one, {}) == one.target | {"source": text, "step": 7}
    one = batch(False, source=text)
    assert inputs(one, {}) == one.target | {"source": text}


def test_flare_mt_names_its_translator(settings_of: Callable[..., dict[str, Any]]) -> None:
    method = registry.load("methods", "flare_mt")
    assert method.translator(method.Options().model_dump()) == "facebook/nllb-200-distilled-600M"
    assert method.translator(settings_of("flare_mt", mt_model="my/own")) == "my/own"
    for name in ALL:
        if name != "flare_mt":
            assert registry.load("methods", name).translator({}) is None


@pytest.mark.parametrize("task", ["nusax", "xnli", "tydiqa"])
@pytest.mark.parametrize("layers", [12, 24, None])
def test_x_mixups_usual_values_are_those_that_it_mixes_with(task: str, layers: int | None) -> None:
    found = dict(registry.load("methods", "x_mixup").usual(registry.load("tasks", task), layers))
    kind = "qa" if task == "tydiqa" else "classification"
    config = MixupConfig("generation", kind).resolved()
    assert {found["loss_alpha"], found["kl_weight"]} == {config.alpha, config.kl_weight}
    assert found["sampling_k"] == config.sampling_k
    if layers:
        assert found["block"] == config.block_of(layers)
    else:
        assert found.get("block") == (None if kind == "qa" else 0)
