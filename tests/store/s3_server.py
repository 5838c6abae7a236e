"""An S3 on this machine (moto's, over HTTP), that can be busy, slow, or lose its answers."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from io import BytesIO
from typing import Any

BUSY = b"<Error><Code>SlowDown</Code><Message>Please reduce your request rate.</Message></Error>"
BROKEN = b"<Error><Code>InternalError</Code><Message>We encountered an internal error.</Message></Error>"


class FaultyS3:
    """A WSGI application around moto's.

    busy, lost: shares of the requests that get a 503 and are not done, or are done and get a 500. delay: seconds
    before each answer. unconditional: whether If-None-Match is ignored, as some S3-like stores do.
    """

    def __init__(self, inner: Any):
        self.inner = inner
        self.url = ""
        self.heal()

    def heal(self) -> None:
        self.busy = self.lost = self.delay = 0.0
        self.unconditional = False
        self.requests: list[str] = []

    def __call__(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        self.requests.append(f"{environ['REQUEST_METHOD']} {environ['PATH_INFO']}")
        time.sleep(self.delay)
        if self.unconditional:
            environ.pop("HTTP_IF_NONE_MATCH", None)
        dice = random.random()
        if dice >= self.busy + self.lost:
            return self.inner(environ, start_response)
        body = environ["wsgi.input"].read(
            int(environ.get("CONTENT_LENGTH") or 0)
        )  # once: a second read would wait
        if dice < self.busy:
            return self._fail(environ, start_response, "503 Slow Down", BUSY)
        list(self.inner(environ | {"wsgi.input": BytesIO(body)}, lambda *_: lambda __: None))
        return self._fail(environ, start_response, "500 Internal Server Error", BROKEN)

    @staticmethod
    def _fail(
        environ: dict[str, Any], start_response: Callable[..., Any], status: str, body: bytes
    ) -> list[bytes]:
        body = b"" if environ["REQUEST_METHOD"] == "HEAD" else body
        start_response(status, [("Content-Type", "application/xml"), ("Content-Length", str(len(body)))])
        return [body]


@contextmanager
def s3_server() -> Iterator[FaultyS3]:
    from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app
    from werkzeug.serving import WSGIRequestHandler, make_server

    class Quiet(WSGIRequestHandler):
        protocol_version = "HTTP/1.1"

        def log(self, *_: Any) -> None:
            pass

    faulty = FaultyS3(DomainDispatcherApplication(create_backend_app))
    server = make_server("127.0.0.1", 0, faulty, threaded=True, request_handler=Quiet)
    faulty.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield faulty
    finally:
        server.shutdown()
        thread.join()
