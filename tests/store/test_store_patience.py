"""What is tried again, what is not, and for how long."""

from __future__ import annotations

import errno

import pytest

from flare_ray.store import patience
from flare_ray.store.patience import passes, patiently


class EndpointConnectionError(Exception):
    """By its name alone: botocore need not be installed."""


class OfflineModeIsEnabled(ConnectionError):
    """As the hub's client names it."""


class Answer(Exception):
    """An error of botocore's kind."""

    def __init__(self, status: int):
        self.response = {"ResponseMetadata": {"HTTPStatusCode": status}}


def caused(error: Exception, cause: Exception) -> Exception:
    error.__cause__ = cause
    return error


@pytest.mark.parametrize(
    ("error", "wanted"),
    [
        (TimeoutError(), True),
        (ConnectionResetError(), True),
        (OSError(errno.EBUSY, "Please reduce your request rate."), True),
        (OSError(errno.ESTALE, "Stale file handle"), True),
        (OSError(errno.ENOSPC, "No space left on device"), False),
        (FileNotFoundError(errno.ENOENT, "no"), False),
        (PermissionError(errno.EACCES, "no"), False),
        (ValueError("no"), False),
        (Answer(503), True),
        (Answer(429), True),
        (Answer(403), False),
        (Answer(501), False),
        (EndpointConnectionError(), True),
        (caused(FileNotFoundError("not in the cache"), EndpointConnectionError()), True),
        (OfflineModeIsEnabled(), False),
        (caused(FileNotFoundError("not in the cache"), OfflineModeIsEnabled()), False),
        (caused(OSError(errno.EIO, "an unknown code"), Answer(400)), False),
        (caused(OSError(errno.EINVAL, "odd"), Answer(500)), True),
    ],
)
def test_only_what_may_pass_is_tried_again(error: Exception, wanted: bool) -> None:
    assert passes(error) == wanted


@pytest.mark.parametrize("failures", [0, 1, 5])
def test_a_few_failures_are_waited_out(failures: int) -> None:
    left = [TimeoutError()] * failures

    def work() -> str:
        if left:
            raise left.pop()
        return "done"

    assert patiently(work) == "done"


def test_it_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    waits: list[float] = []
    monkeypatch.setattr(patience, "FIRST_WAIT", 0.5)
    monkeypatch.setattr(patience.time, "sleep", waits.append)
    calls = []

    def work() -> None:
        calls.append(1)
        raise TimeoutError("slow")

    with pytest.raises(TimeoutError):
        patiently(work)
    assert len(calls) == patience.ATTEMPTS
    assert 7 < sum(waits) < 24
