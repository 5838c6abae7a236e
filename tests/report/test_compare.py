"""Laws of the comparisons: effects are the tables' differences, and what cannot be compared is told."""

from __future__ import annotations

from dataclasses import replace

import pytest
from handmade import FLARE, INPUT, LANGUAGES, LORA, SEEDS, ZERO, method, results

from flare_ray.report.compare import compare, reference, section
from flare_ray.report.document import Figure
from flare_ray.report.results import Outcome, Selected
from flare_ray.report.statistics import Predictions

MODEL = "xlm-r-large"
ROW = "flare (rank=64, fusion=add_relu)"


def test_effects_are_the_differences_of_the_tables() -> None:
    made = results((ZERO, LORA, INPUT, FLARE))
    compared = compare(made, MODEL, "nusax", resamples=500)
    assert compared is not None
    assert compared.first == ROW
    assert set(compared.rows) == {"zero_shot", "lora (rank=64)", "input_fusion (rank=64)"}
    for row, one in compared.rows.items():
        values = [made.value(MODEL, "nusax", name) for name in (ROW, row)]
        means = [value.mean for value in values if value and value.mean is not None]
        assert one.effect == pytest.approx(means[0] - means[1])
        assert one.low < one.effect < one.high
        assert one.p <= one.p_adjusted
        assert (one.seeds, one.languages) == (len(SEEDS), len(LANGUAGES))
    assert compared.rows["zero_shot"].verdict in ("better", "too few to conclude")


def test_one_seed_concludes_nothing() -> None:
    compared = compare(results(seeds=(1,)), MODEL, "nusax", resamples=200)
    assert compared is not None
    assert {one.verdict for one in compared.rows.values()} == {"too few to conclude"}
    assert all("one seed" in one.notes[-1] for one in compared.rows.values())


def lost(row: str, language: str, seed: int) -> Outcome:
    if row == "zero_shot":
        return "missing"
    return "failed" if row.startswith("lora") and (language, seed) == ("jav", 2) else "finished"


def test_what_is_left_out_is_said() -> None:
    compared = compare(results(fate=lost), MODEL, "nusax", resamples=200)
    assert compared is not None
    assert compared.without == {"zero_shot": "no language and seed has both rows"}
    one = compared.rows["lora (rank=64)"]
    assert one.seeds == 2
    assert any("without seeds 2" in note for note in one.notes)
    (made,) = section(results(fate=lost), resamples=200)
    (figure,) = made.parts
    assert isinstance(figure, Figure)
    assert any("Not compared: zero_shot" in note for note in figure.table.notes)
    assert "not compared" in {entry.text for row in figure.table.rows for entry in row.entries}


def test_predictions_that_cannot_be_read_are_named_and_the_rest_is_compared() -> None:
    made = results()
    whole = made.predictions
    assert whole is not None

    def torn(fingerprint: str) -> Predictions:
        if fingerprint == f"{MODEL} lora (rank=64) ace 1":
            raise OSError("torn")
        return whole(fingerprint)

    compared = compare(replace(made, predictions=torn), MODEL, "nusax", resamples=200)
    assert compared is not None
    assert compared.unread == (f"{MODEL}/nusax/ace/lora (rank=64)/seed 1",)
    assert compared.rows["lora (rank=64)"].seeds == 2


def test_the_row_that_is_compared_is_flares_at_the_papers_point_and_never_a_searchs() -> None:
    small, gold = (
        method("flare", fusion="add_relu", rank=8),
        method("flare", fusion="add_relu", rank=64, test_source="gold"),
    )
    assert reference(results([LORA, small, gold, FLARE]), MODEL, "nusax") == ROW
    assert reference(results([LORA, small, gold]), MODEL, "nusax") == "flare (rank=8, fusion=add_relu)"
    chosen = {code: Selected("tpe", 9, {}, None, code) for code in LANGUAGES}
    assert reference(results(selected=chosen), MODEL, "nusax") is None
    assert section(results([ZERO, LORA])) == []


def test_another_row_may_be_named() -> None:
    compared = compare(results(), MODEL, "nusax", "lora (rank=64)", 200)
    assert compared is not None
    assert set(compared.rows) == {"zero_shot", ROW}
