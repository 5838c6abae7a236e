"""Where MLflow is, and whether it answers.

Credentials come from the environment (MLFLOW_TRACKING_USERNAME and _PASSWORD, or _TOKEN) or stand in the URI; no
message has them.
"""

from __future__ import annotations

import base64
import http.client
import os
import ssl
import urllib.error
import urllib.parse
import urllib.request

from flare_ray.errors import Problem
from flare_ray.redaction import redacted


def is_server(uri: str) -> bool:
    """Whether a tracking URI is a server's, and not a database of our own."""
    return uri.startswith(("http://", "https://"))


def parted(uri: str) -> tuple[str, str | None, str | None]:
    """A server's URI without credentials, and the user and password that stood in it. Raises ValueError."""
    pieces = urllib.parse.urlsplit(uri)
    user, password = pieces.username, pieces.password
    where = pieces.netloc.rpartition("@")[2]
    plain = urllib.parse.urlunsplit(pieces._replace(netloc=where))
    unquote = urllib.parse.unquote
    return plain, unquote(user) if user else None, unquote(password) if password else None


_REFUSED = (401, 403)
_HEALTH, _EXPERIMENTS = "health", "api/2.0/mlflow/experiments/search?max_results=1"


def unreachable(uri: str) -> list[Problem]:
    """What is wrong with a tracking server; asks it over HTTP, without importing mlflow.

    What a server that is away may have for a while passes; an address that can be none does not.
    """
    wanted = "a running MLflow server, or nothing for a sqlite file in the storage folder"
    try:
        code = _answer(uri, _HEALTH) if is_server(uri) else 200
    except (OSError, ValueError, http.client.HTTPException) as error:
        found = f"{redacted(uri)!r}, which does not answer: {redacted(str(error))}"
        return [Problem("tracking.uri", found, wanted, passes=_may_pass(error))]
    if code < 400 or code in (
        *_REFUSED,
        404,
    ):  # it is there: `refused` tells more, an old one has no such page
        return []
    found = f"{redacted(uri)!r}, which answers {code} {http.client.responses.get(code, '')}"
    return [Problem("tracking.uri", found, wanted, passes=code >= 500 or code in (408, 429))]


def refused(uri: str) -> list[Problem]:
    """Whether a tracking server that answers does not take the credentials: they would be wrong later too."""
    wanted = "credentials that it takes: MLFLOW_TRACKING_USERNAME and _PASSWORD, or MLFLOW_TRACKING_TOKEN"
    try:
        code = _answer(uri, _EXPERIMENTS) if is_server(uri) else 200
    except (OSError, ValueError, http.client.HTTPException):
        return []
    found = f"{redacted(uri)!r}, which answers {code} {http.client.responses.get(code, '')}"
    return [Problem("tracking.uri", found, wanted)] if code in _REFUSED else []


def _may_pass(error: Exception) -> bool:
    """Whether a server that does not answer may do so later: not where the address can be none."""
    cause = error.reason if isinstance(error, urllib.error.URLError) else error
    return isinstance(cause, OSError) and not isinstance(cause, ssl.SSLCertVerificationError)


def _answer(uri: str, page: str) -> int:
    """The HTTP status of a server's page. Raises OSError, ValueError, HTTPException."""
    try:
        with urllib.request.urlopen(_request(uri, page), timeout=10) as answer:
            answer.read()
            return int(answer.status)
    except urllib.error.HTTPError as error:
        return error.code


def _request(uri: str, page: str) -> urllib.request.Request:
    plain, user, password = parted(uri)
    user = user or os.environ.get("MLFLOW_TRACKING_USERNAME")
    password = password or os.environ.get("MLFLOW_TRACKING_PASSWORD")
    request = urllib.request.Request(f"{plain.rstrip('/')}/{page}")
    if user and password:
        both = base64.b64encode(f"{user}:{password}".encode()).decode()
        request.add_header("Authorization", f"Basic {both}")
    elif token := os.environ.get("MLFLOW_TRACKING_TOKEN"):
        request.add_header("Authorization", f"Bearer {token}")
    return request
