"""The README's lines about the method alone run as they are printed, and what is said of `Trainer` holds."""

import re
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import get_peft_model
from transformers import AutoModelForSequenceClassification, AutoTokenizer, Trainer, TrainingArguments

from flare_ray.fusion import FlareConfig

README = Path(__file__).parents[2] / "README.md"


def snippet() -> str:
    text = README.read_text(encoding="utf-8")
    (code,) = re.findall(r"```python\n(.*?)```", text[text.index("## The method alone") :], re.DOTALL)
    return str(code)


def test_the_lines_of_the_readme_run_as_printed(
    small_sandbox: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    code, hub = snippet(), '"FacebookAI/xlm-roberta-base"'
    assert hub in code
    monkeypatch.chdir(tmp_path)
    found: dict[str, Any] = {}
    exec(code.replace(hub, repr(str(small_sandbox / "models" / "sandbox-xlm-r"))), found)
    model = found["model"]
    assert model.peft_config["default"].peft_type == "FLARE"
    inputs = {**found["target"], **found["source"]}
    with torch.no_grad():
        fused = model.eval()(**inputs).logits
    assert fused.shape == (1, 3)
    with pytest.raises(ValueError, match="source_input_ids"):
        model(**found["target"])


@pytest.mark.parametrize("task_type", ["SEQ_CLS", None])
def test_the_task_type_has_the_head_trained(task_type: str | None, small_sandbox: Path) -> None:
    checkpoint = small_sandbox / "models" / "sandbox-xlm-r"
    base = AutoModelForSequenceClassification.from_pretrained(checkpoint, num_labels=3)
    model = get_peft_model(base, FlareConfig(task_type=task_type, r=4, target_modules=["query", "value"]))
    trained = {name for name, value in model.named_parameters() if value.requires_grad and "lora" not in name}
    assert bool(trained) == (task_type is not None)


@pytest.mark.parametrize("kept", [True, False])
def test_a_trainer_needs_all_columns(kept: bool, small_sandbox: Path, tmp_path: Path) -> None:
    checkpoint = small_sandbox / "models" / "sandbox-xlm-r"
    tokenizer = AutoTokenizer.from_pretrained(checkpoint)
    base = AutoModelForSequenceClassification.from_pretrained(checkpoint, num_labels=3)
    model = get_peft_model(base, FlareConfig(task_type="SEQ_CLS", r=4, target_modules=["query", "value"]))
    import datasets

    one = tokenizer("some words")
    row = {**one, **{f"source_{key}": value for key, value in one.items()}, "labels": 1}
    arguments = TrainingArguments(
        str(tmp_path), max_steps=1, report_to=[], use_cpu=True, remove_unused_columns=not kept
    )
    trainer = Trainer(model, arguments, train_dataset=datasets.Dataset.from_list([row] * 2))
    if kept:
        assert trainer.train().global_step == 1
    else:
        with pytest.raises(ValueError, match="source_input_ids"):
            trainer.train()
