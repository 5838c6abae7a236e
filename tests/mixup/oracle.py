"""X-Mixup again, in NumPy and double precision, from the weights and what the block's attention read."""

from __future__ import annotations

from typing import Any

import numpy as np

Array = np.ndarray


def softmax(scores: Array, axis: int = -1) -> Array:
    scores = np.exp(scores - scores.max(axis, keepdims=True))
    return scores / scores.sum(axis, keepdims=True)


def linear(module: Any, x: Array) -> Array:
    """A projection with its adapter, if it has one."""
    base = getattr(module, "base_layer", module)
    out = x @ number(base.weight).T
    if base.bias is not None:
        out = out + number(base.bias)
    if base is not module:
        a, b = number(module.lora_A["default"].weight), number(module.lora_B["default"].weight)
        out = out + x @ a.T @ b.T * module.scaling["default"]
    return out


def number(tensor: Any) -> Array:
    return tensor.detach().double().numpy()


def heads(x: Array, size: int) -> Array:
    return x.reshape(len(x), -1, size).transpose(1, 0, 2)


def rotated(x: Array, theta: float) -> Array:
    """Rotary positions as complex numbers: feature i and i + e/2 are one, turned by position · θ^(−2i/e)."""
    half = x.shape[-1] // 2
    angle = np.arange(x.shape[1])[:, None] * theta ** (-np.arange(half) / half)
    turned = (x[..., :half] + 1j * x[..., half:]) * np.exp(1j * angle)
    return np.concatenate([turned.real, turned.imag], -1)


def rms(module: Any, x: Array) -> Array:
    return x / np.sqrt((x**2).mean(-1, keepdims=True) + module.variance_epsilon) * number(module.weight)


def cross(model: Any, target: Array, source: Array) -> tuple[Array, Array]:
    """Scores [h, n, m] and cross-attention [n, …] of one pair of texts, both from their first token on."""
    attention = model.place.attention.module
    names = {name for name, _ in attention.named_children()}
    if "query" in names:
        size = attention.attention_head_size
        q, k, v = (
            heads(linear(getattr(attention, name), x), size)
            for name, x in (("query", target), ("key", source), ("value", source))
        )
        scores = q @ k.transpose(0, 2, 1) / np.sqrt(size)
        return scores, joined(softmax(scores) @ v)
    if "q" in names:
        size = attention.key_value_proj_dim
        q = heads(linear(attention.q, target), size)
        k, v = heads(linear(attention.k, source), size), heads(linear(attention.v, source), size)
        scores = q @ k.transpose(0, 2, 1) + bias(model, len(target), len(source))
        return scores, linear(attention.o, joined(softmax(scores) @ v))
    return llama(model, attention, target, source)


def llama(model: Any, attention: Any, target: Array, source: Array) -> tuple[Array, Array]:
    size, config = attention.head_dim, model.config
    q, k = heads(linear(attention.q_proj, target), size), heads(linear(attention.k_proj, source), size)
    v = heads(linear(attention.v_proj, source), size)
    if hasattr(attention, "q_norm"):
        q, k = rms(attention.q_norm, q), rms(attention.k_norm, k)
    theta = config.rope_parameters["rope_theta"]
    q, k = rotated(q, theta), rotated(k, theta)
    groups = len(q) // len(k)
    k, v = np.repeat(k, groups, 0), np.repeat(v, groups, 0)
    if config.model_type == "gemma2":
        scores = q @ k.transpose(0, 2, 1) / np.sqrt(config.query_pre_attn_scalar)
        scores = np.tanh(scores / config.attn_logit_softcapping) * config.attn_logit_softcapping
    else:
        scores = q @ k.transpose(0, 2, 1) / np.sqrt(size)
    return scores, linear(attention.o_proj, joined(softmax(scores) @ v))


def bias(model: Any, n: int, m: int) -> Array:
    """T5's bias for distances up to 8, each of which has a bucket of its own: 16 more for what is to the right."""
    table = number(model.place.attention.first.relative_attention_bias.weight)
    distance = np.arange(m)[None, :] - np.arange(n)[:, None]
    assert abs(distance).max() <= 8
    return table[abs(distance) + 16 * (distance > 0)].transpose(2, 0, 1)


def joined(x: Array) -> Array:
    return x.transpose(1, 0, 2).reshape(x.shape[1], -1)


def entropy(scores: Array) -> float:
    """H of scores [h, n, m]: of rows over columns plus of columns over rows, each a mean."""
    there, back = softmax(scores, 2), softmax(scores, 1)
    return float(-(there * np.log(there)).sum(2).mean() - (back * np.log(back)).sum(1).mean())


def ratio(model: Any, scores: Array) -> float:
    w, b = number(model.mixup.weight)[0], number(model.mixup.bias)[0]
    return float(0.5 / (1 + np.exp(-(w * entropy(scores) + b))))
