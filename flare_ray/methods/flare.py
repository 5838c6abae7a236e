"""FLARE (paper, section 3): English hidden states fused into the LoRA bottleneck of the target language."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING, Annotated, Any, Literal, Self

from pydantic import model_validator
from pydantic_core import PydanticCustomError

from flare_ray.methods.base import Batch, Method, Options, Posed, lora_settings
from flare_ray.plan.strict import NO_FLAG

if TYPE_CHECKING:
    from flare_ray.fusion import FlareConfig


class FlareOptions(Options):
    """What the paper varies, and where its released code differs from its text (method.md)."""

    source_offset: Annotated[Literal[0, 1], NO_FLAG] = 1
    """Block i fuses the source's output of block i (1, the paper) or its input (0, the released code)."""
    cross_attention_bias: bool = False
    """Biases in cross_attention's matrices: the released code has them, the paper not."""
    train_only: bool = False
    """Appendix E: the source in half of the training instances, none at test."""
    test_source: Literal["translation", "gold"] = "translation"
    """`gold`: the corpus's own English at test (Table 4)."""

    @model_validator(mode="after")
    def _reads_something_at_test(self) -> Self:
        if self.train_only and self.test_source == "gold":
            raise PydanticCustomError(
                "unread", "{wanted}", {"wanted": "test_source left out: train_only reads no source at test"}
            )
        return self


class Flare(Method):
    """A fusion adapter and the task head, trained on the target text with its English parallel as the source."""

    name = "flare"
    setting = "translate-train"
    axes = ("rank", "fusion")
    reads = "both"
    Options = FlareOptions

    def source_at_test(self, options: Mapping[str, Any]) -> Literal["translation", "gold", "none"]:
        """None when trained for that, else as the option says."""
        return "none" if options["train_only"] else options["test_source"]

    def unread(self, settings: Mapping[str, Any]) -> Collection[str]:
        """Only cross-attention has biases."""
        return () if settings["fusion"] == "cross_attention" else ("cross_attention_bias",)

    def adapter(self, settings: Mapping[str, Any], posed: Posed) -> FlareConfig:
        """Fusion on the family's fusion projections, plain LoRA on its others."""
        from flare_ray.fusion import FlareConfig

        return FlareConfig(
            **lora_settings(settings, posed),
            fusion=settings["fusion"],
            fusion_modules=list(posed.family.fusion_modules),
            source_offset=settings["source_offset"],
            cross_attention_bias=settings["cross_attention_bias"],
            source_dropout=0.5 if settings["train_only"] else 0.0,
        )

    def encode_source(self, model: Any) -> Any:
        """The frozen base's hidden states of the fused blocks."""
        return model.base_model.encode_source

    def inputs(self, batch: Batch, settings: Mapping[str, Any]) -> dict[str, Any]:
        """The target with its source as states or as text; without it at test when trained for that."""
        if batch.states is not None:
            return batch.target | batch.states
        if batch.source is None:
            return batch.target | {"without_source": True}
        return batch.target | {f"source_{name}": value for name, value in batch.source.items()}


METHOD = Flare()
