"""The source pass: hidden states of the frozen base, without adapters, on the source text.

They depend on the base and the text only, so they may be computed once and kept (`FlareModel.encode_source`).
Texts are moved to the left end of their rows first: what a text's states are then depends neither on the side of
its padding nor on how its model counts positions.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from peft.tuners.tuners_utils import BaseTunerLayer
from peft.utils import AuxiliaryTrainingWrapper
from torch import Tensor, nn

from flare_ray.fusion.placement import Stack, backbone_of, decoder_of, encoder_of

States = dict[str, dict[int, Tensor]]
"""Hidden states [b, m, d] by path of the stack and number of the block."""


@contextmanager
def frozen_base(model: nn.Module) -> Iterator[None]:
    """The base as it is without adapters, in evaluation mode and without gradients; then all as it was.

    Sets the flag that PEFT's layers read and no more: `disable_adapter_layers` would also reset which parameters
    train, and with them an adapter loaded for inference would come out trainable.
    """
    training = [module for module in model.modules() if module.training]
    wrappers = [
        module for module in model.modules() if isinstance(module, BaseTunerLayer | AuxiliaryTrainingWrapper)
    ]
    enabled = [module for module in wrappers if not module._disable_adapters]
    for module in training:
        module.training = False
    for module in enabled:
        module._disable_adapters = True
    try:
        with torch.no_grad():
            yield
    finally:
        for module in enabled:
            module._disable_adapters = False
        for module in training:
            module.training = True


@contextmanager
def recorded(stack: Stack, layers: Iterable[int], offset: int, into: dict[int, Tensor]) -> Iterator[None]:
    """Record the hidden states of blocks that run meanwhile.

    Args:
        stack: whose blocks.
        layers: numbers of the blocks.
        offset: 1 records a block's output (paper), before any final norm; 0 its input (authors' code).
        into: gets the states, [b, m, d] by block.
    """

    def output_of(layer: int) -> Callable[..., None]:
        def hook(block: nn.Module, args: tuple[Any, ...], output: Any) -> None:
            into[layer] = output if isinstance(output, Tensor) else output[0]

        return hook

    def input_of(layer: int) -> Callable[..., None]:
        def hook(block: nn.Module, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> None:
            into[layer] = args[0] if args else kwargs["hidden_states"]

        return hook

    with ExitStack() as hooks:
        for layer in layers:
            block = stack.blocks[layer]
            handle = (
                block.register_forward_hook(output_of(layer))
                if offset
                else block.register_forward_pre_hook(input_of(layer), with_kwargs=True)
            )
            hooks.callback(handle.remove)
        yield


def run_source(
    model: nn.Module,
    stacks: Sequence[Stack],
    layers: Mapping[str, Sequence[int]],
    offset: int,
    inputs: dict[str, Any],
) -> States:
    """Run the base's backbone on source texts and keep the states that fused blocks need.

    Args:
        model: the Hugging Face model, adapters in it.
        stacks: those that fuse.
        layers: numbers of the blocks that fuse, by path of their stack.
        offset: see `recorded`.
        inputs: input_ids [b, m] with the real tokens at the left end of each row, attention_mask, and what else
            the backbone takes; decoder_input_ids and decoder_attention_mask in an encoder-decoder.

    Returns:
        states of each stack and block, [b, m, d], in the model's dtype.
    """
    states: States = {stack.path: {} for stack in stacks}
    with frozen_base(model), ExitStack() as recording:
        for stack in stacks:
            recording.enter_context(recorded(stack, layers[stack.path], offset, states[stack.path]))
        if getattr(model.config, "is_encoder_decoder", False):
            _run_both(model, any(stack.decoder for stack in stacks), inputs)
        else:
            _call(backbone_of(model), inputs)
    return states


def _run_both(model: nn.Module, needs_decoder: bool, inputs: dict[str, Any]) -> None:
    """Encoder, then decoder where it fuses: never the head, which an encoder-decoder's backbone may hold."""
    encoder_inputs = {name: value for name, value in inputs.items() if not name.startswith("decoder_")}
    encoded = _call(encoder_of(model), encoder_inputs)[0]
    decoder = decoder_of(model)
    if needs_decoder and decoder is not None:
        decoder_inputs = {
            name.removeprefix("decoder_"): value
            for name, value in inputs.items()
            if name.startswith("decoder_")
        }
        decoder_inputs |= {
            "encoder_hidden_states": encoded,
            "encoder_attention_mask": inputs["attention_mask"],
        }
        _call(decoder, decoder_inputs)


def _call(module: nn.Module, inputs: Mapping[str, Any]) -> Any:
    takes_cache = "use_cache" in inspect.signature(module.forward).parameters
    return module(**inputs, **({"use_cache": False} if takes_cache else {}))
