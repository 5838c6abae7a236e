"""What a sweep reads from the Hugging Face hub, fetched once into the store before anything is trained.

The driver asks the hub; every other process reads the store, with `HF_HUB_OFFLINE`: a hundred workers that start at
once are not a hundred downloads, none needs a token, and all read the same commit, whatever becomes of a branch.

    fetch(store, wanted(grid, stages), print)
    read_from(store.url, offline=True)  # in every process that reads checkpoints or rows
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal

from flare_ray import registry
from flare_ray.errors import InputError, Problem, refusal
from flare_ray.execution.cluster import cluster_address
from flare_ray.loading import code_problems
from flare_ray.plan.checkpoints import SANDBOX, is_local
from flare_ray.plan.grid import Run
from flare_ray.plan.schema import Resources
from flare_ray.plan.stages import Stages
from flare_ray.sandbox import world
from flare_ray.store import Store, shelf
from flare_ray.store.disk import FULL
from flare_ray.store.patience import causes, passes, patiently
from flare_ray.store.shelf import Shelf
from flare_ray.tasks._rows import file_name
from flare_ray.tasks.base import SANDBOX as SANDBOX_DATA
from flare_ray.tasks.base import SPLITS, sandbox_folder

_WEIGHTS = ("*.safetensors", "*.bin")
_FILES = ("*.json", "*.txt", "*.model", "*.jinja", "*.tiktoken")


@dataclass(frozen=True)
class Split:
    """Rows of a hub dataset. optional: whether work continues without them."""

    task: str
    data: str
    language: str
    split: str
    optional: bool = False

    @property
    def name(self) -> str:
        """For people."""
        return f"{self.data}, {self.language} {self.split}"


@dataclass(frozen=True)
class Wanted:
    """What work reads that is not in the store: hub models, splits of hub datasets, and the constructed world."""

    models: tuple[str, ...] = ()
    splits: tuple[Split, ...] = ()
    sandbox: bool = False


def wanted(todo: Stages) -> Wanted:
    """What unfinished work reads."""
    bases = {base.fingerprint for base in todo.bases}
    models = [run.base.model.checkpoint for run in todo.todo if run.base.fingerprint in bases]
    models += [one.translator["checkpoint"] for work in todo.translations for one in work.corpora]
    models += [found for run in todo.todo if (found := _translator(run))]
    splits = dict.fromkeys(split for run in todo.todo for split in _splits(run))
    return Wanted(
        tuple(dict.fromkeys(one for one in models if _on_hub(one))),
        tuple(one for one in splits if _on_hub(one.data)),
        any(one.startswith(SANDBOX) for one in models) or any(one.data == SANDBOX_DATA for one in splits),
    )


def _translator(run: Run) -> str | None:
    found: str | None = registry.load("methods", run.cell.method).translator(run.settings)
    return found


def _splits(run: Run) -> Iterator[Split]:
    """All splits in English, and of the target those that are not translated."""
    task, data = run.base.task, run.base.source
    translated = {corpus.split for corpus in run.corpora if corpus.split != "test"}
    trains = registry.load("methods", run.cell.method).trains
    for split in SPLITS:
        yield Split(task, data, registry.load("tasks", task).source_language, split, split == "test")
        if split == "test" or (trains and split not in translated):
            yield Split(task, data, run.cell.language, split)


def _on_hub(reference: str) -> bool:
    return not (reference.startswith(SANDBOX) or reference == SANDBOX_DATA or is_local(reference))


def prefetches(resources: Resources) -> bool:
    """Whether this execution fetches first: where the sweep says nothing, on a cluster."""
    asked = resources.prefetch
    return cluster_address() is not None if asked is None else asked


def read_from(storage: str, offline: bool, known: str | None = None) -> None:
    """This process reads the hub's files from the store; offline: and asks the hub for nothing else.

    Comes before what imports huggingface_hub, which looks at its environment once. known: the store's id; raises
    OtherStore when this node sees another one.
    """
    if offline:
        os.environ["HF_HUB_OFFLINE"] = "1"
    shelf.use(Shelf(Store(storage, known)))


def fetch(store: Store, what: Wanted, report: Callable[[str], None]) -> None:
    """Puts into the store what is not there.

    Raises InputError with all that the hub did not give, Unreachable where it does not answer any more; StoreFull,
    and what else a storage or a disk says, as it is.
    """
    keeping, problems = Shelf(store), list[Problem]()
    for one in _absent(keeping, what):
        report(f"fetching {one.name} into the store …")
        with tempfile.TemporaryDirectory(prefix="flare-ray-") as scratch:
            try:
                facts = one.download(Path(scratch))
            except InputError as error:
                problems += error.problems
            except Exception as error:
                problems.append(_problem(one, error))
            else:
                keeping.keep(one.kind, one.key, Path(scratch), facts)
        if problems and problems[-1].passes:
            break  # it has been waited for; all the others would be as well
    if problems:
        raise refusal("the Hugging Face hub", problems)
    if what.sandbox and not keeping.has("sandbox", world.VERSION):
        keeping.keep("sandbox", world.VERSION, sandbox_folder(), {})


@dataclass(frozen=True)
class _Absent:
    """Something of the hub's that the store has not. name: for people. where: in the sweep file.

    download: puts it into a folder, and gives what is to be kept of it in words.
    """

    kind: Literal["model", "rows"]
    key: str
    name: str
    where: str
    download: Callable[[Path], dict[str, Any]]


def _absent(keeping: Shelf, what: Wanted) -> Iterator[_Absent]:
    for reference in what.models:
        if not keeping.has("model", reference):
            yield _Absent("model", reference, reference, "models", partial(_download_model, reference))
    for split in what.splits:
        key = registry.load("tasks", split.task).fetched_as(split.data, split.language, split.split)
        if not keeping.has("rows", key):
            yield _Absent("rows", key, split.name, f"data.{split.task}", partial(_download_rows, split))


def _download_model(reference: str, folder: Path) -> dict[str, Any]:
    """A checkpoint's configuration, tokenizer and weights: safetensors, or PyTorch's where there are none."""
    from huggingface_hub import HfApi, snapshot_download

    name, _, revision = reference.partition("@")
    about = patiently(lambda: HfApi().model_info(name, revision=revision or None))
    files = [file.rfilename for file in about.siblings or []]
    weights = next((kind for kind in _WEIGHTS if any(Path(file).match(kind) for file in files)), _WEIGHTS[0])
    patiently(
        lambda: snapshot_download(
            name,
            revision=about.sha,
            local_dir=folder,
            allow_patterns=[weights, *_FILES],
            ignore_patterns=["*/*"],  # other formats' folders, the licensor's own weights
        )
    )
    shutil.rmtree(folder / ".cache", ignore_errors=True)
    if problems := code_problems(folder, "models", reference):
        raise InputError(reference, problems)
    return {"commit": about.sha}


def _download_rows(split: Split, folder: Path) -> dict[str, Any]:
    """Rows as a file; of an optional split that the data set lacks, the fact that it does."""
    task = registry.load("tasks", split.task)
    try:
        file = patiently(lambda: task.fetch(split.data, split.language, split.split))
        shutil.copyfile(file, folder / file_name(task.fetched_as(split.data, split.language, split.split)))
    except InputError:
        if not split.optional:
            raise
    return {"of": split.name}


def _problem(one: _Absent, error: Exception) -> Problem:
    """What the hub's clients say, as a problem; raises again what is not theirs, as of a disk that is full."""
    from datasets.exceptions import DatasetsError
    from huggingface_hub import constants
    from huggingface_hub.errors import (
        EntryNotFoundError,
        FileMetadataError,
        HfHubHTTPError,
        HFValidationError,
        LocalTokenNotFoundError,
    )

    refusals = (
        EntryNotFoundError,
        FileMetadataError,
        HfHubHTTPError,
        HFValidationError,
        LocalTokenNotFoundError,
    )
    away = passes(error)
    of_hub = away or isinstance(error, (*refusals, DatasetsError, ConnectionError))
    if not of_hub or _is_full(error):
        raise error
    said = next((line for line in str(error).splitlines() if line.strip()), "")
    found = f"{one.name}: {type(error).__name__}: {said}"
    if away and not constants.HF_HUB_OFFLINE:
        return Problem(
            one.where, found, "a hub that answers (HF_ENDPOINT, a proxy), or a local folder", passes=True
        )
    wanted = "a hub id that this machine can read (HF_TOKEN for gated ones), or a local folder"
    return Problem(one.where, found, wanted)


def _is_full(error: BaseException) -> bool:
    """Whether an error comes from a disk without space: datasets wraps that one in an error of its own."""
    return any(isinstance(one, OSError) and one.errno in FULL for one in causes(error))
