"""Where the workers of a group find one another: on one machine in a file, else on a port, as Ray Train has it.

torch's store for that takes no password and listens on every interface; a file in a folder of this user's own does
not listen at all. How torch is told to read one is not public in Ray Train, which knows ports alone.
"""

from __future__ import annotations

import shutil
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import Any

import ray
from ray._common.network_utils import is_localhost
from ray.train.torch import TorchConfig
from ray.train.torch.config import (
    _set_torch_distributed_env_vars,
    _setup_torch_process_group,
    _TorchBackend,
)


def torch_config() -> TorchConfig:
    """How a worker group that is started on this node comes together."""
    return FileConfig() if is_localhost(ray.util.get_node_ip_address()) else TorchConfig()


class FileConfig(TorchConfig):
    """Of a Ray that has loopback for its address (loopback.py), and so is this machine alone."""

    @property
    def backend_cls(self) -> type[_TorchBackend]:
        """What Ray Train calls when a group starts and ends."""
        return _FileBackend


class _FileBackend(_TorchBackend):
    _place: str | None = None

    def on_start(self, worker_group: Any, backend_config: Any) -> None:
        """Every worker joins the process group."""
        gpus = worker_group.get_resources_per_worker().get("GPU", 0)
        worker_group.execute(_set_torch_distributed_env_vars)
        place = self._place = worker_group.execute_single(0, _new_place)
        joining = [
            worker_group.execute_single_async(
                worker,
                _setup_torch_process_group,
                backend="nccl" if gpus else "gloo",
                world_rank=worker,
                world_size=len(worker_group),
                init_method=f"file://{place}",
                timeout_s=backend_config.timeout_s,
            )
            for worker in range(len(worker_group))
        ]
        ray.get(joining)

    def on_shutdown(self, worker_group: Any, backend_config: Any) -> None:
        """Every worker leaves the process group; then its folder goes."""
        super().on_shutdown(worker_group, backend_config)
        if self._place:
            with suppress(ray.exceptions.RayError):  # a worker that died left it to Ray's private folder
                worker_group.execute_single(0, _remove_place, self._place)


def _remove_place(place: str) -> None:
    shutil.rmtree(Path(place).parent, ignore_errors=True)


def _new_place() -> str:
    return str(Path(tempfile.mkdtemp(prefix="flare-ray-")) / "workers")
