"""The report in docs/: every score in its tables, computed anew from what the runs said, by none of its code."""

from __future__ import annotations

import html
import re
import string
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

import pandas as pd
import pytest
from sklearn.metrics import f1_score

FOLDER = Path(__file__).parents[2] / "docs" / "demo-report"
TEXT = (FOLDER / "report.md").read_text(encoding="utf-8")
TASKS = {"NusaX": "nusax", "XNLI": "xnli", "TyDiQA": "tydiqa"}
PLAIN = str.maketrans("", "", string.punctuation)


def normal(text: str) -> str:
    """SQuAD's normalisation."""
    return " ".join(re.sub(r"\b(a|an|the)\b", " ", text.lower().translate(PLAIN)).split())


def points(task: str, run: pd.DataFrame) -> float:
    gold, said = [list(one) for one in run["gold"]], run["prediction"].fillna("")
    if task == "nusax":
        first = [one[0] for one in gold]
        labels = ["negative", "neutral", "positive"]
        return 100 * float(f1_score(first, said, labels=labels, average="macro", zero_division=0))
    if task == "xnli":
        return 100 * fmean(one[0] == answer for one, answer in zip(gold, said, strict=True))
    exact = (normal(answer) in map(normal, one) for one, answer in zip(gold, said, strict=True))
    return 100 * fmean(exact)


@pytest.fixture(scope="module")
def scores() -> dict[tuple[str, ...], dict[int, float]]:
    """Points by model, task, row and language, of each seed."""
    found: dict[tuple[str, ...], dict[int, float]] = {}
    said = pd.read_parquet(FOLDER / "predictions.parquet")
    columns = ["model", "task", "row", "language", "seed"]
    for (*place, seed), run in said.groupby(columns, observed=True):
        assert run["id"].is_unique
        found.setdefault(tuple(map(str, place)), {})[int(seed)] = points(str(place[1]), run)
    return found


def tables() -> dict[str, list[list[str]]]:
    """Cells of each table by its title, its head first. A model's heading is put before the rows under it."""
    made = {}
    for part in re.split(r"^### ", TEXT, flags=re.M)[1:]:
        title, *lines = part.splitlines()
        cells = [
            [re.sub(r"\\(.)", r"\1", cell).strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]]
            for line in lines
            if line.startswith("|") and not line.startswith("|---")
        ]
        group, rows = "", cells[:1]
        for row in cells[1:]:
            if row[0].startswith("**") and not any(row[1:]):
                group = row[0].strip("*")
            elif not row[0].startswith("*"):  # in italics: the paper's numbers
                rows.append([group, *(cell.strip("*") for cell in row)])
        made[re.sub(r"\\(.)", r"\1", title)] = rows
    return made


def task_of(title: str) -> str:
    return next(task for name, task in TASKS.items() if name in title)


def by_language() -> dict[str, list[list[str]]]:
    found = {title: rows for title, rows in tables().items() if title.endswith("by language")}
    assert found
    return found


def check(cell: str, values: list[float]) -> None:
    """A cell is mean ± std of the values, as printed."""
    printed = [float(number) for number in re.findall(r"\d+\.\d+", cell)]
    wanted = [fmean(values), stdev(values)] if len(values) > 1 else [fmean(values)]
    assert printed == pytest.approx(wanted, abs=0.05001), cell
    if count := re.search(r"\(n=(\d+)\)", cell):
        assert int(count[1]) == len(values), cell


def average(scores: dict[tuple[str, ...], dict[int, float]], model: str, task: str, row: str) -> list[float]:
    """Mean over the languages that the row has, of each seed that has them all."""
    (title,) = (title for title in by_language() if task_of(title) == task)
    head, *rows = by_language()[title]
    (cells,) = (cells for group, name, *cells in rows if (group, name) == (model, row))
    asked = [code for code, cell in zip(head[1:], cells, strict=True) if cell and code not in ("en", "avg")]
    mine = [scores.get((model, task, row, code), {}) for code in asked]
    return [fmean(one[seed] for one in mine) for seed in sorted(set.intersection(*map(set, mine)))]


def test_every_score_by_language_is_what_the_runs_said(scores: dict[tuple[str, ...], Any]) -> None:
    left = set(scores)
    for title, (head, *rows) in by_language().items():
        for model, row, *cells in rows:
            for language, cell in zip(head[1:], cells, strict=True):
                place = (model, task_of(title), row, language)
                if language in ("en", "avg"):
                    continue
                if re.search(r"\d", cell):
                    check(cell, [scores[place][seed] for seed in sorted(scores[place])])
                    left.remove(place)
                else:
                    assert place not in scores, f"{place}: {cell}"
    assert not left, "every run stands in a table"


def test_every_average_is_what_the_runs_said(scores: dict[tuple[str, ...], Any]) -> None:
    cells = []
    for title, (head, *rows) in tables().items():
        if title.endswith("by language"):
            place = head.index("avg")
            cells += [(model, task_of(title), row, found[place - 1]) for model, row, *found in rows]
        elif re.match(r"Table \d|Appendix E", title):
            cells += [
                (model, task_of(column), row, cell)
                for model, row, *found in rows
                for column, cell in zip(head[1:], found, strict=True)
            ]
    shown = [one for one in cells if re.search(r"\d", one[3])]
    assert len(shown) > len(by_language())
    for model, task, row, cell in shown:
        check(cell, average(scores, model, task, row))


def test_all_that_is_finished_is_there(scores: dict[tuple[str, ...], Any]) -> None:
    told = re.search(r"(\d+) runs planned: (\d+) finished", TEXT)
    assert told
    assert sum(map(len, scores.values())) == int(told[2]) > 0


def test_the_page_has_the_same_cells() -> None:
    page = (FOLDER / "report.html").read_text(encoding="utf-8")
    found = {
        (html.unescape(name), tuple(html.unescape(cell) for cell in re.findall(r"<td[^>]*>(.*?)</td>", rest)))
        for name, rest in re.findall(r'<th scope="row">(.*?)</th>(.*?)</tr>', page)
    }
    for rows in tables().values():
        for row in rows[1:]:
            assert (row[1], tuple(row[2:])) in found


def test_it_is_small() -> None:
    assert sum(file.stat().st_size for file in FOLDER.iterdir()) < 2e6
