"""Plots as inline SVG, without a plotting library: colours follow the page's, numbers are in title elements.

Classes c0 to c7, axis, rule and soft are coloured by report.css, so a plot is readable in light, dark and print.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from html import escape

WIDTH = 520
_LEFT, _RIGHT = 14, 14
_COLOURS = 8
_GLYPH = 6.4
"""Pixels of a character of 13 px, for shortening labels."""


@dataclass(frozen=True)
class Point:
    """A value with the ends of its interval (None: none), and what its title adds."""

    label: str
    value: float
    low: float | None = None
    high: float | None = None
    detail: str = ""


@dataclass(frozen=True)
class Cost:
    """A row's score (points) and its cost (hours of a device); both must be known, hours above 0."""

    label: str
    hours: float
    score: float


@dataclass(frozen=True)
class Curve:
    """Points in order of x: x, y, and what their titles say."""

    label: str
    points: tuple[tuple[float, float, str], ...]


@dataclass(frozen=True)
class Panel:
    """Curves over the same axes."""

    title: str
    curves: tuple[Curve, ...]


def intervals(points: Sequence[Point], unit: str, zero: bool = False) -> str:
    """A dot and whiskers for each point, one below the other, each under its name. zero: a line at 0."""
    if not points:
        return ""
    ends = [end for p in points for end in (p.value, p.low, p.high) if end is not None] + [0.0] * zero
    low, high = _padded(min(ends), max(ends))
    across = _linear(low, high, _LEFT, WIDTH - _RIGHT)
    height = 36 * len(points) + 40
    parts = _vertical_rules([(tick, _short(tick)) for tick in ticks(low, high)], across, 6, height - 34, unit)
    if zero:
        parts.append(_line(across(0), 6, across(0), height - 34, "axis"))
    for place, point in enumerate(points):
        y = 36 * place + 32
        parts.append(f'<g class="c0"><title>{escape(f"{point.label}: {point.detail}")}</title>')
        parts.append(f'<text x="{_LEFT}" y="{y - 12}">{escape(_cut(point.label))}</text>')
        if point.low is not None and point.high is not None:
            parts.append(
                f'<line x1="{across(point.low):.1f}" y1="{y}" x2="{across(point.high):.1f}" y2="{y}" '
                'style="stroke:var(--c0)" stroke-width="2"/>'
            )
        parts.append(f'<circle cx="{across(point.value):.1f}" cy="{y}" r="5" style="fill:var(--c0)"/></g>')
    return _svg(height, parts, f"{len(points)} values in {unit}")


def pareto(points: Sequence[Cost], unit: str) -> str:
    """Score over cost (log scale), the best of each cost joined. unit: of the cost, say "CPU-hours"."""
    if not points:
        return ""
    plot, legend = 250, 20 * len(points)
    low, high = min(p.hours for p in points), max(p.hours for p in points)
    low, high = low / 1.5, high * 1.5
    bottom, top = _padded(min(p.score for p in points), max(p.score for p in points))
    logs = _linear(math.log(low), math.log(high), 52, WIDTH - _RIGHT)

    def across(hours: float) -> float:
        return logs(math.log(hours))

    up = _linear(bottom, top, plot - 8, 26)
    parts = _vertical_rules(
        [(t, _short(t)) for t in log_ticks(low, high)], across, 20, plot, f"{unit} per run"
    )
    for tick in ticks(bottom, top):
        parts.append(_line(52, up(tick), WIDTH - _RIGHT, up(tick), "rule"))
        parts.append(
            f'<text class="soft" x="46" y="{up(tick) + 4:.1f}" text-anchor="end">{_short(tick)}</text>'
        )
    parts.append('<text class="soft" x="2" y="12">points</text>')
    steps = " ".join(f"{across(hours):.1f},{up(score):.1f}" for hours, score in _stairs(points))
    parts.append(f'<polyline class="axis" stroke-dasharray="4 3" points="{steps}"/>')
    for place, point in enumerate(points):
        parts += _numbered(place, point, across(point.hours), up(point.score), plot + 62 + 20 * place, unit)
    return _svg(plot + 50 + legend, parts, f"score over {unit}, {len(points)} rows")


def curves(panels: Sequence[Panel], across: str, up: str) -> str:
    """Panels one below the other, on the same scales; y from 0. across, up: what x and y are."""
    points = [point for panel in panels for curve in panel.curves for point in curve.points]
    if not points:
        return ""
    xs = [x for x, _, _ in points]
    x_of = _linear(*_padded(min(xs), max(xs)), 44, WIDTH - _RIGHT)
    top = max(y for _, y, _ in points) * 1.06 or 1.0
    height, parts = 200, list[str]()
    marks = [tick for tick in ticks(*_padded(min(xs), max(xs))) if tick == int(tick)]
    for place, panel in enumerate(panels):
        head = place * height + 26
        y_of = _linear(0.0, top, head + 126, head)
        named = [(tick, _short(tick)) for tick in marks]
        parts += _vertical_rules(named, x_of, head, head + 126, across)
        for tick in ticks(0.0, top, 4):
            parts.append(_line(44, y_of(tick), WIDTH - _RIGHT, y_of(tick), "rule"))
            label = (
                f'<text class="soft" x="40" y="{y_of(tick) + 4:.1f}" text-anchor="end">{_short(tick)}</text>'
            )
            parts.append(label)
        parts.append(
            f'<text class="soft" x="2" y="{head - 10}">{escape(f"{up}  {panel.title}".strip())}</text>'
        )
        for number, curve in enumerate(panel.curves):
            parts += _drawn(number, curve, x_of, y_of, head - 10)
    return _svg(height * len(panels), parts, f"{up} over {across}, {len(panels)} plots")


def _drawn(
    number: int, curve: Curve, x_of: Callable[[float], float], y_of: Callable[[float], float], head: float
) -> list[str]:
    """A line with its points, and its name in the head of the panel."""
    colour = f"var(--c{number % _COLOURS})"
    line = " ".join(f"{x_of(x):.1f},{y_of(y):.1f}" for x, y, _ in curve.points)
    name_at = WIDTH - _RIGHT - 90 * (2 - number)
    parts = [f'<polyline points="{line}" style="stroke:{colour};fill:none" stroke-width="1.5"/>']
    parts.append(f'<circle cx="{name_at}" cy="{head - 4}" r="5" style="fill:{colour}"/>')
    parts.append(f'<text x="{name_at + 10}" y="{head}">{escape(curve.label)}</text>')
    for x, y, detail in curve.points:
        told = escape(f"{curve.label}, {_short(x)}: {detail}")
        dot = f'<circle cx="{x_of(x):.1f}" cy="{y_of(y):.1f}" r="3" style="fill:{colour}"/>'
        parts.append(f"<g><title>{told}</title>{dot}</g>")
    return parts


def front(points: Sequence[Cost]) -> list[Cost]:
    """Those that no other one beats in score without costing more, or in cost without scoring less."""
    return [
        p
        for p in points
        if not any(
            (o.score >= p.score and o.hours < p.hours) or (o.score > p.score and o.hours <= p.hours)
            for o in points
        )
    ]


def _stairs(points: Sequence[Cost]) -> list[tuple[float, float]]:
    """The front as a line: nothing better is had until the next of its points is paid for."""
    best = sorted(front(points), key=lambda p: p.hours)
    stairs = [(best[0].hours, best[0].score)]
    for point in best[1:]:
        stairs += [(point.hours, stairs[-1][1]), (point.hours, point.score)]
    return stairs


def ticks(low: float, high: float, most: int = 6) -> list[float]:
    """Round values from low to high: steps of 1, 2 or 5 times a power of ten."""
    raw = (high - low) / most
    power = 10 ** math.floor(math.log10(raw))
    step = next(power * m for m in (1, 2, 5, 10) if power * m >= raw)
    return [round(k * step, 10) for k in range(math.ceil(low / step), math.floor(high / step) + 1)]


def log_ticks(low: float, high: float) -> list[float]:
    """1, 2 and 5 times powers of ten between two positive numbers; powers alone over a wide range."""
    powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    steps = (1, 2, 5) if high / low < 100 else (1,)
    return [m * 10.0**k for k in powers for m in steps if low <= m * 10.0**k <= high]


def _numbered(place: int, point: Cost, x: float, y: float, legend: float, unit: str) -> list[str]:
    """A point as a numbered disc, and its line of the legend."""
    colour = f"fill:var(--c{place % _COLOURS})"
    told = f"{place + 1}: {point.label}: {point.score:.1f} points, {significant(point.hours)} {unit} per run"
    parts = [f"<g><title>{escape(told)}</title>"]
    for cx, cy in ((x, y), (62.0, legend - 4.0)):
        parts.append(f'<circle cx="{cx:.1f}" cy="{cy:.1f}" r="8.5" style="{colour}"/>')
        parts.append(
            f'<text x="{cx:.1f}" y="{cy + 4:.1f}" text-anchor="middle" style="fill:var(--back);font-size:11px;'
            f'font-weight:700">{place + 1}</text>'
        )
    return [*parts, f'<text x="78" y="{legend:.1f}">{escape(_cut(point.label, 78))}</text></g>']


def _vertical_rules(
    found: Sequence[tuple[float, str]], across: Callable[[float], float], top: float, bottom: float, unit: str
) -> list[str]:
    parts = []
    for tick, text in found:
        parts.append(_line(across(tick), top, across(tick), bottom, "rule"))
        parts.append(
            f'<text class="soft" x="{across(tick):.1f}" y="{bottom + 15}" text-anchor="middle">{text}</text>'
        )
    middle = WIDTH / 2
    return [
        *parts,
        f'<text class="soft" x="{middle}" y="{bottom + 32}" text-anchor="middle">{escape(unit)}</text>',
    ]


def _line(x1: float, y1: float, x2: float, y2: float, kind: str) -> str:
    return f'<line class="{kind}" x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}"/>'


def _svg(height: float, parts: Sequence[str], told: str) -> str:
    return (
        f'<svg viewBox="0 0 {WIDTH} {height:.0f}" width="{WIDTH}" height="{height:.0f}" role="img" '
        f'aria-label="{escape(told)}">' + "".join(parts) + "</svg>"
    )


def _linear(low: float, high: float, start: float, end: float) -> Callable[[float], float]:
    return lambda value: start + (value - low) / (high - low) * (end - start)


def _padded(low: float, high: float) -> tuple[float, float]:
    room = (high - low) * 0.06 or max(abs(high), 1.0) * 0.1
    return low - room, high + room


def _cut(label: str, start: float = _LEFT) -> str:
    most = int((WIDTH - start - _RIGHT) / _GLYPH)
    return label if len(label) <= most else label[: most - 1] + "…"


def _short(number: float) -> str:
    return f"{number:g}".replace("-", "−")


def significant(number: float) -> str:
    """Three significant digits, without an exponent."""
    return f"{number:,.{max(0, 2 - math.floor(math.log10(number)))}f}" if number > 0 else "0"
