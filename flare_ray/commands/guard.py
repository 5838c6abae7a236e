"""How a command ends: with its exit code, or with one message and the exit code of what it says.

    app = typer.Typer(cls=GuardedGroup)   # every command of it, whatever it raises

| what is raised | exit code |
|---|---|
| InputError; an error of the surroundings that its user puts right (permissions, limits, places) | 2 |
| Unreachable; one that may pass by itself (full disk, device or service that does not answer) | 75 |
| Damaged | 1 |
| KeyboardInterrupt | 130 |
| standard output whose reader has gone | 141 |
| anything else: a bug of this package, with its traceback | 1 |
"""

from __future__ import annotations

import os
import sys
import traceback
from collections.abc import Callable
from typing import Any

from typer.core import TyperCommand, TyperGroup

from flare_ray.commands.streams import (
    BROKEN_PIPE,
    OUTPUT,
    drop_output,
    flush_error,
    is_of_output,
    prepared_streams,
)
from flare_ray.commands.surroundings import problem_of
from flare_ray.errors import STOPPED, InputError, Problem, refusal
from flare_ray.proxy import bypass_proxy_for_loopback
from flare_ray.store import Damaged, told
from flare_ray.umask import set_umask

DAMAGED = 1
TRACEBACK = "FLARE_RAY_TRACEBACK"
"""The variable that has the traceback of an error of the surroundings printed too."""


def guarded(work: Callable[[], int]) -> int:
    """Do a command's work, and return its exit code, or that of the message which it ended with.

    Raises KeyboardInterrupt, and what is a bug of this package.
    """
    bypass_proxy_for_loopback()
    try:
        set_umask()
        with told():
            code = work()
    except InputError as error:
        return _show(error)
    except Damaged as error:
        return _show(error, DAMAGED)
    except (Exception, SystemExit) as error:
        code = _code_of(error)
    broken = flush_error()
    return code if broken is None else _of_output(broken)


def _code_of(error: Exception | SystemExit) -> int:
    """Return the exit code of an error of the surroundings, which is shown; raise any other."""
    if isinstance(error, SystemExit):
        if isinstance(error.__context__, BrokenPipeError):  # how rich ends when its reader has gone
            return BROKEN_PIPE
        raise error
    if is_of_output(error):
        return _of_output(error)
    problem = problem_of(error)
    if problem is None:
        raise error
    return _show(refusal("flare-ray", [problem]), cause=error)


def _of_output(error: Exception) -> int:
    """Return the exit code of a standard output that cannot be written."""
    drop_output()
    if isinstance(error, BrokenPipeError):
        return BROKEN_PIPE
    got = f"{type(error).__name__}: {getattr(error, 'strerror', error)}"
    problem = Problem(OUTPUT, got, "a place that takes what is printed", passes=True)
    return _show(refusal("flare-ray", [problem]))


def _show(error: Exception, code: int | None = None, cause: BaseException | None = None) -> int:
    """Print an error's message, and return its exit code."""
    try:
        if cause is not None and os.environ.get(TRACEBACK):
            traceback.print_exception(cause)
        print(error, file=sys.stderr, flush=True)
    except OSError:  # nobody reads it; the exit code says the same
        pass
    return error.exit_code if code is None and isinstance(error, InputError) else code or 0


class _Guarded:
    """The boundary around a command and all below it."""

    def main(self, *args: Any, **options: Any) -> Any:
        """Run the program; what the terminal cannot show does not end it."""
        with prepared_streams():
            try:
                return super().main(*args, **options)  # type: ignore[misc]
            except SystemExit as end:
                if isinstance(end.__context__, OSError) and is_of_output(
                    end.__context__
                ):  # how typer ends then
                    end.code = _of_output(end.__context__)
                elif (broken := flush_error()) is not None:  # of --help, for one
                    end.code = end.code or _of_output(broken)
                raise
            except Exception as error:  # before any command: of --help, for one
                raise SystemExit(_code_of(error)) from None

    def invoke(self, context: Any) -> Any:
        """Run the command, and end as `guarded` does."""

        def work() -> int:
            super(_Guarded, self).invoke(context)  # type: ignore[misc]
            return 0

        try:
            code = guarded(work)
        except KeyboardInterrupt:
            print("\nStopped.", file=sys.stderr)
            code = STOPPED
        if code:
            context.exit(code)


class GuardedGroup(_Guarded, TyperGroup):
    """A program of several commands, each inside the boundary."""


class GuardedCommand(_Guarded, TyperCommand):
    """A program of one command, inside the boundary."""
