"""Names out of a sweep file in reports: text, never markup, code or a formula of the format."""

from html.parser import HTMLParser

import pytest

from flare_ray.report.build import build
from flare_ray.report.document import Report
from flare_ray.report.render import FORMATS
from flare_ray.report.results import Outcome
from tests.report.handmade import results

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
