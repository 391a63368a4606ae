"""Pooling: fixed and adaptive windows."""

from __future__ import annotations

import functools
import itertools
import math

import torch

from ..registry import op
from .common import dtype, full_list, is_size, is_static, rank, shape
from .elementwise import mul
from .shape import cat, narrow_to, unsqueeze


def batched(ctx, x, spatial, pool):
    """Run `pool` on [N, C, *spatial]; an unbatched input gets a batch dimension for the while."""
    if rank(ctx, x) == spatial + 2:
        return pool(x)
    results = pool(unsqueeze(ctx, x, 0))
    if isinstance(results, tuple):
        return tuple(ctx.reshape(result, shape(ctx, result)[1:]) for result in results)
    return ctx.reshape(results, shape(ctx, results)[1:])


def pool_size(size, kernel, stride, padding, dilation, ceil_mode):
    """The number of windows along one static dimension."""
    room = size + 2 * padding - dilation * (kernel - 1) - 1
    count = (room + (stride - 1 if ceil_mode else 0)) // stride + 1
    return count - 1 if ceil_mode and (count - 1) * stride >= size + padding else count


# ---- one table row per number of spatial dimensions ----------------------------------------------
def max_pool(spatial: int) -> None:
    """A table row: max pooling."""

    @op(f"aten::max_pool{spatial}d")
    def emit(ctx, x, kernel_size, stride=(), padding=0, dilation=1, ceil_mode=False):
        """max_pool2d(Tensor self, int[2] kernel_size, int[2] stride=[], int[2] padding=0,
        int[2] dilation=1, bool ceil_mode=False) -> Tensor"""
        window = [full_list(v, spatial) for v in (kernel_size, stride, padding, dilation)]
        window[1] = window[1] or window[0]
        return batched(ctx, x, spatial, lambda v: ctx.max_pool(v, *window, ceil_mode))


def avg_pool(spatial: int) -> None:
    """A table row: average pooling."""

    @op(f"aten::avg_pool{spatial}d")
    def emit(
        ctx, x, kernel_size, stride=(), padding=0, ceil_mode=False, count_include_pad=True,
        divisor_override=None,
    ):  # fmt: skip
        """avg_pool2d(Tensor self, int[2] kernel_size, int[2] stride=[], int[2] padding=0,
        bool ceil_mode=False, bool count_include_pad=True, int? divisor_override=None) -> Tensor"""
        window = [full_list(v, spatial) for v in (kernel_size, stride, padding)]
        window[1] = window[1] or window[0]
        options = ceil_mode, count_include_pad, divisor_override
        return batched(ctx, x, spatial, lambda v: _avg_pool(ctx, v, *window, *options))


def adaptive_avg_pool(spatial: int, *also: str) -> None:
    """A table row: average pooling to a size."""

    @op(f"aten::adaptive_avg_pool{spatial}d", *also)
    def emit(ctx, x, output_size):
        """adaptive_avg_pool2d(Tensor self, SymInt[2] output_size) -> Tensor"""
        return adaptive_pool(ctx, x, spatial, output_size, "mean")


for _spatial in (1, 2, 3):
    max_pool(_spatial)
    avg_pool(_spatial)
adaptive_avg_pool(1)
adaptive_avg_pool(2, "aten::_adaptive_avg_pool2d")
adaptive_avg_pool(3, "aten::_adaptive_avg_pool3d")


# ---- averages ------------------------------------------------------------------------------------
def _avg_pool(ctx, x, kernel, stride, padding, ceil_mode, count_include_pad, divisor):
    window = kernel, stride, padding, ceil_mode
    if not dtype(ctx, x).is_floating_point:
        return _integer_avg_pool(ctx, x, *window, count_include_pad, divisor)
    if divisor is not None:
        return _sum_pool(ctx, x, *window, divisor)
    return ctx.avg_pool(x, *window, count_include_pad)


def _integer_avg_pool(ctx, x, kernel, stride, padding, ceil_mode, count_include_pad, divisor):
    """Average pooling of integers: the sum of strided slices, divided with truncation."""
    sizes = shape(ctx, x)[2:]
    if not is_static(sizes):
        raise ctx.refuse("avg_pool of integers over a dynamic size")
    windows, reach = _windows_and_reach(sizes, kernel, stride, padding, ceil_mode)
    padded = ctx.pad(x, [0, 0, *padding], [0, 0, *reach], "constant", 0)
    lead = list(shape(ctx, x)[:2])
    slices = [
        ctx.slice(padded, [0, 0, *offset], [*lead, *windows], [1, 1, *stride])
        for offset in itertools.product(*map(range, kernel))
    ]
    total = functools.reduce(lambda a, b: ctx.binary("add", a, b), slices)
    counts = _window_sizes(windows, sizes, kernel, stride, padding, count_include_pad)
    counts = counts if divisor is None else torch.full_like(counts, divisor)
    return ctx.binary("truncdiv", total, ctx.literal(counts.to(dtype(ctx, x))))


def _window_sizes(windows, sizes, kernel, stride, padding, count_include_pad):
    """How many positions of each window its average counts: a table [*windows]."""
    counts = torch.ones([])
    for n, s, k, t, p in zip(windows, sizes, kernel, stride, padding):
        first = torch.arange(n) * t - p
        last = (first + k).clamp(max=s + p)
        own = last - first if count_include_pad else last.clamp(max=s) - first.clamp(min=0)
        counts = counts.unsqueeze(-1) * own
    return counts


def _windows_and_reach(sizes, kernel, stride, padding, ceil_mode):
    """Per dimension the number of windows, and how far the last one reaches behind the input."""
    rows = list(zip(sizes, kernel, stride, padding))
    windows = [pool_size(s, k, t, p, 1, ceil_mode) for s, k, t, p in rows]
    return windows, [max((n - 1) * t + k - s - p, 0) for n, (s, k, t, p) in zip(windows, rows)]


def _sum_pool(ctx, x, kernel, stride, padding, ceil_mode, divisor):
    """Average pooling with a fixed divisor; windows that ceil_mode adds reach into zeros."""
    if ceil_mode:
        sizes = list(shape(ctx, x))[2:]
        if not is_static(sizes):
            raise ctx.refuse("avg_pool with divisor_override and ceil_mode over a dynamic size")
        _, reach = _windows_and_reach(sizes, kernel, stride, padding, True)
        x = ctx.pad(x, [0, 0, *padding], [0, 0, *reach], "constant", 0)
        padding = [0] * len(padding)
    average = ctx.avg_pool(x, kernel, stride, padding, False, True)
    return mul(ctx, average, math.prod(kernel) / divisor)


# ---- to a size -----------------------------------------------------------------------------------
def adaptive_bounds(size, count):
    """Start and end of each window of adaptive pooling."""
    return [(p * size // count, -(-(p + 1) * size // count)) for p in range(count)]


def adaptive_pool(ctx, x, spatial, output_size, name):
    """Adaptive pooling to a size: one reduction, one pooling where all windows are even, or else
    one reduction per output position."""
    first = rank(ctx, x) - spatial
    sizes = shape(ctx, x)[first:]
    target = [s if t is None else t for s, t in zip(sizes, full_list(output_size, spatial))]
    if all(is_size(t, 1) for t in target):
        return ctx.reduce(name, x, list(range(first, first + spatial)), True)
    if not is_static([*sizes, *target]):
        raise ctx.refuse("adaptive pooling to more than one position over a dynamic size")
    if all(s % t == 0 for s, t in zip(sizes, target)):
        return _even_pool(ctx, x, [s // t for s, t in zip(sizes, target)], name)
    for at, (size, count) in enumerate(zip(sizes, target), first):
        if size != count:
            windows = (narrow_to(ctx, x, at, a, b - a) for a, b in adaptive_bounds(size, count))
            x = cat(ctx, [ctx.reduce(name, window, [at], True) for window in windows], at)
    return x


def _even_pool(ctx, x, window, name):
    """Pooling over windows that lie side by side."""
    spatial = len(window)
    ones, zeros = [1] * spatial, [0] * spatial
    if window == ones:
        return x
    if name == "mean":
        options = window, window, zeros, False, True
        return batched(ctx, x, spatial, lambda v: ctx.avg_pool(v, *options))
    options = window, window, zeros, ones, False
    return batched(ctx, x, spatial, lambda v: ctx.max_pool(v, *options))
