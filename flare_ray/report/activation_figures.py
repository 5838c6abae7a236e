"""Figures 4, 5 and 6 of the paper: how large source and target are in the bottlenecks.

They show one cell of each model: NusaX and Acehnese, as in the paper, where they were measured, else what comes
first. A table has source over target in every cell.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from itertools import groupby
from statistics import fmean, stdev

from flare_ray.report.activations import (
    POSITIONS,
    STREAMS,
    Cell,
    Rows,
    by_layer,
    by_position,
    cells_of,
    encoder_first,
    first_module,
    over_layers,
    ratios,
    reached,
    shown,
)
from flare_ray.report.document import Entry, Figure, Row, Table
from flare_ray.report.figures import Curve, Panel, curves, significant
from flare_ray.report.paper import task_title
from flare_ray.report.results import Results

INSTANCES = 3
"""Rows of Figure 6; the file has more."""
_COLUMNS = ("source", "target", "source / target")


def parts(results: Results) -> list[Table | Figure]:
    """Figures 4, 5 and 6 of each model, and the ratio in every cell; nothing where nothing fuses."""
    cells = cells_of(results)
    if not cells:
        return []
    chosen = [cell for model in results.models if (cell := shown(results, cells, model))]
    made: list[Table | Figure] = []
    for cell in chosen:
        made += [_figure_4(results, cell), _figure_5(results, cell), _figure_6(results, cell)]
    return [*made, _every_cell(results, cells)]


def about(made: Sequence[Table | Figure]) -> list[str]:
    """What stands above them."""
    if not made:
        return []
    if len(made) == 1:
        return [
            "Figures 4, 5 and 6 (activations in the bottleneck) cannot be drawn: no finished run here has measured "
            "its activations. Runs of older versions did not."
        ]
    return [
        "Figures 4, 5 and 6: mean |S| (source) and |T| (target) in the bottleneck, before the fusion function, over "
        "its features and the real tokens of the first test rows, by the state that was tested; mean ± standard "
        "deviation over seeds. The paper does not say over what its Figure 4 averages: here it is over rows, by "
        "position."
    ]


def _figure_4(results: Results, cell: Cell) -> Figure:
    """By position, averaged over rows, in the first fused module."""
    by_seed = {seed: by_position(first_module(rows), None) for seed, rows in cell.measured.items()}
    first = next(iter(cell.measured.values()))
    rows = [
        Row(str(at), _entries([seed.get(at, {}) for seed in by_seed.values()], cell))
        for at in reached(first_module(first))
    ]
    panel = Panel("", tuple(_curve(name, rows, place) for place, name in enumerate(STREAMS)))
    table = Table(
        f"figure-4-{cell.model}",
        f"Figure 4: average activations in {_where(first)}, by position ({_of(results, cell)})",
        "token",
        _COLUMNS,
        tuple(rows),
        (
            "Positions that half of the rows reach; those of the source that is fused with the target's token there.",
        ),
    )
    return Figure(table.id, curves([panel], "token", "mean |·|"), table)


def _figure_5(results: Results, cell: Cell) -> Figure:
    """By layer, averaged over its fused modules."""
    by_seed = [by_layer(rows) for rows in cell.measured.values()]
    places = sorted({place for one in by_seed for place in one}, key=encoder_first)
    several = len({stack for stack, _ in places}) > 1
    rows, panels = [], []
    for stack, group in groupby(places, key=lambda place: place[0]):
        mine = [
            Row(
                str(layer + 1),
                _entries([one.get((stack, layer), {}) for one in by_seed], cell),
                stack * several,
            )
            for _, layer in group
        ]
        lines = tuple(_curve(name, mine, place) for place, name in enumerate(STREAMS))
        panels.append(Panel(stack * several, lines))
        rows += mine
    table = Table(
        f"figure-5-{cell.model}",
        f"Figure 5: average activations in every layer's adapters ({_of(results, cell)})",
        "layer",
        _COLUMNS,
        tuple(rows),
        (_seeds(cell),),
    )
    return Figure(table.id, curves(panels, "layer", "mean |·|"), table, folded=False)


def _figure_6(results: Results, cell: Cell) -> Figure:
    """Token by token, of the first rows, by one seed's adapter."""
    seed, measured = next(iter(cell.measured.items()))
    module = first_module(measured)
    names = list(dict.fromkeys(row["row"] for row in module if row["row"] is not None))[:INSTANCES]
    tokens = {name: by_position(module, name) for name in names}
    positions = sorted({at for one in tokens.values() for at in one if at < POSITIONS})
    rows = []
    for at in positions:
        sizes = [tokens[name].get(at, {}).get(stream) for name in names for stream in STREAMS]
        rows.append(Row(str(at), tuple(Entry() if one is None else _entry([one], 1) for one in sizes)))
    panels = [
        Panel(f"row {name}", tuple(_curve(stream, rows, 2 * k + n) for n, stream in enumerate(STREAMS)))
        for k, name in enumerate(names)
    ]
    table = Table(
        f"figure-6-{cell.model}",
        f"Figure 6: activations of single instances in {_where(measured)} ({_of(results, cell)}, seed {seed})",
        "token",
        tuple(f"{name}: {stream}" for name in names for stream in STREAMS),
        tuple(rows),
        (f"The first {len(names)} test rows by their ids, up to {POSITIONS} tokens.",),
    )
    return Figure(table.id, curves(panels, "token", "mean |·|"), table)


def _every_cell(results: Results, cells: Sequence[Cell]) -> Table:
    """Source over target in every cell: over all layers, and in the layers where it is least and greatest."""
    return Table(
        "activations",
        "Activations of source and target in the bottleneck, mean of all layers",
        "row, language",
        (*_COLUMNS, "smallest of a layer", "largest of a layer"),
        tuple(
            Row(cell.label, _cell_entries(cell), f"{cell.model}: {task_title(results, cell.task)}")
            for cell in cells
        ),
        ("The paper (section 5): of comparable size in all layers.", *_signs(cells)),
    )


def _cell_entries(cell: Cell) -> tuple[Entry, ...]:
    if not cell.measured:
        return (_unmeasured(cell), *[Entry()] * 4)
    by_seed = [by_layer(rows) for rows in cell.measured.values()]
    places = list(dict.fromkeys(place for one in by_seed for place in one))
    by_place = [ratios(one.get(place, {}) for one in by_seed) for place in places]
    means = [fmean(found) for found in by_place if found]
    ends = [_entry([end(means)], 1) if means else Entry("–") for end in (min, max)]
    return (*_entries([over_layers(one) for one in by_seed], cell), *ends)


# ---- entries


def _entries(by_seed: Sequence[Mapping[str, float]], cell: Cell) -> tuple[Entry, ...]:
    """Source, target and their ratio over seeds; – where there is no source."""
    planned = len(cell.runs)
    sizes = [[one[stream] for one in by_seed if stream in one] for stream in STREAMS]
    return tuple(_entry(values, planned) if values else Entry("–") for values in (*sizes, ratios(by_seed)))


def _entry(values: Sequence[float], planned: int) -> Entry:
    """Mean ± std of values over seeds, with three digits; with n where seeds lack."""
    mean, n = fmean(values), len(values)
    std = stdev(values) if n > 1 else None
    places = max(0, 2 - math.floor(math.log10(mean))) if mean > 0 else 0
    text = significant(mean) + (f" ± {std:.{places}f}" if std is not None else "")
    facts = {"std": std, "n": n, "planned": planned}
    return Entry(
        text + (f" (n={n})" if n < planned else ""), mean, False, "partial" if n < planned else "", facts
    )


def _unmeasured(cell: Cell) -> Entry:
    """Why a cell has no number."""
    outcomes = {run.outcome for run in cell.runs}
    facts = {"n": 0, "planned": len(cell.runs)}
    if cell.unread or "damaged" in outcomes:
        return Entry("damaged", state="damaged", facts=facts)
    if "finished" in outcomes:
        return Entry("not measured", state="missing", facts=facts)
    return (
        Entry("failed", state="failed", facts=facts)
        if "failed" in outcomes
        else Entry("–", state="missing", facts=facts)
    )


def _signs(cells: Sequence[Cell]) -> list[str]:
    """What a table's signs mean, those that it has."""
    told = []
    if any(_unmeasured(cell).text == "not measured" for cell in cells if not cell.measured):
        told.append("not measured: finished by a version that kept no activations.")
    if any(0 < len(cell.measured) < len(cell.runs) for cell in cells):
        told.append("(n=…): of fewer seeds than planned.")
    return told


# ---- words


def _curve(name: str, rows: Sequence[Row], place: int) -> Curve:
    found = [(row.label, row.entries[place]) for row in rows]
    return Curve(
        name, tuple((float(at), one.number, one.text) for at, one in found if one.number is not None)
    )


def _where(rows: Rows) -> str:
    """`encoder.layer.0.attention.self.query`."""
    return str(first_module(rows)[0]["module"])


def _of(results: Results, cell: Cell) -> str:
    return f"{cell.model}, {task_title(results, cell.task).split(' (')[0]}, {cell.label}"


def _seeds(cell: Cell) -> str:
    return f"{len(cell.measured)} of {len(cell.runs)} seeds; a layer's mean is over its fused modules."
