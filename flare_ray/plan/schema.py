"""The sweep file: every field, what it means and its default. Frozen once validated.

name: demo
models: [sandbox-xlm-r]
tasks: [nusax]
methods: [zero_shot, lora, flare]
seeds: [1, 2, 3]
data: {nusax: sandbox}
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import (
    BeforeValidator,
    Field,
    field_validator,
)
from pydantic_core import PydanticCustomError

from flare_ray.plan.located import Data
from flare_ray.plan.rules import Axes, Override, Rule, overridden
from flare_ray.plan.sections import (
    BaseTraining,
    ModelSpec,
    Parallel,
    QuestionReading,
    Range,
    Resources,
    Search,
    Tracking,
    Training,
    Translation,
)
from flare_ray.plan.storage import absolute_storage
from flare_ray.plan.values import (
    Bounded,
    Count,
    FusionName,
    KnownModel,
    MethodEntry,
    NotEmpty,
    Positive,
    Rank,
    Section,
    Seed,
    Share,
    TaskName,
    Unique,
    named_model,
)

__all__ = [  # what a sweep file is made of
    "Axes",
    "BaseTraining",
    "ModelSpec",
    "Override",
    "QuestionReading",
    "Range",
    "Resources",
    "Rule",
    "Search",
    "Section",
    "Sweep",
    "Tracking",
    "Training",
    "Translation",
]


_Model = Annotated[ModelSpec, BeforeValidator(named_model, json_schema_input_type=KnownModel | ModelSpec)]


class Sweep(Section):
    """A whole study: the product of its axes, each run identified by what determines its result."""

    name: str = Field(max_length=200, pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*$")
    """Names the MLflow experiments (`<name>/<task>`) and the report."""
    models: Annotated[list[_Model], NotEmpty, Unique, Bounded]
    """Names of checkpoints the package knows, or {name, family, checkpoint} of your own."""
    tasks: Annotated[list[TaskName], NotEmpty, Unique, Bounded]
    """Names of tasks (files of flare_ray/tasks/)."""
    languages: Literal["all"] | Annotated[list[str], NotEmpty, Unique] = "all"
    """Target languages; a language that a task does not have is skipped for that task."""
    methods: Annotated[list[MethodEntry], Unique, Bounded]
    """Rows of Table 1 by name, or {name, …} with options of the method's own (files of flare_ray/methods/). None for
    a sweep of searches alone."""
    seeds: Annotated[list[Seed], NotEmpty, Unique]
    """Each cell is run with each of them, on a base model of that seed. More seeds later leave the runs of these."""
    rank: Annotated[list[Rank], NotEmpty, Unique] = [64]
    """Bottleneck dimension r of the trained methods' adapters."""
    alpha: Positive | None = None
    """α of the adapters' scaling α/r; twice the rank when left out."""
    fusion: Annotated[list[FusionName], NotEmpty, Unique, Bounded] = ["add_relu"]
    """Fusion functions, for the methods that fuse."""
    include: Annotated[list[Rule], Bounded] = []
    """When given, only the points that match one of these rules are run."""
    exclude: Annotated[list[Rule], Bounded] = []
    """Points that match one of these rules are not run."""
    translation: Parallel = "gold"
    """Where parallel text comes from. A translation model (by name, or a section): training rows are English rows
    translated into the target, a test row's English is translated from it. `gold`: the corpus's own rows in both
    languages. `files`: the same, with machine translations that lie beside a local folder's test files
    (`<language>.test.english.<format>`)."""
    axes: Axes = Axes()
    """Further axes. Each multiplies the methods whose result it changes, and only them."""
    overrides: Annotated[list[Override], Bounded] = []
    """What differs for some models, tasks or methods; later entries win."""
    precision: Literal["fp32", "bf16"] | None = None
    """Of the frozen weights and the forward pass, for all models; each model's own when left out. Optimiser states
    are always fp32."""
    max_dropped: Share = 0.01
    """Share of a split's rows that may be unusable (empty text, unknown label, answer not in its context); more is
    an error. What is left out is counted with the run."""
    limit: Count | None = None
    """Rows per split that are read, the first ones, the same ids in every language; all when left out. Part of every
    fingerprint, and of the sweep's name: `mine-limit8`."""
    smoke: bool = False
    """A trial of every cell, for the first seed: two optimiser steps on eight rows per split, two configurations per
    search. The sweep's name gets `-smoke`, and its runs have fingerprints of their own."""
    max_runs: Count = 100_000
    """Runs that the product of the axes may have, before rules; a larger grid is an error, as it is mostly a slip."""
    searches: Annotated[list[Search], Bounded] = []
    """Searches over settings, beside the grid of the other fields or without one (`methods: []`)."""
    data: dict[TaskName, Data] = {}
    """Per task: `sandbox`, a local folder, or a hub dataset id; the task's hub id when left out."""
    base: BaseTraining = BaseTraining()
    """How base models are trained on English."""
    training: Training = Training()
    """How adapters are trained on the target language."""
    reading: QuestionReading = QuestionReading()
    """How question answering is read and answered."""
    resources: Resources = Resources()
    """On what it runs; changes no result."""
    storage: str = Field("results", validate_default=True)
    """Folder or URL (S3, Google, Azure) that keeps every record; what is finished there is never trained again."""
    tracking: Tracking = Tracking()
    """MLflow's server or file."""

    def resources_of(self, model: str, task: str) -> Resources:
        """On what a model's work on a task runs."""
        return overridden("resources", self.resources, self.overrides, model, task)

    @field_validator("storage")
    @classmethod
    def _storage(cls, value: str) -> str:
        try:
            return absolute_storage(value)
        except ValueError as error:
            raise PydanticCustomError("storage", "{wanted}", {"wanted": str(error)}) from error
