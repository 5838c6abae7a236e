"""The shelf: what was fetched from the Hugging Face hub, once, in the store, where every node reads it.

    shelf = Shelf(store)
    shelf.keep("model", "facebook/nllb-200-3.3B", folder, {"commit": "1a07f7d1…"})
    use(shelf)  # by this process, from now on
    found("model", "facebook/nllb-200-3.3B")  # a local folder

On shared file systems it is the folder itself, on an object store a checked copy in this machine's cache.
"""

from __future__ import annotations

from hashlib import blake2b
from pathlib import Path
from typing import Any, Literal

from flare_ray.store.records import Store

Kind = Literal["model", "rows", "sandbox"]
_HUB = "hub"


class Shelf:
    """The part of a store that keeps the hub's files.

    Names are a model's reference (`org/name`, `org/name@revision`), the key of a split's rows, the sandbox's version.
    """

    def __init__(self, store: Store):
        self.store = store
        self._folders: dict[tuple[str, str], Path] = {}

    def has(self, kind: Kind, name: str) -> bool:
        """Whether it is there, whole."""
        return self.store.has(_HUB, _key(kind, name))

    def keep(self, kind: Kind, name: str, folder: Path, facts: dict[str, Any]) -> None:
        """Keeps a folder of files; the first one of a name is kept for good. Raises StoreFull."""
        self.store.write(_HUB, _key(kind, name), {"kind": kind, "name": name, **facts}, folder)

    def folder(self, kind: Kind, name: str) -> Path | None:
        """The files as a local folder; None where there are none. Raises Damaged."""
        if (kind, name) not in self._folders:
            try:
                self._folders[kind, name] = self.store.folder(_HUB, _key(kind, name))
            except FileNotFoundError:
                return None
        return self._folders[kind, name]


_in_use: Shelf | None = None


def use(shelf: Shelf | None) -> None:
    """What this process reads from the hub it reads from this shelf first; None: from the hub alone."""
    global _in_use
    _in_use = shelf


def kept(kind: Kind, name: str) -> bool:
    """Whether the shelf in use has it; nothing is copied for that."""
    return bool(_in_use and _in_use.has(kind, name))


def found(kind: Kind, name: str) -> Path | None:
    """The folder on the shelf in use; None where there is none."""
    return _in_use.folder(kind, name) if _in_use else None


def _key(kind: Kind, name: str) -> str:
    return blake2b(f"{kind}\0{name}".encode(), digest_size=16).hexdigest()
