"""Activations in the bottleneck, for Figures 4 to 6 of the paper: how large S, T and h are, and where.

with capture_activations(model, rows=4) as activations:
    model(**batch)
activations.means()         # mean |S|, |T|, |h| by layer and module (Figure 5)
activations.tokens          # the same by token, for the first 4 rows (Figures 4 and 6)
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

if TYPE_CHECKING:
    from flare_ray.fusion.context import Alignment
    from flare_ray.fusion.placement import Site

STREAMS = ("source", "target", "fused")


@dataclass
class Activations:
    """Running sums over all batches of a capture.

    rows: of how many rows the tokens are kept, the first ones.
    tokens: by module, for each of these rows mean |S|, |T| and |h| over the r features, each [n], of its real
        tokens; |S| is NaN where the source has no token.
    sites: by module, its place.
    """

    rows: int = 1
    tokens: dict[str, list[dict[str, Tensor]]] = field(default_factory=dict)
    sites: dict[str, Site] = field(default_factory=dict)
    _sums: dict[str, dict[str, Tensor]] = field(default_factory=dict, repr=False)

    def record(
        self, key: str, site: Site, alignment: Alignment, source: Tensor | None, target: Tensor, fused: Tensor
    ) -> None:
        """Add a fused layer's S, T and h, [rows, n, r] each; called by the layer."""
        real = alignment.keys[:, -alignment.tokens :]
        present = torch.zeros_like(real) if alignment.present is None else alignment.present[..., 0]
        masks = {"source": present & real, "target": real, "fused": real}
        self.sites[key] = site
        sums, sizes = self._sums.setdefault(key, {}), {}
        for name, value in zip(STREAMS, (source, target, fused), strict=True):
            values = torch.zeros_like(target) if value is None else value.detach()
            values, mask = values.abs().float(), masks[name]
            sizes[name] = values.mean(-1).masked_fill(~mask, float("nan"))
            values = values[mask]
            found = torch.stack(
                [values.sum(), values.square().sum(), mask.sum(), mask.sum() * values.shape[-1]]
            )
            sums[name] = sums.get(name, 0) + found.double()
        kept = self.tokens.setdefault(key, [])
        for row in range(min(len(real), self.rows - len(kept))):
            kept.append({name: size[row][real[row]].cpu() for name, size in sizes.items()})

    def means(self) -> list[dict[str, Any]]:
        """One row for each fused module: its name, stack, layer, fusion, and mean |S|, |T|, |h| over real tokens.

        Beside each mean: `source_std`, over tokens and features; `source_tokens`, how many. |S| is averaged over the
        tokens that have a source token, and NaN when none has.
        """
        rows = []
        for key, site in self.sites.items():
            row: dict[str, Any] = {
                "module": key,
                "stack": site.stack,
                "layer": site.layer,
                "fusion": site.fusion,
            }
            for name in STREAMS:
                total, squares, tokens, values = self._sums[key][name].tolist()
                mean = total / values if values else float("nan")
                spread = max(0.0, squares / values - mean**2) ** 0.5 if values else float("nan")
                row |= {name: mean, f"{name}_std": spread, f"{name}_tokens": int(tokens)}
            rows.append(row)
        return rows


@contextmanager
def capture_activations(model: Any, rows: int = 1) -> Iterator[Activations]:
    """Capture activations of a FLARE model's calls meanwhile; outside of it nothing is computed or kept.

    Args:
        model: what `get_peft_model` returned, or its FlareModel.
        rows: of how many rows the tokens are kept, the first ones of all calls.
    """
    flow = getattr(model, "base_model", model).flow
    former, flow.capture = flow.capture, Activations(rows)
    try:
        yield flow.capture
    finally:
        flow.capture = former
