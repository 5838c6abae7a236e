"""Figures 4 to 6: their numbers are the runs' files', and a cell that measured nothing says so."""

from __future__ import annotations

import math
import re
import statistics
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any
from xml.dom.minidom import parseString

import numpy as np
import pytest
from handmade import FLARE, LORA, SEEDS, method, results

from flare_ray.report import figures, paper_figures
from flare_ray.report.document import Figure, Report, Row, Table
from flare_ray.report.render import FORMATS
from flare_ray.report.results import Outcome, Results
from flare_ray.store import Damaged

LAYERS, TOKENS, ROWS = 3, 10, 4


def file_of(
    fingerprint: str, stacks: Sequence[str] = ("encoder.layer",), source: bool = True
) -> list[dict[str, Any]]:
    """A run's rows; target positions from 6 on are reached by one row of four."""
    chance = np.random.default_rng(zlib.crc32(fingerprint.encode()))
    made = []
    for stack in stacks:
        for layer in range(LAYERS):
            for name in ("query", "value"):
                for stream in ("source", "target", "fused") if source else ("target", "fused"):
                    place = {
                        "module": f"{stack}.{layer}.{name}",
                        "stack": stack,
                        "layer": layer,
                        "stream": stream,
                    }
                    whole = {"row": None, "position": None, "tokens": 40, "std": 0.1}
                    made.append(place | whole | {"mean": float(chance.uniform(0.2, 0.4))})
                    if layer or name == "value":
                        continue
                    for at in range(TOKENS):
                        one = {"position": at, "std": None}
                        of_all = {"row": None, "tokens": ROWS if at < 6 else 1}
                        made.append(place | one | of_all | {"mean": float(chance.uniform(0.2, 0.4))})
                        for row in ("r0", "r1"):
                            mean = float(chance.uniform(0.2, 0.4))
                            made.append(place | one | {"row": row, "tokens": 1, "mean": mean})
    return made


def measured(made: Results, files: Mapping[str, Any] | None = None) -> Results:
    """Results whose runs all have a file, or those in `files` only."""
    return replace(made, activations=file_of if files is None else files.get)


def parts(made: Results) -> dict[str, Table | Figure]:
    (section,) = paper_figures.section(made)
    return {(one.table if isinstance(one, Figure) else one).id: one for one in section.parts}


def figure(made: Results, number: int, model: str = "xlm-r-large") -> Figure:
    found = parts(made)[f"figure-{number}-{model}"]
    assert isinstance(found, Figure)
    return found


def rows_of(found: Table | Figure) -> dict[str, Row]:
    return {row.label: row for row in (found.table if isinstance(found, Figure) else found).rows}


def expected(values: Sequence[float]) -> tuple[float, str]:
    mean = statistics.fmean(values)
    places = 2 if mean >= 1 else 3
    return mean, f"{mean:.{places}f} ± {statistics.stdev(values):.{places}f}"


def of_layer(seed: int, layer: int, stream: str, language: str = "ace") -> float:
    rows = file_of(f"xlm-r-large flare (rank=64, fusion=add_relu) {language} {seed}")
    found = [
        r["mean"] for r in rows if r["position"] is None and r["layer"] == layer and r["stream"] == stream
    ]
    assert len(found) == 2
    return sum(found) / 2


def test_figure_5_is_the_mean_of_a_layers_modules_over_seeds() -> None:
    found = rows_of(figure(measured(results([LORA, FLARE])), 5))
    assert list(found) == ["1", "2", "3"]
    for layer in range(LAYERS):
        sizes = {stream: [of_layer(seed, layer, stream) for seed in SEEDS] for stream in ("source", "target")}
        ratio = [s / t for s, t in zip(sizes["source"], sizes["target"], strict=True)]
        for entry, values in zip(found[str(layer + 1)].entries, (*sizes.values(), ratio), strict=True):
            assert (entry.number, entry.text) == (pytest.approx(expected(values)[0]), expected(values)[1])


def test_figure_4_is_by_position_as_far_as_half_of_the_rows_reach() -> None:
    made = figure(measured(results([FLARE])), 4)
    assert "encoder.layer.0.query" in made.table.title
    assert list(rows_of(made)) == [str(at) for at in range(6)]
    for at, row in rows_of(made).items():
        values = []
        for seed in SEEDS:
            rows = file_of(f"xlm-r-large flare (rank=64, fusion=add_relu) ace {seed}")
            values += [
                r["mean"] for r in rows if (r["row"], r["position"], r["stream"]) == (None, int(at), "source")
            ]
        assert row.entries[0].text == expected(values)[1]


def test_figure_6_is_the_first_seeds_tokens() -> None:
    made = figure(measured(results([FLARE])), 6)
    assert made.table.columns == ("r0: source", "r0: target", "r1: source", "r1: target")
    rows = file_of("xlm-r-large flare (rank=64, fusion=add_relu) ace 1")
    for at, row in rows_of(made).items():
        for column, entry in zip(made.table.columns, row.entries, strict=True):
            name, stream = column.split(": ")
            (wanted,) = [
                r["mean"] for r in rows if (r["row"], r["position"], r["stream"]) == (name, int(at), stream)
            ]
            assert entry.number == pytest.approx(wanted)


def test_every_cell_has_its_ratio() -> None:
    found = rows_of(parts(measured(results([FLARE])))["activations"])
    assert len(found) == 2
    for language in ("ace", "jav"):
        row = found[f"flare (rank=64, fusion=add_relu), {language}"]
        layers = range(LAYERS)
        source = [statistics.fmean(of_layer(s, n, "source", language) for n in layers) for s in SEEDS]
        target = [statistics.fmean(of_layer(s, n, "target", language) for n in layers) for s in SEEDS]
        ratio = [a / b for a, b in zip(source, target, strict=True)]
        assert row.entries[2].text == expected(ratio)[1]
        by_layer = [
            statistics.fmean(
                of_layer(s, n, "source", language) / of_layer(s, n, "target", language) for s in SEEDS
            )
            for n in layers
        ]
        assert row.entries[3].number == pytest.approx(min(by_layer))
        assert row.entries[4].number == pytest.approx(max(by_layer))


def test_what_was_not_measured_says_so() -> None:
    """Jav's runs are an older version's; of ace one seed has a file, one's is damaged, one has none."""
    first, second, _ = (f"xlm-r-large flare (rank=64, fusion=add_relu) ace {seed}" for seed in SEEDS)

    def read(fingerprint: str) -> list[dict[str, Any]] | None:
        if fingerprint == second:
            raise Damaged("not what was written")
        return file_of(first) if fingerprint == first else None

    made = replace(results([FLARE]), activations=read)
    ace, jav = rows_of(parts(made)["activations"]).values()
    assert ace.entries[2].text.endswith(" (n=1)")
    assert ace.entries[2].state == "partial"
    assert (jav.entries[0].text, jav.entries[0].state) == ("not measured", "missing")
    assert figure(made, 5).table.notes[0].startswith("1 of 3 seeds")


@pytest.mark.parametrize(
    ("outcome", "shown"), [("failed", "failed"), ("missing", "–"), ("damaged", "damaged")]
)
def test_what_is_not_finished_has_no_number(outcome: Outcome, shown: str) -> None:
    made = measured(
        results([FLARE], lambda row, language, seed: outcome if language == "jav" else "finished")
    )
    _, jav = rows_of(parts(made)["activations"]).values()
    assert [entry.text for entry in jav.entries] == [shown, "", "", "", ""]


def test_without_any_measurement_there_is_a_sentence_and_no_figure() -> None:
    (section,) = paper_figures.section(measured(results([FLARE]), {}))
    assert "cannot be drawn" in section.text[0]
    assert [one.id for one in section.parts if isinstance(one, Table)] == ["activations"]
    assert not [one for one in section.parts if isinstance(one, Figure)]


def test_the_papers_language_and_row_are_shown_where_they_are_there() -> None:
    rows = [method("flare", fusion="mul", rank=64), method("flare", fusion="add_relu", rank=8), FLARE]
    made = measured(results(rows, languages=("jav", "ace")))
    assert "flare (rank=64, fusion=add_relu), ace" in figure(made, 5).table.title
    made = measured(results(rows[:1], languages=("jav", "sun")))
    assert "flare (rank=64, fusion=mul), jav" in figure(made, 5).table.title
    gold = method("flare", fusion="add_relu", rank=64, test_source="gold")
    assert "test_source" not in figure(measured(results([gold, FLARE])), 5).table.title


def test_a_run_without_a_source_has_a_target_alone() -> None:
    made = replace(results([FLARE]), activations=lambda one: file_of(one, source=False))
    for row in rows_of(figure(made, 5)).values():
        assert [row.entries[0].text, row.entries[2].text] == ["–", "–"]
        assert row.entries[1].number
    (ace, _) = rows_of(parts(made)["activations"]).values()
    assert [entry.text for entry in ace.entries[2:]] == ["–", "–", "–"]


def test_an_encoder_comes_before_its_decoder() -> None:
    made = replace(results([FLARE]), activations=lambda one: file_of(one, ("decoder.block", "encoder.block")))
    table = figure(made, 5).table
    assert [row.group for row in table.rows] == ["encoder.block"] * 3 + ["decoder.block"] * 3
    assert "encoder.block.0.query" in figure(made, 4).table.title


@pytest.mark.parametrize("number", [4, 5, 6])
def test_every_point_of_a_plot_is_a_number_of_its_table(number: int) -> None:
    made = figure(measured(results([FLARE])), number)
    drawn = parseString(made.svg)
    told = [title.firstChild.data.rsplit(": ", 1)[1] for title in drawn.getElementsByTagName("title")]
    columns = 2 if number < 6 else 4
    assert sorted(told) == sorted(e.text for row in made.table.rows for e in row.entries[:columns])
    size = [float(v) for v in drawn.documentElement.getAttribute("viewBox").split()]
    for dot in drawn.getElementsByTagName("circle"):
        assert 0 <= float(dot.getAttribute("cx")) <= size[2]
        assert 0 <= float(dot.getAttribute("cy")) <= size[3]


def test_higher_is_higher() -> None:
    """The plot's y is linear in the number, and 0 is at its foot."""
    points = ((0.0, 0.0, "zero"), (1.0, 1.0, "one"), (2.0, 2.0, "two"))
    svg = figures.curves([figures.Panel("", (figures.Curve("a", points),))], "x", "y")
    found = re.findall(r"<title>a, \d: (\w+)</title><circle cx=\"[\d.]+\" cy=\"([\d.]+)\"", svg)
    zero, one, two = (float(y) for _, y in found)
    assert zero > one > two
    assert math.isclose(zero - one, one - two, abs_tol=0.2)
    assert figures.curves([], "x", "y") == ""


@pytest.mark.parametrize("name", list(FORMATS))
def test_every_format_has_the_numbers(name: str) -> None:
    made = measured(results([FLARE]))
    report = Report("r", (), tuple(paper_figures.section(made)))
    text = FORMATS[name][1](report)
    entry = rows_of(figure(made, 5))["1"].entries[2]
    assert entry.text.replace("±", r"$\pm$" if name == "tex" else "±") in text
    assert ("<svg" in text) == (name == "html")
