"""What a sweep file names cannot leave the places that it is given."""

from pathlib import Path
from typing import Any

import pytest
from small_study import write_study, write_sweep

from flare_ray.errors import InputError
from flare_ray.plan.load import load_sweep
from flare_ray.plan.yaml_values import read_value
from flare_ray.store import Store


def refused(tmp_path: Path, fields: dict[str, Any]) -> str:
    with pytest.raises(InputError) as error:
        load_sweep(write_sweep(tmp_path / "sweep.yaml", fields))
    return str(error.value)


@pytest.mark.parametrize(
    "name", ["../out", "a/b", "/etc", "..", ".hidden", "a\n", "a\x00b", "a\\b", "$(x)", ""]
)
def test_a_sweeps_name_is_one_plain_word(tmp_path: Path, name: str) -> None:
    assert "name: " in refused(tmp_path, write_study(tmp_path) | {"name": name})


@pytest.mark.parametrize("field", ["tasks", "methods", "fusion"])
@pytest.mark.parametrize("name", ["../../os", "os.path", "base", "_hub", "nusax/../nusax", "__init__"])
def test_a_registered_name_is_no_path_and_no_module(tmp_path: Path, field: str, name: str) -> None:
    assert field in refused(tmp_path, write_study(tmp_path) | {field: [name]})


def test_a_family_is_a_registered_one(tmp_path: Path) -> None:
    study = write_study(tmp_path)
    assert "models[0].family" in refused(
        tmp_path, study | {"models": [study["models"][0] | {"family": "../x"}]}
    )


def test_a_language_is_one_of_the_tasks(tmp_path: Path) -> None:
    assert "languages[0]" in refused(tmp_path, write_study(tmp_path) | {"languages": ["../../etc"]})


@pytest.mark.parametrize("name", ["a\nb", "a\x1b[31mb", "x" * 201])
def test_a_models_name_is_one_line(tmp_path: Path, name: str) -> None:
    study = write_study(tmp_path)
    assert "models[0].name" in refused(tmp_path, study | {"models": [study["models"][0] | {"name": name}]})


@pytest.mark.parametrize(
    "url",
    [
        "ftp://ann:pl4nted@host/x",
        "webdav://ann:pl4nted@host/x",
        "https://host/x?sig=pl4nted&b=c",
        "s3://pl4nted:pl4nted@b",
    ],
)
def test_a_storage_has_no_password_and_none_is_shown(url: str) -> None:
    with pytest.raises(InputError) as error:
        Store(url)
    assert "with a password" in str(error.value)
    assert "pl4nted" not in str(error.value)


def test_anchors_that_make_a_text_huge_are_refused_at_once() -> None:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 12)]
    with pytest.raises(Exception, match="more than 10000 values"):
        read_value("\n".join(lines))


def test_merges_that_make_a_text_huge_are_refused_at_once() -> None:
    lines = ["a0: &a0 {" + ", ".join(f"k{n}: 1" for n in range(10)) + "}"]
    lines += [f"a{n}: &a{n} {{<<: [{', '.join([f'*a{n - 1}'] * 10)}]}}" for n in range(1, 12)]
    with pytest.raises(Exception, match="more than 10000 values"):
        read_value("\n".join(lines))


@pytest.mark.parametrize("text", ["[" * 3000, "{a: " * 3000, "&a [*a]"])
def test_what_is_nested_without_end_is_an_error(text: str) -> None:
    import yaml

    with pytest.raises(yaml.YAMLError):
        read_value(text)


@pytest.mark.parametrize(
    "text",
    [
        "!!python/object/apply:os.system ['true']",
        "!!python/name:os.system",
        "!!python/module:os",
        "!!python/object/new:subprocess.Popen [[true]]",
    ],
)
def test_yaml_makes_no_objects(text: str) -> None:
    import yaml

    with pytest.raises(yaml.YAMLError, match="could not determine a constructor"):
        read_value(text)
