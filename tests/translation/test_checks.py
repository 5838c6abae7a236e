"""What a translation model does not know is told before it is loaded."""

from __future__ import annotations

from pathlib import Path

import pytest

from flare_ray.plan.schema import Translation
from flare_ray.study import Study
from flare_ray.translation.checkpoints import FLORES, substitution
from flare_ray.translation.checks import language_problems
from tests.small_study import write_checkpoint, write_data, write_study, write_sweep


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


@pytest.mark.parametrize("code", ["xyz_Latn", "swh_Cyrl", "arb_Latn", "min_Arab"])
def test_a_code_that_nllb_does_not_have_is_a_problem(code: str) -> None:
    (found,) = language_problems(Translation(model="nllb-200-3.3b"), [code], "translation.model")
    assert code in found.found
    assert "FLORES-200" in found.wanted


def test_a_name_is_answered_with_its_code() -> None:
    (found,) = language_problems(Translation(model="nllb-200-3.3b"), ["swahili"], "translation.model")
    assert "swh_Latn" in found.wanted


def test_languages_that_go_as_another_are_named() -> None:
    assert substitution(["ace", "sw", "ind", "qal", "swh_Latn"]) is None
    found = substitution(["ace", "mad", "nij", "mad"]) or ""
    assert "Madurese (mad) as Indonesian (ind_Latn), Ngaju (nij) as Indonesian (ind_Latn)" in found


@pytest.mark.parametrize("language", ["madurese", "acehnese"])
def test_a_study_says_so_in_its_notes_and_warnings(language: str, tmp_path: Path) -> None:
    fields = write_study(tmp_path)
    write_data(tmp_path / "substituted", ("english", language))
    model = write_checkpoint(tmp_path / "nllb", "m2m_100")
    fields |= {"data": {"nusax": str(tmp_path / "substituted")}, "languages": "all"}
    file = write_sweep(tmp_path / "sweep.yaml", fields | {"translation": str(model)})
    study = Study.open(file, to_execute=False)
    assert any("as Indonesian" in note for note in study.notes()) == (language == "madurese")
