"""Laws of the costs and of the plots: hours by hand, the Pareto front, round ticks."""

from __future__ import annotations

import math
from collections.abc import Mapping
from itertools import pairwise
from typing import Any
from xml.etree import ElementTree

import pytest
from handmade import FLARE, INPUT, LORA, ZERO, results

from flare_ray.report import cost, figures
from flare_ray.report.document import Figure, Table

TIMES = {"zero_shot": 3.6, "lora": 36.0, "input_fusion": 72.0, "flare": 54.0}


def spent(method: str) -> Mapping[str, Any]:
    trained = {"trainable_parameters": 0} if method == "zero_shot" else {"train_seconds": TIMES[method] / 2}
    return {"wall_seconds": TIMES[method], **trained}


def on_gpu(method: str) -> Mapping[str, Any]:
    return {**spent(method), "gpu_seconds": 2 * TIMES[method], "peak_gpu_mib": 4000.0}


def parts(spend: Any = spent) -> dict[str, Table]:
    (section,) = cost.section(results((ZERO, LORA, INPUT, FLARE), cost=spend))
    tables = [part.table if isinstance(part, Figure) else part for part in section.parts]
    return {table.id: table for table in tables}


def row(table: Table, name: str) -> list[float | None]:
    return next([entry.number for entry in row.entries] for row in table.rows if row.label.startswith(name))


def test_cpu_hours_are_wall_time_times_cores_where_there_is_no_gpu() -> None:
    table = parts()["cost"]
    assert table.columns[1] == "CPU-hours per run"
    runs, per_run, in_all, score, per_hour, gain, parameters, memory = row(table, "flare")
    assert per_run == pytest.approx(54 * 2 / 3600)
    assert (runs, in_all) == (6, pytest.approx(6 * 54 * 2 / 3600))
    assert per_hour == pytest.approx(score / per_run)  # type: ignore[operator]
    start = row(table, "zero_shot")[3]
    assert gain == pytest.approx((score - start) / per_run)  # type: ignore[operator]
    assert (parameters, memory) == (10, 800)
    assert row(table, "zero_shot")[5] is None


def test_gpu_hours_and_the_gpus_memory_where_there_is_one() -> None:
    table = parts(on_gpu)["cost"]
    assert table.columns[1] == "GPU-hours per run"
    assert row(table, "flare")[1] == pytest.approx(2 * 54 / 3600)
    assert row(table, "flare")[-1] == 4000


def test_both_kinds_are_called_device_hours() -> None:
    mixed = parts(lambda method: on_gpu(method) if method == "flare" else spent(method))["cost"]
    assert mixed.columns[1] == "device-hours per run"


def test_flares_training_time_is_against_input_level_fusions() -> None:
    table = parts()["training-time"]
    assert row(table, "NusaX") == [6, 27, 36, pytest.approx(-25)]
    assert table.rows[0].entries[-1].text == "−25%"


def test_shared_work_is_counted_once() -> None:
    assert row(parts()["shared"], "xlm-r-large") == [3, pytest.approx(3 * 60 / 3600)]


def test_nothing_finished_costs_nothing() -> None:
    assert cost.section(results(fate=lambda *_: "missing")) == []


@pytest.mark.parametrize(
    ("hours", "text"), [(0.0, "0"), (None, "–"), (0.000354, "0.000354"), (1.2345, "1.23"), (1234.5, "1,234")]
)
def test_hours_have_three_digits(hours: float | None, text: str) -> None:
    assert cost.hours_entry(hours).text == text


# ---- plots


POINTS = [
    figures.Cost("a", 1.0, 50.0),
    figures.Cost("b", 2.0, 40.0),
    figures.Cost("c", 3.0, 60.0),
    figures.Cost("d", 3.0, 55.0),
]


def test_the_front_is_what_nothing_beats() -> None:
    assert [p.label for p in figures.front(POINTS)] == ["a", "c"]
    table = parts()["pareto-xlm-r-large-nusax"]
    best = {row.label for row in table.rows if row.entries[-1].text == "yes"}
    assert "zero_shot" in best
    assert row(table, "lora")[0] == pytest.approx(36 * 2 / 3600)


@pytest.mark.parametrize(
    "svg",
    [
        figures.pareto(POINTS, "CPU-hours"),
        figures.pareto(POINTS[:1], "CPU-hours"),
        figures.intervals(
            [figures.Point("<a&b>", 1.0, 0.5, 2.0, "+1.0"), figures.Point("b", -3.0)], "points", zero=True
        ),
        figures.intervals([figures.Point("a", 0.0, 0.0, 0.0)], "points"),
    ],
    ids=["pareto", "one point", "intervals", "all the same"],
)
def test_a_plot_is_well_formed_lies_within_its_box_and_has_its_numbers(svg: str) -> None:
    tree = ElementTree.fromstring(svg)
    _, _, width, height = map(float, tree.attrib["viewBox"].split())
    for circle in tree.iter("circle"):
        assert 0 <= float(circle.attrib["cx"]) <= width
        assert 0 <= float(circle.attrib["cy"]) <= height
    for text in tree.iter("text"):
        assert 0 <= float(text.attrib["y"]) <= height
    titles = [title.text for title in tree.iter("title")]
    assert len(titles) == len(list(tree.iter("g")))
    assert all(titles)


def test_no_points_no_plot() -> None:
    assert figures.pareto([], "h") == figures.intervals([], "points") == ""


@pytest.mark.parametrize(("low", "high"), [(0, 1), (-12.3, 45.6), (79.1, 79.2), (0.0001, 12345)])
def test_ticks_are_round_and_within(low: float, high: float) -> None:
    found = figures.ticks(low, high)
    assert 2 <= len(found) <= 7
    assert all(low <= tick <= high for tick in found)
    steps = {round(b - a, 9) for a, b in pairwise(found)}
    assert len(steps) == 1
    step = steps.pop()
    assert round(step / 10 ** math.floor(math.log10(step) + 1e-9), 6) in (1, 2, 5)


def test_log_ticks_are_within_and_some() -> None:
    for low, high in ((0.9, 1.1), (0.0002, 0.009), (1e-4, 1e3), (0.7, 30)):
        found = figures.log_ticks(low, high)
        assert found
        assert all(low <= tick <= high for tick in found)
