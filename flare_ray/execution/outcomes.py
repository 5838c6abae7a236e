"""How work ended, by what the store says: the board asks here, and failures without a word are written here."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from flare_ray.execution.retries import Failure
from flare_ray.plan.corpora import Corpus
from flare_ray.plan.grid import Base, Run
from flare_ray.store import Store
from flare_ray.store.manifest import CHECKPOINT
from flare_ray.translation.corpus import pair

KINDS: dict[type, str] = {Run: "runs", Base: "bases", Corpus: "corpora"}
"""Folders of the store."""
OnEvent = Callable[[dict[str, Any]], None]


class Outcomes:
    """The store's view of work during one execution.

    on_event: told about the failures written here, as workers' reports are told to it.
    """

    def __init__(self, store: Store, provenance: dict[str, Any], on_event: OnEvent):
        self.store, self.provenance, self.on_event = store, provenance, on_event

    def done(self, work: Run | Base | Corpus) -> bool:
        """Whether it is finished. Raises OtherStore where the storage is not there to say so."""
        self.store.files.check(afresh=True)
        return self.store.has(KINDS[type(work)], work.fingerprint)

    def failure(self, work: Run | Base | Corpus) -> Failure | None:
        """What its worker wrote down about its failure."""
        written = self.store.failure(work.fingerprint)
        return Failure(written.get("kind", "bug"), written["error"]) if written else None

    def progress(self, work: Run | Base | Corpus) -> int:
        """How far unfinished work is: the steps of a run's or base model's checkpoint, or the shards of translations.

        Those are of the whole language and direction, of which a split is a part: all its splits get on together.
        """
        if isinstance(work, Corpus):
            return len(self.store.names(pair(work).folder))
        place = f"checkpoints/{work.fingerprint}"
        names = filter(str.isdecimal, self.store.names(place))
        whole = [name for name in names if self.store.files.exists(f"{place}/{name}/{CHECKPOINT}")]
        return max(map(int, whole), default=0)

    def failed(self, work: Run | Base | Corpus, failure: Failure) -> None:
        """Writes down a failure that no worker lived to write."""
        facts = {"fingerprint": work.fingerprint, "label": work.label, **vars(failure)}
        self.store.write_failure(work.fingerprint, facts | {"provenance": self.provenance, "at": time.time()})
        kind = {Run: "run", Base: "base", Corpus: "corpus"}[type(work)]
        self.on_event({**facts, "why": failure.kind, "event": "failed", "kind": kind})

    def forget(self, work: Run | Base | Corpus) -> None:
        """It is tried again: what is written about its failure no longer holds."""
        self.store.forget_failure(work.fingerprint)
