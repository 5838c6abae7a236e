"""A finding: what was looked at, how it is, and what to do about it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from flare_ray.errors import Problem, refusal
from flare_ray.redaction import redacted

State = Literal["good", "warning", "bad"]


@dataclass(frozen=True)
class Finding:
    """One thing looked at. remedy: of all that is not good. passes: whether it may be good in a while by itself."""

    what: str
    found: str
    state: State = "good"
    remedy: str = ""
    passes: bool = False

    @property
    def good(self) -> bool:
        """Whether nothing need be done."""
        return self.state == "good"

    def __str__(self) -> str:
        return redacted(f"{self.what}: {self.found}" + (f" → {self.remedy}" if self.remedy else ""))


def bad(what: str, found: str, remedy: str, passes: bool = False) -> Finding:
    """One that nothing can be started with."""
    return Finding(what, found, "bad", remedy, passes)


def warning(what: str, found: str, remedy: str) -> Finding:
    """One that may cost time, or that cannot be known from here."""
    return Finding(what, found, "warning", remedy)


def refuse(found: Iterable[Finding]) -> None:
    """Raises InputError with all that is bad; Unreachable where all of it may pass."""
    problems = [Problem(one.what, one.found, one.remedy, one.passes) for one in found if one.state == "bad"]
    if problems:
        raise refusal("preflight", problems)
