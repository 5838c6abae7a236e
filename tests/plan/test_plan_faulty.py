"""A thousand and more faulty sweep files: each ends with exit code 2 and one bounded message, at once."""

from __future__ import annotations

import faulthandler
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from faulty_sweeps import Case, corpus, rich_fields
from typer.testing import CliRunner

from flare_ray.cli import app
from flare_ray.errors import InputError
from flare_ray.plan.load import load_sweep

LONGEST_MESSAGE = 20_000
SECONDS = 2.0


@pytest.fixture
def hang_guard() -> Iterator[None]:
    """Ends the process with a traceback if the corpus hangs."""
    faulthandler.dump_traceback_later(300, exit=True)
    yield
    faulthandler.cancel_dump_traceback_later()


def ran(case: Case, folder: Path) -> str | None:
    """Plan a case as the command line does; what is wrong with how it ended, None if nothing."""
    folder.mkdir()
    file = case.write(folder / "sweep.yaml")
    arguments = ["plan", str(file), *(word for one in case.overrides for word in ("--set", one))]
    before = time.process_time()
    result = CliRunner().invoke(app, arguments)
    seconds = time.process_time() - before
    message = result.stderr
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        return f"a traceback: {result.exception!r:.300}"
    if result.exit_code != 2:
        return f"exit code {result.exit_code}: {result.output[:300]}"
    if seconds > SECONDS:
        return f"{seconds:.1f} s of CPU"
    if not 0 < len(message) <= LONGEST_MESSAGE:
        return f"a message of {len(message)} characters"
    if "problem" not in message or "found" not in message or "wanted" not in message:
        return f"no place or remedy: {message[:300]}"
    return None


def test_the_sweep_that_faults_are_put_into_is_sound(fields: dict[str, Any], tmp_path: Path) -> None:
    (tmp_path / "rich.yaml").write_text(yaml.safe_dump(rich_fields(fields)))
    assert load_sweep(tmp_path / "rich.yaml").max_runs == 1000


def test_every_faulty_sweep_is_one_message_at_once(
    fields: dict[str, Any], tmp_path: Path, hang_guard: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    cases = corpus(fields, tmp_path)
    assert len(cases) >= 1000
    wrong = {
        f"{number}: {case.name}": found
        for number, case in enumerate(cases)
        if (found := ran(case, tmp_path / f"case{number}"))
    }
    assert not wrong, "\n".join(f"{name}: {found}" for name, found in wrong.items())
