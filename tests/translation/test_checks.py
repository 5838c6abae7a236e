"""What a translation model does not know is told before it is loaded."""

from __future__ import annotations

from pathlib import Path

import pytest

from flare_ray.plan.schema import Translation
from flare_ray.translation.checkpoints import FLORES
from flare_ray.translation.checks import language_problems


@pytest.mark.parametrize("model", ["nllb-200-3.3b", "facebook/nllb-200-1.3B"])
def test_nllb_knows_the_studys_languages_and_flores_codes(model: str) -> None:
    known = [*FLORES, "swh_Latn", "zho_Hant"]
    assert not language_problems(Translation(model=model), known, "x")
    found = language_problems(Translation(model=model), ["qal", "sw", "klingon"], "x")
    assert ["'qal'" in found[0].found, "'klingon'" in found[1].found, len(found)] == [True, True, 2]


def test_the_sandboxs_knows_the_sandbox() -> None:
    assert not language_problems(Translation(model="sandbox-nllb"), ["eng", "qal", "qtu"], "x")
    assert len(language_problems(Translation(model="sandbox-nllb"), ["sw"], "x")) == 1


def test_a_folders_tokenizer_is_asked(small_sandbox: Path, tmp_path: Path) -> None:
    local = Translation(model=str(small_sandbox / "models" / "sandbox-nllb"))
    assert not language_problems(local, ["eng", "qal"], "x")
    assert len(language_problems(local, ["sw"], "x")) == 1
    (tmp_path / "config.json").write_text("{}")
    (found,) = language_problems(Translation(model=str(tmp_path)), ["qal"], "x")
    assert "tokenizer" in found.wanted
