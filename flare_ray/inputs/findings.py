"""What a check of the input finds: problems that a sweep cannot start with, and warnings that it starts with."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from flare_ray.errors import Problem


@dataclass
class Findings:
    """Problems and warnings, each once."""

    problems: list[Problem] = field(default_factory=list)
    warnings: list[Problem] = field(default_factory=list)

    def add(self, problems: Iterable[Problem] = (), warnings: Iterable[Problem] = ()) -> None:
        """Add what another check has found."""
        self.problems = list(dict.fromkeys([*self.problems, *problems]))
        self.warnings = list(dict.fromkeys([*self.warnings, *warnings]))
