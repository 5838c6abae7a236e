"""MLflow's server behind a token: the ASGI application that `flare-ray ui` serves.

Every user of a machine reaches its 127.0.0.1, and MLflow lets whoever reaches it read, write and delete. So each
request needs the token of this start: in the address once (`/?token=…`), which leaves it in a cookie, or in the
header `Authorization: Bearer …`, as MLflow's own clients send MLFLOW_TRACKING_TOKEN.
"""

from __future__ import annotations

import hmac
import os
from collections.abc import Awaitable, Callable, Iterator, MutableMapping
from typing import Any
from urllib.parse import parse_qsl, quote, urlencode

TOKEN = "FLARE_RAY_UI_TOKEN"
"""The variable that hands the token to the server: a command line could be read by every user."""
PARAMETER = "token"

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
Application = Callable[[Scope, Receive, Send], Awaitable[None]]


class TokenGate:
    """An ASGI application that lets requests with the token through to another one, and answers 401 to all others."""

    def __init__(self, application: Application, token: str):
        if not token:
            raise ValueError(f"{TOKEN} is empty")
        self._application, self._token = application, token

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection; only the server's own start and end need no token."""
        if scope["type"] == "lifespan" or self._has_token(scope):
            await self._application(scope, receive, send)
        elif scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": 1008})
        elif self._is_right(dict(_query(scope)).get(PARAMETER, "")):
            await self._welcome(scope, send)
        else:
            text = b"flare-ray ui: open the address that it printed, which has the token of this start\n"
            await _answer(send, 401, [(b"content-type", b"text/plain")], text)

    def _has_token(self, scope: Scope) -> bool:
        for name, value in scope.get("headers", ()):
            text = value.decode("latin-1")
            scheme, _, given = text.partition(" ")
            if name == b"authorization" and scheme.lower() == "bearer" and self._is_right(given):
                return True
            if name == b"cookie" and any(map(self._is_right, _cookies(text, cookie_name(scope)))):
                return True
        return False

    def _is_right(self, given: str) -> bool:
        return hmac.compare_digest(given.encode(), self._token.encode())

    async def _welcome(self, scope: Scope, send: Send) -> None:
        """Keep the token in a cookie, and lead to the address without it: browsers remember and send addresses."""
        rest = urlencode([pair for pair in _query(scope) if pair[0] != PARAMETER])
        # two slashes at the beginning would lead to another machine
        target = "/" + quote(scope.get("path", "/").lstrip("/")) + (f"?{rest}" if rest else "")
        cookie = f"{cookie_name(scope)}={self._token}; HttpOnly; SameSite=Lax; Path=/"
        headers = [
            (b"location", target.encode()),
            (b"set-cookie", cookie.encode()),
            (b"cache-control", b"no-store"),
            (b"referrer-policy", b"no-referrer"),
        ]
        await _answer(send, 303, headers, b"")


def cookie_name(scope: Scope) -> str:
    """Return the cookie's name. A browser has one jar for all ports of a machine."""
    server = scope.get("server") or ("", 0)
    return f"flare_ray_ui_{server[1]}"


def _cookies(header: str, name: str) -> Iterator[str]:
    """Yield the values of a cookie. Other programs on this machine set cookies that http.cookies does not read."""
    for pair in header.split(";"):
        key, _, value = pair.strip().partition("=")
        if key == name:
            yield value


def _query(scope: Scope) -> list[tuple[str, str]]:
    return parse_qsl(scope.get("query_string", b"").decode("latin-1"), keep_blank_values=True)


async def _answer(send: Send, status: int, headers: list[tuple[bytes, bytes]], body: bytes) -> None:
    headers = [*headers, (b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


def create_app() -> Application:
    """Return MLflow's application behind the token of this process's environment."""
    from mlflow.server.fastapi_app import app

    return TokenGate(app, os.environ[TOKEN])
