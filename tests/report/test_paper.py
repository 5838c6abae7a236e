"""Laws of the paper's tables: numbers come from predictions, what is missing shows, the paper's stand beside."""

from __future__ import annotations

import csv
import re
import statistics
from pathlib import Path
from typing import Any

import pytest
from handmade import FLARE, INPUT, LABELS, LANGUAGES, LORA, SEEDS, ZERO, method, results
from sklearn.metrics import f1_score

from flare_ray.report import paper, paper_figures, published
from flare_ray.report.document import Figure, Table
from flare_ray.report.results import Outcome, Results, Selected
from flare_ray.tasks.nusax import TASK


def table(made: Results, name: str) -> Table:
    return next(one for one in paper.tables(made) if one.id == name)


def ids(made: Results) -> list[str]:
    return [one.id for one in paper.tables(made)]


def cells(made: Table) -> dict[str, list[str]]:
    return {row.label: [entry.text for entry in row.entries] for row in made.rows}


def scored(made: Results, row: str, language: str, seed: int) -> float:
    """By scikit-learn, from the predictions."""
    said = made.predictions(f"xlm-r-large {row} {language} {seed}")  # type: ignore[misc]
    gold = [accepted[0] for accepted in said.gold]
    return 100 * float(f1_score(gold, list(said.predictions), labels=list(LABELS), average="macro"))


def test_every_number_is_the_predictions_score() -> None:
    made = results()
    found = cells(table(made, "table-8"))
    for row, (_, ace, jav, average) in found.items():
        by = {code: [scored(made, row, code, seed) for seed in SEEDS] for code in LANGUAGES}
        for code, text in zip(LANGUAGES, (ace, jav), strict=True):
            assert text == f"{statistics.fmean(by[code]):.1f} ± {statistics.stdev(by[code]):.1f}"
        seedwise = [statistics.fmean(pair) for pair in zip(*by.values(), strict=True)]
        expected = f"{statistics.fmean(seedwise):.1f} ± {statistics.stdev(seedwise):.1f}"
        assert average == expected == cells(table(made, "table-1"))[row][0]


def test_english_is_the_base_models_and_is_in_no_average() -> None:
    made = results()
    assert {row[0] for row in cells(table(made, "table-8")).values()} == {"92.0 ± 1.0"}
    assert not any(row.entries[0].bold for row in table(made, "table-8").rows)


def fate_of(row: str, language: str, seed: int) -> Outcome:
    if row.startswith("flare") and language == "jav":
        return "failed"
    if row.startswith("lora") and language == "jav":
        return "damaged"
    return "missing" if row == "zero_shot" and seed == 2 else "finished"


def test_failed_damaged_and_missing_cells_show_and_are_not_averaged_away() -> None:
    found = table(results(fate=fate_of), "table-8")
    rows = cells(found)
    assert rows[row_of(rows, "flare")][2:] == ["failed", "failed"]
    assert rows[row_of(rows, "lora")][2:] == ["damaged", "damaged"]
    assert all(text.endswith("(n=2)") for text in rows["zero_shot"][1:])
    states = {row.label: [entry.state for entry in row.entries] for row in found.rows}
    assert states["zero_shot"] == ["", "partial", "partial", "partial"]
    assert states[row_of(rows, "flare")] == ["", "", "failed", "failed"]
    average = cells(table(results(fate=fate_of), "table-1"))
    assert average[row_of(average, "flare")] == ["failed"]


def row_of(rows: Any, name: str) -> str:
    return next(row for row in rows if row.startswith(name))


def test_the_best_of_a_model_and_column_is_bold() -> None:
    for row in table(results(models=("xlm-r-large", "mt5-xl")), "table-1").rows:
        assert row.entries[0].bold == row.label.startswith("flare")


def test_the_published_number_is_beside_ours_with_the_difference() -> None:
    made = results(languages=tuple(TASK.languages))
    row = next(row for row in table(made, "table-1").rows if row.label.startswith("flare"))
    ours = row.entries[0].number
    assert ours is not None
    assert row.below[0].number == 79.18
    assert row.below[0].facts["difference"] == pytest.approx(ours - 79.18)
    assert row.below[0].text.startswith("79.18 (")


def test_an_average_over_other_languages_has_no_difference_and_says_so() -> None:
    found = table(results(), "table-1")
    row = next(row for row in found.rows if row.label.startswith("flare"))
    assert row.below[0].text == "79.18"
    assert any("averaged over ace, jav" in note for note in found.notes)


def test_other_conditions_than_the_papers_are_told() -> None:
    found = table(results(settings={"epochs": 3, "batch_size": 64}), "table-1")
    assert any("epochs 3 (paper: 20)" in note and "batch_size" not in note for note in found.notes)


@pytest.mark.parametrize(
    "other",
    [
        method("flare", rank=8, fusion="add_relu"),
        method("flare", rank=64, fusion="mul"),
        method("flare", rank=64, fusion="add_relu", source_offset=0),
    ],
    ids=["rank", "fusion", "option"],
)
def test_no_published_number_stands_beside_another_row(other: Any) -> None:
    found = table(results((LORA, other)), "table-1")
    assert not next(row for row in found.rows if row.label.startswith("flare")).below


def test_each_sweep_fills_the_tables_that_its_rows_allow() -> None:
    assert ids(results()) == ["table-1", "table-8"]
    fusions = [method("flare", fusion=one, rank=64) for one in ("add", "mul", "add_relu")]
    assert ids(results(fusions)) == ["table-2", "table-8"]
    ranks = [method(name, fusion="add_relu", rank=r) for name in ("flare_mt", "flare") for r in (8, 64)]
    assert ids(results(ranks)) == ["table-1", "table-3", "table-8"]
    gold = [INPUT, FLARE, method("flare", fusion="add_relu", rank=64, test_source="gold")]
    assert ids(results(gold)) == ["table-1", "table-4", "table-8"]
    only = [FLARE, method("flare", fusion="add_relu", rank=64, train_only=True)]
    assert ids(results(only)) == ["appendix-e", "table-8"]


def test_tables_2_and_3_have_the_papers_numbers_at_their_axis() -> None:
    fusions = [method("flare", fusion=one, rank=64) for one in ("add", "mul")]
    rows = table(results(fusions), "table-2").rows
    assert [row.below[0].number for row in rows] == [79.56, 78.81]
    ranks = [method("flare", fusion="add_relu", rank=rank) for rank in (8, 64, 128)]
    rows = table(results(ranks), "table-3").rows
    assert [row.below[0].number for row in rows] == [79.52, 79.18, 78.32]


def test_gold_english_is_in_table_4_and_in_no_other_average() -> None:
    made = results([LORA, FLARE, method("flare", fusion="add_relu", rank=64, test_source="gold")])
    assert [row for row in cells(table(made, "table-1")) if "gold" in row] == []
    assert len(table(made, "table-4").rows) == 2


def test_a_search_is_marked_and_its_languages_make_one_row() -> None:
    chosen = {
        code: Selected("tpe", 20, {"fusion": fusion}, 70.0, f"xlm-r-large/nusax/{code}/flare")
        for code, fusion in zip(LANGUAGES, ("mul", "add"), strict=True)
    }
    found = table(results(selected=chosen), "table-1")
    row = next(row for row in found.rows if row.label.startswith("flare"))
    assert row.label == "flare chosen by search (tpe) †"
    assert row.entries[0].facts["n"] == 3
    assert not row.below
    assert any(note.startswith("†") for note in found.notes)


def test_figure_3_is_there_with_two_translators_and_says_what_the_larger_gives() -> None:
    both = [method("flare", fusion="add_relu", rank=64, translation=one) for one in published.TRANSLATORS]
    lora = method("lora", rank=64, translation=published.TRANSLATOR)
    (section,) = paper_figures.section(results([lora, *both], languages=tuple(TASK.languages)))
    figure = section.parts[0]
    assert isinstance(figure, Figure)
    *rows, difference = figure.table.rows
    means = [row.entries[0].number for row in rows if row.label.startswith("flare")]
    assert difference.entries[0].number == pytest.approx(means[0] - means[1])  # type: ignore[operator]
    assert difference.below[0].number == 1.27
    for row in rows:
        assert row.entries[0].text in figure.svg
    assert any("cannot be drawn" in text for text in section.text)


def test_without_flare_there_is_nothing_to_say_of_figures() -> None:
    assert paper_figures.section(results([ZERO, LORA])) == []


def test_the_packages_published_numbers_are_the_papers() -> None:
    """Spot checks against the printed tables, and averages that follow from Table 7's own languages."""
    assert published.find("1", "gemma-2-9b", "flare", "", "tydiqa", "avg") == 52.14
    assert published.find("2", "xlm-r-large", "flare", "fusion=cross_attention", "nusax", "avg") == 78.11
    assert published.find("3", "xlm-r-large", "flare_mt", "rank=128", "tydiqa", "avg") == 40.21
    assert published.find("7", "xlm-r-large", "zero_shot", "", "tydiqa", "en") == 49.05
    assert published.find("7", "llama-3.1-8b", "flare", "", "tydiqa", "te") == 40.70
    counts = {name: sum(row["table"] == name for row in published.rows()) for name in ("1", "2", "3", "7")}
    assert counts == {"1": 84, "2": 8, "3": 12, "7": 280}
    rows = [row for row in published.rows() if row["table"] == "7"]
    for model, name in {(row["model"], row["method"]) for row in rows}:
        mine = {r["language"]: float(r["value"]) for r in rows if (r["model"], r["method"]) == (model, name)}
        average = statistics.fmean(value for code, value in mine.items() if code not in ("en", "avg"))
        assert mine["avg"] == pytest.approx(average, abs=0.7), (model, name)


def test_the_published_file_says_where_it_is_from() -> None:
    text = (Path(published.__file__).parent / "published.csv").read_text()
    comment = [line for line in text.splitlines() if line.startswith("#")]
    assert "Borchert" in comment[0] + comment[1]
    body = [line for line in text.splitlines() if not line.startswith("#")]
    assert all(re.fullmatch(r"\d+\.\d\d", row["value"]) for row in csv.DictReader(body))
