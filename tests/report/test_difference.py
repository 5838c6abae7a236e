"""Laws of two sweeps cell by cell: differences are B minus A, each cell is in exactly one part, reasons are named."""

from __future__ import annotations

import pytest
from handmade import FLARE, LANGUAGES, LORA, ZERO, results

from flare_ray.report.difference import difference
from flare_ray.report.document import Table


def table(report: object, name: str) -> Table | None:
    return next((one for one in report.tables() if one.id == name), None)  # type: ignore[attr-defined]


def test_a_sweep_does_not_differ_from_itself() -> None:
    report = difference(results(), results())
    (found,) = report.tables()
    assert {row.entries[2].number for row in found.rows} == {0.0}
    assert {row.entries[3].text for row in found.rows if row.label != "avg"} == {"the same"}
    assert len(found.rows) == 3 * (len(LANGUAGES) + 1)


def test_each_cell_is_in_both_or_in_one() -> None:
    a, b = results((ZERO, LORA)), results((LORA, FLARE), languages=("ace", "sun"))
    report = difference(a, b)
    both = table(report, "common")
    assert both is not None
    assert [(row.group.split(" · ")[-1], row.label) for row in both.rows] == [("lora (rank=64)", "ace")]
    parts = [table(report, name) for name in ("only-a", "only-b")]
    assert [len(part.rows) for part in parts if part] == [3, 3]


def test_the_difference_is_b_minus_a_and_its_reason_is_told() -> None:
    a = results(fate=lambda row, language, seed: "finished" if seed != 3 else "missing")
    b = results(seeds=(1, 2), settings={"epochs": 5})
    report = difference(a, b)
    found = table(report, "common")
    assert found is not None
    for row in found.rows:
        first, second = (entry.number for entry in row.entries[:2])
        assert row.entries[2].number == pytest.approx(second - first)  # type: ignore[operator]
    assert "seeds 1, 2, 3 → seeds 1, 2; epochs – → 5" in {row.entries[3].text for row in found.rows}


def test_a_cell_without_a_result_has_no_difference() -> None:
    report = difference(results(), results(fate=lambda *_: "failed"))
    found = table(report, "common")
    assert found is not None
    assert {row.entries[1].text for row in found.rows} == {"failed"}
    assert {row.entries[2].text for row in found.rows} == {"–"}
