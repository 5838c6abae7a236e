"""`ray up` on machines of one's own: which autoscaler the head starts, and that this one starts every machine.

Ray's own launcher, autoscaler and node provider; no machine is reached.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
from ray.autoscaler._private import commands
from ray.autoscaler._private.autoscaler import StandardAutoscaler
from ray.autoscaler._private.load_metrics import LoadMetrics
from ray.autoscaler._private.local import config as places
from ray.autoscaler._private.local.node_provider import LocalNodeProvider
from ray.autoscaler._private.util import prepare_config
from ray.autoscaler.tags import TAG_RAY_NODE_KIND

from tests.cluster.dockerfile import ROOT
from tests.cluster.test_ray_up import Config, load
from tests.cluster.test_ray_up_commands import bash, tool

VARIABLE = "RAY_UP_enable_autoscaler_v2"


@pytest.fixture
def prepared(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Config:
    """The file as `ray up` takes it, with names of machines that are this one's; its record of them lies here."""
    monkeypatch.setattr(places, "get_default_ray_temp_dir", lambda: str(tmp_path))
    monkeypatch.setenv("RAY_USAGE_STATS_ENABLED", "0")  # it would be asked about
    (tmp_path / "key").touch()
    config = load("onprem")
    config["auth"]["ssh_private_key"] = str(tmp_path / "key")
    config["provider"] |= {"head_ip": "127.0.0.1", "worker_ips": ["127.0.0.2", "127.0.0.3"]}
    made: Config = prepare_config(config | {"file_mounts": {}})
    return made


@pytest.mark.parametrize("given", ["0", None])
def test_the_head_starts_the_first_autoscaler(
    given: str | None, prepared: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As documented, and also when the variable is forgotten."""
    monkeypatch.delenv(VARIABLE, raising=False)
    if given:
        monkeypatch.setenv(VARIABLE, given)
    with (
        mock.patch.object(commands, "NodeUpdaterThread") as updater,
        mock.patch.object(commands, "_set_up_config_for_head_node", lambda config, *_: (config, None)),
    ):
        updater.return_value.exitcode = 0
        commands.get_or_create_head_node(
            prepared,
            "onprem.yaml",
            no_restart=False,
            restart_only=False,
            yes=True,
            override_cluster_name=None,
        )
    start = updater.call_args.kwargs["ray_start_commands"][-1]
    assert ("export RAY_enable_autoscaler_v2=1" in start) == (given is None)
    tool(tmp_path, "ray", 'echo "$RAY_enable_autoscaler_v2"')
    assert bash(start, tmp_path).stdout == "0\n"


def test_that_autoscaler_starts_every_machine(prepared: Config) -> None:
    """As on the head, whose record of the machines begins empty: the head is in it, and no worker for it."""
    prepared["provider"] |= {"disable_node_updaters": True, "foreground_node_launch": True}
    monitor = StandardAutoscaler(lambda: prepared, LoadMetrics(), mock.MagicMock(), update_interval_s=0)
    for _ in range(3):
        monitor.update()
    provider: Any = monitor.provider
    assert isinstance(provider, LocalNodeProvider)
    assert provider.non_terminated_nodes({TAG_RAY_NODE_KIND: "head"}) == ["127.0.0.1"]
    assert provider.non_terminated_nodes({TAG_RAY_NODE_KIND: "worker"}) == ["127.0.0.2", "127.0.0.3"]


def test_the_setting_is_where_the_command_is() -> None:
    for file in (ROOT / "docs/cluster.md", ROOT / "cluster/onprem.yaml"):
        said = re.findall(r"(\S*) ?ray up (?:--yes )?cluster/onprem.yaml", file.read_text())
        assert {one.strip("`") for one in said} == {f"{VARIABLE}=0"}, file
    assert "enable_autoscaler" not in (ROOT / "Dockerfile").read_text()
