"""Texts translated there and back: how much of a sample survives both ways."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from flare_ray.store import Store
from flare_ray.translation.corpus import Translating
from flare_ray.translation.memory import Entry, Memory, Pair
from flare_ray.translation.quality import chrf

log = logging.getLogger(__name__)

Translate = Callable[[Memory, Sequence[str]], None]
"""Translates texts into a memory."""


def round_trips(
    store: Store, works: Sequence[Translating], translate: Translate, stopped: type[Exception]
) -> Mapping[str, dict[str, Any]]:
    """Translate a sample of each split back; return `rows` and `chrf` (0 to 100) by the split's fingerprint.

    works: splits of one pair, translated. A translator of one direction has no way back, which is logged and leaves
    nothing. stopped: an error of `translate` that is raised again.
    """
    samples = {
        work.corpus.fingerprint: _sample(work, work.corpus.translator.get("round_trip", 0)) for work in works
    }
    samples = {fingerprint: entries for fingerprint, entries in samples.items() if entries}
    if not samples:
        return {}
    pair = works[0].memory.pair
    try:
        with Memory(store, Pair(pair.translator, pair.target, pair.source)) as memory:
            translate(memory, [entry.translation for entries in samples.values() for entry in entries])
            return {fingerprint: _score(entries, memory) for fingerprint, entries in samples.items()}
    except stopped:
        raise
    except Exception as error:  # the split itself is made, and says nothing of a round trip
        log.warning("no round trip from %s to %s: %s", pair.target, pair.source, error)
        return {}


def _sample(work: Translating, size: int) -> list[Entry]:
    """Return at most so many translations, evenly spread over the split."""
    entries = [entry for entry in work.sample(size) if entry.translation.strip()] if size else []
    return list({entry.text: entry for entry in entries}.values())[:size]


def _score(entries: Sequence[Entry], memory: Memory) -> dict[str, Any]:
    back = [memory.find(entry.translation) for entry in entries]
    score = chrf([entry.translation if entry else "" for entry in back], [entry.text for entry in entries])
    return {"rows": len(entries), "chrf": score["score"], "signature": score["signature"]}
