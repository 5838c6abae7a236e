"""Keep requests to this machine away from the proxy that the environment names."""

from __future__ import annotations

import ipaddress
import os
import urllib.parse

_PROXIES = ("http_proxy", "https_proxy", "all_proxy")
_LOOPBACK = ("localhost", "127.0.0.1", "127.0.0.0/8", "::1", "[::1]")
"""Every client reads another form: requests a network, urllib only names, and IPv6 with its brackets."""


def bypass_proxy_for_loopback(url: str = "") -> None:
    """Add the loopback addresses to NO_PROXY of this process and its children, where a proxy is set.

    url: an address that will be asked; its host is added where it is a loopback address of another spelling
    (127.0.0.2), which clients without networks in NO_PROXY would ask by the proxy.
    """
    if not any(os.environ.get(name) or os.environ.get(name.upper()) for name in _PROXIES):
        return
    excluded = os.environ.get("no_proxy") or os.environ.get("NO_PROXY") or ""
    names = [name.strip() for name in excluded.split(",") if name.strip()]
    names += [name for name in (*_LOOPBACK, *_loopback_host(url)) if name not in names]
    os.environ["no_proxy"] = os.environ["NO_PROXY"] = ",".join(names)


def _loopback_host(url: str) -> list[str]:
    try:
        host = urllib.parse.urlsplit(url).hostname or ""
        return [host, f"[{host}]"] if ipaddress.ip_address(host).is_loopback else []
    except ValueError:
        return []
