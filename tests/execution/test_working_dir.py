"""What goes along with a job, by Ray's own walk."""

from pathlib import Path

import pytest

from flare_ray.errors import InputError
from flare_ray.execution.working_dir import EXCLUDES, check, packed


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    files = [
        "sweeps/mine.yaml",
        "flare_ray/training/data.py",
        "flare_ray/report/published.csv",
        "lib/results/kept.py",
        ".git/objects/ab",
        ".venv/lib/python/site.py",
        "results/runs/a/record.json",
        "results-two/runs/a/record.json",
        "data/nusax/train.csv",
        "mlruns/1/meta.yaml",
        "flare_ray/__pycache__/cli.pyc",
        ".mypy_cache/x.json",
        "model/model.safetensors",
        "states/part.parquet",
        "results.db",
        "job.log",
        "notes/secret.txt",
    ]
    for name in files:
        file = tmp_path / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(b"x" * 1000)
    (tmp_path / ".gitignore").write_text("notes/\n")
    return tmp_path


def test_code_and_sweeps_go_along_and_data_caches_and_results_do_not(folder: Path) -> None:
    assert {path for path, _ in packed(folder).files} == {
        ".gitignore",
        "sweeps/mine.yaml",
        "flare_ray/training/data.py",
        "flare_ray/report/published.csv",
        "lib/results/kept.py",
    }


def test_what_is_measured_is_what_ray_packs(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    from zipfile import ZipFile

    from ray._private.ray_constants import get_runtime_env_default_excludes
    from ray._private.runtime_env.packaging import create_package

    target = tmp_path_factory.mktemp("packed") / "package.zip"
    excludes = [*get_runtime_env_default_excludes(), *EXCLUDES]
    create_package(str(folder), target, include_gitignore=True, include_parent_dir=False, excludes=excludes)
    with ZipFile(target) as package:
        there = {one.filename: one.file_size for one in package.infolist() if not one.is_dir()}
    assert there == dict(packed(folder).files)


def test_a_folder_that_is_too_large_is_told_with_its_largest_files(folder: Path) -> None:
    (folder / "corpus.csv").write_bytes(b"x" * 3_000_000)
    with pytest.raises(InputError) as told:
        check(folder, "sweeps/mine.yaml", most=2_000_000)
    assert "the largest: corpus.csv (2.9 MiB)" in str(told.value)
    assert ".rayignore" in str(told.value)
    (folder / ".rayignore").write_text("*.csv\n")
    assert check(folder, "sweeps/mine.yaml", most=2_000_000).size < 10_000


def test_a_sweep_file_that_would_not_go_along_is_told(folder: Path) -> None:
    (folder / ".rayignore").write_text("sweeps/\n")
    with pytest.raises(InputError, match="which does not go to the cluster"):
        check(folder, "sweeps/mine.yaml")


def test_this_repository_is_small() -> None:
    found = packed(Path(__file__).parents[2])
    assert found.size < 20 * 2**20, found.largest
