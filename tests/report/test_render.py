"""Laws of the formats: the same numbers in each, nothing that a name could break, an HTML file that stands alone."""

from __future__ import annotations

import csv
import io
import re
import shutil
import subprocess
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path

import pytest
from handmade import FLARE, INPUT, LORA, SEEDS, ZERO, results
from test_paper import fate_of

from flare_ray.report.build import build
from flare_ray.report.document import Entry, Report, Row, Section, Table
from flare_ray.report.render import FORMATS, latex
from flare_ray.report.render.csv import runs as runs_csv

NASTY = r'a_b & 50% {c} \x ~^ <script>alert("1")</script> | # $1 `q` *bold* [l](u) 中'
VOID = {"meta", "br", "link", "img", "hr", "input"}


@pytest.fixture(scope="module")
def report() -> Report:
    made = results((ZERO, LORA, INPUT, FLARE), fate_of)
    return build(made, resamples=200)


def nasty() -> Report:
    row = Row(
        NASTY, (Entry("1.0 ± 0.1", 1.0), Entry(NASTY)), NASTY, NASTY, (Entry("2.00 (−1.0)", 2.0), Entry())
    )
    table = Table("t", NASTY, NASTY, (NASTY, "x"), (row,), (NASTY,))
    return Report(NASTY, (NASTY,), (Section("s", NASTY, (NASTY,), (table,)),))


def whole_rows(report: Report) -> list[list[str]]:
    """Label and cells of every line of every table, as they are to be printed."""
    rows = []
    for table in report.tables():
        for row in table.rows:
            rows.append([row.label, *(entry.text for entry in row.entries)])
            if row.below:
                rows.append([row.below_label, *(entry.text for entry in row.below)])
    return rows


# ---- the same numbers


def markdown_rows(text: str) -> Iterator[list[str]]:
    lines = text.splitlines()
    for before, line in zip(["", *lines], lines, strict=False):
        if line.startswith("| ") and not line.startswith("| **") and before.startswith("|"):
            cells = [cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]]
            yield [re.sub(r"\\(.)", r"\1", re.sub(r"^(\*{1,2})(.*)\1$", r"\2", cell)) for cell in cells]


def latex_rows(text: str) -> Iterator[list[str]]:
    back = {value: key for key, value in latex._SPECIAL.items()}
    for body in re.findall(r"\\midrule\n(.*?)\\bottomrule", text, re.DOTALL):
        for line in body.splitlines():
            if line.endswith(r"\\") and not line.startswith(r"\multicolumn"):
                cells = re.split(r" (?<!\\)& ?| ?(?<!\\)& ", line.removesuffix(r"\\"))
                yield [plain_latex(cell.strip(), back) for cell in cells]


def plain_latex(cell: str, back: dict[str, str]) -> str:
    cell = re.sub(r"^(\\quad)?\\text(?:bf|it)\{(.*)\}$", r"\2", cell)
    for code in sorted(back, key=len, reverse=True):
        cell = cell.replace(code, back[code])
    return cell


class Page(HTMLParser):
    """Tables' rows, tags that are open, and everything that a tag refers to."""

    def __init__(self, text: str):
        super().__init__()
        self.rows: list[list[str]] = []
        self.open: list[str] = []
        self.attributes: list[tuple[str, str, str]] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.attributes += [(tag, name, value or "") for name, value in attrs]
        if tag not in VOID:
            self.open.append(tag)
        if tag == "tr":
            self.rows.append([])
        elif tag in ("td", "th") and "tr" in self.open:
            self.rows[-1].append("")

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.attributes += [(tag, name, value or "") for name, value in attrs]

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] in ("td", "th") and self.rows[-1]:
            self.rows[-1][-1] += data


def test_the_same_cells_are_in_every_format(report: Report) -> None:
    expected = whole_rows(report)
    assert len(expected) >= 30
    heads = [[table.head, *table.columns] for table in report.tables()]
    html = [row for row in Page(FORMATS["html"][1](report)).rows if len(row) > 1]
    assert [row for row in html if row not in heads] == expected
    assert list(markdown_rows(FORMATS["md"][1](report))) == expected
    assert list(latex_rows(FORMATS["tex"][1](report))) == expected


def test_the_csv_has_every_cell_as_printed_and_unrounded(report: Report) -> None:
    read = list(csv.DictReader(io.StringIO(FORMATS["csv"][1](report))))
    entries = [
        entry
        for table in report.tables()
        for row in table.rows
        for entry in (*row.entries, *row.below)
        if entry.text
    ]
    assert [line["shown"] for line in read] == [entry.text for entry in entries]
    for line, entry in zip(read, entries, strict=True):
        assert (float(line["value"]) if line["value"] else None) == entry.number
        if line["n"]:
            assert (line["n"], line["planned"]) == (str(entry.facts["n"]), str(entry.facts["planned"]))


def test_every_run_is_a_line_of_the_other_csv() -> None:
    made = results(fate=fate_of)
    read = list(csv.DictReader(io.StringIO(runs_csv(made))))
    assert len(read) == len(made.runs) == 3 * 2 * len(SEEDS)
    for line, run in zip(read, made.runs, strict=True):
        assert (line["outcome"], line["fingerprint"]) == (run.outcome, run.facts["fingerprint"])
        score = run.record["metrics"]["macro_f1"] if run.record else None
        assert (float(line["score"]) if line["score"] else None) == score


def test_failures_are_told_with_their_reason_in_every_format(report: Report) -> None:
    for name, render in FORMATS.values():
        text = render(report)
        assert "loss is nan" in text, name
        assert text.count("failed") >= 2, name
        assert text.count("damaged") >= 2, name


# ---- HTML


def test_the_page_is_well_formed_and_refers_to_nothing_outside(report: Report) -> None:
    text = FORMATS["html"][1](report)
    page = Page(text)
    assert page.open == []
    outside = [
        one for one in page.attributes if one[1] in ("src", "href", "action", "data") and one[2][:1] != "#"
    ]
    assert outside == []
    assert not re.search(
        r"https?:|//[a-z]|@import|url\(|fetch\(|XMLHttp", re.sub(r"^//.*$", "", text, flags=re.M)
    )
    for needed in ("prefers-color-scheme: dark", "@media print", 'name="viewport"', "aria-sort"):
        assert needed in text
    places = {value for _, name, value in page.attributes if name == "id"}
    assert {value[1:] for _, name, value in page.attributes if name == "href"} <= places


def test_what_sorts_a_column_is_the_unrounded_number(report: Report) -> None:
    page = Page(FORMATS["html"][1](report))
    values = [float(value) for _, name, value in page.attributes if name == "data-value"]
    numbers = [
        entry.number
        for table in report.tables()
        for row in table.rows
        for entry in (*row.entries, *row.below)
        if entry.number is not None
    ]
    assert values == numbers


def test_names_are_text_and_never_markup() -> None:
    html = FORMATS["html"][1](nasty())
    assert html.count("<script>") == 1
    assert [row for row in Page(html).rows if len(row) > 1][1][2] == NASTY
    markdown = FORMATS["md"][1](nasty())
    assert next(markdown_rows(markdown))[2] == NASTY
    assert "<script>" not in markdown.replace(r"\<", "")


# ---- LaTeX


def test_latex_is_balanced_and_escaped(report: Report) -> None:
    for one in (report, nasty()):
        text = FORMATS["tex"][1](one)
        for place in set(re.findall(r"\\begin\{(\w+\*?)\}", text)):
            assert text.count(rf"\begin{{{place}}}") == text.count(rf"\end{{{place}}}")
        assert (
            text.count(r"\toprule")
            == text.count(r"\midrule" "\n") - groups(text)
            == text.count(r"\bottomrule")
        )
        bare = re.sub(r"\\[\\{}$&#%_]", "", text)
        assert bare.count("{") == bare.count("}")
        assert bare.count("$") % 2 == 0
    assert latex.escaped("50% & a_b") == r"50\% \& a\_b"
    assert latex.escaped("中 ±") == r"U+4E2D $\pm$"


def groups(text: str) -> int:
    """Rules between the groups of a table."""
    return sum(
        max(body.count(r"\multicolumn") - 1, 0)
        for body in re.findall(r"\\toprule.*?\\bottomrule", text, re.DOTALL)
    )


def test_a_table_longer_than_a_page_goes_on() -> None:
    rows = tuple(Row(str(number), (Entry("1", 1.0),)) for number in range(100))
    pieces = latex.pieces(Table("long", "Long", "x", ("y",), rows, ("note",)))
    assert [row for piece in pieces for row in piece.rows] == list(rows)
    assert all(len(piece.rows) <= latex.LINES for piece in pieces)
    assert [piece.notes for piece in pieces] == [(), (), ("note",)]
    assert len({piece.id for piece in pieces}) == 3


@pytest.mark.slow
@pytest.mark.skipif(not shutil.which("pdflatex"), reason="no pdflatex here")
def test_latex_compiles(report: Report, tmp_path: Path) -> None:
    for name, one in (("report", report), ("nasty", nasty())):
        (tmp_path / f"{name}.tex").write_text(FORMATS["tex"][1](one))
        command = ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", f"{name}.tex"]
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, timeout=300)
        assert done.returncode == 0, done.stdout.decode(errors="replace")[-2000:]
        assert (tmp_path / f"{name}.pdf").stat().st_size > 1000
