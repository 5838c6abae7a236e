"""How work ended, by what the store says: the board asks here, and failures without a word are written here."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from flare_ray.plan.corpora import Corpus
from flare_ray.plan.grid import Base, Run
from flare_ray.store import Store

KINDS: dict[type, str] = {Run: "runs", Base: "bases", Corpus: "corpora"}
"""Folders of the store."""
OnEvent = Callable[[dict[str, Any]], None]


class Outcomes:
    """The store's view of runs and base models during one execution.

    on_event: told about the failures written here, as workers' reports are told to it.
    """

    def __init__(self, store: Store, provenance: dict[str, Any], on_event: OnEvent):
        self.store, self.provenance, self.on_event = store, provenance, on_event

    def settled(self, work: Run | Base | Corpus) -> bool:
        """Whether it is finished, or its worker wrote down why not."""
        kind = KINDS[type(work)]
        return self.store.has(kind, work.fingerprint) or self.store.failure(work.fingerprint) is not None

    def reason(self, work: Run | Base | Corpus) -> str | None:
        """What is written about its failure."""
        return (self.store.failure(work.fingerprint) or {}).get("error")

    def failed(self, work: Run | Base | Corpus, error: str) -> None:
        """Writes down a failure that no worker lived to write."""
        facts = {"fingerprint": work.fingerprint, "label": work.label, "error": error}
        self.store.write_failure(work.fingerprint, facts | {"provenance": self.provenance, "at": time.time()})
        kind = {Run: "run", Base: "base", Corpus: "corpus"}[type(work)]
        self.on_event(facts | {"event": "failed", "kind": kind})
