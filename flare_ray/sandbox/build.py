"""Builds the sandbox once into a cache folder, whole or not at all.

>>> folder = ensure(cache_folder())  # doctest: +SKIP
>>> sorted(path.name for path in folder.iterdir())  # doctest: +SKIP
['data', 'models', 'world.json']

The folder's name carries `world.VERSION`, so another version never reads this one's files. A build happens in
a neighbouring folder that is renamed when it is complete; a lock lets one process build while others wait.
"""

from __future__ import annotations

import json
import shutil
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from flare_ray.sandbox import children, world

Report = Callable[[str], None]
ORDER = ("sandbox-xlm-r", "sandbox-mt5", "sandbox-gemma2", "sandbox-llama", "sandbox-nllb")
"""Models and translators, those first that take longest: so the last to end keeps few CPUs waiting."""


def folder_of(cache: Path, small: bool = False) -> Path:
    """Where `ensure` puts the sandbox, built or not."""
    return cache / f"sandbox-{world.VERSION}{'-small' if small else ''}"


def ensure(cache: Path, report: Report | None = None, *, small: bool = False) -> Path:
    """The folder of the built sandbox; builds it first if it is missing.

    Args:
        cache: folder that holds it; made if missing.
        report: called with one line of text whenever the build gets on.
        small: a version for tests, built in seconds: fewer rows, and models that have hardly learned.

    Raises:
        RuntimeError: the build failed; the message ends with the last lines of its output.
        OSError: `cache` cannot be written.
    """
    folder = folder_of(cache, small)
    if folder.is_dir():
        return folder
    from filelock import FileLock

    cache.mkdir(parents=True, exist_ok=True)
    with FileLock(cache / f"{folder.name}.lock"):
        if not folder.is_dir():
            for abandoned in cache.glob(f"{folder.name}.building-*"):  # we hold the lock: nobody is building
                shutil.rmtree(abandoned, ignore_errors=True)
            staging = Path(tempfile.mkdtemp(prefix=f"{folder.name}.building-", dir=cache))
            try:
                build(staging, report or (lambda message: None), small)
                staging.chmod(0o755)
                staging.rename(folder)
            finally:
                shutil.rmtree(staging, ignore_errors=True)
    return folder


def build(folder: Path, report: Report, small: bool = False) -> None:
    """Builds everything into the existing, empty `folder`.

    Raises:
        RuntimeError: a process that trains a model failed.
    """
    from flare_ray.sandbox.corpora import corpora, save
    from flare_ray.sandbox.lexicon import overlap

    report(f"sandbox {world.VERSION}: writing the corpora")
    tasks = corpora(small)
    save(tasks, folder / "data")
    children.run(ORDER, folder, small, report)
    facts = {
        "version": world.VERSION,
        "small": small,
        "rows": {
            task: {split: len(rows) for split, rows in corpus.items()} for task, corpus in tasks.items()
        },
        "languages": {
            code: {"name": one.name, "distance": round(one.distance, 4), "lexicon": overlap(one)}
            for code, one in world.LANGUAGES.items()
        },
        "models": {name: _taken(folder / "models" / f"{name}.json") for name in ORDER},
    }
    text = json.dumps(facts, indent=1, ensure_ascii=False)
    (folder / "world.json").write_text(text + "\n", encoding="utf-8")
    report("sandbox ready")


def _taken(file: Path) -> object:
    """What a JSON file holds; the file is removed."""
    facts = json.loads(file.read_text(encoding="utf-8"))
    file.unlink()
    return facts


def timed(report: Report) -> Report:
    """`report` with the seconds since now in front of every line."""
    started = time.monotonic()
    return lambda message: report(f"{time.monotonic() - started:5.0f} s  {message}")
