"""A report in each format. All print the same text of the same cells.

file, render = FORMATS["html"]
Path(file).write_text(render(report))
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from flare_ray.report.document import Report
from flare_ray.report.render import csv, html, latex, markdown

FORMATS: Mapping[str, tuple[str, Callable[[Report], str]]] = {
    "md": ("report.md", markdown.render),
    "html": ("report.html", html.render),
    "tex": ("report.tex", latex.render),
    "csv": ("tables.csv", csv.render),
}
"""By the name that is asked for: the file's name, and what makes its text."""
