"""Where MLflow is, whether a tracking URI can be one at all, and whether what it names answers.

Credentials come from the environment (MLFLOW_TRACKING_USERNAME and _PASSWORD, or _TOKEN) or stand in the URI; no
message has them.
"""

from __future__ import annotations

import base64
import http.client
import os
import re
import ssl
import urllib.error
import urllib.parse
import urllib.request
from importlib.metadata import entry_points

from flare_ray.errors import Problem
from flare_ray.proxy import bypass_proxy_for_loopback
from flare_ray.redaction import redacted
from flare_ray.tracking.database_check import DATABASES, database_problems, driver_problem

_EXPECTED = "http://HOST:PORT, https://HOST, sqlite:////PATH/mlflow.db, or nothing for a file in the storage"


def is_server(uri: str) -> bool:
    """Whether a tracking URI is a server's, and not a database of our own."""
    return uri.lower().startswith(("http://", "https://"))


def _problem(uri: str, found: str, wanted: str, passes: bool = False) -> Problem:
    """Return a problem of a tracking URI, which says where the URI comes from."""
    if os.environ.get("MLFLOW_TRACKING_URI") == uri:
        wanted += " (it is MLFLOW_TRACKING_URI's)"
    return Problem("tracking.uri", found, wanted, passes=passes)


def uri_problems(uri: str) -> list[Problem]:
    """Return what makes a tracking URI one that MLflow can never use; asks nothing and nobody."""
    reason = _unusable(uri)
    return [_problem(uri, f"{redacted(uri)!r}: {reason}", _EXPECTED)] if reason else []


def _unusable(uri: str) -> str | None:
    if uri != uri.strip() or re.search(r"[\x00-\x1f\x7f]", uri) or (" " in uri and "sqlite" not in uri):
        return "has spaces or control characters"
    scheme = re.match(r"[A-Za-z][A-Za-z0-9+.-]*(?=:)", uri)
    if is_server(uri):
        return _unusable_server(uri)
    if re.fullmatch(r"[\w.-]+:\d+(/.*)?", uri):
        return f"has no scheme: a server's address is http://{uri}"
    if not scheme:
        return "has no scheme, and MLflow keeps no folders any more"
    name = scheme.group().lower()
    kind = name.partition("+")[0]
    if kind == "sqlite":
        return _unusable_sqlite(uri)
    if kind in DATABASES:
        return driver_problem(uri)
    if name in ("http", "https"):
        return f"has no host after {name}://"
    if name == "file":
        return "a folder, which MLflow does not take any more"
    if name == "databricks" or name not in {
        entry.name for entry in entry_points(group="mlflow.tracking_store")
    }:
        return f"no tracking server or database has the scheme {name!r}"
    return None


def _unusable_server(uri: str) -> str | None:
    try:
        pieces = urllib.parse.urlsplit(uri)
        if not pieces.hostname:
            return "has no host"
        if pieces.port == 0:
            return "port 0 cannot be asked"
    except ValueError as error:
        return str(error)
    if pieces.query or pieces.fragment or uri.endswith(("#", "?")):
        return "an address of a page; the server's own has no ? and no #"
    return None


def _unusable_sqlite(uri: str) -> str | None:
    scheme, _, rest = uri.partition(":")
    if scheme.lower() not in ("sqlite", "sqlite+pysqlite") or scheme != scheme.lower():
        return "only sqlite:/// is known of SQLite"
    path = rest.removeprefix("///").partition("?")[0]
    if not rest.startswith("///"):
        return "a file is named after sqlite:/// (four slashes before an absolute path)"
    if path in ("", ":memory:") or path.endswith("/"):
        return "names no file"
    if path.startswith("~") or re.search(r"\$\w|\$\{", path):
        return "MLflow expands neither ~ nor variables"
    return None


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


def unreachable(uri: str, to_write: bool = True) -> list[Problem]:
    """What is wrong with a tracking server or database; asks it, without importing mlflow.

    What a server that is away may have for a while passes; an address that can be none does not. to_write: whether a
    database file must be one that can be written now.
    """
    if problems := uri_problems(uri):
        return problems
    if not is_server(uri):
        return database_problems(uri, to_write)
    wanted = "a running MLflow server, or nothing for a sqlite file in the storage folder"
    try:
        code = _answer(uri, _HEALTH)
    except (OSError, ValueError, http.client.HTTPException) as error:
        found = f"{redacted(uri)!r}, which does not answer: {redacted(str(error))}"
        return [_problem(uri, found, wanted, passes=_may_pass(error))]
    if code < 400 or code in (
        *_REFUSED,
        404,
    ):  # it is there: `refused` tells more, an old one has no such page
        return []
    found = f"{redacted(uri)!r}, which answers {code} {http.client.responses.get(code, '')}"
    return [_problem(uri, found, wanted, passes=code >= 500 or code in (408, 429))]


def refused(uri: str) -> list[Problem]:
    """Whether a tracking server that answers does not take the credentials: they would be wrong later too."""
    wanted = "credentials that it takes: MLFLOW_TRACKING_USERNAME and _PASSWORD, or MLFLOW_TRACKING_TOKEN"
    try:
        code = _answer(uri, _EXPERIMENTS) if is_server(uri) else 200
    except (OSError, ValueError, http.client.HTTPException):
        return []
    found = f"{redacted(uri)!r}, which answers {code} {http.client.responses.get(code, '')}"
    return [_problem(uri, found, wanted)] if code in _REFUSED else []


def _may_pass(error: Exception) -> bool:
    """Whether a server that does not answer may do so later: not where the address can be none."""
    cause = error.reason if isinstance(error, urllib.error.URLError) else error
    return isinstance(cause, OSError) and not isinstance(cause, ssl.SSLCertVerificationError)


def _answer(uri: str, page: str) -> int:
    """The HTTP status of a server's page. Raises OSError, ValueError, HTTPException."""
    bypass_proxy_for_loopback(uri)
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
