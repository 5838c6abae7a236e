"""The driver's desk: a small actor that worker groups ask whether to stop, and what to do next.

Answers come when it is time: a worker that looks whether it must stop only looks whether an answer is there.
"""

from __future__ import annotations

import asyncio
import uuid
from collections import defaultdict
from contextlib import suppress
from typing import Any

import ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy


class _Desk:
    """Where questions wait for their answers."""

    def __init__(self) -> None:
        self.closed = asyncio.Event()
        self.answered: defaultdict[str, asyncio.Event] = defaultdict(asyncio.Event)
        self.answers: dict[str, Any] = {}

    async def wait(self) -> bool:
        await self.closed.wait()
        return True

    async def close(self) -> None:
        self.closed.set()

    async def ask(self, question: str) -> Any:
        await self.answered[question].wait()
        return self.answers.get(question)

    async def answer(self, question: str, answer: Any) -> None:
        self.answers[question] = answer
        self.answered[question].set()

    async def forget(self, question: str) -> None:
        self.answers.pop(question, None)
        self.answered.pop(question, None)


class Desk:
    """The driver's side, on the driver's node: what else may go, they go together.

    name: by which workers of the same job find it.
    """

    def __init__(self) -> None:
        self.name = f"flare_ray_desk_{uuid.uuid4().hex}"
        made: Any = ray.remote(_Desk)
        here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)
        options = {"name": self.name, "num_cpus": 0, "max_concurrency": 10_000, "scheduling_strategy": here}
        self._actor: Any = made.options(**options).remote()

    def close(self) -> None:
        """Tells every worker to stop at its next checkpoint."""
        self._actor.close.remote()

    def answer(self, question: str, answer: Any) -> None:
        """For whoever asks this, now or later."""
        self._actor.answer.remote(question, answer)


class Errand:
    """A worker's side. name: of the desk; None where there is none, and nothing is ever said."""

    def __init__(self, name: str | None):
        self._desk: Any = _actor(name) if name else None
        self._closed = Answer(self._desk.wait.remote() if self._desk else None)

    def stopped(self) -> bool:
        """Whether the driver wants every worker to stop; never when it is gone."""
        return bool(self._closed.now())

    def question(self, question: str) -> Answer:
        """Asks; the answer comes when it is time."""
        return Answer(self._desk.ask.remote(question) if self._desk else None)

    def ask(self, question: str) -> Any:
        """Waits for an answer, which nobody else will ask for; None when the driver is gone."""
        if self._desk is None:
            return None
        try:
            found = ray.get(self._desk.ask.remote(question))
            self._desk.forget.remote(question)
        except ray.exceptions.RayError:
            return None
        return found


def _actor(name: str) -> Any:
    try:
        return ray.get_actor(name)
    except ValueError:  # it is gone with its driver
        return None


class Answer:
    """One that may not be there yet."""

    def __init__(self, coming: Any):
        self._coming, self._value = coming, None

    def now(self) -> Any:
        """The answer if it has come, else None; costs nothing."""
        if self._coming is not None and ray.wait([self._coming], timeout=0)[0]:
            with suppress(ray.exceptions.RayError):
                self._value = ray.get(self._coming)
            self._coming = None
        return self._value
