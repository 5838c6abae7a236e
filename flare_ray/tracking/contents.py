"""What a whole run of MLflow's has: how many parameters and metrics, which tags and artifacts. Kept in a tag of it.

By it a later look tells, without the store, whether something was lost or deleted since.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sized
from dataclasses import asdict, dataclass, field

from flare_ray.tracking.artifacts import Files, sizes_of
from flare_ray.tracking.views import View

CONTENTS = "flare_ray.contents"
_LONGEST = 4000


@dataclass(frozen=True)
class Contents:
    """Numbers of parameters and of metrics by name, names of tags, artifacts with their sizes in bytes."""

    params: int
    metrics: int
    tags: tuple[str, ...] = ()
    files: Mapping[str, int] = field(default_factory=dict)

    def as_tag(self) -> str:
        """Return the value of the tag; one with too many artifacts for a tag names none."""
        text = json.dumps(asdict(self), sort_keys=True)
        return text if len(text) <= _LONGEST else json.dumps(asdict(self) | {"files": {}}, sort_keys=True)

    def missing(self, params: Sized, metrics: Sized, tags: Collection[str]) -> str:
        """Return what a run with these lacks, in words; nothing for a whole one."""
        counts = (("parameters", self.params, len(params)), ("metrics", self.metrics, len(metrics)))
        lacks = [f"{expected - got} {name}" for name, expected, got in counts if got < expected]
        return ", ".join(lacks + [f"tag {name}" for name in self.tags if name not in tags])


def contents_of(view: View, files: Files) -> Contents:
    """Return what a view becomes in MLflow."""
    metrics = {name for name, *_ in view.metrics}
    return Contents(len(view.params), len(metrics), tuple(sorted(view.tags)), sizes_of(view, files))


def read_contents(tags: Mapping[str, str]) -> Contents | None:
    """Return what a run had when it was written; None for runs of earlier versions."""
    try:
        value = json.loads(tags[CONTENTS])
        files = {str(name): int(size) for name, size in value["files"].items()}
        return Contents(int(value["params"]), int(value["metrics"]), tuple(map(str, value["tags"])), files)
    except (KeyError, ValueError, TypeError, AttributeError):
        return None
