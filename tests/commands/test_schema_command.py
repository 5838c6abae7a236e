"""`flare-ray schema`: what editors are told holds for real files, and what readers are told is current."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from typer.testing import CliRunner

from flare_ray.cli import app
from flare_ray.plan.extends import read_yaml

ROOT = Path(__file__).parents[2]
SWEEPS = sorted((ROOT / "sweeps").glob("*.yaml"))


@pytest.fixture(scope="module")
def schema() -> dict[str, Any]:
    printed = CliRunner().invoke(app, ["schema"])
    assert printed.exit_code == 0
    return json.loads(printed.stdout)


def errors(schema: dict[str, Any], raw: dict[str, Any]) -> list[str]:
    found = jsonschema.Draft202012Validator(schema).iter_errors(raw)
    return [".".join(map(str, error.absolute_path)) for error in found]


def test_it_is_a_json_schema(schema: dict[str, Any]) -> None:
    jsonschema.Draft202012Validator.check_schema(schema)


@pytest.mark.parametrize("file", SWEEPS, ids=lambda file: file.name)
def test_every_shipped_sweep_is_valid(schema: dict[str, Any], file: Path) -> None:
    assert errors(schema, read_yaml(file)) == []


SOUND = {
    "name": "x",
    "models": ["xlm-r-large", {"name": "llama-3.1-8b", "quantization": "int8"}],
    "tasks": ["nusax"],
    "methods": ["lora", {"name": "flare", "source_offset": 0}],
    "seeds": [1],
    "axes": {"learning_rate": [None, 1e-4], "source_offset": [0, 1]},
    "exclude": [{"method": "lora", "learning_rate": 1e-4}, {"rank": [4]}],
    "overrides": [{"model": "xlm-r-large", "resources": {"workers": 2}}],
    "translation": {"model": "nllb-200-3.3b", "beams": 4},
}


@pytest.mark.parametrize(
    ("change", "place"),
    [
        ({}, None),
        ({"nmae": "y"}, ""),
        ({"models": ["xlm-r-lage"]}, "models.0"),
        ({"methods": ["lora", {"name": "flare", "offset": 0}]}, "methods.1"),
        ({"axes": {"learning_rate": [0]}}, "axes.learning_rate"),
        ({"axes": {"source_offset": [2]}}, "axes.source_offset"),
        ({"exclude": [{"learning_rate": "fast"}]}, "exclude.0.learning_rate"),
        ({"overrides": [{"resources": {"worker": 2}}]}, "overrides.0.resources"),
        ({"seeds": []}, "seeds"),
        ({"tasks": ["nusa"]}, "tasks.0"),
        ({"rank": [0]}, "rank.0"),
    ],
)
def test_an_editor_finds_what_the_program_would(
    schema: dict[str, Any], change: dict[str, Any], place: str | None
) -> None:
    assert errors(schema, {**SOUND, **change}) == ([] if place is None else [place])


def test_only_a_file_that_extends_another_may_lack_what_is_needed(schema: dict[str, Any]) -> None:
    assert errors(schema, {"extends": "common.yaml", "seeds": [1]}) == []
    assert errors(schema, {"extends": ["a.yaml", "b.yaml"]}) == []
    assert len(errors(schema, {"seeds": [1]})) == 4


def properties(part: Any) -> Iterator[tuple[str, dict[str, Any]]]:
    if isinstance(part, dict):
        yield from part.get("properties", {}).items()
        for inner in part.values():
            yield from properties(inner)
    if isinstance(part, list):
        for inner in part:
            yield from properties(inner)


def test_every_field_says_what_it_is(schema: dict[str, Any]) -> None:
    del schema["$defs"]["Rule"]  # its further axes are described under `axes`
    silent = [
        name for name, field in properties(schema) if "description" not in field and "const" not in field
    ]
    assert silent == []


def test_the_page_about_the_sweep_file_is_current() -> None:
    printed = CliRunner().invoke(app, ["schema", "--markdown"]).stdout
    head, _, fields = (
        (ROOT / "docs/sweep-file.md").read_text().partition("<!-- flare-ray schema --markdown -->\n")
    )
    assert head
    assert fields == printed, "`make docs` writes it anew"
