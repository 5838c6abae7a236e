"""X-Mixup (Yang et al., ICLR 2022): one block mixes the target's states with attention over the English text.

The same model, adapters included, reads both texts; it learns the task on both, and to represent both alike. Mixup is
on at test too. See flare_ray/mixup for the method and what its text leaves open.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import Field

from flare_ray.methods.base import Batch, Method, Options, Posed, lora_config
from flare_ray.plan.strict import INTEGRAL, REAL
from flare_ray.tasks.base import Task

if TYPE_CHECKING:
    from peft import PeftConfig


class XMixupOptions(Options):
    """None stands for the value that Yang et al. use for the kind of task."""

    block: Annotated[int, Field(ge=0, le=10_000), INTEGRAL] | None = None
    """The block that mixes: the first for classification, that at 15/24 of the depth for QA."""
    loss_alpha: Annotated[float, Field(ge=0, le=1), REAL] | None = None
    """Weight of the English task loss; the target's is 1 minus it. 0.4, for QA 0.2."""
    mse_weight: Annotated[float, Field(ge=0, le=1e6), REAL] = 1.0
    """Of the distance between the two representations."""
    kl_weight: Annotated[float, Field(ge=0, le=1e6), REAL] | None = None
    """Of the divergence between the two predictions: 1, none for QA."""
    sampling_k: Annotated[float, Field(gt=0, le=1e9), REAL] | None = None
    """k of the scheduled sampling between gold and back-translated English: 1000, for QA 2000."""
    test_source: Literal["translation", "gold"] = "translation"
    """`gold`: the corpus's own English at test (Table 4)."""


class XMixup(Method):
    """LoRA, the task head and the gate of one mixing block."""

    name = "x_mixup"
    setting = "translate-train"
    axes = ("rank",)
    reads = "both"
    trains_on_source = True
    Options = XMixupOptions

    def source_at_test(self, options: Mapping[str, Any]) -> Literal["translation", "gold", "none"]:
        """As the option says."""
        return options["test_source"]

    def usual(self, task: Task, layers: int | None) -> Mapping[str, Any]:
        """Yang et al.'s values for the kind of task; the block for QA where the depth is known."""
        from flare_ray.mixup import MixupConfig

        config = MixupConfig("generation", _kind(task)).resolved()
        block = {"block": config.block_of(layers or 1)} if layers or config.task == "classification" else {}
        weights = {"kl_weight": config.kl_weight, "sampling_k": config.sampling_k}
        return {"loss_alpha": config.alpha, **weights, **block}

    def adapter(self, settings: Mapping[str, Any], posed: Posed) -> PeftConfig:
        """LoRA on the family's projections."""
        return lora_config(settings, posed)

    def build(self, model: Any, settings: Mapping[str, Any], posed: Posed) -> Any:
        """A model with LoRA, inside of a mixup model."""
        from flare_ray.mixup import MixupConfig, MixupModel

        config = MixupConfig(
            form=posed.form.name,  # type: ignore[arg-type]
            task=_kind(posed.task),
            block=settings["block"],
            alpha=settings["loss_alpha"],
            mse_weight=settings["mse_weight"],
            kl_weight=settings["kl_weight"],
            sampling_k=settings["sampling_k"],
        )
        return MixupModel(super().build(model, settings, posed), config)

    def inputs(self, batch: Batch, settings: Mapping[str, Any]) -> dict[str, Any]:
        """Both texts; in training with both labels."""
        found = batch.target | {"source": batch.source}
        return found | ({"step": batch.step} if batch.training else {})


def _kind(task: Task) -> Literal["classification", "qa"]:
    return "qa" if task.kind == "question_answering" else "classification"


METHOD = XMixup()
