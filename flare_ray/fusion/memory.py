"""T of the tokens in a KV cache, kept beside it for fusion functions that look at other tokens (cross-attention).

A later token of the source's answer attends to the T of all target tokens before it, which decoding with a cache
does not compute again. The store hangs on the cache itself and follows it when beams are reordered.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from torch import Tensor

from flare_ray.fusion.names import load_fusion

if TYPE_CHECKING:
    from flare_ray.fusion.model import FlareModel

Remembered = dict[tuple[str, str], Tensor]


def remembered_beside(tuner: FlareModel, inputs: dict[str, Any]) -> Remembered | None:
    """The store beside a call's KV cache; None without a cache, or when no fusion function needs it."""
    cache = inputs.get("past_key_values")
    if cache is None or not needs_memory(tuner):
        return None
    store: Remembered | None = getattr(cache, "flare_remembered", None)
    if store is None:
        store = cache.flare_remembered = {}
        _follow(cache, store)
    return store


def needs_memory(tuner: FlareModel) -> bool:
    """Whether an active adapter's fusion looks at other target tokens."""
    fusions = {site.fusion for name in tuner.active_adapters for site in tuner.sites[name].values()}
    return any(load_fusion(fusion).needs_context for fusion in fusions)


def _follow(cache: Any, store: Remembered) -> None:
    """Let the store's rows move as the cache's do."""

    def following(name: str, move: Any) -> None:
        original = getattr(cache, name, None)
        if original is None:
            return

        def moved(argument: Any) -> Any:
            for place, rows in store.items():
                store[place] = move(rows, argument)
            return original(argument)

        setattr(cache, name, moved)

    following("reorder_cache", lambda rows, index: rows.index_select(0, index.to(rows.device)))
    following("batch_select_indices", lambda rows, index: rows[index])
    following("batch_repeat_interleave", lambda rows, repeats: rows.repeat_interleave(repeats, 0))
