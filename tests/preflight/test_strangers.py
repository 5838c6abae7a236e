"""A service that wants a token, and one that does not: real ones, of gRPC."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import grpc
import pytest

from flare_ray.preflight.strangers import answers_strangers, strangers_finding


class Head(grpc.GenericRpcHandler):
    def __init__(self, token: str | None):
        self.token = token

    def service(self, details: grpc.HandlerCallDetails) -> grpc.RpcMethodHandler:
        def answer(_: bytes, context: grpc.ServicerContext) -> bytes:
            if self.token and ("authorization", self.token) not in context.invocation_metadata():
                context.abort(grpc.StatusCode.UNAUTHENTICATED, "no token")
            return b""

        return grpc.unary_unary_rpc_method_handler(answer)


@contextmanager
def head(token: str | None) -> Iterator[str]:
    server = grpc.server(ThreadPoolExecutor(2))
    server.add_generic_rpc_handlers((Head(token),))
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    try:
        yield f"127.0.0.1:{port}"
    finally:
        server.stop(0).wait()


@pytest.mark.parametrize(("token", "open_to_all"), [("t0ken", False), (None, True)])
def test_who_answers_without_a_token_is_told(token: str | None, open_to_all: bool) -> None:
    with head(token) as address:
        assert answers_strangers(address) == open_to_all
        found = strangers_finding(address)
    assert found.good != open_to_all
    assert ("RAY_AUTH_MODE=token" in found.remedy) == open_to_all


def test_certificates_are_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_USE_TLS", "1")
    assert strangers_finding("127.0.0.1:9").good
