"""Every command and every kind of error: one message with its place and remedy, the right exit code, no traceback.

The commands themselves are replaced here; what each of them does on real disks is in test_boundary_disks.py.
"""

from __future__ import annotations

import errno
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer
from typer.testing import CliRunner

from flare_ray import cli, sweep
from flare_ray.errors import InputError, Problem, Unreachable
from flare_ray.store import Damaged, StoreAway, StoreFull, StoreRefused
from tests.commands.boundary import call


def leaves(command: Any, words: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Every command of a program, with the words that name it."""
    inner = getattr(command, "commands", None)
    if inner is None:
        yield words, command
        return
    for name, one in inner.items():
        yield from leaves(one, (*words, name))


NAMES = [words for words, _ in leaves(typer.main.get_command(cli.app))]


def test_the_commands_are_found() -> None:
    assert {("run",), ("plan",), ("report",), ("diff",), ("store", "gc"), ("sync",), ("ui",)} <= set(NAMES)
    assert {
        ("translate",),
        ("doctor",),
        ("schema",),
        ("submit",),
        ("store", "ls"),
        ("store", "verify"),
    } <= set(NAMES)


def ends(app: Any, words: tuple[str, ...], error: BaseException) -> Any:
    """How a program ends whose command of these words raises an error."""

    def fail(**options: Any) -> None:
        raise error

    program = typer.main.get_command(app)
    command = dict(leaves(program))[words]
    command.callback, command.params = fail, []
    return CliRunner().invoke(_Given(program), list(words))


class _Given(typer.Typer):
    """A program that is made already."""

    def __init__(self, program: Any):
        super().__init__()
        self.program = program


@pytest.fixture(autouse=True)
def _given(monkeypatch: pytest.MonkeyPatch) -> None:
    from typer import testing

    plain = testing._get_command
    monkeypatch.setattr(testing, "_get_command", lambda app: getattr(app, "program", None) or plain(app))


def of_os(code: int, place: str | None = "/scratch/results/x") -> OSError:
    import os

    return OSError(code, os.strerror(code), place)


def database(name: str) -> sqlite3.Error:
    error = sqlite3.OperationalError("unable to open database file")
    error.sqlite_errorname = name
    return error


def wrapped(error: BaseException) -> BaseException:
    """An error of a library's own that comes from another one."""
    outer = RuntimeError("a library's own words")
    outer.__cause__ = error
    return outer


KINDS: dict[str, tuple[BaseException, int, str]] = {
    "denied": (of_os(errno.EACCES), 2, "/scratch/results/x: found PermissionError: Permission denied"),
    "not the owner": (of_os(errno.EPERM), 2, "chmod"),
    "read-only": (of_os(errno.EROFS), 2, "another folder"),
    "missing": (of_os(errno.ENOENT), 2, "/scratch/results/x"),
    "a file as a folder": (of_os(errno.ENOTDIR), 2, "/scratch/results/x"),
    "a folder as a file": (of_os(errno.EISDIR), 2, "/scratch/results/x"),
    "too long a name": (of_os(errno.ENAMETOOLONG), 2, "a shorter path"),
    "a circle of links": (of_os(errno.ELOOP), 2, "links"),
    "another file system": (of_os(errno.EXDEV), 2, "no mount in the place"),
    "open files": (of_os(errno.EMFILE), 2, "ulimit -n"),
    "a limit of sizes": (of_os(errno.EFBIG), 2, "ulimit -f"),
    "full disk": (of_os(errno.ENOSPC), 75, "free space"),
    "quota": (of_os(errno.EDQUOT), 75, "free space"),
    "full store": (StoreFull(errno.ENOSPC, "No space left: could not write runs/x"), 75, "runs/x"),
    "again": (of_os(errno.EAGAIN, None), 75, "start again later"),
    "timeout": (of_os(errno.ETIMEDOUT), 75, "/scratch/results/x"),
    "stale": (of_os(errno.ESTALE), 75, "/scratch/results/x"),
    "device": (of_os(errno.EIO), 75, "/scratch/results/x"),
    "refused connection": (ConnectionRefusedError(errno.ECONNREFUSED, "Connection refused"), 75, "later"),
    "a library's": (wrapped(of_os(errno.EACCES)), 2, "/scratch/results/x"),
    "memory": (MemoryError(), 75, "memory"),
    "no memory for a call": (of_os(errno.ENOMEM), 75, "memory"),
    "no home": (RuntimeError("Could not determine home directory."), 2, "HOME"),
    "database file": (database("SQLITE_CANTOPEN"), 2, "database"),
    "database on a full disk": (database("SQLITE_FULL"), 75, "free space"),
    "locked database": (wrapped(database("SQLITE_BUSY")), 75, "locks"),
    "away": (StoreAway("TimeoutError: s3"), 75, "storage"),
    "refused": (StoreRefused("no credentials"), 2, "storage"),
    "wrong input": (InputError("f", [Problem("rank", "0", "1 or more")]), 2, "rank: found 0"),
    "unreachable": (Unreachable("f", [Problem("hub", "503", "a hub that answers")]), 75, "hub"),
    "damage": (Damaged("record.json of runs/x cannot be read"), 1, "runs/x"),
    "stopped": (KeyboardInterrupt(), 130, "Stopped"),
}


@pytest.mark.parametrize("words", NAMES, ids=" ".join)
@pytest.mark.parametrize("kind", KINDS)
def test_each_error_ends_each_command_with_its_code_and_one_message(
    kind: str, words: tuple[str, ...]
) -> None:
    error, code, text = KINDS[kind]
    done = ends(cli.app, words, error)
    assert done.exit_code == code
    assert isinstance(done.exception, SystemExit)
    assert text in done.stderr
    assert "Traceback" not in done.output
    assert done.stderr.count("\n") <= 3, "one message"


@pytest.mark.parametrize("kind", KINDS)
def test_the_module_ends_as_the_program(kind: str) -> None:
    error, code, text = KINDS[kind]
    done = ends(sweep.app, (), error)
    assert (done.exit_code, text in done.stderr) == (code, True)


@pytest.mark.parametrize("words", NAMES, ids=" ".join)
@pytest.mark.parametrize(
    "bug",
    [TypeError("x"), KeyError("x"), AssertionError(), ValueError("x"), RecursionError(), RuntimeError("x")],
    ids=repr,
)
def test_a_bug_keeps_its_traceback(bug: Exception, words: tuple[str, ...]) -> None:
    done = ends(cli.app, words, bug)
    assert done.exception is bug
    assert done.exit_code == 1


def test_a_wrong_query_is_a_bug() -> None:
    error = database("SQLITE_ERROR")
    assert ends(cli.app, ("plan",), error).exception is error


def test_no_memory_within_a_limit_is_the_limits_fault(monkeypatch: pytest.MonkeyPatch) -> None:
    import resource

    limits = {resource.RLIMIT_AS: (2**30, 2**30)}
    none = (resource.RLIM_INFINITY, resource.RLIM_INFINITY)
    monkeypatch.setattr(resource, "getrlimit", lambda kind: limits.get(kind, none))
    done = ends(cli.app, ("plan",), MemoryError())
    assert done.exit_code == 2
    assert "1024 MiB" in done.stderr
    assert "ulimit -v unlimited" in done.stderr


def test_a_place_in_the_cache_names_its_setting(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FLARE_RAY_CACHE", str(tmp_path / "a" / "cache"))
    for place in (tmp_path / "a" / "cache" / "rows", tmp_path / "a"):
        done = ends(cli.app, ("plan",), of_os(errno.EACCES, str(place)))
        assert "FLARE_RAY_CACHE" in done.stderr


def test_the_traceback_is_shown_to_whoever_asks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FLARE_RAY_TRACEBACK", "1")
    done = ends(cli.app, ("plan",), of_os(errno.EACCES))
    assert done.exit_code == 2
    assert "Traceback" in done.stderr


@pytest.mark.parametrize("words", [("plan", "none.yaml"), ("report", "none.yaml"), ("schema", "--none")])
def test_what_typer_finds_wrong_is_wrong_input_too(words: tuple[str, ...]) -> None:
    assert call(*words).exit_code == 2
