"""A thousand and more faulty sweep files: each ends with exit code 2 and one bounded message, at once."""

from __future__ import annotations

import re
import signal
import time
from collections.abc import Iterator
from contextlib import redirect_stderr, redirect_stdout
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
import yaml
from faulty_sweeps import Case, corpus, rich_fields
from typer.main import get_command

from flare_ray.cli import app
from flare_ray.plan.load import load_sweep

LONGEST_MESSAGE = 20_000
SECONDS = 2.0
"""Of CPU, by which a message is there."""
PATIENCE = 60.0
"""Seconds by the clock after which a case hangs: other processes may hold the machine."""
COMMAND = get_command(app)


class Hangs(BaseException):
    """A case that waits for something; no `except Exception` stops it."""


@pytest.fixture
def hang_guard() -> Iterator[None]:
    """Lets an alarm end the case that hangs."""

    def give_up(*_: object) -> None:
        raise Hangs

    before = signal.signal(signal.SIGALRM, give_up)
    yield
    signal.signal(signal.SIGALRM, before)


def planned(file: Path, overrides: tuple[str, ...] = ()) -> tuple[int, str, float]:
    """Plan a file as the command line does; the exit code, what is on stderr, and seconds of CPU."""
    words = ["plan", str(file), *(word for one in overrides for word in ("--set", one))]
    before, code = time.process_time(), -1
    with redirect_stderr(StringIO()) as errors, redirect_stdout(StringIO()):
        signal.setitimer(signal.ITIMER_REAL, PATIENCE)
        try:
            COMMAND.main(words, prog_name="flare-ray")
        except SystemExit as ended:
            code = ended.code if isinstance(ended.code, int) else -1
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
    return code, errors.getvalue(), time.process_time() - before


def fault_of(case: Case, folder: Path) -> str | None:
    """Return what is wrong with how a faulty sweep ends; None if nothing."""
    folder.mkdir()
    try:
        code, message, seconds = planned(case.write(folder / "sweep.yaml"), case.overrides)
    except (Exception, Hangs) as error:
        return f"a traceback: {error!r:.300}"
    if code != 2:
        return f"exit code {code}: {message[:300]}"
    if seconds > SECONDS:
        return f"{seconds:.1f} s of CPU"
    if not 0 < len(message) <= LONGEST_MESSAGE:
        return f"a message of {len(message)} characters"
    if not re.search(r"^  \S.*: found .*; wanted .", message, re.MULTILINE | re.DOTALL):
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
        if (found := fault_of(case, tmp_path / f"case{number}"))
    }
    assert not wrong, "\n".join(f"{name}: {found}" for name, found in wrong.items())
