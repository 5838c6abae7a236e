"""Ray's own files go into the store, whatever its scheme."""

from __future__ import annotations

from pathlib import Path

import pytest
from ray import cloudpickle
from ray.train.v2._internal.execution.storage import StorageContext

from flare_ray.execution.ray_files import ray_files, run_storage
from flare_ray.store.files import Files


@pytest.mark.parametrize("kind", ["folder", "a scheme that pyarrow does not know"])
def test_ray_writes_where_the_store_reads(kind: str, tmp_path: Path) -> None:
    store = Files(str(tmp_path) if kind == "folder" else f"memory://{tmp_path.name}")
    arguments = cloudpickle.loads(cloudpickle.dumps(run_storage(ray_files(store))))
    context = StorageContext(**arguments, experiment_dir_name="tune")
    assert "storage_filesystem" in arguments or kind == "folder"
    (place,) = store.find("ray")
    day, folder, name = place.split("/")
    assert (folder, context.storage_fs_path.endswith(day)) == ("tune", True)
    assert "validate" in name


def test_a_scheme_that_pyarrow_knows_is_its_own() -> None:
    assert run_storage("gs://bucket/ray") == {"storage_path": "gs://bucket/ray"}
