"""Where MLflow is, and whether it answers.

Credentials come from the environment (MLFLOW_TRACKING_USERNAME and _PASSWORD, or _TOKEN) or stand in the URI; no
message has them.
"""

from __future__ import annotations

import base64
import http.client
import os
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


def unreachable(uri: str) -> list[Problem]:
    """What is wrong with a tracking server; asks it over HTTP, without importing mlflow."""
    if not is_server(uri):
        return []
    wanted = "a running MLflow server, or nothing for a sqlite file in the storage folder"
    try:
        with urllib.request.urlopen(_health(uri), timeout=10) as answer:
            answer.read()
    except urllib.error.HTTPError as error:
        if error.code in (401, 403, 404):  # it is there; credentials and old servers are mlflow's business
            return []
        found = f"{redacted(uri)!r}, which answers {error.code} {error.reason}"
        return [Problem("tracking.uri", found, wanted)]
    except (OSError, ValueError, http.client.HTTPException) as error:
        found = f"{redacted(uri)!r}, which does not answer: {redacted(str(error))}"
        return [Problem("tracking.uri", found, wanted)]
    return []


def _health(uri: str) -> urllib.request.Request:
    plain, user, password = parted(uri)
    user = user or os.environ.get("MLFLOW_TRACKING_USERNAME")
    password = password or os.environ.get("MLFLOW_TRACKING_PASSWORD")
    request = urllib.request.Request(f"{plain.rstrip('/')}/health")
    if user and password:
        both = base64.b64encode(f"{user}:{password}".encode()).decode()
        request.add_header("Authorization", f"Basic {both}")
    elif token := os.environ.get("MLFLOW_TRACKING_TOKEN"):
        request.add_header("Authorization", f"Bearer {token}")
    return request
