"""Whether a cluster answers one who has no token: by asking it, whatever this machine's settings say."""

from __future__ import annotations

import os

from flare_ray.preflight.findings import Finding, warning

_QUESTION = "/ray.rpc.NodeInfoGcsService/CheckAlive"
_SECONDS = 5.0


def strangers_finding(address: str) -> Finding:
    """address: `host:port` of the head's control service."""
    what = "the cluster's authentication"
    if os.environ.get("RAY_USE_TLS", "0") not in ("", "0"):
        return Finding(what, "by certificates")
    if answers_strangers(address):
        found = f"{address} answers without a token: whoever reaches it runs what they like"
        return warning(what, found, "start the cluster with RAY_AUTH_MODE=token (docs/security.md)")
    return Finding(what, "does not answer without a token")


def answers_strangers(address: str) -> bool:
    """Whether the service takes a request without a token."""
    import grpc

    with grpc.insecure_channel(address) as channel:
        ask = channel.unary_unary(_QUESTION)
        try:
            ask(b"", timeout=_SECONDS)
        except grpc.RpcError as error:
            refused = (grpc.StatusCode.UNAUTHENTICATED, grpc.StatusCode.PERMISSION_DENIED)
            away = (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED)
            return error.code() not in (*refused, *away)
        return True
