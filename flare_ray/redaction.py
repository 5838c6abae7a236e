"""Credentials out of what is printed, logged or stored.

redacted("http://me:secret@mlflow.example:5000")  # http://***@mlflow.example:5000
"""

from __future__ import annotations

import os
import re
import urllib.parse

_USERINFO = re.compile(r"(\b[a-zA-Z][a-zA-Z0-9+.\-]*://)[^/?#\s'\"]*@")
_SECRETS = ("MLFLOW_TRACKING_PASSWORD", "MLFLOW_TRACKING_TOKEN")
_SHORTEST = 4  # characters of a secret; a shorter one would blank ordinary words


def redacted(text: str) -> str:
    """The text without user:password@ in its URIs, and without the environment's tracking credentials."""
    text = _USERINFO.sub(r"\1***@", text)
    for name in _SECRETS:
        secret = os.environ.get(name, "")
        if len(secret) >= _SHORTEST:
            text = text.replace(secret, "***").replace(urllib.parse.quote(secret, safe=""), "***")
    return text
