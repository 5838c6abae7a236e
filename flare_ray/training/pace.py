"""When a training writes a checkpoint, and when it stops: agreed between its workers without waiting for each other.

Alone, a worker looks at its clock and asks whether to stop after every step. Several must agree, as writing takes
them all, and a question of their own at every step would make each wait for the slowest. So the wishes ride on the
sum of the losses, which all workers make at every step anyway: two more numbers in it. They are read a step later,
when they have long arrived on the CPU, so that a GPU's queue does not run empty for them.
"""

from __future__ import annotations

import time
from collections import deque

import torch

from flare_ray.training.checkpoints import Keeper
from flare_ray.training.engine import Group

_SHARE = 20
"""Training lasts at least so many times as long as the checkpoint before it took to write."""


class Pace:
    """One worker's clock and ear. keeper: None for a training that keeps nothing and never stops."""

    def __init__(self, keeper: Keeper | None, group: Group):
        self.keeper, self.group = keeper, group
        self._since, self._cost = time.perf_counter(), 0.0
        self._sent: deque[tuple[torch.Tensor, torch.cuda.Event | None]] = deque(maxlen=2)

    def decide(self) -> tuple[bool, bool]:
        """After a step: whether to write a checkpoint, and whether to stop then. The same on every worker."""
        if self.keeper is None:
            return False, False
        due, stop = self._wishes() if self.group.workers == 1 else self._former()
        return due or stop, stop

    def written(self, seconds: float) -> None:
        """A checkpoint was written, in so many seconds; wishes that came before it are fulfilled."""
        self._since, self._cost = time.perf_counter(), seconds
        self._sent.clear()

    def summed(self, loss: torch.Tensor) -> torch.Tensor:
        """The sum of every worker's loss of a step, a scalar; carries this step's wishes."""
        if self.group.workers == 1:
            return loss
        total = torch.zeros(3, device=loss.device)
        total[0] = loss
        if self.keeper is not None:
            due, stop = self._wishes()
            total[1], total[2] = float(due), float(stop)
        torch.distributed.all_reduce(total)
        self._send(total[1:])
        return total[0]

    def _wishes(self) -> tuple[bool, bool]:
        """The first worker's clock says when; any worker may be asked to stop."""
        assert self.keeper is not None
        wanted = max(self.keeper.every_seconds, _SHARE * self._cost)
        due = self.group.first and time.perf_counter() - self._since >= wanted
        return due, self.keeper.stop_requested()

    def _send(self, wishes: torch.Tensor) -> None:
        """Begins to bring the sum of a step's wishes to the CPU."""
        arrived = torch.cuda.Event() if wishes.is_cuda else None
        self._sent.append((wishes.to("cpu", non_blocking=True), arrived))
        if arrived is not None:
            arrived.record()

    def _former(self) -> tuple[bool, bool]:
        """The sum of the wishes of the step before."""
        if len(self._sent) < 2:
            return False, False
        wishes, arrived = self._sent[0]
        if arrived is not None:
            arrived.synchronize()
        due, stop = wishes.tolist()
        return due > 0, stop > 0
