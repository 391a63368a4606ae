"""Attention and rotary embedding, which only recent libraries have."""

from __future__ import annotations

from collections.abc import Iterator

import torch
import torch.nn.functional as F

from .case import Case
from .data import ints, rand


def cases() -> Iterator[Case]:
    yield from _attentions()
    yield from _rotaries()
    yield Case(
        "kv_cache_update",
        lambda net, *xs: net.n.add_kv_cache_update(*xs, net.enum("KVCacheMode", "LINEAR")),
        (rand(2, 3, 5, 4), rand(2, 3, 2, 4, seed=1), torch.tensor([3, 0], dtype=torch.int32)),
        lambda cache, new, starts: torch.stack(
            [torch.cat([cache[0, :, :3], new[0]], 1), torch.cat([new[1], cache[1, :, 2:]], 1)]
        ),
        needs=("add_kv_cache_update",),
        unlike="an engine updates the cache in place, which this test does not set up",
    )


def _attention(name, inputs, expected, kind="NONE", norm="SOFTMAX", old=False):
    def build(net, query, key, value, mask=None):
        operation = net.enum("AttentionNormalizationOp", norm)
        if old:
            attention = net.n.add_attention(query, key, value, operation, kind != "NONE")
        else:
            causal = net.enum("CausalMaskKind", kind)
            attention = net.n.add_attention_v2(query, key, value, operation, causal)
        attention.decomposable = True
        if mask is not None:
            attention.mask = mask
        return attention.get_output(0)

    needs = ("add_attention" if old else "add_attention_v2",)
    return Case(f"attention-{name}", build, inputs, expected, needs=needs, atol=1e-5)


def _attentions() -> Iterator[Case]:
    query, key, value = rand(2, 4, 5, 8), rand(2, 4, 7, 8, seed=1), rand(2, 4, 7, 8, seed=2)

    def plain(q, k, v, mask=None, **options):
        return F.scaled_dot_product_attention(q, k, v, mask, scale=1.0, **options)

    yield _attention("plain", (query, key, value), plain)
    mask = ints(2, 1, 5, 7, low=0, high=2).bool()
    mask[..., 0] = True
    yield _attention("bool_mask", (query, key, value, mask), plain)
    yield _attention("float_mask", (query, key, value, rand(2, 1, 5, 7)), plain)
    yield _attention(
        "heads_shared",
        (query, key[:, :2].contiguous(), value[:, :2].contiguous()),
        lambda q, k, v: plain(q, k, v, enable_gqa=True),
    )
    yield _attention(
        "no_normalization", (query, key, value), lambda q, k, v: (q @ k.mT) @ v, norm="NONE"
    )
    lower = torch.ones(5, 7, dtype=torch.bool).tril(2)
    for kind, allowed in {"UPPER_LEFT": lower.tril(0), "LOWER_RIGHT": lower}.items():
        yield _attention(
            f"causal-{kind}",
            (query, key, value),
            lambda q, k, v, allowed=allowed: plain(q, k, v, allowed),
            kind,
        )
    square = key[:, :, :5].contiguous(), value[:, :, :5].contiguous()
    yield _attention(
        "first_version-causal",
        (query, *square),
        lambda q, k, v: plain(q, k, v, is_causal=True),
        "UPPER_LEFT",
        old=True,
    )


def _rotaries() -> Iterator[Case]:
    """Rotation as a product of complex numbers."""
    x = rand(2, 3, 4, 8)
    angles = rand(2, 4, 4)
    cosine, sine = angles.cos(), angles.sin()

    def rotate(x, angles, interleaved):
        pairs = (
            x.unflatten(-1, (-1, 2)) if interleaved else x.unflatten(-1, (2, -1)).transpose(-1, -2)
        )
        turned = torch.view_as_complex(pairs.contiguous()) * torch.exp(1j * angles.unsqueeze(1))
        pairs = torch.view_as_real(turned)
        return pairs.flatten(-2) if interleaved else pairs.transpose(-1, -2).flatten(-2)

    for interleaved in (False, True):
        yield Case(
            f"rotary_embedding-{'interleaved' if interleaved else 'halves'}",
            lambda net, x, c, s, i=interleaved: net.n.add_rotary_embedding(x, c, s, i, 0),
            (x, cosine, sine),
            lambda x, c, s, i=interleaved: rotate(x, angles, i),
            needs=("add_rotary_embedding",),
        )
    positions = torch.tensor([[0, 1, 2, 3], [4, 3, 2, 1]])
    table = rand(5, 2)

    def with_positions(net, x, cosine, sine, positions):
        layer = net.n.add_rotary_embedding(x, cosine, sine, False, 4)
        layer.set_input(3, positions)
        return layer

    yield Case(
        "rotary_embedding-positions",
        with_positions,
        (x, table.cos(), table.sin(), positions),
        lambda x, c, s, p: torch.cat([rotate(x[..., :4], table[p], False), x[..., 4:]], -1),
        needs=("add_rotary_embedding",),
    )
