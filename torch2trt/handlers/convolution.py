"""Convolution and transposed convolution."""

from __future__ import annotations

from ..registry import op
from .common import full_list, rank, shape
from .shape import permute, unsqueeze


def convolve(ctx, x, weight, bias, stride, padding, dilation, transposed, output_padding, groups):
    """A convolution of any rank; an unbatched input gets a batch dimension for the while."""
    spatial = rank(ctx, weight) - 2
    if rank(ctx, x) == spatial + 1:
        options = stride, padding, dilation, transposed, output_padding, groups
        batched = convolve(ctx, unsqueeze(ctx, x, 0), weight, bias, *options)
        return ctx.reshape(batched, shape(ctx, batched)[1:])
    if not ctx.is_tensor(x):
        x = ctx.constant(x, "input")
    stride, dilation = full_list(stride, spatial), full_list(dilation, spatial)
    if transposed:
        padding, extra = full_list(padding, spatial), full_list(output_padding, spatial)
        return ctx.conv_transpose(x, weight, bias, stride, padding, extra, dilation, groups)
    pads = _pads(ctx, weight, padding, dilation)
    return ctx.conv(x, weight, bias, stride, pads, dilation, groups)


def _pads(ctx, weight, padding, dilation):
    """What is added (before, after) each spatial dimension."""
    if padding == "same":
        totals = [d * (k - 1) for d, k in zip(dilation, shape(ctx, weight)[2:])]
        return [(total // 2, total - total // 2) for total in totals]
    return [(p, p) for p in full_list(0 if padding == "valid" else padding, len(dilation))]


@op("aten::_convolution", "aten::convolution")
def convolution(
    ctx, x, weight, bias, stride, padding, dilation, transposed, output_padding, groups, *_
):
    """convolution(Tensor input, Tensor weight, Tensor? bias, SymInt[] stride, SymInt[] padding,
    SymInt[] dilation, bool transposed, SymInt[] output_padding, SymInt groups) -> Tensor"""
    options = stride, padding, dilation, transposed, output_padding, groups
    return convolve(ctx, x, weight, bias, *options)


@op("aten::_convolution_mode")
def convolution_mode(ctx, x, weight, bias, stride, padding, dilation, groups):
    """_convolution_mode(Tensor input, Tensor weight, Tensor? bias, SymInt[] stride,
    str padding, ...)"""
    return convolve(ctx, x, weight, bias, stride, padding, dilation, False, 0, groups)


@op(*[f"aten::conv{n}d{overload}" for n in (1, 2, 3) for overload in ("", ".padding")])
def conv(ctx, x, weight, bias=None, stride=1, padding=0, dilation=1, groups=1):
    """conv2d(Tensor input, Tensor weight, Tensor? bias=None, SymInt[2] stride=1,
    SymInt[2] padding=0, ...) -> Tensor"""
    return convolve(ctx, x, weight, bias, stride, padding, dilation, False, 0, groups)


@op("aten::conv_tbc")
def conv_tbc(ctx, x, weight, bias, pad=0):
    """conv_tbc(Tensor self, Tensor weight, Tensor bias, int pad=0) -> Tensor:
    conv1d of [time, batch, channel] with a weight [time, in, out]"""
    x, weight = permute(ctx, x, [1, 2, 0]), permute(ctx, weight, [2, 1, 0])
    return permute(ctx, conv(ctx, x, weight, bias, 1, pad), [2, 0, 1])


@op("aten::conv_transpose1d", "aten::conv_transpose2d.input", "aten::conv_transpose3d.input")
def conv_transpose(
    ctx, x, weight, bias=None, stride=1, padding=0, output_padding=0, groups=1, dilation=1
):
    """conv_transpose2d.input(Tensor input, Tensor weight, Tensor? bias=None,
    SymInt[2] stride=1, ...) -> Tensor"""
    return convolve(ctx, x, weight, bias, stride, padding, dilation, True, output_padding, groups)
