"""What a method is: its axes and options, the text it reads, what it trains, how a batch enters the model."""

from __future__ import annotations

from abc import ABC
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from flare_ray.models.base import Family
from flare_ray.plan.strict import Strict
from flare_ray.tasks.base import Task

if TYPE_CHECKING:
    from peft import PeftConfig

    from flare_ray.forms.base import Form

Reads = Literal["target", "source", "both"]


class Options(Strict):
    """Settings of a method's own, given in the sweep beside its name; unknown keys are errors."""


@dataclass(frozen=True)
class Batch:
    """Some rows, ready for a model; tensors on its device.

    target: input_ids, attention_mask [b, n], in training the labels too. source: the English rows in the same way,
    without their answers unless the method trains on them. states: the source's hidden states instead of its text,
    `source_states` and `source_attention_mask`. step: the optimiser step, from 1, in training only.
    """

    target: dict[str, Any]
    source: dict[str, Any] | None = None
    states: dict[str, Any] | None = None
    step: int | None = None

    @property
    def training(self) -> bool:
        """Whether a loss is wanted."""
        return self.step is not None


@dataclass(frozen=True)
class Posed:
    """A task posed to a family: what a method needs to know to place its adapters."""

    family: Family
    form: Form
    task: Task


class Method(ABC):
    """One row of Table 1."""

    name: ClassVar[str]
    setting: ClassVar[str]
    """The paper's group of rows: zero-shot, translate-test or translate-train."""
    axes: ClassVar[tuple[str, ...]] = ()
    """Axes of the sweep that change this method's result: of "rank", "fusion"."""
    Options: ClassVar[type[Options]] = Options
    trains: ClassVar[bool] = True
    """Whether anything is trained on the target language."""
    reads: ClassVar[Reads] = "target"
    """The text that goes in, in training and at test: the target's, its English parallel, or both."""
    joins: ClassVar[bool] = False
    """Whether both texts are one input."""
    trains_on_source: ClassVar[bool] = False
    """Whether the English rows come with their labels in training."""
    VERSION: ClassVar[str] = "1"
    """Bumped by hand when a change of code changes results; enters the fingerprint of this method's runs."""

    @property
    def reads_source(self) -> bool:
        """Whether English text goes in."""
        return self.reads != "target"

    def translator(self, options: Mapping[str, Any]) -> str | None:
        """The checkpoint whose encoder's states are the source (option `mt_model`); None where none is read.

        It is known by its content, as models are. Such a method's settings get its width as `source_width`.
        """
        return None

    def speaks(self, language: str) -> bool:
        """Whether a target language is known to what the method reads it with."""
        return True

    def source_at_test(self, options: Mapping[str, Any]) -> Literal["translation", "gold", "none"]:
        """Where the English of the test rows comes from: the sweep's `translation`, the corpus, or nowhere."""
        return "translation"

    def usual(self, task: Task, layers: int | None) -> Mapping[str, Any]:
        """What options that are None stand for on a task and a model of so many layers, as far as that is known."""
        return {}

    def unread(self, settings: Mapping[str, Any]) -> Collection[str]:
        """Options that change nothing beside the others. settings: all options and axes."""
        return ()

    def adapter(self, settings: Mapping[str, Any], posed: Posed) -> PeftConfig | None:
        """The PEFT config trained on the base model; None when nothing is trained.

        settings: rank, alpha, dropout, the options and, where the axis applies, fusion.
        """
        return None

    def build(self, model: Any, settings: Mapping[str, Any], posed: Posed) -> Any:
        """The model that is trained and tested, around a base model of the run's own."""
        from peft import get_peft_model

        config = self.adapter(settings, posed)
        return model if config is None else get_peft_model(model, config)

    def encode_source(self, model: Any) -> Any:
        """The function from English tokens to states that stand for them in every epoch; None where there is none."""
        return None

    def inputs(self, batch: Batch, settings: Mapping[str, Any]) -> dict[str, Any]:
        """The model's arguments for a batch; in training its output has the loss."""
        return batch.target


def lora_settings(settings: Mapping[str, Any], posed: Posed) -> dict[str, Any]:
    """The part of a LoraConfig that every trained method shares: sizes, places, and the trained task head."""
    return {
        "r": settings["rank"],
        "lora_alpha": settings["alpha"],
        "lora_dropout": settings["dropout"],
        "target_modules": list(posed.family.lora_modules),
        "modules_to_save": list(posed.family.heads[posed.form.name]) or None,
        "task_type": posed.form.task_type,
    }


def lora_config(settings: Mapping[str, Any], posed: Posed) -> PeftConfig:
    """LoRA on the family's projections, and the task head."""
    from peft import LoraConfig

    return LoraConfig(**lora_settings(settings, posed))
