"""Shapes of checkpoints: what their parameters, and an adapter's, are counted from.

    shape = shape_of("FacebookAI/xlm-roberta-large")
    shape.blocks, shape.embeddings          # 302 M of the layers, 256 M of the vocabulary
    shape.adapter(("query", "value"), 8)    # 786,432 of a LoRA of rank 8

Weight matrices only: biases and norms are less than a hundredth.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from flare_ray.plan.checkpoints import is_local, local_path, read_config


@dataclass(frozen=True)
class Shape:
    """Sizes of a transformer.

    width: of the hidden states. inner: of the feed-forward. layers: of the encoder, or of a model that is a decoder
    alone; decoder_layers: of a decoder beside an encoder, which have a cross-attention each. queries, keys: widths of
    all heads' queries, and of all heads' keys; 0 stands for `width`. gated: whether the feed-forward has three
    matrices. untied: whether the output has a vocabulary matrix of its own.
    """

    width: int
    inner: int
    layers: int
    vocabulary: int
    decoder_layers: int = 0
    queries: int = 0
    keys: int = 0
    gated: bool = False
    untied: bool = False

    @property
    def encoder(self) -> int:
        """Parameters of the encoder's layers, or of a decoder that is alone."""
        return self.layers * (self._attention + self._feed_forward)

    @property
    def decoder(self) -> int:
        """Parameters of the decoder's layers beside an encoder."""
        return self.decoder_layers * (2 * self._attention + self._feed_forward)

    @property
    def blocks(self) -> int:
        """Parameters of all layers: what a token's pass multiplies with."""
        return self.encoder + self.decoder

    @property
    def embeddings(self) -> int:
        """Parameters of the vocabulary's matrices."""
        return (1 + self.untied) * self.vocabulary * self.width

    @property
    def parameters(self) -> int:
        """Parameters of the whole checkpoint."""
        return self.blocks + self.embeddings

    def adapter(self, modules: tuple[str, ...], rank: int) -> int | None:
        """Parameters of a LoRA on such projections of every layer; None for names that are not known here."""
        if any(module not in _PROJECTIONS for module in modules):
            return None
        return rank * sum(self._both_sides(*_PROJECTIONS[module]) for module in modules)

    @property
    def _attention(self) -> int:
        return 2 * self.width * (self._of("queries") + self._of("keys"))

    @property
    def _feed_forward(self) -> int:
        return (3 if self.gated else 2) * self.width * self.inner

    def _of(self, side: str) -> int:
        return getattr(self, side) or self.width

    def _both_sides(self, one: str, other: str) -> int:
        """Rows and columns of one kind of projection, over all places where a model has it."""
        places = self.layers + self.decoder_layers * (1 if "inner" in (one, other) else 2)
        return places * (self._of(one) + self._of(other))


_PROJECTIONS = {
    **dict.fromkeys(("query", "q", "q_proj", "o", "o_proj"), ("width", "queries")),
    **dict.fromkeys(("key", "value", "k", "v", "k_proj", "v_proj"), ("width", "keys")),
    **dict.fromkeys(("gate_proj", "up_proj", "down_proj"), ("width", "inner")),
}
"""Names of projections in the families' files -> the two widths of their matrix."""

SHAPES = {
    "FacebookAI/xlm-roberta-large": Shape(1024, 4096, 24, 250_002),
    "FacebookAI/xlm-roberta-base": Shape(768, 3072, 12, 250_002),
    "google-bert/bert-base-multilingual-cased": Shape(768, 3072, 12, 119_547),
    "intfloat/multilingual-e5-small": Shape(384, 1536, 12, 250_037),
    "google/mt5-xl": Shape(2048, 5120, 24, 250_112, 24, gated=True),
    "google/mt5-base": Shape(768, 2048, 12, 250_112, 12, gated=True),
    "meta-llama/Llama-3.1-8B": Shape(4096, 14_336, 32, 128_256, keys=1024, gated=True, untied=True),
    "google/gemma-2-9b": Shape(3584, 14_336, 42, 256_000, queries=4096, keys=2048, gated=True),
    "google/gemma-2-2b": Shape(2304, 9216, 26, 256_000, queries=2048, keys=1024, gated=True),
    "facebook/nllb-200-3.3B": Shape(2048, 8192, 24, 256_206, 24),
    "facebook/nllb-200-1.3B": Shape(1024, 8192, 24, 256_206, 24),
    "facebook/nllb-200-distilled-600M": Shape(1024, 4096, 12, 256_206, 12),
}
"""Of checkpoints on the hub, from their config.json."""
_LARGEST_SIZE = 10**8
"""More than any width, depth or vocabulary."""
_GATED = ("llama", "gemma2", "gemma3_text", "mt5")


def shape_of(checkpoint: str) -> Shape | None:
    """A checkpoint's shape: of a known one, or from a local one's config.json; None for others."""
    if is_local(checkpoint):
        try:
            return _of_config(read_config(local_path(checkpoint)))
        except ValueError:
            return None
    return SHAPES.get(checkpoint.partition("@")[0])


def _of_config(config: Mapping[str, Any]) -> Shape | None:
    def first(*names: str) -> int:
        """Return the first of some sizes that the config has; what is no sensible size counts as absent."""
        sizes = (config.get(name) for name in names)
        return next((size for size in sizes if type(size) is int and 0 < size < _LARGEST_SIZE), 0)

    width, inner = first("hidden_size", "d_model"), first("intermediate_size", "d_ff", "encoder_ffn_dim")
    layers = first("num_hidden_layers", "num_layers", "encoder_layers")
    if not (width and inner and layers):
        return None
    heads = first("num_attention_heads", "num_heads")
    of_head = first("head_dim", "d_kv") or width // max(1, heads)
    return Shape(
        width,
        inner,
        layers,
        first("vocab_size"),
        first("num_decoder_layers", "decoder_layers"),
        queries=heads * of_head,
        keys=(first("num_key_value_heads") or heads) * of_head,
        gated=config.get("model_type") in _GATED,
        untied=config.get("tie_word_embeddings") is False and config.get("model_type") == "llama",
    )
