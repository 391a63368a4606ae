"""Attention, and the fused transformer operators of PyTorch's fast path."""

from __future__ import annotations

import math

import torch

from ..registry import op
from .activation import gelu, softmax
from .common import broadcast_shapes, dtype, is_size, rank, shape, tensor
from .elementwise import add, exp, log, mul, relu, sub, where
from .linear import linear, matmul
from .normalization import layer_norm
from .reduction import amax, mean, sum_
from .shape import chunk, reshape, transpose, unsqueeze


def _at_least_4d(ctx, x):
    return x if rank(ctx, x) >= 4 else _at_least_4d(ctx, unsqueeze(ctx, x, 0))


def _share_heads(ctx, x, heads):
    """Key or value heads repeated for the groups of query heads that share them."""
    batch, own, length, size = shape(ctx, x)
    if own == heads:
        return x
    grouped = ctx.reshape(x, [batch, own, 1, length, size])
    spread = ctx.expand(grouped, [batch, own, heads // own, length, size])
    return ctx.reshape(spread, [batch, heads, length, size])


@op("aten::scaled_dot_product_attention")
def attention(
    ctx, query, key, value, attn_mask=None, dropout_p=0.0, is_causal=False, scale=None,
    enable_gqa=False,
):  # fmt: skip
    """scaled_dot_product_attention(Tensor query, Tensor key, Tensor value, Tensor? attn_mask=None,
    float dropout_p=0., bool is_causal=False, *, float? scale=None, bool enable_gqa=False)
    -> Tensor"""
    if dropout_p:
        raise ctx.refuse("attention with dropout is random; call module.eval() first")
    dims = max(rank(ctx, x) for x in (query, key, value))
    roles = (query, "query"), (key, "key"), (value, "value")
    q, k, v = (_at_least_4d(ctx, ctx.operand(x, role)) for x, role in roles)
    if rank(ctx, q) > 4:
        return _flat_attention(ctx, q, k, v, attn_mask, is_causal, scale)
    if enable_gqa:
        k, v = (_share_heads(ctx, x, shape(ctx, q)[1]) for x in (k, v))
    q, k, v = _same_batches(ctx, q, k, v)
    result = ctx.attention(q, k, v, attn_mask, bool(is_causal), _scale(ctx, query, scale))
    return ctx.reshape(result, shape(ctx, result)[4 - dims :]) if dims < 4 else result


def _same_batches(ctx, *xs):
    """Operands of four dimensions, the first two broadcast."""
    leads = [shape(ctx, x)[:2] for x in xs]
    lead = broadcast_shapes(*leads)

    def stretched(own):
        return any(is_size(a, 1) and not is_size(b, 1) for a, b in zip(own, lead))

    return [
        ctx.expand(x, [*lead, *shape(ctx, x)[2:]]) if stretched(own) else x
        for x, own in zip(xs, leads)
    ]


def _scale(ctx, query, scale):
    size = shape(ctx, query)[-1]
    if scale is None and not isinstance(size, int):
        raise ctx.refuse("attention over heads of a dynamic size needs a scale")
    return 1 / math.sqrt(max(size, 1)) if scale is None else float(scale)


def _flat_attention(ctx, q, k, v, mask, causal, scale):
    """More than one batch dimension: all of them as one."""
    lead = list(shape(ctx, q))[:-3]
    flat = [reshape(ctx, x, [-1, *shape(ctx, x)[-3:]]) for x in (q, k, v)]
    if mask is not None and rank(ctx, mask) > 3:
        mask = ctx.expand(mask, [*lead, *shape(ctx, mask)[-3:]])
        mask = reshape(ctx, mask, [-1, *shape(ctx, mask)[-3:]])
    result = attention(ctx, *flat, mask, 0.0, causal, scale)
    return ctx.reshape(result, [*lead, *shape(ctx, result)[1:]])


def _scores(ctx, q, k, mask, causal, scale):
    """The scaled and masked products that the softmax takes."""
    scores = mul(ctx, matmul(ctx, q, transpose(ctx, k, -2, -1)), _scale(ctx, q, scale))
    if causal:
        rows, columns = shape(ctx, scores)[-2:]
        if not isinstance(rows, int) or not isinstance(columns, int):
            raise ctx.refuse("the weights of causal attention over a dynamic length")
        mask = torch.ones(rows, columns, dtype=torch.bool).tril()
    if mask is None:
        return scores
    if dtype(ctx, mask) != torch.bool:
        return add(ctx, scores, mask)
    return where(ctx, mask, scores, tensor(ctx, float("-inf"), dtype(ctx, scores)))


def _logsumexp(ctx, scores):
    top = amax(ctx, scores, [-1], True)
    total = log(ctx, sum_(ctx, exp(ctx, sub(ctx, scores, top)), [-1], True))
    return ctx.reshape(add(ctx, top, total), shape(ctx, scores)[:-1])


@op("aten::_scaled_dot_product_flash_attention_for_cpu")
def flash_attention_for_cpu(
    ctx, q, k, v, dropout_p=0.0, is_causal=False, attn_mask=None, scale=None
):
    """_scaled_dot_product_flash_attention_for_cpu(Tensor query, Tensor key, Tensor value,
    float dropout_p=0., bool is_causal=False, *, Tensor? attn_mask=None, float? scale=None)
    -> (Tensor output, Tensor logsumexp)"""
    result = attention(ctx, q, k, v, attn_mask, dropout_p, is_causal, scale)
    q, k = (tensor(ctx, x, torch.float32) for x in (q, k))
    return result, _logsumexp(ctx, _scores(ctx, q, k, attn_mask, is_causal, scale))


@op("aten::_scaled_dot_product_flash_attention")
def flash_attention(
    ctx, q, k, v, dropout_p=0.0, is_causal=False, return_debug_mask=False, scale=None
):
    """_scaled_dot_product_flash_attention(Tensor query, ...)
    -> (Tensor output, Tensor logsumexp, 7 for training)"""
    return *flash_attention_for_cpu(ctx, q, k, v, dropout_p, is_causal, None, scale), *[None] * 7


@op("aten::_scaled_dot_product_efficient_attention")
def efficient_attention(
    ctx, q, k, v, attn_bias, compute_log_sumexp, dropout_p=0.0, is_causal=False, scale=None
):
    """_scaled_dot_product_efficient_attention(Tensor query, Tensor key, Tensor value,
    Tensor? attn_bias, ...) -> (Tensor output, Tensor log_sumexp, and 2 for training)"""
    results = flash_attention_for_cpu(ctx, q, k, v, dropout_p, is_causal, attn_bias, scale)
    return *results, None, None


@op("aten::_scaled_dot_product_cudnn_attention")
def cudnn_attention(
    ctx, q, k, v, attn_bias, compute_log_sumexp, dropout_p=0.0, is_causal=False,
    return_debug_mask=False, scale=None,
):  # fmt: skip
    """_scaled_dot_product_cudnn_attention(Tensor query, Tensor key, Tensor value,
    Tensor? attn_bias, ...) -> (Tensor output, Tensor logsumexp, and 7 for training)"""
    results = flash_attention_for_cpu(ctx, q, k, v, dropout_p, is_causal, attn_bias, scale)
    return *results, *[None] * 7


@op("aten::_scaled_dot_product_attention_math")
def attention_math(
    ctx, q, k, v, attn_mask=None, dropout_p=0.0, is_causal=False, dropout_mask=None, scale=None,
    enable_gqa=False,
):  # fmt: skip
    """_scaled_dot_product_attention_math(Tensor query, Tensor key, Tensor value,
    Tensor? attn_mask=None, ...) -> (Tensor, Tensor weights)"""
    if dropout_mask is not None:
        raise ctx.refuse("attention with a dropout mask")
    result = attention(ctx, q, k, v, attn_mask, dropout_p, is_causal, scale, enable_gqa)
    shared = _share_heads(ctx, k, shape(ctx, q)[1]) if enable_gqa else k
    return result, softmax(ctx, _scores(ctx, q, shared, attn_mask, is_causal, scale), -1)


# ---- the fast path of nn.MultiheadAttention and nn.TransformerEncoderLayer -----------------------
def _heads(ctx, x, num_heads):
    """[N, length, size] as [N, heads, length, size / heads]."""
    batch, length, size = shape(ctx, x)
    return ctx.permute(ctx.reshape(x, [batch, length, num_heads, size // num_heads]), [0, 2, 1, 3])


def _projections(ctx, inputs, weight, bias):
    """Query, key and value after their linear layers: one layer where the inputs are the same."""
    if all(x is inputs[0] for x in inputs):
        return chunk(ctx, linear(ctx, inputs[0], weight, bias), 3, -1)
    weights = chunk(ctx, weight, 3, 0)
    biases = [None] * 3 if bias is None else chunk(ctx, bias, 3, 0)
    return [linear(ctx, x, w, b) for x, w, b in zip(inputs, weights, biases)]


def _kept(ctx, mask, mask_type):
    """The mask of the fast path, in which true is left out, as one of attention.

    Types: 0 is [length, length], 1 is [N, length], 2 is [N, heads, length, length].
    """
    if mask is None:
        return None
    if dtype(ctx, mask) != torch.bool:
        raise ctx.refuse(
            f"a mask of {dtype(ctx, mask)} in the fast path of attention, which takes bool"
        )
    kept = ctx.unary("logical_not", mask) if ctx.is_tensor(mask) else ~mask
    return unsqueeze(ctx, unsqueeze(ctx, kept, 1), 1) if mask_type == 1 else kept


@op("aten::_native_multi_head_attention")
def native_multi_head_attention(
    ctx, query, key, value, embed_dim, num_head, qkv_weight, qkv_bias, proj_weight, proj_bias,
    mask=None, need_weights=True, average_attn_weights=True, mask_type=None,
):  # fmt: skip
    """_native_multi_head_attention(Tensor query, Tensor key, Tensor value, int embed_dim,
    int num_head, Tensor qkv_weight, Tensor qkv_bias, Tensor proj_weight, Tensor proj_bias,
    Tensor? mask=None, ...)"""
    projected = _projections(ctx, (query, key, value), qkv_weight, qkv_bias)
    q, k, v = (_heads(ctx, x, num_head) for x in projected)
    kept = _kept(ctx, mask, mask_type)
    context = ctx.permute(attention(ctx, q, k, v, kept), [0, 2, 1, 3])
    result = linear(ctx, ctx.reshape(context, shape(ctx, query)), proj_weight, proj_bias)
    if not need_weights:
        return result, torch.empty(0)
    weights = softmax(ctx, _scores(ctx, q, k, kept, False, None), -1)
    return result, mean(ctx, weights, [1]) if average_attn_weights else weights


@op("aten::_transformer_encoder_layer_fwd")
def transformer_encoder_layer(
    ctx, src, embed_dim, num_heads, qkv_weight, qkv_bias, proj_weight, proj_bias, use_gelu,
    norm_first, eps, norm_weight_1, norm_bias_1, norm_weight_2, norm_bias_2, ffn_weight_1,
    ffn_bias_1, ffn_weight_2, ffn_bias_2, mask=None, mask_type=None,
):  # fmt: skip
    """_transformer_encoder_layer_fwd(Tensor src, int embed_dim, int num_heads,
    Tensor qkv_weight, ...) -> Tensor"""

    def norm(x, weight, bias):
        return layer_norm(ctx, x, [embed_dim], weight, bias, eps)

    def attend(x):
        weights = qkv_weight, qkv_bias, proj_weight, proj_bias
        options = *weights, mask, False, True, mask_type
        return native_multi_head_attention(ctx, x, x, x, embed_dim, num_heads, *options)[0]

    def feed_forward(x):
        hidden = linear(ctx, x, ffn_weight_1, ffn_bias_1)
        active = gelu(ctx, hidden) if use_gelu else relu(ctx, hidden)
        return linear(ctx, active, ffn_weight_2, ffn_bias_2)

    if norm_first:
        x = add(ctx, src, attend(norm(src, norm_weight_1, norm_bias_1)))
        return add(ctx, x, feed_forward(norm(x, norm_weight_2, norm_bias_2)))
    x = norm(add(ctx, src, attend(src)), norm_weight_1, norm_bias_1)
    return norm(add(ctx, x, feed_forward(x)), norm_weight_2, norm_bias_2)
