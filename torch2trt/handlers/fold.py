"""Rearranging: pixel and channel shuffles, unfold (im2col) and fold (col2im)."""

from __future__ import annotations

import torch
import torch.nn.functional as F

from ..registry import op
from .common import full_list, is_static, numel, rank, shape
from .pooling import batched
from .shape import pad_mode, reshape


@op("aten::pixel_shuffle")
def pixel_shuffle(ctx, x, upscale_factor):
    """pixel_shuffle(Tensor self, int upscale_factor) -> Tensor"""
    *lead, channels, height, width = shape(ctx, x)
    r = upscale_factor
    batch, channels = numel(ctx, x, range(len(lead))), channels // (r * r)
    split = reshape(ctx, x, [batch, channels, r, r, height, width])
    spread = ctx.permute(split, [0, 1, 4, 2, 5, 3])
    return reshape(ctx, spread, [*lead, channels, height * r, width * r])


@op("aten::pixel_unshuffle")
def pixel_unshuffle(ctx, x, downscale_factor):
    """pixel_unshuffle(Tensor self, int downscale_factor) -> Tensor"""
    *lead, channels, height, width = shape(ctx, x)
    r = downscale_factor
    batch, height, width = numel(ctx, x, range(len(lead))), height // r, width // r
    split = reshape(ctx, x, [batch, channels, height, r, width, r])
    gathered = ctx.permute(split, [0, 1, 3, 5, 2, 4])
    return reshape(ctx, gathered, [*lead, channels * r * r, height, width])


@op("aten::channel_shuffle", "aten::native_channel_shuffle")
def channel_shuffle(ctx, x, groups):
    """channel_shuffle(Tensor self, SymInt groups) -> Tensor"""
    batch, channels, *spatial = shape(ctx, x)
    split = reshape(ctx, x, [batch, groups, channels // groups, -1])
    return ctx.reshape(ctx.permute(split, [0, 2, 1, 3]), [batch, channels, *spatial])


def _windows(size, kernel, dilation, padding, stride):
    """Positions [kernel, windows] in the padded input along one dimension."""
    count = (size + 2 * padding - dilation * (kernel - 1) - 1) // stride + 1
    return torch.arange(kernel)[:, None] * dilation + torch.arange(count) * stride


@op("aten::im2col")
def im2col(ctx, x, kernel_size, dilation, padding, stride):
    """im2col(Tensor self, int[2] kernel_size, int[2] dilation, int[2] padding, int[2] stride)
    -> Tensor"""
    window = [full_list(v, 2) for v in (kernel_size, dilation, padding, stride)]
    sizes = shape(ctx, x)[-2:]
    if not is_static(sizes):
        raise ctx.refuse("im2col over a dynamic size")
    rows, columns = (_windows(*row) for row in zip(sizes, *window))
    return batched(ctx, x, 2, lambda v: _im2col(ctx, v, rows, columns, window[2]))


def _im2col(ctx, x, rows, columns, padding):
    batch, channels = shape(ctx, x)[:2]
    padded = pad_mode(ctx, x, [padding[1], padding[1], padding[0], padding[0]], "constant")
    windows = ctx.take(ctx.take(padded, columns, 3), rows, 2)
    ordered = ctx.permute(windows, [0, 1, 2, 4, 3, 5])
    (kh, oh), (kw, ow) = rows.shape, columns.shape
    return ctx.reshape(ordered, [batch, channels * (kh * kw), oh * ow])


@op("aten::col2im")
def col2im(ctx, x, output_size, kernel_size, dilation, padding, stride):
    """col2im(Tensor self, SymInt[2] output_size, int[2] kernel_size, int[2] dilation,
    int[2] padding, int[2] stride)"""
    window = [full_list(v, 2) for v in (kernel_size, dilation, padding, stride)]
    sources = _sources(list(output_size), *window)
    return batched_columns(ctx, x, lambda v: _col2im(ctx, v, sources, output_size, window[0]))


def batched_columns(ctx, x, fold):
    """Run `fold` on [N, C * kernel, windows]; an unbatched input as a batch of one."""
    if rank(ctx, x) == 3:
        return fold(x)
    result = fold(ctx.reshape(x, [1, *shape(ctx, x)]))
    return ctx.reshape(result, shape(ctx, result)[1:])


def _sources(output_size, kernel, dilation, padding, stride):
    """Which columns add up to each pixel: [most, pixels] positions.

    Pixels with fewer columns are filled up with the position behind the last column.
    """
    pixels = torch.arange(1.0, output_size[0] * output_size[1] + 1, dtype=torch.float64)
    image = pixels.reshape(1, 1, *output_size)
    targets = F.unfold(image, kernel, dilation, padding, stride).long().reshape(-1)
    order = torch.argsort(targets, stable=True)
    counts = torch.bincount(targets, minlength=pixels.numel() + 1)
    ends = counts.cumsum(0)
    table = torch.full((int(counts[1:].max()), pixels.numel()), targets.numel())
    for slot in range(len(table)):
        has = counts[1:] > slot
        table[slot, has] = order[(ends - counts)[1:][has] + slot]
    return table


def _col2im(ctx, x, sources, output_size, kernel):
    batch, columns, windows = shape(ctx, x)
    channels = columns // (kernel[0] * kernel[1])
    flat = ctx.reshape(x, [batch, channels, kernel[0] * kernel[1] * windows])
    with_zero = ctx.pad(flat, [0, 0, 0], [0, 0, 1], "constant", 0)
    total = ctx.reduce("sum", ctx.take(with_zero, sources, 2), [2], False)
    return ctx.reshape(total, [batch, channels, *output_size])
