"""How long work will take: an expectation from before, corrected by what was seen in this execution."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable

from flare_ray.plan.corpora import Corpus
from flare_ray.plan.grid import Base, Run

Work = Run | Base | Corpus


class Durations:
    """Seconds of work. expected: what was known before; its unit does not matter once something was measured."""

    def __init__(self, expected: Callable[[Work], float]):
        self.expected = expected
        self._seen: dict[tuple[str, str, str], list[float]] = defaultdict(lambda: [0.0, 0.0])

    def __call__(self, work: Work) -> float:
        """The expectation, scaled as the work of the same kind, model and task that is done."""
        measured, expected = self._seen[_kind(work)]
        return self.expected(work) * (measured / expected if expected else 1.0)

    def note(self, work: Work, seconds: float) -> None:
        """Work took so long."""
        seen = self._seen[_kind(work)]
        seen[0] += seconds
        seen[1] += self.expected(work)


def _kind(work: Work) -> tuple[str, str, str]:
    if isinstance(work, Corpus):
        return "corpus", work.translator_key, work.task
    model = work.cell.model if isinstance(work, Run) else work.model
    return type(work).__name__, model.name, work.cell.task if isinstance(work, Run) else work.task
