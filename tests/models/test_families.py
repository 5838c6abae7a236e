"""What a family says of its models is true of a tiny one: modules, blocks, heads."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoConfig

from flare_ray import registry
from flare_ray.methods.base import Posed, lora_config
from flare_ray.models.base import Family, origin, quantized
from flare_ray.plan.checkpoints import known_models

TINY = {
    "xlm_roberta": "sandbox-xlm-r",
    "mt5": "sandbox-mt5",
    "llama": "sandbox-llama",
    "gemma2": "sandbox-gemma2",
}
KINDS = {"classification": "nusax", "question_answering": "tydiqa"}
SIZES = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32}
DECODER = {**SIZES, "num_key_value_heads": 1, "head_dim": 8, "vocab_size": 64}
MADE = {
    "bert": {**SIZES, "model_type": "bert", "vocab_size": 64},
    "gemma3": {**DECODER, "model_type": "gemma3_text"},
}


@pytest.fixture(params=registry.names("models"))
def family(request: pytest.FixtureRequest) -> Family:
    return registry.load("models", request.param)


@pytest.fixture(params=sorted(KINDS))
def model(
    request: pytest.FixtureRequest, family: Family, small_sandbox: Path, tmp_path: Path
) -> tuple[Posed, Any]:
    """A tiny model of the family as it is loaded for a kind of task."""
    task = registry.load("tasks", KINDS[request.param])
    form = family.form(task.kind)
    if family.name in TINY:
        folder = small_sandbox / "models" / TINY[family.name]
    else:
        folder = tmp_path
        settings = dict(MADE[family.name])
        AutoConfig.for_model(settings.pop("model_type"), **settings).save_pretrained(folder)
        import transformers

        made = AutoConfig.from_pretrained(folder)
        kind = "AutoModelForMaskedLM" if family.architecture == "encoder" else "AutoModelForCausalLM"
        getattr(transformers, kind).from_config(made).save_pretrained(folder)
    loaded = family.load(str(folder), form, len(task.labels), torch.float32)
    return Posed(family, form, task), loaded


def found(model: Any, suffix: str) -> list[str]:
    return [name for name, _ in model.named_modules() if name == suffix or name.endswith("." + suffix)]


def test_every_module_that_is_named_is_there_and_adapts(family: Family, model: tuple[Posed, Any]) -> None:
    posed, loaded = model
    for suffix in (*family.lora_modules, *family.fusion_modules):
        names = found(loaded, suffix)
        assert names, suffix
        assert all(isinstance(loaded.get_submodule(name), torch.nn.Linear) for name in names)
    for suffix in family.heads[posed.form.name]:
        assert found(loaded, suffix), suffix


def test_fused_modules_stand_in_numbered_blocks_as_many_as_the_model_has(
    family: Family, model: tuple[Posed, Any]
) -> None:
    _, loaded = model
    blocks = {
        match[0]
        for suffix in family.fusion_modules
        for name in found(loaded, suffix)
        if (match := re.match(r".*?\.\d+\.", name))
    }
    every = [name for suffix in family.fusion_modules for name in found(loaded, suffix)]
    assert all(re.search(r"\.\d+\.", name) for name in every)
    depth = loaded.config.num_hidden_layers
    if family.architecture == "encoder_decoder":
        depth += loaded.config.num_decoder_layers
    assert len(blocks) == depth
    assert len(every) == depth * len(family.fusion_modules)
    assert not any("EncDecAttention" in name for name in every)


def test_what_fuses_is_adapted(family: Family) -> None:
    for suffix in family.fusion_modules:
        assert suffix.rsplit(".", 1)[-1] in family.lora_modules


def test_everything_is_frozen_but_adapters_and_the_whole_head(
    family: Family, model: tuple[Posed, Any]
) -> None:
    from peft import get_peft_model

    posed, loaded = model
    assert not any(parameter.requires_grad for parameter in loaded.parameters())
    new = {
        name
        for name, _ in loaded.named_parameters()
        if name.split(".")[0] not in (loaded.base_model_prefix, "model")
    }
    adapted = get_peft_model(loaded, lora_config({"rank": 2, "alpha": 4, "dropout": 0.0}, posed))
    heads = family.heads[posed.form.name]
    trained = {name for name, parameter in adapted.named_parameters() if parameter.requires_grad}
    assert trained
    for name in trained:
        assert "lora_" in name or any(f".{head}.modules_to_save." in name for head in heads), name
    for head in heads:
        assert any(f".{head}.modules_to_save." in name for name in trained)
        assert not any(f".{head}." in name and "lora_" in name for name in trained)
    if posed.form.name != "generation" and family.architecture == "encoder":
        assert {name.split(".")[0] for name in new} <= set(heads), "a new layer that nothing trains"


def test_a_head_has_an_output_per_label(model: tuple[Posed, Any]) -> None:
    posed, loaded = model
    if posed.form.name == "classification":
        assert loaded.config.num_labels == len(posed.task.labels)
    elif posed.form.name == "span":
        assert loaded.qa_outputs.out_features == 2


def test_forms_and_heads_agree(family: Family) -> None:
    assert set(family.forms) == set(KINDS)
    assert set(family.forms.values()) == set(family.heads)
    assert (family.architecture == "decoder") == (set(family.forms.values()) == {"generation"})
    assert all(family.form(kind).name == name for kind, name in family.forms.items())


@pytest.mark.parametrize("kind", ["nf4", "int8"])
def test_heads_and_output_embeddings_are_not_quantised(family: Family, kind: str) -> None:
    for heads in family.heads.values():
        config = quantized(kind, torch.bfloat16, heads)
        assert set(config.llm_int8_skip_modules) == {*heads, "lm_head"}
        assert config.load_in_4bit == (kind == "nf4")
        assert config.load_in_8bit == (kind == "int8")


def test_a_name_belongs_to_one_family() -> None:
    every = [
        name for family in registry.names("models") for name in registry.load("models", family).checkpoints
    ]
    assert len(every) == len(set(every))
    assert set(every) <= set(known_models())


def test_a_revision_is_told_from_the_name(tmp_path: Path) -> None:
    assert origin("org/name@abc") == {"pretrained_model_name_or_path": "org/name", "revision": "abc"}
    assert origin("org/name")["revision"] is None
    assert origin(str(tmp_path)) == {"pretrained_model_name_or_path": str(tmp_path)}


def test_a_tokenizer_without_padding_pads_with_its_end(small_sandbox: Path, tmp_path: Path) -> None:
    llama = registry.load("models", "llama")
    tokenizer = llama.tokenizer(str(small_sandbox / "models" / "sandbox-llama"))
    assert tokenizer.pad_token != tokenizer.eos_token
    tokenizer.pad_token = None
    tokenizer.save_pretrained(tmp_path)
    assert llama.tokenizer(str(tmp_path)).pad_token_id == tokenizer.eos_token_id
