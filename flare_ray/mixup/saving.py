"""What a trained X-Mixup is on disk: PEFT's adapter, `mixup.json` (settings), `mixup.safetensors` (w and b)."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from peft.utils import CONFIG_NAME
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from flare_ray.loading import load_adapter
from flare_ray.mixup.config import MixupConfig

if TYPE_CHECKING:
    from flare_ray.mixup.model import MixupModel

SETTINGS, WEIGHTS = "mixup.json", "mixup.safetensors"
_MODEL, _GATE = "model.", "mixup."


def save(model: MixupModel, folder: Path, state: Mapping[str, Tensor] | None = None) -> None:
    """Write a model's adapter, settings, w and b.

    A model without adapters is written whole, by its own `save_pretrained`.

    Args:
        model: to be written.
        folder: made where there is none.
        state: tensors by the names of `model.named_parameters()`, such as a copy gathered from DeepSpeed, to write
            instead of the model's own; it holds at least all that is trained.

    Raises:
        ValueError: for a state without w and b.
    """
    folder.mkdir(parents=True, exist_ok=True)
    wrapped: Any = model.model
    gate: Mapping[str, Tensor] = model.mixup.state_dict()
    inner = None
    if state is not None:
        if missing := [_GATE + name for name in gate if _GATE + name not in state]:
            raise ValueError(f"state_dict lacks {', '.join(missing)}")
        gate = {name: state[_GATE + name] for name in gate}
        inner = {name.removeprefix(_MODEL): value for name, value in state.items() if name.startswith(_MODEL)}
    wrapped.save_pretrained(folder, state_dict=inner)
    save_file(
        {name: value.detach().float().cpu().contiguous() for name, value in gate.items()}, folder / WEIGHTS
    )
    (folder / SETTINGS).write_text(
        json.dumps(model.mixup_config.to_dict(), indent=2) + "\n", encoding="utf-8"
    )


def load(kind: type[MixupModel], base: nn.Module, folder: Path, is_trainable: bool) -> MixupModel:
    """Read what `save` wrote.

    Args:
        kind: `MixupModel`.
        base: the Hugging Face model the adapter belongs to; of a model that was written whole, that model, loaded.
        folder: where it is.
        is_trainable: whether adapter, w and b are to be trained further.
    """
    config = MixupConfig(**json.loads((folder / SETTINGS).read_text(encoding="utf-8")))
    if (folder / CONFIG_NAME).exists():
        base = load_adapter(base, folder, is_trainable=is_trainable)
    model = kind(base, config)
    model.mixup.load_state_dict(load_file(folder / WEIGHTS))
    model.mixup.requires_grad_(is_trainable)
    return model
