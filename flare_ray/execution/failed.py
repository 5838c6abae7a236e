"""Failures of earlier starts: which are left alone, which are tried again.

What failed for a reason outside the code (a lost node, memory, a disk, missing data) is tried again by every start.
What failed in the code or in the numbers would fail again: it is left alone, until the code is another one or the
user asks.
"""

from __future__ import annotations

from typing import Any

from flare_ray.execution.retries import CURABLE
from flare_ray.plan.grid import Grid
from flare_ray.plan.stages import Stages
from flare_ray.store import Store


def given_up(store: Store, grid: Grid, provenance: dict[str, Any]) -> set[str]:
    """Fingerprints of the grid's runs whose failure is left alone."""
    written = {name.removesuffix(".json") for name in store.names("failures")}
    if not written:
        return set()
    failed = [run.fingerprint for run in grid.runs if run.fingerprint in written]
    return {one for one in failed if _stays(store.failure(one) or {}, provenance)}


def is_given_up(store: Store, run: str, provenance: dict[str, Any]) -> bool:
    """Whether a run's failure, if there is one, is left alone. run: its fingerprint."""
    failure = store.failure(run)
    return failure is not None and _stays(failure, provenance)


def forget(store: Store, stages: Stages) -> None:
    """What is written about the failures of work that is tried again goes."""
    written = {name.removesuffix(".json") for name in store.names("failures")}
    corpora = [corpus for work in stages.translations for corpus in work.corpora]
    for work in (*corpora, *stages.bases, *stages.todo):
        if work.fingerprint in written:
            store.forget_failure(work.fingerprint)


def _stays(failure: dict[str, Any], provenance: dict[str, Any]) -> bool:
    if failure.get("kind", "lost") in CURABLE:
        return False
    return _code(failure.get("provenance", {})) == _code(provenance) is not None


def _code(provenance: dict[str, Any]) -> Any:
    """What tells one state of the code from another; None for a changed checkout, which may change again unseen, and
    where nothing is known."""
    if provenance.get("git_changed") or "code" not in provenance:
        return None
    return provenance["code"], provenance.get("git_commit"), provenance.get("versions")
