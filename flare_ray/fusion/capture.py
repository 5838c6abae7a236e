"""Activations in the bottleneck, for Figures 4 to 6 of the paper: how large S, T and h are, and where.

with capture_activations(model) as activations:
    model(**batch)
activations.means()         # mean |S|, |T|, |h| by layer and module (Figures 4 and 5)
activations.tokens          # the same by token, for one example of the last batch (Figure 6)
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

    example: row of the last batch whose tokens are kept.
    tokens: by module, mean |S|, |T| and |h| over the r features, each [n], of the example's real tokens;
        |S| is NaN where the source has no token.
    """

    example: int = 0
    tokens: dict[str, dict[str, Tensor]] = field(default_factory=dict)
    _sums: dict[str, dict[str, Tensor]] = field(default_factory=dict, repr=False)
    _counts: dict[str, dict[str, Tensor]] = field(default_factory=dict, repr=False)
    _places: dict[str, Site] = field(default_factory=dict, repr=False)

    def record(
        self, key: str, site: Site, alignment: Alignment, source: Tensor | None, target: Tensor, fused: Tensor
    ) -> None:
        """Add a fused layer's S, T and h, [rows, n, r] each; called by the layer."""
        real = alignment.keys[:, -alignment.tokens :]
        present = torch.zeros_like(real) if alignment.present is None else alignment.present[..., 0]
        masks = {"source": present, "target": real, "fused": real}
        self._places[key] = site
        sums, counts = self._sums.setdefault(key, {}), self._counts.setdefault(key, {})
        kept = self.tokens[key] = {}
        for name, value in zip(STREAMS, (source, target, fused), strict=True):
            size = target.new_zeros(real.shape) if value is None else value.detach().abs().float().mean(-1)
            mask = masks[name]
            sums[name] = sums.get(name, size.new_zeros(())) + (size * mask).sum()
            counts[name] = counts.get(name, size.new_zeros(())) + mask.sum()
            if self.example < len(size):
                row = size[self.example].masked_fill(~mask[self.example], float("nan"))
                kept[name] = row[real[self.example]].cpu()

    def means(self) -> list[dict[str, Any]]:
        """One row for each fused module: its name, stack, layer, fusion, and mean |S|, |T|, |h| over real tokens.

        |S| is averaged over the tokens that have a source token, and NaN when none has.
        """
        rows = []
        for key, site in self._places.items():
            means = {name: float(self._sums[key][name] / self._counts[key][name]) for name in STREAMS}
            rows.append(
                {"module": key, "stack": site.stack, "layer": site.layer, "fusion": site.fusion, **means}
            )
        return rows


@contextmanager
def capture_activations(model: Any, example: int = 0) -> Iterator[Activations]:
    """Capture activations of a FLARE model's calls meanwhile; outside of it nothing is computed or kept.

    Args:
        model: what `get_peft_model` returned, or its FlareModel.
        example: row of each batch whose tokens are kept.
    """
    flow = getattr(model, "base_model", model).flow
    former, flow.capture = flow.capture, Activations(example)
    try:
        yield flow.capture
    finally:
        flow.capture = former
