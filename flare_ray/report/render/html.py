"""A report as one HTML file: no network, light and dark, phone and print, tables that sort by a click."""

from __future__ import annotations

from functools import cache

import jinja2

from flare_ray.report.document import Figure, Report


def render(report: Report) -> str:
    """The whole page."""
    return str(_environment().get_template("report.html.j2").render(report=report))


@cache
def _environment() -> jinja2.Environment:
    made = jinja2.Environment(
        loader=jinja2.PackageLoader("flare_ray.report.render", "."),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )
    made.tests["figure"] = lambda part: isinstance(part, Figure)
    return made
