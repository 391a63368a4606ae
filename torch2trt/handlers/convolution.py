"""Convolution, transposed convolution and batch normalisation."""

from __future__ import annotations

import torch

from ..registry import op
from .common import full_list, rank, shape, tensor
from .elementwise import add, mul, rsqrt, sub
from .shape import unsqueeze


def convolve(ctx, x, weight, bias, stride, padding, dilation, transposed, output_padding, groups):
    """A convolution of any rank; an unbatched input gets a batch dimension for the while."""
    spatial = rank(ctx, weight) - 2
    if rank(ctx, x) == spatial + 1:
        batched = convolve(
            ctx, unsqueeze(ctx, x, 0), weight, bias, stride, padding, dilation, transposed, output_padding, groups
        )
        return ctx.reshape(batched, shape(ctx, batched)[1:])
    if not ctx.is_tensor(x):
        x = ctx.constant(x, "input")
    stride, dilation = full_list(stride, spatial), full_list(dilation, spatial)
    if transposed:
        padding, output_padding = full_list(padding, spatial), full_list(output_padding, spatial)
        return ctx.conv_transpose(x, weight, bias, stride, padding, output_padding, dilation, groups)
    pads = _same(weight, dilation, ctx) if padding == "same" else [(0, 0)] * spatial if padding == "valid" else None
    pads = pads or [(p, p) for p in full_list(padding, spatial)]
    return ctx.conv(x, weight, bias, stride, pads, dilation, groups)


def _same(weight, dilation, ctx):
    totals = [d * (k - 1) for d, k in zip(dilation, shape(ctx, weight)[2:])]
    return [(total // 2, total - total // 2) for total in totals]


@op("aten::_convolution", "aten::convolution")
def convolution(ctx, x, weight, bias, stride, padding, dilation, transposed, output_padding, groups, *_):
    """convolution(Tensor input, Tensor weight, Tensor? bias, SymInt[] stride, SymInt[] padding, SymInt[] dilation,
    bool transposed, SymInt[] output_padding, SymInt groups) -> Tensor"""
    return convolve(ctx, x, weight, bias, stride, padding, dilation, transposed, output_padding, groups)


@op("aten::_convolution_mode")
def convolution_mode(ctx, x, weight, bias, stride, padding, dilation, groups):
    """_convolution_mode(Tensor input, Tensor weight, Tensor? bias, SymInt[] stride, str padding, SymInt[] dilation, ...)"""
    return convolve(ctx, x, weight, bias, stride, padding, dilation, False, 0, groups)


@op(*[f"aten::conv{n}d{overload}" for n in (1, 2, 3) for overload in ("", ".padding")])
def conv(ctx, x, weight, bias=None, stride=1, padding=0, dilation=1, groups=1):
    """conv2d(Tensor input, Tensor weight, Tensor? bias=None, SymInt[2] stride=1, SymInt[2] padding=0, ...) -> Tensor"""
    return convolve(ctx, x, weight, bias, stride, padding, dilation, False, 0, groups)


@op("aten::conv_transpose1d", "aten::conv_transpose2d.input", "aten::conv_transpose3d.input")
def conv_transpose(ctx, x, weight, bias=None, stride=1, padding=0, output_padding=0, groups=1, dilation=1):
    """conv_transpose2d.input(Tensor input, Tensor weight, Tensor? bias=None, SymInt[2] stride=1, ...) -> Tensor"""
    return convolve(ctx, x, weight, bias, stride, padding, dilation, True, output_padding, groups)


@op("aten::batch_norm")
def batch_norm(ctx, x, weight, bias, running_mean, running_var, training, momentum, eps, cudnn_enabled=False):
    """batch_norm(Tensor input, Tensor? weight, Tensor? bias, Tensor? running_mean, Tensor? running_var, bool training,
    float momentum, float eps, bool cudnn_enabled) -> Tensor"""
    if training:
        if running_mean is not None:
            raise ctx.refuse("batch_norm in training mode updates its statistics; call module.eval() first")
        return _normalise_batch(ctx, x, weight, bias, eps)
    if any(ctx.is_tensor(v) for v in (weight, bias, running_mean, running_var) if v is not None):
        return _affine_by_tensors(ctx, x, weight, bias, running_mean, running_var, eps)
    scale = torch.rsqrt(running_var.double() + eps)
    scale = scale if weight is None else scale * weight.double()
    shift = -running_mean.double() * scale
    shift = shift if bias is None else shift + bias.double()
    kind = ctx.dtype(x)
    return ctx.channel_affine(x, scale.to(kind), shift.to(kind))


def _per_channel(ctx, x, value):
    return reshape_channel(ctx, value, rank(ctx, x))


def reshape_channel(ctx, value, dims):
    """A [C] vector as [C, 1, ...], to meet axis 1 of a tensor of `dims` dimensions."""
    value = tensor(ctx, value)
    trailing = [1] * (dims - 2)
    return ctx.reshape(value, [*shape(ctx, value), *trailing]) if ctx.is_tensor(value) else value.reshape(-1, *trailing)


def _affine_by_tensors(ctx, x, weight, bias, mean, var, eps):
    scale = rsqrt(ctx, add(ctx, _per_channel(ctx, x, var), eps))
    result = mul(ctx, sub(ctx, x, _per_channel(ctx, x, mean)), scale)
    result = result if weight is None else mul(ctx, result, _per_channel(ctx, x, weight))
    return result if bias is None else add(ctx, result, _per_channel(ctx, x, bias))


def _normalise_batch(ctx, x, weight, bias, eps):
    from .reduction import variance

    over = [a for a in range(rank(ctx, x)) if a != 1]
    spread, center = variance(ctx, x, over, 0, True)
    result = mul(ctx, sub(ctx, x, center), rsqrt(ctx, add(ctx, spread, eps)))
    result = result if weight is None else mul(ctx, result, _per_channel(ctx, x, weight))
    return result if bias is None else add(ctx, result, _per_channel(ctx, x, bias))
