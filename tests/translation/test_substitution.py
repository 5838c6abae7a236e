"""`flare-ray translate` names languages that go as another one."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from flare_ray import translate
from flare_ray.plan.schema import Translation


@pytest.mark.parametrize(
    ("model", "languages", "warned"),
    [
        ("nllb-200-3.3b", ("eng", "mad"), True),
        ("facebook/nllb-200-distilled-600M", ("nij", "eng"), True),
        ("nllb-200-3.3b", ("eng", "ace"), False),
        ("Helsinki-NLP/opus-mt-en-id", ("eng", "mad"), False),
    ],
)
def test_a_language_that_goes_as_another_one_is_named(
    model: str, languages: tuple[str, str], warned: bool
) -> None:
    console = Console(file=io.StringIO())
    translate._warn_of_substitution(Translation(model=model), languages, console)
    assert ("Indonesian" in console.file.getvalue()) == warned  # type: ignore[attr-defined]
