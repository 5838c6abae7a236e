"""The model card of a run's adapter: what it is, what it scored, and the lines that load it.

It takes the place of PEFT's own, a form to be filled in that also names the folder of the base model on the machine
that trained it. For the Hub's sake it begins with metadata.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from flare_ray import registry

_ADAPTER = "adapter"


def write_card(out: Path, record: Mapping[str, Any]) -> None:
    """Writes the card beside a run's adapter, if there is one. record: the run's facts and results."""
    folder = out / _ADAPTER
    if folder.is_dir():
        (folder / "README.md").write_text(card(record, folder), encoding="utf-8")


def card(record: Mapping[str, Any], folder: Path) -> str:
    """The card. folder: where the adapter is, whose files tell how it is loaded."""
    metrics = "\n".join(f"| {name} | {value:.2f} |" for name, value in record["metrics"].items())
    axes = ", ".join(f"{name}={value}" for name, value in record["axes"].items()) or "none"
    settings = json.dumps(record["settings"], indent=1, ensure_ascii=False)
    return f"""---
library_name: peft
language: {record["language"]}
tags: [flare_ray, {record["method"]}, {record["task"]}]
---

# {record["label"]}

An adapter trained by `{record["method"]}` ({axes}) for {record["task"]} in {record["language"]}, on a frozen base
model: `{record["checkpoint"]}`, fine-tuned on the task's English data and merged.

| what | which |
|---|---|
| run | `{record["fingerprint"]}` |
| base model | `{record["base"]}`, in the store at `bases/{record["base"]}/` |
| seed | {record["seed"]} |
| chosen step | {record["chosen_step"]} |
| rows (train, validation, test) | {", ".join(str(n) for n in record["rows"].values())} |

| on the test split | |
|---|---:|
{metrics}

## How to load it

`STORE` is the storage folder of the sweep, or a copy of the base model's folder out of it.

```python
{_loading(record, folder)}
```

## Settings

```json
{settings}
```
"""


def _loading(record: Mapping[str, Any], folder: Path) -> str:
    family = registry.load("models", record["family"])
    auto = family.form(registry.load("tasks", record["task"]).kind).auto_class
    base = f"STORE/bases/{record['base']}"
    lines = [f"from transformers import AutoTokenizer, {auto}"]
    if (folder / "mixup.json").exists():
        lines += ["from flare_ray.mixup import MixupModel"]
        load = 'model = MixupModel.from_pretrained(base, "adapter")'
    else:
        config = json.loads((folder / "adapter_config.json").read_text(encoding="utf-8"))
        lines += ["from peft import PeftModel"]
        if config["peft_type"] == "FLARE":
            lines += ["from flare_ray.fusion import FlareConfig  # makes FLARE known to PEFT"]
        load = 'model = PeftModel.from_pretrained(base, "adapter")'
    lines += [
        "",
        f'base = {auto}.from_pretrained("{base}")',
        f'tokenizer = AutoTokenizer.from_pretrained("{base}")',
        load,
    ]
    return "\n".join(lines)
