"""What goes along with a job: an allow-list, looked at in the package that Ray makes of it."""

import logging
import os
from pathlib import Path
from typing import Any
from zipfile import ZipFile

import pytest
import yaml

from flare_ray.errors import InputError
from flare_ray.execution.secret_files import looks_secret
from flare_ray.execution.working_dir import Selection, select, staged
from flare_ray.plan.extends import extended, extended_files

ROOT = Path(__file__).parents[2]
SWEEP = {"name": "mine", "extends": ["common/paper.yaml"], "storage": "s3://bucket/mine"}
SECRETS = (".env", ".netrc", "id_rsa", ".aws/credentials", "server.pem", ".ssh/config", "token", "gcp.key")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A user's folder: code, sweeps, data, results, and secrets."""
    place = tmp_path / "here"
    files = [
        "sweeps/common/site.yml",
        "flare_ray/__init__.py",
        "flare_ray/training/data.py",
        "flare_ray/report/published.csv",
        "flare_ray/report/render/report.html.j2",
        "flare_ray/__pycache__/cli.pyc",
        "flare_ray/.env",
        "tests/test_all.py",
        "sweeps/other.yaml",
        ".git/objects/ab",
        ".venv/lib/python/site.py",
        "results/runs/a/record.json",
        "data/nusax/english/train.csv",
        "data/nusax/.env",
        "data/nusax/keys/private.PEM",
        "data/xnli/en.train.tsv",
        "checkpoint/config.json",
        "checkpoint/tokenizer.json",
        "checkpoint/special_tokens_map.json",
        "checkpoint/model.safetensors",
        *SECRETS,
    ]
    for name in files:
        file = place / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(b"x" * 1000)
    (place / "data" / "nusax" / "notes.txt").write_text("-----BEGIN OPENSSH PRIVATE KEY-----\nxyz\n")
    write(place / "sweeps/common/paper.yaml", {"extends": "site.yml", "rank": [4]})
    write(place / "sweeps/common/site.yml", {"seeds": [1]})
    write(place / "sweeps/mine.yaml", SWEEP)
    return place


def write(file: Path, fields: dict[str, Any]) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(yaml.safe_dump(fields))


def selected(
    folder: Path, most: int | None = None, include: tuple[str, ...] = (), **fields: Any
) -> Selection:
    file = folder / "sweeps" / "mine.yaml"
    if fields:
        write(file, SWEEP | fields)
    return select(folder, "sweeps/mine.yaml", extended_files(file), extended(file), include, most)


def paths(selection: Selection) -> set[str]:
    return {path for path, _ in selection.files}


def packed_by_ray(folder: Path, target: Path) -> dict[str, int]:
    """The files and sizes in the package that Ray's client would send of a folder."""
    from ray._private.ray_constants import get_runtime_env_default_excludes
    from ray._private.runtime_env.packaging import create_package

    excludes = get_runtime_env_default_excludes()
    options: dict[str, Any] = {"include_gitignore": True, "include_parent_dir": False, "excludes": excludes}
    create_package(str(folder), target, **options, logger=logging.getLogger(__name__))
    with ZipFile(target) as package:
        return {one.filename: one.file_size for one in package.infolist() if not one.is_dir()}


ALWAYS = {
    "flare_ray/__init__.py",
    "flare_ray/training/data.py",
    "flare_ray/report/published.csv",
    "flare_ray/report/render/report.html.j2",
    "sweeps/mine.yaml",
    "sweeps/common/paper.yaml",
    "sweeps/common/site.yml",
}


def test_the_package_and_the_sweep_s_files_go_and_nothing_else(folder: Path) -> None:
    selection = selected(folder)
    assert paths(selection) == ALWAYS
    left = selection.left
    for path in (
        ".env",
        ".netrc",
        "id_rsa",
        ".aws",
        "server.pem",
        ".ssh",
        "flare_ray/.env",
        "token",
        "gcp.key",
    ):
        assert left[path] == "looks like a secret", path
    for path in ("tests", "data", "results", "checkpoint", "sweeps/other.yaml", ".git", ".venv"):
        assert path in left
    assert set(list(left)[:9]) == {path for path, why in left.items() if "secret" in why}, (
        "secrets come first"
    )


def test_what_ray_packs_is_what_was_selected(folder: Path, tmp_path: Path) -> None:
    (folder / ".gitignore").write_text("data/\n*.json\n")
    data = {"nusax": "data/nusax", "xnli": "./data/xnli"}
    models = [{"name": "a", "family": "xlm_roberta", "checkpoint": "checkpoint"}]
    selection = selected(folder, data=data, models=models)
    with staged(selection) as place:
        there = packed_by_ray(place, tmp_path / "package.zip")
    assert there == dict(selection.files)
    assert not place.exists()
    named = {"data/nusax/english/train.csv", "data/xnli/en.train.tsv", "checkpoint/model.safetensors"}
    named |= {f"checkpoint/{name}.json" for name in ("config", "tokenizer", "special_tokens_map")}
    assert set(there) == ALWAYS | named
    assert selection.left["data/nusax/.env"] == "looks like a secret"
    assert selection.left["data/nusax/notes.txt"] == "looks like a secret", "by its content"
    assert "data/nusax/keys/private.PEM" in selection.left


@pytest.mark.parametrize("name", [*(Path(one).name for one in SECRETS if one != ".ssh/config"), ".env.local"])
def test_a_secret_s_name_is_known_in_every_folder(name: str) -> None:
    assert looks_secret(name) or name == "credentials"
    assert looks_secret("my-secrets.json")
    assert not looks_secret("tokenizer.json")


@pytest.mark.parametrize(
    "name",
    [
        *(
            "prod.netrc",
            "db.env.local",
            "private_key.txt",
            "gcp-key.json",
            "api_keys.json",
            "KEY.PEM",
            "x.p8",
        ),
        *("terraform.tfstate", "cookies.txt", "rclone.conf", "secrets.py"),
    ],
)
def test_secrets_in_data_that_is_named_stay(name: str, folder: Path) -> None:
    (folder / "data/nusax" / name).write_text("x")
    sent = paths(selected(folder, data={"nusax": "data/nusax"}))
    assert "data/nusax/english/train.csv" in sent
    assert f"data/nusax/{name}" not in sent


@pytest.mark.parametrize(
    "content",
    [
        "[default]\naws_secret_access_key = abcdefgh",
        f"export TOKEN=hf_{'a' * 34}",
        f"{' ' * 100_000}-----BEGIN RSA PRIVATE KEY-----",
        f"ghp_{'A1' * 18}",
    ],
)
def test_files_that_hold_secrets_stay_whatever_they_are_called(content: str, folder: Path) -> None:
    (folder / "data/nusax/settings.txt").write_text(content)
    selection = selected(folder, data={"nusax": "data/nusax"})
    assert "data/nusax/settings.txt" not in paths(selection)
    assert selection.left["data/nusax/settings.txt"] == "looks like a secret"


def test_of_the_package_s_folder_only_its_own_kinds_of_files_go(folder: Path) -> None:
    for name in ("notes.md", "login.txt", "credentials_note.py"):
        (folder / "flare_ray" / name).write_text("x")
    sent = paths(selected(folder))
    assert "flare_ray/credentials_note.py" in sent
    assert not {"flare_ray/notes.md", "flare_ray/login.txt"} & sent


def test_every_reference_of_a_sweep_is_looked_at(folder: Path) -> None:
    translator = {"model": "checkpoint"}
    methods = ["lora", {"name": "flare_mt", "mt_model": "checkpoint"}]
    for fields in (
        {"translation": translator},
        {"methods": methods},
        {"axes": {"translation": ["checkpoint"]}},
    ):
        assert "checkpoint/model.safetensors" in paths(selected(folder, **fields)), fields
    for fields in (
        {"name": "data"},
        {"methods": ["data"]},
        {"storage": "results"},
        {"translation": "org/name"},
    ):
        assert paths(selected(folder, **fields)) == ALWAYS, fields


def test_links_that_lead_out_are_not_followed(folder: Path, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "private.txt").write_text("pl4nted")
    (folder / "data/nusax/all").symlink_to(outside)
    (folder / "data/nusax/one.csv").symlink_to(outside / "private.txt")
    (folder / "data/nusax/round").symlink_to(folder / "data")
    (folder / "data/nusax/same.csv").symlink_to(folder / "data/nusax/english/train.csv")
    (folder / "flare_ray/more.py").symlink_to(outside / "private.txt")
    os.mkfifo(folder / "data/nusax/pipe")
    selection = selected(folder, data={"nusax": "data/nusax"})
    for path in ("data/nusax/all", "data/nusax/one.csv", "flare_ray/more.py"):
        assert selection.left[path] == "a link out of the folder"
    assert selection.left["data/nusax/round"] == "a link"
    assert selection.left["data/nusax/pipe"] == "no regular file"
    assert "data/nusax/same.csv" in paths(selection), "one within the folder is a file"
    with staged(selection) as place:
        content = b"".join(file.read_bytes() for file in place.rglob("*") if file.is_file())
    assert b"pl4nted" not in content


@pytest.mark.parametrize("value", ["../outside", "linked", "data/../../outside", "./data/none", "secrets/x"])
def test_data_that_the_job_could_not_have_is_an_error(folder: Path, tmp_path: Path, value: str) -> None:
    (tmp_path / "outside").mkdir()
    (folder / "linked").symlink_to(tmp_path / "outside")
    (folder / "secrets" / "x").mkdir(parents=True)
    with pytest.raises(InputError) as error:
        selected(folder, data={"nusax": value})
    assert "data.nusax" in str(error.value)
    assert value in str(error.value)


def test_an_absolute_path_is_the_nodes_own(folder: Path) -> None:
    inside = str(folder / "data/nusax")
    selection = selected(folder, data={"nusax": inside, "xnli": "/shared/xnli"})
    assert paths(selection) == ALWAYS
    assert any("write it as data/nusax" in note for note in selection.notes)
    assert any("/shared/xnli is not sent" in note for note in selection.notes)


@pytest.mark.parametrize("written", ["../../site.yaml", "{outside}/site.yaml", "linked.yaml"])
def test_a_file_that_is_extended_from_outside_is_an_error(folder: Path, tmp_path: Path, written: str) -> None:
    write(tmp_path / "site.yaml", {"seeds": [1]})
    (folder / "sweeps/linked.yaml").symlink_to(tmp_path / "site.yaml")
    written = written.format(outside=tmp_path)
    with pytest.raises(InputError, match="does not go to the cluster"):
        selected(folder, extends=[written])


def test_a_folder_that_is_too_large_is_told_with_its_largest_files(folder: Path) -> None:
    (folder / "data/nusax/corpus.csv").write_bytes(b"x" * 3_000_000)
    assert selected(folder, most=2_000_000).size < 10_000, "what is not named does not count"
    with pytest.raises(InputError) as error:
        selected(folder, most=2_000_000, data={"nusax": "data/nusax"})
    assert "the largest: data/nusax/corpus.csv (2.9 MiB)" in str(error.value)
    assert ".rayignore" in str(error.value)
    (folder / ".rayignore").write_text("*.csv\n")
    assert selected(folder, most=2_000_000).left["data/nusax/corpus.csv"] == ".rayignore names it"


def test_a_sweep_file_that_would_not_go_along_is_told(folder: Path) -> None:
    (folder / ".rayignore").write_text("sweeps/\n")
    with pytest.raises(InputError, match="which does not go to the cluster"):
        selected(folder)


def test_something_else_goes_when_it_is_asked_for(folder: Path) -> None:
    assert paths(selected(folder, include=("tests",))) == ALWAYS | {"tests/test_all.py"}
    with pytest.raises(InputError, match="looks like a secret"):
        selected(folder, include=(".env",))


def test_what_is_shown_is_bounded_and_names_what_stays(folder: Path) -> None:
    for number in range(500):
        (folder / f"more-{number}.txt").write_text("x")
    lines = selected(folder, data={"nusax": "data/nusax"}).lines()
    assert len(lines) < 30
    text = "\n".join(lines)
    assert f"{len(ALWAYS) + 1} files, 0.0 MiB go along" in text
    assert "data/: 1 files" in text
    assert ".env: looks like a secret" in text
    assert "more" in lines[-1]


def test_this_repository_is_small_and_whole() -> None:
    selection = select(ROOT, "sweeps/demo.yaml", [], extended(ROOT / "sweeps/demo.yaml"))
    assert selection.size < 5 * 2**20
    package = {
        file.relative_to(ROOT).as_posix()
        for file in (ROOT / "flare_ray").rglob("*")
        if file.is_file() and "__pycache__" not in file.parts
    }
    assert paths(selection) == package | {"sweeps/demo.yaml"}
