"""`FlareConfig`: where adapters go, where and how they fuse, and where the source's states come from."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from peft import LoraConfig

from flare_ray.fusion.names import unknown_fusion

PEFT_TYPE = "FLARE"

# What PEFT offers beside plain LoRA and FLARE does not, with the reason a user is told.
_BASE_MUST_STAY = "it changes the base's weights, and FLARE's source states are those of the unchanged base"
_OWN_FORWARD = "it replaces LoRA's forward pass, as fusion does; only one of the two can"
REFUSED: dict[str, str] = {
    "use_dora": _OWN_FORWARD,
    "alora_invocation_tokens": _OWN_FORWARD,
    "velora_config": _OWN_FORWARD,
    "monteclora_config": _OWN_FORWARD,
    "kasa_config": _OWN_FORWARD,
    "use_bdlora": _OWN_FORWARD,
    "arrow_config": _OWN_FORWARD,
    "use_qalora": _OWN_FORWARD,
    "layer_replication": _BASE_MUST_STAY,
    "megatron_config": "Megatron's parallel layers are not supported",
    "target_parameters": "fusion needs a module that sees whole sentences: name modules in target_modules",
}
PLAIN_INITS = (True, False, "gaussian", "orthogonal")


@dataclass
class FlareConfig(LoraConfig):
    """Configuration of FLARE adapters; every field of `LoraConfig` but the refused ones keeps its meaning.

    Raises:
        ValueError: lists everything wrong with the fields at once.
    """

    fusion: str = field(
        default="add_relu", metadata={"help": "Fusion function φ, a file of fusion/functions."}
    )
    fusion_modules: list[str] | dict[str, str] | None = field(
        default=None,
        metadata={
            "help": "Targeted modules that fuse, by the end of their names; the others are plain LoRA. "
            "A dict gives each its own fusion function. None is the paper's placement: query and value."
        },
    )
    fusion_layers: list[int] | dict[str, str] | None = field(
        default=None,
        metadata={
            "help": "Numbers of the blocks that fuse; None is all. A dict of ranges ('0-5', '11') gives each "
            "range its own fusion function, which goes before that of the module."
        },
    )
    cross_attention_bias: bool = field(
        default=False,
        metadata={"help": "Biases in cross_attention's matrices: the authors' code has them, the paper not."},
    )
    source: str = field(
        default="base",
        metadata={
            "help": "'base': states of the frozen base on the source text. 'mt_encoder' (FLARE MT): states of "
            "a translation model's encoder, given as source_states, through a trained projection."
        },
    )
    source_offset: int = field(
        default=1,
        metadata={
            "help": "Block i fuses 1: its own output on the source (paper), 0: its input (authors' code)."
        },
    )
    source_dropout: float = field(
        default=0.0,
        metadata={"help": "Probability that an instance goes without its source in training (Appendix E)."},
    )
    source_width: int | None = field(
        default=None, metadata={"help": "FLARE MT: d_M, the width of the translation model's states."}
    )
    projection: str = field(default="linear", metadata={"help": "FLARE MT: 'linear' (paper) or 'mlp'."})
    after_prompt: str = field(
        default="none",
        metadata={
            "help": "What generated tokens fuse with. 'none': nothing. 'source_generation': the tokens the "
            "frozen base generates from the source, step by step (authors' code)."
        },
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        self.peft_type = PEFT_TYPE
        if problems := [*self._own_problems(), *self._refusals()]:
            raise ValueError("FlareConfig: " + "; ".join(problems))

    def _own_problems(self) -> Iterator[str]:
        for name in self.named_fusions():
            if problem := unknown_fusion(name):
                yield problem
        yield from self._layer_problems()
        choices: dict[str, tuple[Any, ...]] = {
            "source": ("base", "mt_encoder"),
            "source_offset": (0, 1),
            "projection": ("linear", "mlp"),
            "after_prompt": ("none", "source_generation"),
        }
        for name, wanted in choices.items():
            if getattr(self, name) not in wanted:
                yield f"{name} is {getattr(self, name)!r}; wanted one of {', '.join(map(repr, wanted))}"
        if not 0 <= self.source_dropout < 1:
            yield f"source_dropout is {self.source_dropout!r}; wanted a probability in [0, 1)"
        if self.source == "mt_encoder":
            if not self.source_width:
                yield "source='mt_encoder' needs source_width, the width of the translation model's states"
            if self.after_prompt != "none":
                yield "after_prompt='source_generation' needs source='base': a translation encoder generates nothing"
        elif self.source_width is not None:
            yield "source_width belongs to source='mt_encoder'; the base's own width needs no naming"

    def _layer_problems(self) -> Iterator[str]:
        try:
            self.layer_fusions()
        except ValueError as error:
            yield str(error)

    def _refusals(self) -> Iterator[str]:
        for name, reason in REFUSED.items():
            if getattr(self, name, None):
                yield f"{name} is not supported: {reason}"
        if self.bias != "none":
            yield f"bias={self.bias!r} is not supported: it trains the base, whose source states must not move"
        if self.init_lora_weights not in PLAIN_INITS:
            wanted = ", ".join(map(repr, PLAIN_INITS))
            yield f"init_lora_weights={self.init_lora_weights!r} is not supported: {_BASE_MUST_STAY}; take {wanted}"

    def named_fusions(self) -> set[str]:
        """Every fusion function the fields name."""
        names = {self.fusion}
        for by_place in (self.fusion_modules, self.fusion_layers):
            if isinstance(by_place, dict):
                names.update(by_place.values())
        return names

    def layer_fusions(self) -> dict[int, str | None] | None:
        """Fusion function of each named block, None where it is the module's; None when all blocks fuse.

        Raises ValueError for a range that cannot be read, or two ranges that name the same block.
        """
        if self.fusion_layers is None:
            return None
        if not isinstance(self.fusion_layers, dict):
            if wrong := [layer for layer in self.fusion_layers if not isinstance(layer, int) or layer < 0]:
                raise ValueError(f"fusion_layers has {wrong}; wanted block numbers from 0")
            return dict.fromkeys(self.fusion_layers)
        layers: dict[int, str | None] = {}
        for text, fusion in self.fusion_layers.items():
            first, _, last = str(text).partition("-")
            if not first.isdigit() or not (last or first).isdigit() or int(last or first) < int(first):
                raise ValueError(f"fusion_layers has {text!r}; wanted a block number or a range like '0-5'")
            for layer in range(int(first), int(last or first) + 1):
                if layer in layers:
                    raise ValueError(f"fusion_layers names block {layer} twice")
                layers[layer] = fusion
        return layers
