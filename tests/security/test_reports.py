"""Names out of a sweep file in reports: text, never markup, code or a formula of the format."""

import ast
import csv
import io
import re
from html.parser import HTMLParser
from pathlib import Path

import pytest

import flare_ray
from flare_ray.report.build import build
from flare_ray.report.csv_cells import as_text
from flare_ray.report.document import Report
from flare_ray.report.render import FORMATS
from flare_ray.report.render.csv import runs
from flare_ray.report.results import Outcome
from flare_ray.report.table import Block, Value, as_csv
from tests.report.handmade import results

PACKAGE = Path(flare_ray.__file__).parent
EVIL = (
    """"><script>alert(1)</script><img src=x onerror=alert(1)> }\\input{/etc/passwd}\\write18{touch x} """
    "[a](javascript:alert(1)) $x$ `b`"
)


def _fate(row: str, language: str, seed: int) -> Outcome:
    return "failed" if seed == 3 and language == "jav" else "finished"


@pytest.fixture(scope="module")
def report() -> Report:
    """Every place where a name from outside can come in: models, languages, errors."""
    made = results(models=(f"one {EVIL}", f"two {EVIL}"), languages=("ace", "jav"), fate=_fate, error=EVIL)
    return build(made, resamples=50)


class Elements(HTMLParser):
    """Tags, attributes and their values."""

    def __init__(self, text: str):
        super().__init__()
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str | None]] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += attrs


def test_html_has_no_element_or_handler_of_a_name(report: Report) -> None:
    found = Elements(FORMATS["html"][1](report))
    assert found.tags.count("script") == 1
    assert "img" not in found.tags
    assert not [name for name, _ in found.attributes if name.startswith("on")]
    assert not [
        value for name, value in found.attributes if name == "href" and not str(value).startswith("#")
    ]


def test_latex_has_no_command_of_a_name(report: Report) -> None:
    text = FORMATS["tex"][1](report)
    assert r"\textbackslash{}input" in text
    assert r"\input" not in text
    assert r"\write" not in text
    for line in text.splitlines():
        if line.startswith(r"\label"):
            assert line.strip("{}").replace("\\label{tab:", "").replace("-", "").replace(".", "").isalnum(), (
                line
            )


def test_markdown_has_no_link_or_element_of_a_name(report: Report) -> None:
    text = FORMATS["md"][1](report)
    assert r"\<script\>" in text
    assert "<script" not in text.replace(r"\<", "")
    assert "](" not in text.replace(r"\]", "")


FORMULA = "=HYPERLINK(\"http://evil.example\",1)|' /C calc'!A0"
STARTS = ("=", "+", "-", "@", "\t", "\r", " =", "\n=", "＝")


@pytest.mark.parametrize("start", STARTS)
def test_no_cell_of_a_csv_is_a_formula(start: str) -> None:
    name = f"{start}{FORMULA[1:]}"
    made = results(models=(name,), languages=("ace", "jav"), fate=_fate, error=name)
    texts = [FORMATS["csv"][1](build(made, resamples=50)), runs(made), as_csv([_block(name)])]
    for text in texts:
        cells = [cell for row in csv.reader(io.StringIO(text)) for cell in row]
        assert any(FORMULA[1:] in cell for cell in cells), "the name is there"
        formulas = [cell for cell in cells if cell.lstrip()[:1] in tuple("=+-@＝") and not is_number(cell)]
        assert not [cell for cell in formulas if cell], text


def _block(name: str) -> Block:
    return Block(
        name, name, "accuracy", 2, ("ace",), {name: {"ace": Value((-1.5, -2.5), planned=2, failed=0)}}
    )


def is_number(cell: str) -> bool:
    """Of what our tables print: letters but those of "to" are in none."""
    return bool(re.fullmatch(r"[-+0-9.%e ±]+( to [-+0-9.]+)?", cell))


@pytest.mark.parametrize(
    "cell",
    [
        -0.4,
        "-0.4",
        "+3",
        "-1e-05",
        "-.5",
        -3,
        None,
        "",
        "plain",
        "a-b",
        "5 = 5",
        "-0.4 ± 1.2 (n=2)",
        "+26.8 to +51.9",
    ],
)
def test_numbers_and_plain_texts_stay(cell: object) -> None:
    assert as_text(cell) == cell


@pytest.mark.parametrize("cell", ["-1+2", "-x", "+1 2", "=1", "@A1", "--1", "-1e5x", "-0.4 ± x", "+1 to =2"])
def test_what_is_no_number_is_text(cell: str) -> None:
    assert as_text(cell) == f"'{cell}"


@pytest.mark.parametrize("before", ["\ufeff", "\u200b", "\0", "\xa0", " \n", "\u2028", "\x1b"])
def test_letters_that_nobody_sees_hide_no_formula(before: str) -> None:
    assert as_text(f"{before}=1+1") == f"'{before}=1+1"


def test_negative_numbers_are_read_back_as_such() -> None:
    (row,) = csv.DictReader(io.StringIO(as_csv([_block("plain")])))
    assert float(row["mean"]) == -2.0


def test_a_csv_of_ours_is_written_by_one_writer() -> None:
    writing = {
        file.relative_to(PACKAGE).as_posix()
        for file in PACKAGE.rglob("*.py")
        for node in ast.walk(ast.parse(file.read_text()))
        if isinstance(node, ast.Attribute) and ast.unparse(node) in ("csv.writer", "csv.DictWriter")
    }
    # The sandbox's corpora and translated files are data, to be read back as they are.
    assert writing == {"report/csv_cells.py", "sandbox/corpora.py", "translation/files.py"}
