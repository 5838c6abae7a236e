"""The parts of a sweep file: models, training, searches, resources, translation. Frozen once validated."""

from __future__ import annotations

from importlib.util import find_spec
from typing import Annotated, Any, Literal, Self

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Discriminator,
    Field,
    StrictFloat,
    StrictInt,
    Tag,
    ValidationInfo,
    field_validator,
    model_validator,
)
from pydantic_core import PydanticCustomError

from flare_ray.plan.located import Checkpoint, TranslationModel
from flare_ray.plan.strict import NO_FLAG, REAL
from flare_ray.plan.values import (
    Amount,
    Batch,
    Count,
    FamilyName,
    Few,
    KnownTranslator,
    Length,
    Marker,
    MethodEntry,
    NotEmpty,
    Positive,
    Rank,
    Rate,
    Section,
    Share,
    Unique,
    named_translator,
)


def _shareable(value: float) -> float:
    """Return a number of GPUs that Ray can give: a part of one, or whole ones."""
    if value > 1 and value != int(value):
        expected = f"{int(value)} or {int(value) + 1}: Ray gives a part of one GPU, or whole GPUs"
        raise PydanticCustomError("gpus", "{wanted}", {"wanted": expected})
    if 0 < value < _LEAST:
        expected = f"0, or at least {_LEAST}: Ray divides a GPU no further"
        raise PydanticCustomError("gpus", "{wanted}", {"wanted": expected})
    return value


_LEAST = 0.0001
Gpus = Annotated[float, Field(ge=0, le=10_000), AfterValidator(_shareable), REAL]
Cpus = Annotated[float, Field(ge=_LEAST, le=100_000), REAL]


class ModelSpec(Section):
    """A checkpoint: of a name the package knows, or any Hugging Face model of a known family."""

    name: str = Field(min_length=1, max_length=200, pattern=r"^[^\x00-\x1f\x7f]*$")
    """What the tables call it, in one line."""
    family: FamilyName
    """A file of flare_ray/models/: how models of this class are loaded and where adapters go."""
    checkpoint: Checkpoint
    """A hub id (`org/name`, optionally `@revision`) or a local folder."""
    precision: Literal["fp32", "bf16"] = "fp32"
    """Of the frozen weights and the passes."""
    quantization: Literal["none", "nf4", "int8"] = "none"
    """Of the frozen weights, by bitsandbytes (QLoRA)."""
    attention: Literal["sdpa", "eager", "flash_attention_2"] | None = None
    """The attention kernel; the family's when left out. Changes nothing but rounding."""
    micro_batch: Batch | None = None
    """Instances per forward pass and worker; the whole batch when left out, halved where memory runs out."""
    gradient_checkpointing: bool = False
    """Activations are computed again in the backward pass instead of being kept."""
    gated: str | None = None
    """The page where the licence is accepted, if the hub asks for that."""


class Training(Section):
    """How one adapter is trained. What is left out comes from the paper's Table 5 for the task and family."""

    epochs: Batch | None = None
    """Passes over the training split."""
    batch_size: Batch | None = None
    """Instances per optimiser step, over all workers and micro-batches."""
    learning_rate: Rate | None = None
    """Peak learning rate of AdamW."""
    max_length: Length | None = None
    """Tokens per sequence, special tokens counted."""
    warmup: Share = 0.1
    """Share of the steps in which the learning rate rises; it then falls linearly to zero."""
    weight_decay: Amount = 0.0
    """Of AdamW, on every trained parameter."""
    max_grad_norm: Positive = 1.0
    """Gradients are clipped to this norm."""
    dropout: Share = 0.0
    """Dropout on the adapter's input (the paper uses none)."""
    validate_every: Count | None = None
    """Optimiser steps between validations, of which the best is kept; once an epoch when left out."""
    max_steps: Count | None = None
    """Most optimiser steps of a training, for which the learning rate is scheduled; all epochs when left out."""


class QuestionReading(Section):
    """How question answering is read and answered, beyond `max_length`; changes nothing of other tasks."""

    max_answer: Length = 64
    """Most tokens of an answer: of a span, or of what is generated. Of a generating model's sequence at most a
    quarter is kept free for it."""
    windows: bool = False
    """Whether a generating model reads a context that is longer than `max_length` in overlapping windows, each a
    prompt of its own: the one with the answer in training, all of them in evaluation, where the answer of the
    highest likelihood wins. Otherwise the context is cut. Span heads always read windows."""


class BaseTraining(Training):
    """English fine-tuning of the base model, merged into its weights (paper, appendix B)."""

    rank: Rank = 64
    """Of the LoRA that is merged."""
    alpha: Positive | None = None
    """LoRA's α; twice the rank when left out."""


_ENDS = Field(ge=-(10**12), le=10**12)
_End = Annotated[StrictInt, _ENDS] | Annotated[StrictFloat, _ENDS]


class Range(Section):
    """Values between two ends: whole numbers when both ends are."""

    low: _End
    """The least value."""
    high: _End
    """The greatest."""
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
    models: Annotated[list[str], NotEmpty, Unique] | None = None
    """Names of the sweep's models; all when left out."""
    tasks: Annotated[list[str], NotEmpty, Unique] | None = None
    """Of the sweep's tasks; all when left out."""
    over: Literal["language", "languages"] = "language"
    """A search for each language, or one with the mean over languages as its objective."""
    configurations: Few = 20
    """Proposed and tried in each search; what a grid has finished already takes part besides."""
    seeds: Few | None = None
    """Of the sweep's seeds, how many the objective is averaged over; all when left out."""
    halving: Few = 2
    """One in so many configurations continues after 1, 2, 4, … seeds; 1 gives every configuration all of them."""
    rungs: Annotated[list[Annotated[float, Field(gt=0, lt=1), REAL]], Unique] = [0.25, 0.5]
    """Shares of a training after which runs of one language and seed are compared at their validations: one in
    `halving` continues, the others stop and their configurations are out. Empty: every run comes to its end."""
    sampler: Literal["tpe", "random"] = "tpe"
    """What proposes configurations: Optuna's tree-structured Parzen estimator, or chance."""
    baseline: bool = False
    """Whether a random search with the same number of configurations is made beside it."""
    parallel: Few = 4
    """Configurations at a time: few learn more from one another, many keep a larger cluster busy."""

    @property
    def samplers(self) -> tuple[str, ...]:
        """By which it is made: each is a search of its own."""
        return tuple(dict.fromkeys([self.sampler, *(["random"] if self.baseline else [])]))


class Resources(Section):
    """On what it runs. Never part of a run's identity: any values give the same results."""

    workers: Few = 1
    """Ray Train workers per trial."""
    cpus_per_worker: Cpus = 1
    """CPUs that each worker reserves; also its threads."""
    gpus_per_worker: Gpus = 0
    """GPUs of each worker; below 1 several workers share one."""
    accelerator_type: str | None = None
    """Ray's name of the kind of GPU that a worker wants (`A100`, `H100`, `L4`); any when left out."""
    price_per_hour: Positive | None = None
    """Of a GPU, or of a CPU core where there are none: what a plan multiplies its hours with."""
    zero_stage: Annotated[Literal[0, 1, 2, 3], NO_FLAG] = 0
    """DeepSpeed ZeRO stage."""
    pack_size: Batch = 32
    """Runs that one Tune trial executes one after another on one loaded base model."""
    max_concurrent: Batch | None = None
    """Trials at a time; when left out, as many as the cluster's CPUs and GPUs hold."""
    micro_batch: Batch | None = None
    """Instances per forward pass and worker; the model's own when left out."""
    translators: Batch | None = None
    """Most processes that translate at once; when left out, as many as the cluster holds."""
    cpus_per_translator: Cpus = 1
    """CPUs of each process that translates."""
    gpus_per_translator: Gpus | None = None
    """As `gpus_per_worker`, at most 1, when left out."""
    translation_tokens: Count = 4096
    """Input tokens that a translator reads at once, padding counted."""
    translation_saved_every: Positive = 30
    """Seconds of translating that a killed process loses at most."""
    max_attempts: Few = 2
    """How often a run is started whose worker died under it."""
    checkpoint_seconds: Positive = 300
    """Seconds of training between two checkpoints of unfinished work; what takes less writes none."""
    prefetch: bool | None = None
    """Whether what comes from the Hugging Face hub is fetched into `storage` before anything starts, and read from
    there alone; when left out: on a cluster."""
    source_cache: Literal["auto", "off", "memory", "disk"] = "auto"
    """Where the source states of English text are kept, which are computed once: in memory for the runs of a pack, on
    each machine's disk for all packs. `auto`: in memory what fits there, else on disk what fits there, else `off`:
    read as text in every step."""
    source_cache_mb: Amount = 2048
    """Memory per worker for source states."""
    source_cache_disk_gb: Amount = 50
    """Disk per machine for source states, in its cache folder; the least recently used make room."""


class Translation(Section):
    """Machine translation: of English training rows into the target, of test rows into English (paper, section 4)."""

    model: TranslationModel
    """A name the package knows, a hub id, or a folder with an NLLB, M2M100 or Marian checkpoint."""
    backend: Literal["transformers", "ctranslate2"] = "transformers"
    """ctranslate2 is faster, and an extra: pip install flare-ray[ct2]."""
    precision: Literal["fp32", "bf16", "fp16", "int8"] = "fp32"
    """Of the translation model's weights; int8 with ctranslate2 only."""
    beams: Few = 1
    """1 is greedy decoding, as in the paper."""
    max_length: Length | None = None
    """Most tokens of a translation, and of a text that is read at once: longer ones are cut between sentences. When
    left out 512, or what the model has."""
    split: Literal["none", "sentence"] = "none"
    """sentence: each sentence is translated by itself, as NLLB was trained; of longer texts it leaves some out."""
    round_trip: Annotated[int, Field(ge=0, le=100_000)] = 0
    """Texts of each split that are translated back, evenly spread; the record has their chrF. Changes no result."""
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


_Text = Literal["gold", "files"] | KnownTranslator | Annotated[str, Field(min_length=1)]
Parallel = Annotated[
    Annotated[Literal["gold", "files"], Tag("corpus")] | Annotated[Translation, Tag("machine")],
    Discriminator(lambda value: "corpus" if isinstance(value, str) else "machine"),
    BeforeValidator(named_translator, json_schema_input_type=_Text | Translation),
]


class Tracking(Section):
    """Where MLflow keeps the records."""

    uri: str | None = None
    """An MLflow tracking URI; MLFLOW_TRACKING_URI, else a sqlite file in the storage folder, when left out."""
