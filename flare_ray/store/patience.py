"""Patience with a remote store, or hub: what fails for the moment is tried again, later each time, and not for ever.

    patiently(lambda: fs.cat_file(place))

Drivers try again themselves, each in its own way and some hardly at all; this is the floor under all of them.
"""

from __future__ import annotations

import errno
import logging
import random
import time
from collections.abc import Callable, Iterator
from typing import TypeVar

log = logging.getLogger(__name__)
T = TypeVar("T")

ATTEMPTS = 6
FIRST_WAIT = 0.5
"""Seconds before the second attempt; doubled for each later one, so that six attempts last about 15 s."""
_TOO_MANY, _TIMEOUT, _CONFLICT, _UNSUPPORTED = 429, 408, 409, 501
_PASSING = {
    getattr(errno, name)
    for name in (
        "EAGAIN",
        "EBUSY",
        "ECONNABORTED",
        "ECONNREFUSED",
        "ECONNRESET",
        "EHOSTUNREACH",
        "EIO",
        "ENETUNREACH",
        "EPIPE",
        "EREMOTEIO",
        "ESTALE",
        "ETIMEDOUT",
    )
    if hasattr(errno, name)
}
_PASSING_NAMES = {  # of aiohttp, azure, botocore and httpx, which need not be installed
    "ClientConnectionError",
    "ClientPayloadError",
    "ConnectTimeoutError",
    "EndpointConnectionError",
    "HTTPClientError",
    "IncompleteReadError",
    "ProxyConnectionError",
    "ServiceRequestError",
    "ServiceResponseError",
    "TransportError",
}
_LASTING_NAMES = {"OfflineModeIsEnabled"}  # of the hub's client: a ConnectionError, and the user's own wish


def patiently(work: Callable[[], T]) -> T:
    """The work's result; its last error when it fails at every attempt, or at once in a way that will not pass."""
    for attempt in range(1, ATTEMPTS):
        try:
            return work()
        except Exception as error:
            if not passes(error):
                raise
            wait = FIRST_WAIT * 2 ** (attempt - 1) * random.uniform(0.5, 1.5)
            log.warning("%s: %s; again in %.1f s", type(error).__name__, error, wait)
            time.sleep(wait)
    return work()


def passes(error: BaseException) -> bool:
    """Whether an error, or its cause, may be gone in a moment: a timeout, a lost connection, a busy service."""
    code = http_status(error)
    if code is not None:
        return code in (_TOO_MANY, _TIMEOUT, _CONFLICT) or (code >= 500 and code != _UNSUPPORTED)
    names = {base.__name__ for base in type(error).__mro__}
    if names & _LASTING_NAMES:
        return False
    if names & _PASSING_NAMES or isinstance(error, (TimeoutError, ConnectionError)):
        return True
    if isinstance(error, OSError) and error.errno in _PASSING:
        return True
    return error.__cause__ is not None and passes(error.__cause__)


def is_no_damage(error: BaseException) -> bool:
    """Return whether an error of reading says nothing about the content: it may pass, or permission is missing."""
    return isinstance(error, PermissionError) or passes(error)


def http_status(error: BaseException | None) -> int | None:
    """The HTTP status that an error, or its cause, stands for; None when there is none."""
    for one in causes(error):
        response = getattr(one, "response", None)
        known = response.get("ResponseMetadata", {}) if isinstance(response, dict) else {}
        for code in (
            known.get("HTTPStatusCode"),
            getattr(response, "status_code", None),
            getattr(one, "status", None),
            getattr(one, "code", None),
        ):
            if isinstance(code, int) and 100 <= code < 600:
                return code
    return None


def causes(error: BaseException | None) -> Iterator[BaseException]:
    """An error, what it was raised from, and so on."""
    while error is not None:
        yield error
        error = error.__cause__
