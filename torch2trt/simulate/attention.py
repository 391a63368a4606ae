"""Layers for transformers: fused attention, its key and value cache, rotary embedding."""

from __future__ import annotations

import torch

from .layers import Layer, rule


@rule("ATTENTION_INPUT", "IAttentionInputLayer", widen=True)
def attention(
    layer: Layer,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    mask: torch.Tensor | None = None,
    *others: torch.Tensor | None,
) -> torch.Tensor:
    """normalization(query @ key^T + mask) @ value on [batch, heads, tokens, size], not scaled.

    A bool mask is true where a query may look; query heads share the fewer key heads evenly.
    """
    api = layer.api.attention
    layer.check(
        query.ndim == 4, f"expected padded [batch, heads, tokens, size], got {tuple(query.shape)}"
    )
    layer.check(
        not any(t is not None for t in others), "quantization and lengths are not simulated"
    )
    shared, uneven = divmod(query.shape[1], key.shape[1])
    layer.check(not uneven, f"{key.shape[1]} key heads do not divide {query.shape[1]} query heads")
    key, value = key.repeat_interleave(shared, 1), value.repeat_interleave(shared, 1)
    scores = query @ key.mT
    allowed = _causal(api, scores)
    if mask is not None and mask.dtype != torch.bool:
        scores = scores + mask
    elif mask is not None:
        allowed = mask
    normalization = api.norm_op.name
    if allowed is not None:
        layer.check(
            normalization == "SOFTMAX", f"a mask is undefined with normalization {normalization}"
        )
        scores = scores.masked_fill(~allowed, -torch.inf)
    return (scores if normalization == "NONE" else torch.softmax(scores, -1)) @ value


def _causal(api: object, scores: torch.Tensor) -> torch.Tensor | None:
    """Where a query may look: up to its own place, counted from the first or the last token."""
    kind = (
        api.causal_kind.name
        if hasattr(api, "causal_kind")
        else "UPPER_LEFT"
        if api.causal
        else "NONE"
    )
    if kind == "NONE":
        return None
    queries, keys = scores.shape[-2:]
    shift = keys - queries if kind == "LOWER_RIGHT" else 0
    return torch.ones(queries, keys, dtype=torch.bool).tril(shift)


@rule("ATTENTION_OUTPUT", "IAttentionOutputLayer")
def attention_output(layer: Layer, x: torch.Tensor) -> torch.Tensor:
    return x


@rule("KV_CACHE_UPDATE", "IKVCacheUpdateLayer")
def kv_cache_update(
    layer: Layer,
    cache: torch.Tensor,
    update: torch.Tensor,
    starts: torch.Tensor,
    lengths: torch.Tensor | None = None,
) -> torch.Tensor:
    """The cache with ``update[i]`` written from token ``starts[i]`` on, as a new tensor."""
    layer.check(lengths is None, "packed updates are not simulated")
    tokens, room = update.shape[2], cache.shape[2]
    result = cache.clone()
    for row, (start, values) in enumerate(zip(starts.tolist(), update, strict=True)):
        layer.check(
            0 <= start <= room - tokens,
            f"{tokens} tokens from {start} on exceed the cache's {room}",
        )
        result[row, :, start : start + tokens] = values
    return result


@rule("ROTARY_EMBEDDING", "IRotaryEmbeddingLayer", widen=True)
def rotary_embedding(
    layer: Layer,
    x: torch.Tensor,
    cosine: torch.Tensor,
    sine: torch.Tensor,
    positions: torch.Tensor | None = None,
) -> torch.Tensor:
    """Rotates pairs of the first elements of each head by an angle that depends on the position.

    x is [batch, heads, tokens, size]; cosine and sine are [batch, tokens, pairs], or [positions,
    pairs] with positions [batch, tokens]. Pairs are neighbours (interleaved), or half the rotated
    size apart.
    """
    rotated = layer.api.rotary_embedding_dim or x.shape[-1]
    if positions is not None:
        cosine, sine = cosine[positions.long()], sine[positions.long()]
    cosine, sine = cosine.unsqueeze(1), sine.unsqueeze(1)
    head, rest = x[..., :rotated], x[..., rotated:]
    if layer.api.interleaved:
        a, b = head[..., 0::2], head[..., 1::2]
    else:
        a, b = head.chunk(2, -1)
    turned = (a * cosine - b * sine, b * cosine + a * sine)
    head = torch.stack(turned, -1).flatten(-2) if layer.api.interleaved else torch.cat(turned, -1)
    return torch.cat([head, rest], -1)
