"""An adapter's card: the lines it gives load the very model that was trained."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import get_peft_model_state_dict
from safetensors.torch import load_file

from flare_ray.training.model_card import write_card
from flare_ray.training.stages import train_run
from flare_ray.training.workbench import Workbench

FACTS = {
    "fingerprint": "run1",
    "label": "tiny/nusax/qal/method/seed 1",
    "checkpoint": "org/tiny",
    "family": "xlm_roberta",
    "task": "nusax",
    "language": "qal",
    "axes": {"rank": 4},
    "seed": 1,
    "base": "base1",
}


@pytest.mark.parametrize("method", ["lora", "flare", "x_mixup"])
def test_the_lines_of_a_card_load_the_adapter(
    method: str,
    base_of: Callable[[str, str], Path],
    open_bench: Callable[..., Workbench],
    settings_of: Callable[..., dict[str, Any]],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    settings = settings_of(method)
    record = train_run(open_bench("xlm_roberta", "nusax"), method, "qal", settings, 1, tmp_path)
    write_card(tmp_path, FACTS | {"method": method, "settings": settings} | record)
    text = (tmp_path / "adapter" / "README.md").read_text()
    assert "[More Information Needed]" not in text
    assert str(tmp_path) not in text
    assert f"| macro_f1 | {record['metrics']['macro_f1']:.2f} |" in text

    (tmp_path / "STORE" / "bases").mkdir(parents=True)
    (tmp_path / "STORE" / "bases" / "base1").symlink_to(base_of("xlm_roberta", "nusax"))
    monkeypatch.chdir(tmp_path)
    found: dict[str, Any] = {}
    code = re.search(r"```python\n(.*?)```", text, re.DOTALL)
    assert code
    exec(code[1], found)
    adapted = found["model"].model if method == "x_mixup" else found["model"]
    loaded = get_peft_model_state_dict(adapted)
    saved = load_file(tmp_path / "adapter" / "adapter_model.safetensors")
    assert loaded.keys() == saved.keys()
    assert all(torch.equal(loaded[name], value) for name, value in saved.items())
    assert len(found["tokenizer"]("some words")["input_ids"]) > 2


def test_a_run_without_an_adapter_has_no_card(tmp_path: Path) -> None:
    write_card(tmp_path, {})
    assert list(tmp_path.iterdir()) == []
