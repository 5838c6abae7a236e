"""Files that carry their checksum in their name, for what is not a record and must not be believed unread.

    name = addressed_name("translations/t/eng-ace", "w-3f", content, ".parquet")   # w-3f-9a…40 hex digits….parquet
    check_addressed("translations/t/eng-ace/" + name, content)                     # raises Damaged

The checksum covers the folder too: a file that was copied to another folder, or over another one, is noticed. A file
of an earlier version has no checksum in its name and is taken as it is.
"""

from __future__ import annotations

import re

from flare_ray.store.manifest import Damaged, checksum

_CHECKSUM = re.compile(r"-([0-9a-f]{40})\.[a-z]+$")


def addressed_name(folder: str, prefix: str, content: bytes, ending: str) -> str:
    """Return the name of a file with this content in this folder."""
    return f"{prefix}-{_checksum_in(folder, content)}{ending}"


def check_addressed(place: str, content: bytes) -> None:
    """Raise Damaged unless the content is what the file's name and folder say."""
    folder, _, name = place.rpartition("/")
    match = _CHECKSUM.search(name)
    if match and match.group(1) != _checksum_in(folder, content):
        raise Damaged(f"{place} is not what was written (checksum)")


def _checksum_in(folder: str, content: bytes) -> str:
    digest = checksum()
    digest.update(folder.encode() + b"\0" + content)
    return str(digest.hexdigest())
