"""Loopback addresses are asked without the proxy that the environment names."""

from __future__ import annotations

import http.server
import os
import threading
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests
from typer.testing import CliRunner

from flare_ray import cli
from flare_ray.commands.submit import client as job_client
from flare_ray.proxy import bypass_proxy_for_loopback
from flare_ray.tracking.connection import Connection
from flare_ray.tracking.ui import experiments
from flare_ray.tracking.uris import refused, unreachable

NOBODY = "http://127.0.0.1:9"


@pytest.fixture(params=["http_proxy", "HTTP_PROXY", "all_proxy"])
def proxied(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """A machine that asks everything by a proxy which is not there."""
    for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    monkeypatch.setenv(
        "no_proxy", "before"
    )  # which monkeypatch takes back at the end, whatever it has become
    monkeypatch.setenv("NO_PROXY", "before")
    monkeypatch.delenv("no_proxy")
    monkeypatch.delenv("NO_PROXY")
    monkeypatch.setenv(request.param, NOBODY)
    monkeypatch.setattr(
        urllib.request, "_opener", None
    )  # urllib's own keeps the proxies of its first request
    return monkeypatch


class Answers(http.server.BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(200)
        self.end_headers()
        other = b'{"experiments": [], "version": "4", "ray_version": "2.60.0", "ray_commit": ""}'
        self.wfile.write(b"[]" if self.path.startswith("/api/jobs/") else other)

    do_POST = do_GET

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture(params=["127.0.0.1", "127.0.0.2", "localhost"])
def server(request: pytest.FixtureRequest) -> Iterator[str]:
    with http.server.ThreadingHTTPServer(("0.0.0.0", 0), Answers) as made:
        threading.Thread(target=made.serve_forever, daemon=True).start()
        yield f"http://{request.param}:{made.server_port}"
        made.shutdown()


@pytest.fixture
def server6() -> Iterator[str]:
    class Server(http.server.ThreadingHTTPServer):
        import socket

        address_family = socket.AF_INET6

    try:
        made = Server(("::1", 0), Answers)
    except OSError:
        pytest.skip("no IPv6")
    with made:
        threading.Thread(target=made.serve_forever, daemon=True).start()
        yield f"http://[::1]:{made.server_port}"
        made.shutdown()


def test_a_tracking_server_of_this_machine_answers(proxied: pytest.MonkeyPatch, server: str) -> None:
    assert unreachable(server) == []
    assert refused(server) == []
    assert experiments(server, "") == {}


def test_mlflows_own_client_asks_it_directly(proxied: pytest.MonkeyPatch, server: str) -> None:
    assert list(Connection(server).client.search_experiments()) == []


def test_ipv6_as_well(proxied: pytest.MonkeyPatch, server6: str) -> None:
    assert unreachable(server6) == []
    assert requests.get(server6, timeout=10).ok


def test_rays_dashboard_is_asked_directly(proxied: pytest.MonkeyPatch, server: str) -> None:
    assert job_client(server).list_jobs() == []


def test_every_command_asks_directly(proxied: pytest.MonkeyPatch, server: str, tmp_path: Path) -> None:
    proxied.chdir(tmp_path)
    assert CliRunner().invoke(cli.app, ["plan", "nothing.yaml"]).exit_code == 2
    for host in ("localhost", "127.0.0.1", "[::1]"):
        assert urllib.request.proxy_bypass(host), host
        assert requests.utils.should_bypass_proxies(f"http://{host}:1", None), host


def test_other_machines_are_asked_by_the_proxy(proxied: pytest.MonkeyPatch) -> None:
    proxied.setenv("no_proxy", "inside.example, 10.0.0.0/8")
    bypass_proxy_for_loopback()
    bypass_proxy_for_loopback()
    names = os.environ["no_proxy"].split(",")
    assert names[:2] == ["inside.example", "10.0.0.0/8"]
    assert len(names) == len(set(names))
    assert os.environ["NO_PROXY"] == os.environ["no_proxy"]
    assert not urllib.request.proxy_bypass("mlflow.example")
    assert urllib.request.proxy_bypass("inside.example")
    assert not requests.utils.should_bypass_proxies("http://128.0.0.1", None)


def test_an_environment_without_a_proxy_stays_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    bypass_proxy_for_loopback("http://127.0.0.1:5000")
    assert "no_proxy" not in os.environ
    assert "NO_PROXY" not in os.environ
