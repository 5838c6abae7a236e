"""The translation stage by itself: a task's splits, or columns of a table of one's own."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, TypeVar

from pydantic import ValidationError
from rich.console import Console

from flare_ray import registry
from flare_ray.cache import cache_folder
from flare_ray.errors import InputError, Problem
from flare_ray.execution.capacity import translators
from flare_ray.execution.cluster import connect
from flare_ray.execution.provenance import provenance
from flare_ray.execution.translating import RayPool, headline
from flare_ray.plan.checkpoints import SANDBOX, is_local, local_path
from flare_ray.plan.corpora import Corpus, corpus, translator_identity
from flare_ray.plan.fingerprint import fingerprint
from flare_ray.plan.language_codes import matching
from flare_ray.plan.schema import Resources, Section, Translation
from flare_ray.plan.storage import absolute_storage
from flare_ray.store import Store, open_store
from flare_ray.store.identity import identity
from flare_ray.umask import umask

S = TypeVar("S", bound=Section)
_OPTIONS = {"gpus_per_translator": "gpus"}
"""Field of a section -> the option that sets it, where they differ."""


def parse_settings(
    fields: dict[str, Any], resources: dict[str, Any], storage: str
) -> tuple[Translation, Resources, str]:
    """Return the validated options: two sections of a sweep and the storage. Raises InputError with every problem."""
    problems: list[Problem] = []
    translation, reserved = _section(Translation, fields, problems), _section(Resources, resources, problems)
    try:
        storage = absolute_storage(storage)
    except ValueError as error:
        problems.append(Problem("--storage", repr(storage), str(error)))
    if problems or translation is None or reserved is None:
        raise InputError("translate", problems)
    return translation, reserved, storage


def _section(section: type[S], fields: dict[str, Any], problems: list[Problem]) -> S | None:
    """Return a validated section of a sweep; None where it has problems, which are added to `problems`."""
    try:
        return section(**fields)
    except ValidationError as error:
        problems += [
            Problem(
                f"--{_OPTIONS.get(name, name).replace('_', '-')}",
                repr(one["input"]),
                one["msg"].removeprefix("Input should be "),
            )
            for one in error.errors()
            for name in [".".join(map(str, one["loc"]))]
        ]
        return None


def translate_task(
    task_name: str,
    data: str | None,
    languages: Sequence[str],
    splits: Sequence[str],
    translation: Translation,
    resources: Resources,
    storage: str,
    console: Console,
) -> list[Path]:
    """Puts a task's splits in translation into the store; returns their tables.

    Train and validation are translated from English, the test split into English. Raises InputError.
    """
    from flare_ray.translation.corpus import ROWS
    from flare_ray.translation.stage import build

    source = _task_source(task_name, data, languages, splits, translation)
    store = open_store(storage)
    translators(resources, connect())
    _ensure_sandbox(translation, source, console)
    codes = task_languages(task_name, source, languages)
    _warn_of_substitution(translation, codes, console)
    corpora = [corpus(task_name, source, code, split, translation) for code in codes for split in splits]

    def done(one: Corpus, record: dict[str, Any]) -> None:
        facts = "  ".join(f"{name} {value:.1f}" for name, value in headline(record).items())
        console.print(f"{one.label}: {facts}", markup=False, soft_wrap=True)

    build(store, corpora, _pool(store, resources, console), done, provenance())
    return [store.folder("corpora", one.fingerprint) / ROWS for one in corpora]


def translate_table(
    file: Path,
    columns: Sequence[str],
    languages: tuple[str, str],
    out: Path,
    translation: Translation,
    resources: Resources,
    storage: str,
    console: Console,
) -> dict[str, Any]:
    """Translates columns of a CSV, TSV, JSONL or Parquet file; returns the counts. Raises InputError."""
    from flare_ray.translation.checks import language_problems
    from flare_ray.translation.files import file_problems, translate_file
    from flare_ray.translation.memory import Pair

    problems = file_problems(file, columns, out, languages[1])
    for where, code in zip(("--from", "--to"), languages, strict=True):
        problems += language_problems(translation, [code], where)
    if problems:
        raise InputError(str(file), problems)
    store = open_store(storage)
    translators(resources, connect())
    _ensure_sandbox(translation, "", console)
    _warn_of_substitution(translation, languages, console)
    loaded, identity = translator_identity(translation)
    pair = Pair(fingerprint(identity), *languages)
    pool = _pool(store, resources, console)
    return translate_file(store, file, columns, pair, loaded, out, pool)


def _warn_of_substitution(translation: Translation, languages: Sequence[str], console: Console) -> None:
    """Print which languages an NLLB model translates as another one."""
    from flare_ray.translation.checkpoints import substitution

    if "nllb" in translation.model.lower() and (substitutes := substitution(languages)):
        console.print(f"warning: {substitutes}", markup=False, soft_wrap=True)


def task_languages(task_name: str, source: str, languages: Sequence[str]) -> list[str]:
    """Return the task's codes of languages that are given by any name, each once; an unknown name stays."""
    task = registry.load("tasks", task_name)
    known = task.targets(source)
    return list(dict.fromkeys(matching(task.code(name), known) or name for name in languages))


def _task_source(
    task_name: str,
    data: str | None,
    languages: Sequence[str],
    splits: Sequence[str],
    translation: Translation,
) -> str:
    """Where the rows come from. Raises InputError with everything that is not there."""
    from flare_ray.translation.checks import language_problems

    if task_name not in registry.names("tasks"):
        wanted = registry.wanted(task_name, registry.names("tasks"))
        raise InputError("translate", [Problem("--task", repr(task_name), wanted)])
    task = registry.load("tasks", task_name)
    source = data or task.hub
    if is_local(source) and not local_path(source).is_dir():
        raise InputError(
            "translate", [Problem("--data", f"no folder {source}", "a folder, a hub id, or sandbox")]
        )
    known = task.targets(source)
    languages = task_languages(task_name, source, languages)
    problems = [
        Problem("--to", repr(code), registry.wanted(code, known)) for code in languages if code not in known
    ]
    every = ("train", "validation", "test")
    problems += [
        Problem("--split", repr(one), registry.wanted(one, every)) for one in splits if one not in every
    ]
    if not problems:
        ends = [task.source_language, *languages]
        problems += language_problems(translation, ends, "--to")
    if problems:
        raise InputError("translate", problems)
    return source


def _ensure_sandbox(translation: Translation, source: str, console: Console) -> None:
    from flare_ray.plan.checkpoints import translator
    from flare_ray.tasks._sandbox import built_sandbox

    if source == "sandbox" or translator(translation.model).startswith(SANDBOX):
        built_sandbox(cache_folder(), console.print)


def _pool(store: Store, resources: Resources, console: Console) -> RayPool:
    told = 0.0

    def on_progress(facts: dict[str, Any]) -> None:
        nonlocal told
        done, missing, rate = facts["texts"], facts["missing"], facts["rate"]
        if done < missing and time.monotonic() - told < 10:
            return
        told = time.monotonic()
        left = f", {(missing - done) / rate:.0f} s left" if rate and done < missing else ""
        pair = facts["pair"]
        console.print(f"{pair.source} → {pair.target}: {done} of {missing} texts, {rate:.1f}/s{left}")

    reading = (False, identity(store.files))
    return RayPool(store.url, resources.model_dump(), on_progress, reading=reading, umask=umask())
