"""The sweep file: every field, what it means and its default. Frozen once validated.

name: demo
models: [sandbox-xlm-r]
tasks: [nusax]
methods: [zero_shot, lora, flare]
seeds: [1, 2, 3]
data: {nusax: sandbox}
"""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, Self, Union

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Discriminator,
    Field,
    PositiveFloat,
    PositiveInt,
    Tag,
    ValidationInfo,
    create_model,
    field_validator,
    model_validator,
)
from pydantic_core import PydanticCustomError

from flare_ray import registry
from flare_ray.plan.checkpoints import TRANSLATORS, is_local, known_models, local_path


def _known(kind: str) -> AfterValidator:
    def check(name: str) -> str:
        if name not in registry.names(kind):
            wanted = registry.wanted(name, registry.names(kind))
            raise PydanticCustomError("unknown_name", "{wanted}", {"wanted": wanted})
        return name

    return AfterValidator(check)


def _unique(values: list[Any]) -> list[Any]:
    if len(set(map(repr, values))) < len(values):
        raise PydanticCustomError("repeated", "each value once")
    return values


def _named_model(value: Any) -> Any:
    """A known name, or a mapping that may change some of what goes with a known name."""
    known = known_models()
    given = {"name": value} if isinstance(value, str) else value
    if not isinstance(given, dict):
        return given
    name = given.get("name")
    if name in known and "checkpoint" not in given:
        return {"name": name, **known[name], **given}
    if isinstance(value, str):
        wanted = registry.wanted(value, known) + "; or {name, family, checkpoint} of your own"
        raise PydanticCustomError("unknown_name", "{wanted}", {"wanted": wanted})
    return given


def _named_method(value: Any) -> Any:
    given = {"name": value} if isinstance(value, str) else value
    if isinstance(given, dict) and (name := given.get("name")) not in registry.names("methods"):
        wanted = registry.wanted(str(name), registry.names("methods"))
        raise PydanticCustomError("unknown_name", "{wanted}", {"wanted": wanted})
    return given


def _method_models() -> Any:
    """A section per method file: its name and its options."""
    sections: list[Any] = []
    for name in registry.names("methods"):
        fields: dict[str, Any] = {"name": (Literal[name], ...)}
        sections.append(create_model(name, __base__=registry.load("methods", name).Options, **fields))
    return Union[tuple(sections)]  # noqa: UP007 - made at run time


def _absolute(reference: str) -> str:
    """Workers run in folders of their own: a path is made absolute where the sweep is read."""
    return str(local_path(reference)) if is_local(reference) else reference


def _checkpoint(reference: str) -> str:
    """A local checkpoint must be there; a hub id is looked up when it is needed."""
    if is_local(reference) and not (local_path(reference) / "config.json").is_file():
        wanted = (
            "a folder with a Hugging Face checkpoint (config.json, weights, tokenizer), or a hub id org/name"
        )
        raise PydanticCustomError("no_checkpoint", "{wanted}", {"wanted": wanted})
    return reference


def _translator(reference: str) -> str:
    if reference in TRANSLATORS or "/" in reference:
        return _checkpoint(reference)
    wanted = registry.wanted(reference, TRANSLATORS) + "; or a hub id org/name, a folder, gold, files"
    raise PydanticCustomError("unknown_name", "{wanted}", {"wanted": wanted})


def _named_translator(value: Any) -> Any:
    """`gold`, `files`, or a translation model by its name alone."""
    return {"model": value} if isinstance(value, str) and value not in ("gold", "files") else value


Marker = Literal["brackets", "angles", "tags", "quotes"]
Reference = Annotated[str, Field(min_length=1), AfterValidator(_absolute)]
NotEmpty = Field(min_length=1)
Unique = AfterValidator(_unique)
Values = Annotated[list[str | int], NotEmpty, BeforeValidator(lambda v: v if isinstance(v, list) else [v])]
Seed = Annotated[int, Field(ge=0, lt=2**32)]  # what NumPy takes
TaskName = Annotated[str, _known("tasks")]
if TYPE_CHECKING:
    MethodEntry = Any
else:
    MethodEntry = Annotated[_method_models(), Field(discriminator="name"), BeforeValidator(_named_method)]
FusionName = Annotated[str, _known("fusion.functions")]


class Section(BaseModel):
    """A frozen part of the sweep file; unknown keys are errors."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class ModelSpec(Section):
    """A checkpoint: of a name the package knows, or any Hugging Face model of a known family."""

    name: str = Field(min_length=1)
    """What the tables call it."""
    family: Annotated[str, _known("models")]
    """A file of flare_ray/models/: how models of this class are loaded and where adapters go."""
    checkpoint: Annotated[Reference, AfterValidator(_checkpoint)]
    """A hub id (`org/name`, optionally `@revision`) or a local folder."""
    precision: Literal["fp32", "bf16"] = "fp32"
    """Of the frozen weights and the passes."""
    quantization: Literal["none", "nf4", "int8"] = "none"
    """Of the frozen weights, by bitsandbytes (QLoRA)."""
    attention: Literal["sdpa", "eager", "flash_attention_2"] | None = None
    """The attention kernel; the family's when left out. Changes nothing but rounding."""
    micro_batch: PositiveInt | None = None
    """Instances per forward pass and worker; the whole batch when left out, halved where memory runs out."""
    gradient_checkpointing: bool = False
    """Activations are computed again in the backward pass instead of being kept."""
    gated: str | None = None
    """The page where the licence is accepted, if the hub asks for that."""


class Training(Section):
    """How one adapter is trained. What is left out comes from the paper's Table 5 for the task and family."""

    epochs: PositiveInt | None = None
    """Passes over the training split."""
    batch_size: PositiveInt | None = None
    """Instances per optimiser step, over all workers and micro-batches."""
    learning_rate: PositiveFloat | None = None
    """Peak learning rate of AdamW."""
    max_length: PositiveInt | None = None
    """Tokens per sequence, special tokens counted."""
    warmup: float = Field(0.1, ge=0, lt=1)
    """Share of the steps in which the learning rate rises; it then falls linearly to zero."""
    weight_decay: float = Field(0.0, ge=0)
    max_grad_norm: PositiveFloat = 1.0
    """Gradients are clipped to this norm."""
    dropout: float = Field(0.0, ge=0, lt=1)
    """Dropout on the adapter's input (the paper uses none)."""
    validate_every: PositiveInt | None = None
    """Optimiser steps between validations, of which the best is kept; once an epoch when left out."""


class BaseTraining(Training):
    """English fine-tuning of the base model, merged into its weights (paper, appendix B)."""

    rank: PositiveInt = 64
    alpha: PositiveFloat | None = None
    """LoRA's α; twice the rank when left out."""


class Rule(Section):
    """Points of the grid: those that have one of the given values on each of the given axes."""

    model: Values | None = None
    task: Values | None = None
    language: Values | None = None
    method: Values | None = None
    fusion: Values | None = None
    rank: Values | None = None

    def given(self) -> dict[str, list[Any]]:
        """The axes that are given, with their values."""
        return {
            axis: values for axis in type(self).model_fields if (values := getattr(self, axis)) is not None
        }


class Range(Section):
    """Values between two ends: whole numbers when both ends are."""

    low: int | float
    high: int | float
    log: bool = False
    """Whether to draw on a logarithmic scale."""

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if not self.low < self.high or (self.log and self.low <= 0):
            wanted = "low below high" + (", and above 0 on a logarithmic scale" if self.log else "")
            raise PydanticCustomError("unordered", "{wanted}", {"wanted": wanted})
        return self


class Search(Section):
    """A search by Optuna over settings of one method; the objective is the task's metric on validation, averaged over
    seeds (and languages), never on test. What it selects is then run with all the sweep's seeds."""

    method: MethodEntry
    """A name, or {name, …} with options of the method's own."""
    space: Annotated[dict[str, Annotated[list[Any], NotEmpty, Unique] | Range], Field(min_length=1)]
    """What is searched: fusion, rank, alpha, hyper-parameters of `training`, options of the method. A list of values,
    or {low, high, log}. Axes that are left out have the first of the sweep's values."""
    models: list[str] | None = None
    """Names of the sweep's models; all when left out."""
    tasks: list[str] | None = None
    """Of the sweep's tasks; all when left out."""
    over: Literal["language", "languages"] = "language"
    """A search for each language, or one with the mean over languages as its objective."""
    configurations: PositiveInt = 20
    """Proposed and tried in each search; what a grid has finished already takes part besides."""
    seeds: PositiveInt | None = None
    """Of the sweep's seeds, how many the objective is averaged over; all when left out."""
    halving: PositiveInt = 2
    """One in so many configurations goes on after 1, 2, 4, … seeds; 1 gives every configuration all of them."""
    sampler: Literal["tpe", "random"] = "tpe"
    baseline: bool = False
    """Whether a random search with the same number of configurations is made beside it."""
    parallel: PositiveInt = 4
    """Configurations at a time: few learn more from one another, many keep a larger cluster busy."""


class Resources(Section):
    """On what it runs. Never part of a run's identity: any values give the same results."""

    workers: PositiveInt = 1
    """Ray Train workers per trial."""
    cpus_per_worker: PositiveFloat = 1
    gpus_per_worker: float = Field(0, ge=0)
    zero_stage: Literal[0, 1, 2, 3] = 0
    """DeepSpeed ZeRO stage."""
    pack_size: PositiveInt = 32
    """Runs that one Tune trial executes one after another on one loaded base model."""
    max_concurrent: PositiveInt | None = None
    """Trials at a time; when left out, as many as the cluster's CPUs and GPUs hold."""
    micro_batch: PositiveInt | None = None
    """Instances per forward pass and worker; the model's own when left out."""
    translators: PositiveInt | None = None
    """Most processes that translate at once; when left out, as many as the cluster holds."""
    cpus_per_translator: PositiveFloat = 1
    gpus_per_translator: float | None = Field(None, ge=0)
    """As `gpus_per_worker`, at most 1, when left out."""
    translation_tokens: PositiveInt = 4096
    """Input tokens that a translator reads at once, padding counted."""
    translation_saved_every: PositiveFloat = 30
    """Seconds of translating that a killed process loses at most."""
    max_attempts: PositiveInt = 2
    """How often a run is started whose worker died under it."""
    source_cache_mb: float = Field(2048, ge=0)
    """Memory per worker for source states that are computed once and shared by the runs of a pack."""


class Translation(Section):
    """Machine translation: of English training rows into the target, of test rows into English (paper, section 4)."""

    model: Annotated[Reference, AfterValidator(_translator)]
    """A name the package knows, a hub id, or a folder with an NLLB, M2M100 or Marian checkpoint."""
    backend: Literal["transformers", "ctranslate2"] = "transformers"
    """ctranslate2 is faster, and an extra: pip install flare-ray[ct2]."""
    precision: Literal["fp32", "bf16", "fp16", "int8"] = "fp32"
    """Of the translation model's weights; int8 with ctranslate2 only."""
    beams: PositiveInt = 1
    """1 is greedy decoding, as in the paper."""
    max_length: PositiveInt | None = None
    """Most tokens of a translation, and of a text that is read at once: longer ones are cut between sentences. When
    left out 512, or what the model has."""
    markers: Annotated[list[Marker], NotEmpty, Unique] = ["brackets", "angles", "tags", "quotes"]
    """Markers around an answer (EasyProject), tried in this order until one survives translation."""
    answer_alone: bool = False
    """Where no markers survive: whether the answer is translated by itself and looked up."""

    @field_validator("backend")
    @classmethod
    def _installed(cls, value: str) -> str:
        if value == "ctranslate2" and not find_spec("ctranslate2"):
            wanted = "transformers, or pip install 'flare-ray[ct2]'"
            raise PydanticCustomError("not_installed", "{wanted}", {"wanted": wanted})
        return value

    @field_validator("precision")
    @classmethod
    def _of_backend(cls, value: str, info: ValidationInfo) -> str:
        if value == "int8" and info.data.get("backend") != "ctranslate2":
            wanted = "fp32, bf16 or fp16; int8 with backend: ctranslate2 only"
            raise PydanticCustomError("other_backend", "{wanted}", {"wanted": wanted})
        return value


Parallel = Annotated[
    Annotated[Literal["gold", "files"], Tag("corpus")] | Annotated[Translation, Tag("machine")],
    Discriminator(lambda value: "corpus" if isinstance(value, str) else "machine"),
    BeforeValidator(_named_translator),
]


class Tracking(Section):
    """Where MLflow keeps the records."""

    uri: str | None = None
    """An MLflow tracking URI; MLFLOW_TRACKING_URI, else a sqlite file in the storage folder, when left out."""


class Sweep(Section):
    """A whole study: the product of its axes, each run identified by what determines its result."""

    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*$")
    """Names the MLflow experiments (`<name>/<task>`) and the report."""
    models: Annotated[list[Annotated[ModelSpec, BeforeValidator(_named_model)]], NotEmpty, Unique]
    """Names of checkpoints the package knows, or {name, family, checkpoint} of your own."""
    tasks: Annotated[list[TaskName], NotEmpty, Unique]
    languages: Literal["all"] | Annotated[list[str], NotEmpty, Unique] = "all"
    """Target languages; a language that a task does not have is skipped for that task."""
    methods: Annotated[list[MethodEntry], Unique]
    """Rows of Table 1 by name, or {name, …} with options of the method's own (files of flare_ray/methods/). None for
    a sweep of searches alone."""
    seeds: Annotated[list[Seed], NotEmpty, Unique]
    rank: Annotated[list[PositiveInt], NotEmpty, Unique] = [64]
    """Bottleneck dimension r of the trained methods' adapters."""
    alpha: PositiveFloat | None = None
    """α of the adapters' scaling α/r; twice the rank when left out."""
    fusion: Annotated[list[FusionName], NotEmpty, Unique] = ["add_relu"]
    """Fusion functions, for the methods that fuse."""
    include: list[Rule] = []
    """When given, only the points that match one of these rules are run."""
    exclude: list[Rule] = []
    """Points that match one of these rules are not run."""
    translation: Parallel = "gold"
    """Where parallel text comes from. A translation model (by name, or a section): training rows are English rows
    translated into the target, a test row's English is translated from it. `gold`: the corpus's own rows in both
    languages. `files`: the same, with machine translations that lie beside a local folder's test files
    (`<language>.test.english.<format>`)."""
    precision: Literal["fp32", "bf16"] | None = None
    """Of the frozen weights and the forward pass, for all models; each model's own when left out. Optimiser states
    are always fp32."""
    max_dropped: float = Field(0.01, ge=0, lt=1)
    """Share of a split's rows that may be unusable (empty text, unknown label, answer not in its context); more is
    an error. What is left out is counted with the run."""
    searches: list[Search] = []
    """Searches over settings, beside the grid of the other fields or without one (`methods: []`)."""
    data: dict[TaskName, Reference] = {}
    """Per task: `sandbox`, a local folder, or a hub dataset id; the task's hub id when left out."""
    base: BaseTraining = BaseTraining()
    training: Training = Training()
    resources: Resources = Resources()
    storage: str = Field("results", validate_default=True)
    """Folder or fsspec URL that keeps every record; what is finished there is never trained again."""
    tracking: Tracking = Tracking()

    @field_validator("storage")
    @classmethod
    def _storage(cls, value: str) -> str:
        return value if "://" in value else str(Path(value).expanduser().absolute())
