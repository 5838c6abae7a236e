"""What is wrong with the input, all of it at once: where it is, what was found, what is wanted."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import ClassVar

from flare_ray.redaction import redacted

WRONG_INPUT, UNREACHABLE = 2, 75
"""Exit codes: what only its user can put right; what may be right in a while by itself (EX_TEMPFAIL)."""


@dataclass(frozen=True, order=True)
class Problem:
    """One thing wrong with the input.

    where: dotted path into the sweep file (`rank[0]`, `data.nusax`) or the file itself. passes: whether it may be
    gone in a while by itself, as a service's outage.
    """

    where: str
    found: str
    wanted: str
    passes: bool = False

    def __str__(self) -> str:
        return f"{self.where}: found {self.found}; wanted {self.wanted}"


class InputError(Exception):
    """The sweep cannot start as written. Its message lists every problem; the program exits with `exit_code`.

    No problem shows a credential, whatever was found.
    """

    exit_code: ClassVar[int] = WRONG_INPUT

    def __init__(self, title: str, problems: Iterable[Problem]):
        self.title = title
        shown = (replace(one, found=redacted(one.found), wanted=redacted(one.wanted)) for one in problems)
        self.problems = tuple(dict.fromkeys(shown))
        count = f"{len(self.problems)} problem" + ("s" if len(self.problems) != 1 else "")
        super().__init__("\n".join([f"{title}: {count}", *(f"  {problem}" for problem in self.problems)]))


class Unreachable(InputError):
    """What the sweep needs does not answer, and nothing else is wrong: the same command may go on later."""

    exit_code: ClassVar[int] = UNREACHABLE


def refusal(title: str, problems: Iterable[Problem]) -> InputError:
    """The error to raise: Unreachable where every problem may pass by itself, else InputError."""
    every = list(problems)
    kind = Unreachable if every and all(one.passes for one in every) else InputError
    return kind(title, every)
