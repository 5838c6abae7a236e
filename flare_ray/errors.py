"""What is wrong with the input, all of it at once: where it is, what was found, what is wanted."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import ClassVar

from flare_ray.redaction import redacted

WRONG_INPUT, UNREACHABLE, STOPPED = 2, 75, 130
"""Exit codes: what only its user can put right; what may be right in a while by itself (EX_TEMPFAIL); stopped."""
MOST_SHOWN = 40
"""Problems that a message lists; of the others it gives the number."""
LONGEST_LIST = 12_000
"""Characters of the problems that a message lists, after the first one."""
LONGEST = 500
"""Characters of each part of a problem, of which a message shows the beginning."""


@dataclass(frozen=True, order=True)
class Problem:
    """One thing wrong with the input.

    where: dotted path into the sweep file (`rank[0]`, `data.nusax`) or the file itself. passes: whether it may be
    gone in a while by itself, as a service's outage. at: the line, or the file and line, that the value comes from.
    """

    where: str
    found: str
    wanted: str
    passes: bool = False
    at: str = ""

    def __str__(self) -> str:
        at = f" ({self.at})" if self.at else ""
        return f"{self.where}: found {self.found}; wanted {self.wanted}{at}"


def shorten(text: str, longest: int = LONGEST) -> str:
    """Return a text cut to so many characters, with the number of those that are left out."""
    if len(text) <= longest:
        return text
    return f"{text[:longest]}… ({len(text) - longest:,} more characters)"


def _listed(problems: tuple[Problem, ...]) -> list[str]:
    """Return the lines of the first problems, as many as a message lists."""
    lines: list[str] = []
    length = 0
    for problem in problems[:MOST_SHOWN]:
        line = f"  {problem}"
        length += len(line)
        if lines and length > LONGEST_LIST:
            break
        lines.append(line)
    return lines


def _presentable(problem: Problem) -> Problem:
    """Return a problem with bounded parts and without credentials. Only what may be shown is searched for them."""
    return replace(
        problem,
        where=_bounded(problem.where),
        found=_bounded(problem.found),
        wanted=_bounded(problem.wanted),
        at=_bounded(problem.at),
    )


def _bounded(text: str) -> str:
    if len(text) <= LONGEST:
        return redacted(text)
    window = redacted(
        text[: 4 * LONGEST]
    )  # a secret that begins in what is shown ends in here, or is cut whole
    return f"{window[:LONGEST]}… ({len(text) - LONGEST:,} more characters)"


class InputError(Exception):
    """The sweep cannot start as written. Its message lists the problems; the program exits with `exit_code`.

    No problem shows a credential, whatever was found. `problems` has all of them; the message lists the first
    MOST_SHOWN, each part cut to LONGEST characters.
    """

    exit_code: ClassVar[int] = WRONG_INPUT

    def __init__(self, title: str, problems: Iterable[Problem]):
        self.title = title
        self.problems = tuple(dict.fromkeys(map(_presentable, problems)))
        if len(self.problems) == 1 and self.problems[0].where == title:
            super().__init__(str(self.problems[0]))  # the title would repeat the place
            return
        count = f"{len(self.problems)} problem" + ("s" if len(self.problems) != 1 else "")
        lines = _listed(self.problems)
        more = len(self.problems) - len(lines)
        lines += [f"  … and {more:,} more"] if more else []
        super().__init__("\n".join([f"{shorten(title)}: {count}", *lines]))


class Unreachable(InputError):
    """What the sweep needs does not answer, and nothing else is wrong: the same command may continue later."""

    exit_code: ClassVar[int] = UNREACHABLE


def refusal(title: str, problems: Iterable[Problem]) -> InputError:
    """The error to raise: Unreachable where every problem may pass by itself, else InputError."""
    every = list(problems)
    kind = Unreachable if every and all(one.passes for one in every) else InputError
    return kind(title, every)
