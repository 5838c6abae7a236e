"""Which kind a failure is of."""

import errno

import pytest
import torch

from flare_ray.errors import InputError
from flare_ray.execution.retries import Retries, kind_of, kind_of_death
from flare_ray.training.fit import Diverged

GLOO = "[../gloo/transport/tcp/pair.cc:534] Connection closed by peer [127.0.0.1]:26183"


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (RuntimeError(GLOO), "lost"),
        (torch.distributed.DistBackendError("NCCL error in: ProcessGroupNCCL.cpp"), "lost"),
        (torch.OutOfMemoryError("CUDA out of memory"), "memory"),
        (MemoryError(), "memory"),
        (Diverged("nan"), "diverged"),
        (InputError("x", []), "input"),
        (FileNotFoundError("x"), "input"),
        (OSError(errno.ENOSPC, "full"), "io"),
        (ConnectionResetError(errno.ECONNRESET, "Connection reset by peer"), "io"),
        (ValueError("x"), "bug"),
    ],
    ids=str,
)
def test_kinds_of_exceptions(error: Exception, kind: str) -> None:
    assert kind_of(error) == kind


def test_a_driver_that_is_gone_is_no_bug() -> None:
    ray = pytest.importorskip("ray")
    assert kind_of(ray.exceptions.ActorDiedError()) == "lost"


@pytest.mark.parametrize(
    ("error", "kind"),
    [("Task was killed due to the node running low on memory", "memory"), ("SIGKILL", "lost")],
)
def test_kinds_of_deaths(error: str, kind: str) -> None:
    assert kind_of_death(error) == kind


@pytest.mark.parametrize(("kind", "attempts"), [("lost", 3), ("memory", 2), ("io", 4), ("bug", 1)])
def test_attempts_are_counted(kind: str, attempts: int) -> None:
    waits = [Retries(3).wait(kind, failures) for failures in range(1, attempts + 1)]
    assert None not in waits[:-1]
    assert waits[-1] is None
