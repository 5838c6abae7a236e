"""A cluster whose nodes share no disk, and an object store for them: processes of this machine."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil

from tests.ray_cluster import RayCluster
from tests.store.s3_server import FaultyS3, s3_server

KEYS = {"AWS_ACCESS_KEY_ID": "key", "AWS_SECRET_ACCESS_KEY": "of-the-test", "AWS_DEFAULT_REGION": "us-east-1"}
BUCKET = "study"


class ApartNodes(RayCluster):
    """A head that only drives, and nodes of one CPU; each with a disk of its own under `disks`.

    more: of every node's environment.
    """

    def __init__(
        self, place: Path, disks: Path, more: Mapping[str, str], nodes: tuple[str, ...] = ("a", "b")
    ):
        place.mkdir(parents=True, exist_ok=True)
        super().__init__(place, num_cpus=0, resources={"flare_ray_driver": 1000})
        self.disks, self.more, self.node, self.names = disks, more, "head", nodes

    @property
    def environment(self) -> dict[str, str]:
        disk = self.disks / self.node
        own = {"FLARE_RAY_CACHE": str(disk / "cache"), "HF_HOME": str(disk / "hf")}
        return super().environment | dict(self.more) | own

    def __enter__(self) -> ApartNodes:
        super().__enter__()
        for name in self.names:
            self.join(name)
        return self

    def join(self, name: str) -> None:
        """A node with the disk of this name; returns when the cluster has it."""
        self.node = name
        self.add_node(1)
        self.node = "head"

    def kill(self, number: int) -> None:
        """The processes of a node, in the order in which they came; 0 is the head, without which the others end."""
        with suppress(psutil.NoSuchProcess):
            node = psutil.Process(self._started[number].pid)
            for process in [node, *node.children(recursive=True)]:
                with suppress(psutil.NoSuchProcess):
                    process.kill()
        if number:
            self._started.pop(number).wait()


@contextmanager
def object_store() -> Iterator[FaultyS3]:
    """An S3 with a bucket."""
    import boto3

    with s3_server() as server:
        client = boto3.client(
            "s3",
            endpoint_url=server.url,
            region_name=KEYS["AWS_DEFAULT_REGION"],
            aws_access_key_id=KEYS["AWS_ACCESS_KEY_ID"],
            aws_secret_access_key=KEYS["AWS_SECRET_ACCESS_KEY"],
        )
        client.create_bucket(Bucket=BUCKET)
        yield server
