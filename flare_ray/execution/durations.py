"""How long work will take: an expectation from before, corrected by what was seen in this execution."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from statistics import median

from flare_ray.plan.corpora import Corpus
from flare_ray.plan.grid import Base, Run

Work = Run | Base | Corpus
Kind = tuple[str, str, str]


class Durations:
    """Seconds of work.

    expected: what was known before, for each piece of work the same at any time; what was seen scales it for all work
    of the same kind, model and task.
    """

    def __init__(self, expected: Callable[[Work], float] = lambda work: 1.0):
        self.expected = expected
        self._seen: dict[Kind, list[float]] = defaultdict(lambda: [0.0, 0.0])

    def __call__(self, work: Work) -> float:
        """Seconds that it will take, as far as is known now."""
        return self.expected(work) * self.factor(work)

    def factor(self, work: Work) -> float:
        """Seconds seen to seconds expected, of work of its kind that is done; of all work where there is none."""
        kind = _kind(work)
        measured, expected = self._seen.get(kind) or self._seen.get(_ALL) or (1.0, 1.0)
        return measured / expected

    def note(self, work: Work, seconds: float) -> None:
        """Work took so long."""
        expected = self.expected(work)
        if seconds <= 0 or expected <= 0:
            return
        for kind in (_kind(work), _ALL):
            self._seen[kind][0] += seconds
            self._seen[kind][1] += expected


_ALL = ("all", "", "")


def _kind(work: Work) -> Kind:
    if isinstance(work, Corpus):
        return "corpus", work.translator_key, work.task
    model = work.cell.model if isinstance(work, Run) else work.model
    return type(work).__name__, model.name, work.cell.task if isinstance(work, Run) else work.task


class Starts:
    """How long stages wait for their worker groups to begin. expected: seconds, before one was seen.

    false: groups in a row that ended before they had begun with anything.
    """

    def __init__(self, expected: float, clock: Callable[[], float]):
        self.expected, self.clock = expected, clock
        self._since: dict[str, float] = {}
        self._seen: list[float] = []
        self.false = 0

    @property
    def seconds(self) -> float:
        """What a start takes."""
        return median(self._seen) if self._seen else self.expected

    def begin(self, key: str) -> None:
        """A stage waits from now on."""
        self._since[key] = self.clock()

    def works(self, key: str) -> None:
        """Its worker group is there and begins with the first piece of work."""
        if key in self._since:
            self._seen.append(self.clock() - self._since.pop(key))
            self.false = 0

    def end(self, key: str) -> bool:
        """It has ended; whether it had begun."""
        return self._since.pop(key, None) is None

    def begun(self, key: str) -> bool:
        """Whether a stage that was started has begun."""
        return key not in self._since

    def anew(self) -> None:
        """Those that wait find room only now, and wait from now on."""
        self._since = dict.fromkeys(self._since, self.clock())

    def longest(self) -> float:
        """Seconds that a stage has been waiting, of the one that waits longest. From any thread."""
        since = min(list(self._since.values()), default=None)
        return 0.0 if since is None else self.clock() - since
