r"""Texts that show nothing: blanks, and characters without a glyph.

>>> is_blank("\u200b\u200e\u00a0"), is_blank("a\u200b")
(True, False)
"""

from __future__ import annotations

import re

_INVISIBLE = (
    "\x00-\x20\x7f-\xa0\xad"  # control characters, blanks, soft hyphen
    "\u034f\u061c\u115f\u1160\u1680\u17b4\u17b5\u180b-\u180f"  # joiners, fillers, Mongolian selectors
    "\u2000-\u200f\u2028-\u202f\u205f-\u206f"  # spaces, zero-width characters, bidirectional marks
    "\u2800\u3000\u3164\ufe00-\ufe0f\ufeff\uffa0\ufff0-\ufffb"  # blank pattern, fillers, selectors, byte order mark
    "\U0001bca0-\U0001bca3\U0001d159\U0001d173-\U0001d17a\U000e0000-\U000e0fff"  # format characters, tags
)
_VISIBLE = re.compile(f"[^{_INVISIBLE}]")
_AROUND = re.compile(f"^[{_INVISIBLE}]+|[{_INVISIBLE}]+$")


def is_blank(text: str) -> bool:
    """Return whether a text has no visible character."""
    return _VISIBLE.search(text) is None


def visible_part(text: str) -> str:
    """Return a text without the invisible characters around it."""
    return _AROUND.sub("", text)
