"""The model card of a run's adapter: what it is, what it scored, and the lines that load and call it.

It takes the place of PEFT's own, a form to be filled in that also names the folder of the base model on the machine
that trained it. For the Hub's sake it begins with metadata. Neither the card nor the adapter's configuration names a
folder of that machine.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from flare_ray.plan.checkpoints import is_local
from flare_ray.training.card_example import ADAPTER_CONFIG, lines_of

_ADAPTER = "adapter"


def write_card(out: Path, record: Mapping[str, Any]) -> None:
    """Writes the card beside a run's adapter, if there is one. record: the run's facts and results."""
    folder = out / _ADAPTER
    if folder.is_dir():
        _name_base(folder / ADAPTER_CONFIG, record["base"])
        (folder / "README.md").write_text(card(record, folder), encoding="utf-8")


def card(record: Mapping[str, Any], folder: Path) -> str:
    """The card. folder: where the adapter is, whose files tell how it is loaded."""
    metrics = "\n".join(f"| {name} | {value:.2f} |" for name, value in record["metrics"].items())
    axes = ", ".join(f"{name}={value}" for name, value in record["axes"].items()) or "none"
    settings = json.dumps(_portable(record["settings"]), indent=1, ensure_ascii=False)
    labels = f"\n| labels, by class number | {', '.join(record['labels'])} |" if record.get("labels") else ""
    example = lines_of(record, folder)
    translator = " `TRANSLATOR` is the translation model's folder;" if "TRANSLATOR" in example else ""
    return f"""---
library_name: peft
language: {record["language"]}
tags: [flare_ray, {record["method"]}, {record["task"]}]
---

# {record["label"]}

An adapter trained by `{record["method"]}` ({axes}) for {record["task"]} in {record["language"]}, on a frozen base
model: `{_portable(record["checkpoint"])}`, fine-tuned on the task's English data and merged.

| what | which |
|---|---|
| run | `{record["fingerprint"]}` |
| base model | `{record["base"]}`, in the store at `bases/{record["base"]}/` |
| seed | {record["seed"]} |
| chosen step | {record["chosen_step"]} |
| rows (train, validation, test) | {", ".join(str(n) for n in record["rows"].values())} |{labels}

| on the test split | |
|---|---:|
{metrics}

## How to use it

`STORE` is the storage folder of the sweep, or a folder with `bases/{record["base"]}/` copied out of it;{translator}
`adapter` is the folder of this file.

```python
{example}
```

## Settings

```json
{settings}
```
"""


def _name_base(file: Path, base: str) -> None:
    """Replace the base model's folder in an adapter's configuration by its fingerprint.

    A path such as `bases/<fingerprint>` would be the name of somebody's repository on the hub.
    """
    if file.exists():
        config = json.loads(file.read_text(encoding="utf-8"))
        config["base_model_name_or_path"] = base
        file.write_text(json.dumps(config, indent=2, sort_keys=True), encoding="utf-8")


def _portable(value: Any) -> Any:
    """Return a value of a record with local folders cut to their names."""
    if isinstance(value, Mapping):
        return {name: _portable(inner) for name, inner in value.items()}
    return Path(value).name if isinstance(value, str) and is_local(value) else value
