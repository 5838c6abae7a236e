"""Laws of counted parameters: those of real checkpoints and of the adapters on them."""

from pathlib import Path

import pytest

from flare_ray import registry
from flare_ray.plan.shapes import SHAPES, shape_of

SANDBOX = {"xlm_roberta": "sandbox-xlm-r", "mt5": "sandbox-mt5", "llama": "sandbox-llama"}


@pytest.mark.parametrize(
    ("checkpoint", "billions"),
    [
        ("FacebookAI/xlm-roberta-large", 0.560),
        ("google/mt5-xl", 3.23),  # without the vocabulary matrix of its language head, which no task here has
        ("meta-llama/Llama-3.1-8B", 8.03),
        ("google/gemma-2-9b", 9.24),
        ("facebook/nllb-200-3.3B", 3.34),
        ("facebook/nllb-200-1.3B", 1.37),
        ("facebook/nllb-200-distilled-600M", 0.615),
    ],
)
def test_known_shapes_have_the_parameters_that_their_makers_say(checkpoint: str, billions: float) -> None:
    assert SHAPES[checkpoint].parameters / 1e9 == pytest.approx(billions, rel=0.01)
    assert shape_of(f"{checkpoint}@main") == SHAPES[checkpoint]


@pytest.mark.parametrize("family", SANDBOX)
def test_an_adapter_has_as_many_parameters_as_peft_makes(family: str, small_sandbox: Path) -> None:
    from peft import LoraConfig, get_peft_model
    from transformers import AutoConfig, AutoModel

    place, modules = small_sandbox / "models" / SANDBOX[family], registry.load("models", family).lora_modules
    config = AutoConfig.from_pretrained(place)
    adapted = get_peft_model(AutoModel.from_config(config), LoraConfig(r=5, target_modules=list(modules)))
    shape = shape_of(str(place))
    assert shape is not None
    assert shape.adapter(modules, 5) == adapted.get_nb_trainable_parameters()[0]
    assert shape.adapter(("elsewhere",), 5) is None


def test_a_checkpoint_without_sizes_has_no_shape(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"model_type": "xlm-roberta"}')
    assert shape_of(str(tmp_path)) is None
    assert shape_of("org/never-heard-of") is None
