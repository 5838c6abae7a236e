"""The gate before the UI: which headers of a request carry the token."""

import asyncio
from typing import Any

import pytest

from flare_ray.tracking.ui_app import TokenGate

TOKEN = "t0ken-of_this.start"


def status_of(*headers: tuple[str, str]) -> int:
    """The status that a request with these headers gets."""
    sent: list[Any] = []

    async def application(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})

    async def send(message: Any) -> None:
        sent.append(message)

    async def receive() -> dict[str, Any]:
        return {"type": "http.request"}

    scope = {
        "type": "http",
        "path": "/",
        "server": ("127.0.0.1", 5000),
        "headers": [(name.encode(), value.encode()) for name, value in headers],
    }
    asyncio.run(TokenGate(application, TOKEN)(scope, receive, send))
    return int(sent[0]["status"])


@pytest.mark.parametrize(
    "others",
    [
        "",
        "_xsrf=2|a|b; ",
        'state={"a":1}; ',
        "name=a b c; ",
        "bad[]=1; ",
        "=; ",
        "flare_ray_ui_5000=old; ",
        ";;",
    ],
)
def test_cookies_of_other_programs_on_this_machine_lock_nobody_out(others: str) -> None:
    """A browser sends one jar to every port of 127.0.0.1, in whatever form the other programs have set it."""
    assert status_of(("cookie", f"{others}flare_ray_ui_5000={TOKEN}")) == 200
    assert status_of(("cookie", f"flare_ray_ui_5000={TOKEN}; {others}")) == 200
    assert status_of(("cookie", others), ("cookie", f"flare_ray_ui_5000={TOKEN}")) == 200


@pytest.mark.parametrize(
    "cookie",
    [
        "",
        "flare_ray_ui_5000=",
        f"flare_ray_ui_5001={TOKEN}",
        f"x=flare_ray_ui_5000={TOKEN}",
        f"flare_ray_ui_5000={TOKEN}x",
        f"flare_ray_ui_5000={TOKEN[:-1]}",
    ],
)
def test_no_other_cookie_opens_it(cookie: str) -> None:
    assert status_of(("cookie", cookie)) == 401


@pytest.mark.parametrize(
    ("value", "status"),
    [
        (f"Bearer {TOKEN}", 200),
        (f"bearer {TOKEN}", 200),
        (TOKEN, 401),
        (f"Basic {TOKEN}", 401),
        (f"Bearer  {TOKEN}", 401),
        ("Bearer", 401),
        ("Bearer ", 401),
    ],
)
def test_the_header_of_mlflows_clients(value: str, status: int) -> None:
    assert status_of(("authorization", value)) == status
