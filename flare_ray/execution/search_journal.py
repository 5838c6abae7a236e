"""A search's journal in the store: what it proposed, in order, written before anything of it starts."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any

from flare_ray.store import Damaged, Store

log = logging.getLogger(__name__)
_ENTRIES = "entries"


def write_journal(store: Store, place: str, entries: Sequence[dict[str, Any]]) -> None:
    """Write all entries of a journal, in the place of those before. Raises StoreFull."""
    store.write_json(place, {_ENTRIES: list(entries)})


def read_journal(store: Store, place: str) -> list[dict[str, Any]]:
    """Return a journal's entries; none where there is no journal. Earlier versions wrote a bare list.

    Raises Damaged for a journal that is not what was written.
    """
    try:
        written = store.read_json(place)
    except FileNotFoundError:
        return []
    entries = written.get(_ENTRIES) if isinstance(written, dict) else written
    if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
        raise Damaged("is not a list of entries")
    return entries


def recovered_journal(store: Store, place: str) -> list[dict[str, Any]]:
    """Return a journal's entries; a damaged journal goes to quarantine, and the search starts another one.

    What its runs found is not lost: they have records of their own.
    """
    try:
        return read_journal(store, place)
    except Damaged as error:
        moved = store.quarantine(place, is_file=True)
        log.warning("%s %s; moved to %s; the search proposes anew", place, error, moved)
        return []
