"""Where fusion happens: which modules, which blocks, which function; and what is refused, with its reason."""

from __future__ import annotations

import copy
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import LoraConfig, PeftModel, get_peft_model, inject_adapter_in_model
from peft.mapping import PEFT_TYPE_TO_CONFIG_MAPPING
from peft.tuners.lora import LoraLayer

from flare_ray.fusion import FlareConfig, functions, fusion_names, names

from .conftest import ALL_LINEAR, FAMILY, batch, build, draw_adapters, flare, labels_for, real_logits


def fused(model: Any) -> dict[str, str]:
    """Fusion function by block and module name, as "3.query"."""
    sites = model.base_model.sites["default"]
    return {f"{site.layer}.{key.rpartition('.')[2]}": site.fusion for key, site in sites.items()}


def test_the_papers_placement() -> None:
    """All linear layers carry LoRA in Llama, and the query and value projections fuse."""
    model = flare("llama")
    adapted = [
        name for name, module in model.base_model.model.named_modules() if isinstance(module, LoraLayer)
    ]
    assert {name.rpartition(".")[2] for name in adapted} == set(ALL_LINEAR)
    assert fused(model) == {
        f"{layer}.{name}": "add_relu" for layer in range(3) for name in ("q_proj", "v_proj")
    }


def test_both_stacks_of_mt5_fuse_in_self_attention_alone() -> None:
    model = flare("mt5")
    sites = model.base_model.sites["default"]
    assert len(sites) == 2 * 3 * 2
    assert all("SelfAttention" in key for key in sites)
    cross = [
        key for key, module in model.named_modules() if isinstance(module, LoraLayer) and "EncDec" in key
    ]
    assert len(cross) == 3 * 2


@pytest.mark.parametrize(
    ("settings", "wanted"),
    [
        ({"fusion_modules": ["value"]}, {f"{i}.value": "add_relu" for i in range(3)}),
        (
            {"fusion_modules": {"query": "mul", "value": "add"}, "fusion_layers": [1]},
            {"1.query": "mul", "1.value": "add"},
        ),
        (
            {"fusion_modules": {"query": "mul", "value": "add"}, "fusion_layers": {"0-1": "cross_attention"}},
            {f"{i}.{name}": "cross_attention" for i in range(2) for name in ("query", "value")},
        ),
        ({"fusion_modules": ["key"], "fusion_layers": {"2": "mul_relu"}}, {"2.key": "mul_relu"}),
    ],
)
def test_fusion_by_module_and_layer(settings: dict[str, Any], wanted: dict[str, str], tmp_path: Path) -> None:
    model = flare("xlmr", target_modules=["query", "key", "value"], **settings)
    assert fused(model) == wanted
    logits = real_logits(model, batch())
    states = model.base_model.encode_source(
        *(batch()[f"source_{name}"] for name in ("input_ids", "attention_mask"))
    )
    assert states.shape[1] == len({key.partition(".")[0] for key in wanted})
    model.save_pretrained(tmp_path)
    assert torch.equal(real_logits(PeftModel.from_pretrained(build("xlmr"), tmp_path), batch()), logits)


def test_plain_lora_stays_off_in_the_source_pass() -> None:
    """LoRA layers without fusion must not speak in the source pass either."""
    model = flare("llama")
    inputs = batch("llama")
    source = (inputs["source_input_ids"], inputs["source_attention_mask"])
    drawn = model.base_model.encode_source(*source)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "lora_" in name:
                parameter.zero_()
    assert torch.equal(model.base_model.encode_source(*source), drawn)


@pytest.mark.parametrize(
    "scaling", [{"use_rslora": True}, {"rank_pattern": {"query": 2}, "alpha_pattern": {"query": 9}}]
)
def test_peft_features_beside_fusion(scaling: dict[str, Any]) -> None:
    """rsLoRA and patterns scale as PEFT says; lora_dropout drops in training, the head trains and is saved."""
    model = flare("xlmr", fusion="add", lora_dropout=0.5, modules_to_save=["classifier"], **scaling)
    lora = get_peft_model(
        build("xlmr"),
        LoraConfig(r=4, lora_alpha=8, target_modules=["query", "value"], task_type="SEQ_CLS", **scaling),
    ).eval()
    lora.load_state_dict(model.state_dict(), strict=False)
    inputs = {name: value for name, value in batch().items() if not name.startswith("source")}
    torch.testing.assert_close(
        real_logits(model, {**inputs, "without_source": True}), real_logits(lora, inputs)
    )
    torch.manual_seed(0)
    first = model.train()(**batch()).logits
    assert not torch.equal(first, model(**batch()).logits)
    assert any("modules_to_save" in name and value.requires_grad for name, value in model.named_parameters())


REFUSALS = {
    "use_dora": True,
    "bias": "all",
    "init_lora_weights": "pissa",
    "layer_replication": [(0, 2), (1, 3)],
    "target_parameters": ["weight"],
    "fusion": "ad_relu",
    "fusion_layers": {"3-1": "add"},
    "source": "english",
    "source_offset": 2,
    "source_dropout": 1.0,
    "after_prompt": "everything",
    "source_width": 7,
}


@pytest.mark.parametrize("name", list(REFUSALS))
def test_refused_settings_are_named(name: str) -> None:
    with pytest.raises(ValueError, match=name):
        FlareConfig(**{name: REFUSALS[name]})


def test_all_problems_at_once() -> None:
    with pytest.raises(ValueError, match="did you mean 'mul_relu'") as found:
        FlareConfig(fusion="mul_relo", use_dora=True, source="mt_encoder", source_offset=5)
    for part in ("use_dora", "source_width", "source_offset"):
        assert part in str(found.value)


def test_a_fusion_must_find_its_hidden_states() -> None:
    with pytest.raises(ValueError, match="down_proj reads 48 features"):
        flare("llama", fusion_modules=["down_proj"])
    with pytest.raises(ValueError, match="no numbered block"):
        flare("bert", target_modules=["query", "pooler.dense"], fusion_modules=["query", "pooler.dense"])
    with pytest.raises(ValueError, match="fusion_layers"):
        flare("xlmr", fusion_layers=[7])
    with pytest.raises(ValueError, match=r"names blocks \[3\], but the model's last is 2"):
        flare("xlmr", fusion_layers={"1-3": "add"})
    with pytest.raises(ValueError, match="name the modules"):
        flare("gpt2", fusion_modules=None)


def test_merging_and_combining_are_refused_with_the_reason() -> None:
    model = flare("xlmr")
    for merge in (model.merge_adapter, model.merge_and_unload):
        with pytest.raises(ValueError, match="cannot be merged: their output depends on the source"):
            merge()
    layer = model.base_model.model.get_submodule(next(iter(model.base_model.sites["default"])))
    for safe in (True, False):
        with pytest.raises(ValueError, match="cannot be merged"):
            layer.merge(safe_merge=safe)
    with pytest.raises(ValueError, match="combined by weights"):
        model.add_weighted_adapter(["default"], [1.0], "sum")
    assert not model.supports_lora_conversion()


def test_a_call_without_its_source_says_so() -> None:
    model = flare("xlmr")
    inputs = batch()
    target = {name: value for name, value in inputs.items() if not name.startswith("source")}
    with pytest.raises(ValueError, match="without_source=True"):
        model(**target)
    with pytest.raises(ValueError, match="got both"):
        model(**inputs, source_states=torch.zeros(3, 3, 8, 32))
    with pytest.raises(ValueError, match="leave one out"):
        model(**inputs, without_source=True)
    with pytest.raises(ValueError, match="every target wants its own"):
        model(**{name: value[:2] if name.startswith("source") else value for name, value in inputs.items()})
    with pytest.raises(ValueError, match="3 fused blocks"):
        model(**target, source_states=torch.zeros(3, 2, 8, 32))
    with pytest.raises(RuntimeError, match="Call the whole model"):
        model.base_model.model.roberta(**target)
    with pytest.raises(ValueError, match="adapter_names"):
        model(**inputs, adapter_names=["default"] * 3)
    assert torch.isfinite(model(**inputs).logits).all()  # a refused call leaves nothing behind
    generating = flare("llama")
    with pytest.raises(ValueError, match="without_source=True"):
        generating.generate(input_ids=inputs["input_ids"], max_new_tokens=2)
    assert (
        generating.generate(input_ids=inputs["input_ids"], max_new_tokens=2, without_source=True).shape[0]
        == 3
    )


def test_an_adapter_switched_off_is_the_base() -> None:
    for family in ("xlmr", "llama"):
        model, inputs = flare(family), batch(family)
        target = {name: value for name, value in inputs.items() if not name.startswith("source")}
        wanted = real_logits(build(family), target)
        with model.disable_adapter():
            if family == "llama":
                assert torch.equal(real_logits(model, inputs), wanted)
        base = model.unload()
        if family == "llama":
            assert torch.equal(real_logits(base, target), wanted)
        assert not base._forward_pre_hooks
        assert "generate" not in vars(base)
        again = flare(family, base)
        assert torch.isfinite(real_logits(again, inputs)).all()


def test_a_refused_adapter_leaves_no_way_in_behind() -> None:
    base = build("xlmr")
    with pytest.raises(ValueError, match="no module of target_modules"):
        flare("xlmr", base, target_modules=["key"])
    assert not base._forward_pre_hooks
    assert not base._forward_hooks
    assert "generate" not in vars(base)
    model = flare("xlmr")
    with pytest.raises(ValueError, match="no module of target_modules"):
        model.add_adapter("second", FlareConfig(r=2, target_modules=["key"], task_type="SEQ_CLS"))
    assert torch.isfinite(real_logits(model, batch())).all()


def test_a_copy_is_a_model_of_its_own() -> None:
    model = flare("llama")
    inputs = batch("llama")
    wanted = real_logits(model, inputs)
    copied = draw_adapters(copy.deepcopy(model), seed=5)
    assert (real_logits(copied, inputs) - wanted).abs().max() > 1e-3
    assert torch.equal(real_logits(model, inputs), wanted)
    assert copied.base_model.flow is not model.base_model.flow


def test_a_base_that_carries_adapters_is_refused() -> None:
    model = flare("xlmr")
    with pytest.warns(UserWarning, match="second time"), pytest.raises(ValueError, match="unload"):
        get_peft_model(model.base_model.model, FlareConfig(r=2, target_modules=["query"]))
    with pytest.raises(ValueError, match="shared state"):
        inject_adapter_in_model(FlareConfig(r=2, target_modules=["query"]), build("xlmr"))


def test_active_adapters_must_agree_on_their_source() -> None:
    model = flare("llama")
    settings = {"r": 4, "target_modules": ["q_proj"], "task_type": "CAUSAL_LM"}
    model.add_adapter("same", FlareConfig(**settings, fusion="mul"))
    model.add_adapter("other", FlareConfig(**settings, source_offset=0))
    model.base_model.set_adapter(["default", "same"])
    assert torch.isfinite(model(**batch()).logits).all()
    model.base_model.set_adapter(["default", "other"])
    with pytest.raises(ValueError, match="differ in source_offset"):
        model(**batch())


def test_a_new_fusion_function_is_one_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A class in a file of functions/ is found by its name, computes and trains."""
    (tmp_path / "gated.py").write_text(
        "import torch\n"
        "from flare_ray.fusion.functions.base import Elementwise\n"
        "class Gated(Elementwise):\n"
        "    absent = 0.0\n"
        "    def __init__(self, rank, *, bias=False):\n"
        "        super().__init__(rank)\n"
        "        self.gate = torch.nn.Parameter(torch.ones(rank))\n"
        "    def combine(self, source, target):\n"
        "        return target + self.gate * source\n"
        "FUSION = Gated\n"
    )
    monkeypatch.setattr(functions, "__path__", [*functions.__path__, str(tmp_path)])
    monkeypatch.setattr(names, "fusion_names", lambda: ("gated",))
    model = flare("xlmr", fusion="gated")
    model(**batch()).logits.sum().backward()
    grads = [p.grad for n, p in model.named_parameters() if n.endswith("lora_fusion.default.gate")]
    assert len(grads) == 6
    assert all(grad is not None and grad.abs().sum() > 0 for grad in grads)


def test_functions_are_the_files_of_their_folder() -> None:
    home = Path(functions.__file__).parent
    assert set(fusion_names()) == {path.stem for path in home.glob("[!_]*.py")} - {"base"}


def test_names_come_without_torch() -> None:
    script = (
        "import sys, flare_ray.fusion.names as n, flare_ray.fusion as f; "
        "assert f.fusion_names() == n.fusion_names() and len(n.fusion_names()) >= 5; "
        "assert not {'torch', 'peft', 'transformers'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", script], check=True)


def test_loading_without_the_package_fails_loudly(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    flare("xlmr").save_pretrained(tmp_path)
    monkeypatch.delitem(PEFT_TYPE_TO_CONFIG_MAPPING, "FLARE")
    with pytest.raises(KeyError, match="FLARE"):
        PeftModel.from_pretrained(build("xlmr"), tmp_path)


@pytest.mark.parametrize("family", ["distilbert", "bart", "phi"])
def test_any_model_with_numbered_blocks(family: str) -> None:
    """Families nobody named: their blocks are found on the modules' paths."""
    from transformers import (
        BartConfig,
        BartForConditionalGeneration,
        DistilBertConfig,
        DistilBertForSequenceClassification,
        PhiConfig,
        PhiForCausalLM,
    )

    torch.manual_seed(0)
    small = {"vocab_size": 60, "pad_token_id": 1}
    wide = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 48}
    narrow = {f"{side}_{name}": value for side in ("encoder", "decoder") for name, value in
              (("layers", 2), ("attention_heads", 4), ("ffn_dim", 48))}  # fmt: skip
    base, targets = {
        "distilbert": lambda: (
            DistilBertForSequenceClassification(
                DistilBertConfig(dim=32, n_layers=2, n_heads=4, hidden_dim=48, num_labels=3, **small)
            ),
            ["q_lin", "v_lin"],
        ),
        "bart": lambda: (
            BartForConditionalGeneration(BartConfig(d_model=32, **narrow, **small)),
            ["q_proj", "v_proj"],
        ),
        "phi": lambda: (PhiForCausalLM(PhiConfig(**wide, **small)), ["q_proj", "v_proj"]),
    }[family]()
    model = get_peft_model(base, FlareConfig(r=4, target_modules=targets, fusion="cross_attention"))
    assert len(model.base_model.sites["default"]) == (8 if family == "bart" else 4)
    inputs = batch("mt5" if family == "bart" else "xlmr")
    labels = labels_for({"bart": "mt5", "phi": "llama"}.get(family, "xlmr"), inputs)
    loss = model(**inputs | labels).loss
    loss.backward()
    assert all(
        p.grad is not None and p.grad.isfinite().all() for n, p in model.named_parameters() if "lora_B" in n
    )
    assert FAMILY  # the named families run through every other test
