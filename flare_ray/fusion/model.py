"""`FlareModel`: PEFT's LoRA tuner whose layers fuse, with the source's way into the model.

PEFT finds it under the type "FLARE". The source's arguments are taken off a call by a hook on the base model, as
PEFT calls the base from several places; the same hook sets the context fused layers read, and its counterpart
takes it away.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from peft.mapping import PEFT_TYPE_TO_CONFIG_MAPPING, PEFT_TYPE_TO_PREFIX_MAPPING, PEFT_TYPE_TO_TUNER_MAPPING
from peft.tuners.lora.model import LoraModel
from torch import Tensor, nn

from flare_ray.fusion.call import SourceCall, decoder_text, named_inputs, reads_its_own_text, real_tokens
from flare_ray.fusion.checkpointing import bind_checkpointing
from flare_ray.fusion.config import PEFT_TYPE, FlareConfig
from flare_ray.fusion.context import Context, Flow
from flare_ray.fusion.generation import Generation, begin_generation
from flare_ray.fusion.names import load_fusion
from flare_ray.fusion.placement import Site, Stack, site_of, stack_at, width_of
from flare_ray.fusion.projection import SourceProjection
from flare_ray.fusion.quantised import keep_differentiable
from flare_ray.fusion.sources import encode, sources_of
from flare_ray.fusion.targets import alignments_of
from flare_ray.fusion.variant import MERGE_REFUSAL, FlareVariant, attach

__all__ = ["FlareConfig", "FlareModel"]

_SHARED_SETTINGS = ("source", "source_offset", "source_dropout", "source_width", "after_prompt")


class FlareModel(LoraModel):
    """LoRA layers with a fusion function between A and B, and the source states they fuse (paper, section 3).

    Made by `peft.get_peft_model(base, FlareConfig(…))`, as its `base_model`. Calls of the model and of `generate`
    take the arguments of `SourceCall` beside the base's own.
    """

    uses_shared_state = True  # the source's way in: injecting layers alone would leave them without it

    # ---- making adapters -------------------------------------------------------------------------------------

    def _pre_injection_hook(self, model: nn.Module, config: Any, adapter_name: str) -> None:
        if hasattr(model, "peft_config") or any(hasattr(module, "lora_A") for module in model.modules()):
            raise ValueError(
                "this base already carries adapters. unload() them first, or add this one beside them with "
                "PeftModel.add_adapter"
            )
        self.flow = Flow()
        self.generation: Generation | None = None
        self.sites: dict[str, dict[str, Site]] = {}
        self.stacks: dict[str, Stack] = {}
        self.adapters_enabled = True
        self.lora_source_projection = nn.ModuleDict()
        self._forward_names = list(inspect.signature(model.forward).parameters)
        self._hooks = [
            model.register_forward_pre_hook(self._before_forward, with_kwargs=True),
            model.register_forward_hook(self._after_forward, always_call=True),
        ]
        model.generate = self.generate  # type: ignore[assignment]

    def inject_adapter(self, model: nn.Module, adapter_name: str, *args: Any, **kwargs: Any) -> None:
        """Put in an adapter's layers. Raises ValueError when not one of them would fuse."""
        config: Any = self.peft_config[adapter_name]
        self.sites[adapter_name] = {}
        try:
            if not config.inference_mode:
                keep_differentiable(model)
            super().inject_adapter(model, adapter_name, *args, **kwargs)
            self._check_sites(config, self.sites[adapter_name])
            if config.source == "mt_encoder":
                self._add_projection(config, adapter_name)
        except Exception:
            del self.sites[adapter_name]
            if not self.sites:
                self._release(model)
            raise

    def _check_sites(self, config: FlareConfig, sites: dict[str, Site]) -> None:
        if not sites:
            raise ValueError(
                f"no module of target_modules={config.target_modules} fuses with "
                f"fusion_modules={config.fusion_modules} and fusion_layers={config.fusion_layers}: name the modules "
                "that read hidden states in fusion_modules, or use LoraConfig"
            )
        deepest = max(len(self.stacks[site.stack].blocks) for site in sites.values())
        if beyond := [layer for layer in config.layer_fusions() or () if layer >= deepest]:
            raise ValueError(f"fusion_layers names blocks {beyond}, but the model's last is {deepest - 1}")

    def _add_projection(self, config: FlareConfig, adapter_name: str) -> None:
        width = width_of(self.model)
        if width is None or config.source_width is None:
            raise ValueError(
                "source='mt_encoder': the model's configuration names no hidden_size to project to"
            )
        projection = SourceProjection(config.source_width, width, config.projection)
        reference = next(value for name, value in self.model.named_parameters() if ".lora_A." in name)
        self.lora_source_projection[adapter_name] = projection.to(reference.device, reference.dtype)
        projection.requires_grad_(adapter_name in self.active_adapters and not config.inference_mode)

    def _release(self, model: nn.Module) -> None:
        """Take the source's way in off the base."""
        for hook in self._hooks:
            hook.remove()
        model.__dict__.pop("generate", None)

    def _create_and_replace(  # type: ignore[override]
        self,
        lora_config: Any,
        adapter_name: str,
        target: nn.Module,
        target_name: str,
        parent: nn.Module,
        current_key: str,
        **kwargs: Any,
    ) -> None:
        site = site_of(self.model, lora_config, current_key)
        super()._create_and_replace(
            lora_config, adapter_name, target, target_name, parent, current_key=current_key, **kwargs
        )
        if site is None:
            return
        self.sites[adapter_name][current_key] = site
        if site.stack not in self.stacks:
            self.stacks[site.stack] = stack_at(self.model, site.stack)
        layer = self.model.get_submodule(current_key)
        fusion = load_fusion(site.fusion)(layer.r[adapter_name], bias=lora_config.cross_attention_bias)
        attach(layer, adapter_name, fusion, FlareVariant(self.flow, current_key, site))

    # ---- what is active --------------------------------------------------------------------------------------

    @property
    def active_config(self) -> FlareConfig:
        """Configuration of the active adapter. Raises ValueError for active adapters that want different sources."""
        configs: list[Any] = [self.peft_config[name] for name in self.active_adapters]
        for name in _SHARED_SETTINGS:
            if len({getattr(config, name) for config in configs}) > 1:
                raise ValueError(
                    f"the active adapters {self.active_adapters} differ in {name}: activate one of them"
                )
        return configs[0]

    @property
    def layers(self) -> dict[str, list[int]]:
        """Numbers of the blocks in which an active adapter fuses, by path of their stack."""
        found: dict[str, set[int]] = {}
        for name in self.active_adapters:
            for site in self.sites[name].values():
                found.setdefault(site.stack, set()).add(site.layer)
        return {path: sorted(found[path]) for path in self.stacks if path in found}

    @property
    def fused_stacks(self) -> list[Stack]:
        """Stacks in which an active adapter fuses: the encoder before the decoder."""
        return sorted((self.stacks[path] for path in self.layers), key=lambda stack: stack.decoder)

    @property
    def projection(self) -> nn.Module:
        """FLARE MT's projection of the active adapter."""
        return self.lora_source_projection[self.active_adapters[0]]

    @property
    def states_dtype(self) -> torch.dtype:
        """The model's dtype."""
        return self.model.dtype

    # ---- calls -----------------------------------------------------------------------------------------------

    def encode_source(
        self, source_input_ids: Tensor, source_attention_mask: Tensor | None = None, **more: Any
    ) -> Tensor | tuple[Tensor, ...]:
        """Source states, to be kept and given as `source_states` instead of the text.

        They come from the frozen base alone, in evaluation mode and without gradients, so that they serve every
        adapter with the same fused blocks and `source_offset`. What a text's states are does not depend on its
        padding or on the rest of the batch (beyond rounding).

        Args:
            source_input_ids: long [b, m].
            source_attention_mask: [b, m]; all real when not given.
            more: source_token_type_ids, source_decoder_input_ids, … of `SourceCall`.

        Returns:
            [b, fused blocks, m, d] in the model's dtype, zero on padding; in an encoder-decoder one for the encoder
            and one for the decoder.

        Raises:
            ValueError: with source="mt_encoder", whose states come from another model.
        """
        if self.active_config.source == "mt_encoder":
            raise ValueError(
                "source='mt_encoder': its states come from the translation model's encoder, not from here"
            )
        call = SourceCall(source_input_ids, source_attention_mask, **more)
        return encode(self, call)

    def generate(self, *args: Any, **kwargs: Any) -> Any:
        """The base's `generate` with the arguments of `SourceCall`."""
        call, kwargs = SourceCall.split(kwargs)
        base_generate = type(self.model).generate
        if not self._fuses():
            return base_generate(self.model, *args, **kwargs)
        call.check(self.active_config)
        self.generation = begin_generation(self, call, args, kwargs)
        try:
            with self.flow.during(self.generation.context):
                return base_generate(self.model, *args, **kwargs)
        finally:
            self.generation = None

    def _fuses(self) -> bool:
        return self.adapters_enabled and any(self.sites.get(name) for name in self.active_adapters)

    def _before_forward(self, model: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        if self.flow.source_pass:
            return None
        call, kwargs = SourceCall.split(kwargs)
        if not self._fuses():
            return args, kwargs
        inputs = named_inputs(model, self._forward_names, args, kwargs)
        if self.generation is not None:
            self.flow.context = self.generation.step(inputs)
            return args, kwargs
        added = self._decoder_inputs(inputs)
        kwargs, inputs = {**kwargs, **added}, {**inputs, **added}
        call.check(self.active_config)
        self.flow.context = self._context(call, inputs)
        if model.training and torch.is_grad_enabled():
            bind_checkpointing(model, self.flow)
        return args, kwargs

    def _after_forward(self, model: nn.Module, args: Any, output: Any) -> None:
        if self.generation is None and not self.flow.source_pass:
            self.flow.context = None

    def _context(self, call: SourceCall, inputs: dict[str, Any]) -> Context:
        sources = sources_of(self, call)
        dropout = self.active_config.source_dropout
        if dropout and self.model.training and sources:
            mask = next(iter(sources.values())).mask
            dropped = torch.rand(mask.shape[0], device=mask.device) < dropout
            sources = {path: source.without(dropped) for path, source in sources.items()}
        return alignments_of(self, call, inputs, sources)

    def _decoder_inputs(self, inputs: dict[str, Any]) -> dict[str, Any]:
        """Decoder inputs of an encoder-decoder that reads its own text, where the caller leaves them out."""
        if not any(stack.decoder for stack in self.stacks.values()) or not reads_its_own_text(self.model):
            return {}
        ids = inputs.get("input_ids")
        if ids is None or any(
            inputs.get(f"decoder_{name}") is not None for name in ("input_ids", "inputs_embeds")
        ):
            return {}
        mask = real_tokens(inputs.get("attention_mask"), ids.shape, ids.device, "attention_mask")
        return {
            "decoder_input_ids": decoder_text(self.model, ids, mask),
            "decoder_attention_mask": mask.long(),
        }

    @contextmanager
    def in_source_pass(self) -> Iterator[None]:
        """While the base runs on the source: fused layers are off, and calls are not ours."""
        former, self.flow.source_pass = self.flow.source_pass, True
        try:
            yield
        finally:
            self.flow.source_pass = former

    @contextmanager
    def _enable_peft_forward_hooks(self, *args: Any, **kwargs: Any) -> Iterator[None]:
        if kwargs.get("adapter_names") is not None:
            raise ValueError(
                "adapter_names (a batch of several adapters) is not supported by FLARE: use set_adapter"
            )
        yield

    # ---- PEFT's other doors ----------------------------------------------------------------------------------

    def _enable_adapter_layers(self, enabled: bool = True) -> None:
        super()._enable_adapter_layers(enabled)
        self.adapters_enabled = enabled

    def set_adapter(self, adapter_name: str | list[str], inference_mode: bool = False) -> None:
        """Activate adapters; see `LoraModel.set_adapter`."""
        super().set_adapter(adapter_name, inference_mode=inference_mode)
        for name, projection in self.lora_source_projection.items():
            projection.requires_grad_(name in self.active_adapters and not inference_mode)

    def set_requires_grad(self, adapter_names: Any, requires_grad: bool = True) -> None:
        """Turn gradients of adapters on or off; see `LoraModel.set_requires_grad`."""
        super().set_requires_grad(adapter_names, requires_grad)
        names = [adapter_names] if isinstance(adapter_names, str) else adapter_names
        for name in names:
            if name in self.lora_source_projection:
                self.lora_source_projection[name].requires_grad_(requires_grad)

    def delete_adapter(self, adapter_name: str) -> None:
        """Delete an adapter; see `LoraModel.delete_adapter`."""
        super().delete_adapter(adapter_name)
        self.sites.pop(adapter_name, None)
        if adapter_name in self.lora_source_projection:
            del self.lora_source_projection[adapter_name]

    def _cast_adapter_dtype(self, adapter_name: str, autocast_adapter_dtype: bool = True) -> None:
        super()._cast_adapter_dtype(adapter_name, autocast_adapter_dtype)
        if autocast_adapter_dtype and adapter_name in self.lora_source_projection:
            self.lora_source_projection[adapter_name].float()

    def _check_merge_allowed(self) -> None:
        raise ValueError(MERGE_REFUSAL)

    def _unload_and_optionally_merge(self, *args: Any, **kwargs: Any) -> Any:
        model: Any = super()._unload_and_optionally_merge(*args, **kwargs)
        self._release(model)
        return model

    def add_weighted_adapter(self, *args: Any, **kwargs: Any) -> None:
        """Refused: a sum of adapters is not what fusing with either gives."""
        raise ValueError(
            "FLARE adapters cannot be combined by weights: between A and B stands a fusion function"
        )


# Plain entries: PEFT's `register_peft_method` takes only the types of its own enum.
_TABLES: tuple[tuple[Any, Any], ...] = (
    (PEFT_TYPE_TO_CONFIG_MAPPING, FlareConfig),
    (PEFT_TYPE_TO_TUNER_MAPPING, FlareModel),
    (PEFT_TYPE_TO_PREFIX_MAPPING, "lora_"),
)
for _table, _entry in _TABLES:
    _table[PEFT_TYPE] = _entry
