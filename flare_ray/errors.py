"""What is wrong with the input, all of it at once: where it is, what was found, what is wanted."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from flare_ray.redaction import redacted


@dataclass(frozen=True, order=True)
class Problem:
    """One thing wrong with the input.

    where: dotted path into the sweep file (`rank[0]`, `data.nusax`) or the file itself.
    """

    where: str
    found: str
    wanted: str

    def __str__(self) -> str:
        return f"{self.where}: found {self.found}; wanted {self.wanted}"


class InputError(Exception):
    """The sweep cannot start as written. Its message lists every problem; the program exits with 2.

    No problem shows a credential, whatever was found.
    """

    def __init__(self, title: str, problems: Iterable[Problem]):
        self.title = title
        shown = (Problem(one.where, redacted(one.found), redacted(one.wanted)) for one in problems)
        self.problems = tuple(dict.fromkeys(shown))
        count = f"{len(self.problems)} problem" + ("s" if len(self.problems) != 1 else "")
        super().__init__("\n".join([f"{title}: {count}", *(f"  {problem}" for problem in self.problems)]))
