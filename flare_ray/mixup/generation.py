"""Generating beside a source: its prompt's states are computed once, λ with the target's prompt, and then both stay.

So a step with the KV cache mixes what a full recomputation would, and the answer never moves λ.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from flare_ray.fusion.align import compact
from flare_ray.fusion.call import real_tokens
from flare_ray.fusion.placement import backbone_of
from flare_ray.mixup.mixing import SourceStates, mixed, recorded
from flare_ray.mixup.texts import Text, read_text

if TYPE_CHECKING:
    from flare_ray.mixup.model import MixupModel

_REFUSED = ("assistant_model", "prefill_chunk_size", "inputs_embeds", "past_key_values", "position_ids")


def generate(
    model: MixupModel,
    input_ids: Tensor,
    attention_mask: Tensor | None,
    source: Mapping[str, Any] | None,
    settings: dict[str, Any],
) -> Any:
    """Generate answers to prompts.

    Args:
        model: of form "generation".
        input_ids, attention_mask: prompts, long [b, n]; padding on either side.
        source: the source's prompts, input_ids and attention_mask [b, m]; with an answer behind them only under a
            prompt_mask.
        settings: of the base's `generate`.

    Returns:
        what the base's `generate` returns: sequences are the prompts as given, followed by what was generated.

    Raises:
        ValueError: for a model that does not generate, a call without source, and settings that would have the
            prompt read in pieces.
    """
    if model.mixup_config.form != "generation":
        raise ValueError(f"form={model.mixup_config.form!r} does not generate: call the model")
    if source is None:
        raise ValueError(
            "X-Mixup wants source={'input_ids': …, 'attention_mask': …}: mixup is on at test too"
        )
    if refused := [name for name in _REFUSED if settings.get(name) is not None]:
        raise ValueError(f"generate with X-Mixup does not take {', '.join(refused)}")
    shape = (input_ids.shape[0], input_ids.shape[1])
    if attention_mask is None:
        attention_mask = _without_padding(model, input_ids)
    mask = real_tokens(attention_mask, shape, input_ids.device, "attention_mask")
    order = torch.argsort(mask.to(torch.uint8), dim=1, stable=True)  # generation continues from the right end
    ids, prompt = compact(input_ids, order), compact(mask, order)
    text = read_text(model.base, "generation", source, "source")
    mixture = model.mixture(source_states(model, text), text, prompt)
    wrapped: Any = model.model
    with torch.no_grad(), mixed(mixture):
        generated = wrapped.generate(input_ids=ids, attention_mask=prompt.long(), **settings)
    return _beside_given(generated, input_ids)


@torch.no_grad()
def source_states(model: MixupModel, text: Text) -> SourceStates:
    """What the mixing block's attention reads of a source text, without logits."""
    inputs: dict[str, Any] = {name: value for name, value in text.inputs.items() if name != "labels"}
    with recorded(model.place.attention) as found:
        backbone_of(model.base)(**inputs, use_cache=False)
    return found[0]


def _without_padding(model: MixupModel, ids: Tensor) -> Tensor | None:
    """What `generate` itself takes for padding when it is given no mask."""
    config = model.base.generation_config
    ends = config.eos_token_id if isinstance(config.eos_token_id, list) else [config.eos_token_id]
    if config.pad_token_id is None or config.pad_token_id in ends:
        return None
    return ids != config.pad_token_id


def _beside_given(generated: Any, ids: Tensor) -> Any:
    """Put the prompts as they were given in front of what was generated."""
    sequences = generated if isinstance(generated, Tensor) else generated.sequences
    prompts = ids.repeat_interleave(sequences.shape[0] // ids.shape[0], 0)
    sequences = torch.cat([prompts, sequences[:, ids.shape[1] :]], 1)
    if isinstance(generated, Tensor):
        return sequences
    generated.sequences = sequences
    return generated
