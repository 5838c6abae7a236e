"""The hub, asked by the real client: a server of this machine in its place."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from flare_ray.errors import WRONG_INPUT, InputError, Unreachable
from flare_ray.preflight.findings import Finding, bad, refuse
from tests.hub_server import COMMIT, HubServer

ASK = """
import json, sys
from flare_ray.execution.prefetch import Split, Wanted
from flare_ray.preflight.hub import hub_findings
models, data = json.loads(sys.argv[1])
splits = tuple(Split("nusax", one, "ace", "train") for one in data)
found = hub_findings(Wanted(tuple(models), splits), {"org/gated": "https://licence.example"})
print(json.dumps([[one.what, one.state, one.passes, one.found, one.remedy] for one in found]))
"""


@pytest.fixture(scope="module")
def hub(tmp_path_factory: pytest.TempPathFactory) -> Iterator[HubServer]:
    model, data = tmp_path_factory.mktemp("model"), tmp_path_factory.mktemp("data")
    (model / "config.json").write_text("{}")
    (data / "README.md").write_text("---\n---\n")
    server = HubServer(
        {"models/org/open": model, "models/org/gated": model, "datasets/org/data": data},
        gated=("models/org/gated",),
    )
    yield server
    server.close()


def ask(place: Path, models: list[str], data: list[str], **more: str) -> dict[str, Any]:
    """Findings by name. In a process of its own: the client reads its environment once."""
    kept = {name: value for name, value in os.environ.items() if name not in ("HF_TOKEN", "HF_HUB_OFFLINE")}
    done = subprocess.run(
        [sys.executable, "-c", ASK, json.dumps([models, data])],
        env=kept | {"HF_HOME": str(place / "hf")} | more,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return {what: tuple(rest) for what, *rest in json.loads(done.stdout)}


def test_what_is_open_gated_and_not_there_is_told(hub: HubServer, tmp_path: Path) -> None:
    models = ["org/open", "org/open@" + COMMIT, "org/gated", "org/no-such"]
    found = ask(tmp_path, models, ["org/data"], HF_ENDPOINT=hub.url)
    assert found["org/open"][0] == found["org/data"][0] == "good"
    state, passes, said, remedy = found["org/gated"]
    assert (state, passes) == ("bad", False)
    assert "licence" in said
    assert "https://licence.example" in remedy
    assert found["org/no-such"][0] == "bad"


def test_a_token_opens_what_is_gated(hub: HubServer, tmp_path: Path) -> None:
    found = ask(tmp_path, ["org/gated"], [], HF_ENDPOINT=hub.url, HF_TOKEN=HubServer.TOKEN)
    assert found["org/gated"][0] == "good"


def test_offline_asks_nobody(hub: HubServer, tmp_path: Path) -> None:
    hub.asked.clear()
    found = ask(tmp_path, ["org/open"], ["org/data"], HF_ENDPOINT=hub.url, HF_HUB_OFFLINE="1")
    assert [found[one][0] for one in ("org/open", "org/data")] == ["bad", "warning"]
    assert not hub.asked


def test_a_hub_that_does_not_answer_is_fatal_for_models(tmp_path: Path) -> None:
    found = ask(tmp_path, ["org/open"], ["org/data"], HF_ENDPOINT="http://127.0.0.1:9")
    assert [found[one][0] for one in ("org/open", "org/data")] == ["bad", "warning"]
    assert found["org/open"][1], "it may answer later"


def test_what_may_pass_is_no_wrong_input_unless_something_else_is() -> None:
    away, wrong = bad("org/open", "away", "later", passes=True), bad("org/no-such", "not there", "another")
    with pytest.raises(Unreachable):
        refuse([away, Finding("disk", "enough")])
    with pytest.raises(InputError) as error:
        refuse([away, wrong])
    assert error.value.exit_code == WRONG_INPUT
    refuse([Finding("disk", "enough")])
