"""Max pooling that tells where its values come from, and its inverse.

The windows are gathered by constant tables: per spatial dimension a table [windows, kernel] of
input positions. What lies outside the input is replaced by the nearest position of the same window
inside, which changes neither the maximum nor the first and the last place where it is.
"""

from __future__ import annotations

import math

import torch

from ..registry import op
from .common import dtype, full_list, is_static, product, rank, shape
from .elementwise import add, ge, where
from .indexing import gather
from .logic import isnan
from .pooling import adaptive_bounds, batched, pool_size
from .reduction import amax, max_dim
from .shape import reshape


def _static_sizes(ctx, x, spatial):
    sizes = list(shape(ctx, x))[-spatial:]
    if not is_static(sizes):
        raise ctx.refuse("the indices of max pooling over a dynamic size")
    return sizes


def _flat_positions(tables, sizes):
    """Where the windows lie in the flattened input: [windows, kernel], both flattened."""
    spatial, positions = len(tables), torch.tensor(0)
    for d, (table, size) in enumerate(zip(tables, sizes)):
        view = [1] * (2 * spatial)
        view[d], view[spatial + d] = table.shape
        positions = positions * size + table.view(view)
    return positions.flatten(0, spatial - 1).flatten(1)


def _max_over_tables(ctx, x, tables):
    """Values and indices of [N, C, *spatial] over the windows of the tables."""
    sizes = _static_sizes(ctx, x, len(tables))
    positions = _flat_positions(tables, sizes)
    windows = ctx.take(reshape(ctx, x, [*shape(ctx, x)[:2], math.prod(sizes)]), positions, 2)
    values, chosen = _max_of_windows(ctx, windows, positions.shape[1])
    starts = torch.arange(positions.shape[0]) * positions.shape[1]
    indices = ctx.take(positions.reshape(-1), add(ctx, chosen, starts), 0)
    target = [*shape(ctx, x)[:2], *[len(table) for table in tables]]
    return ctx.reshape(values, target), ctx.reshape(indices, target)


def _max_of_windows(ctx, windows, size):
    """The maximum over axis 3 of `size`, and where it is: the first number, but the last NaN."""
    values, chosen = max_dim(ctx, windows, 3)
    if not dtype(ctx, windows).is_floating_point:
        return values, chosen
    last = amax(ctx, where(ctx, isnan(ctx, windows), torch.arange(size), torch.tensor(-1)), 3)
    return values, where(ctx, ge(ctx, last, 0), last, chosen)


def _window_table(ctx, size, kernel, stride, padding, dilation, ceil_mode):
    count = pool_size(size, kernel, stride, padding, dilation, ceil_mode)
    table = torch.arange(count)[:, None] * stride - padding + torch.arange(kernel) * dilation
    inside = (table >= 0) & (table < size)
    if not bool(inside.any(1).all()):
        raise ctx.refuse("the indices of max pooling over windows that lie outside the input")
    first = table.where(inside, size).amin(1, keepdim=True)
    last = table.where(inside, -1).amax(1, keepdim=True)
    return table.clamp(first, last)


def _adaptive_table(size, count):
    """Uneven windows are filled up with their last position, which changes no maximum."""
    bounds = adaptive_bounds(size, count)
    width = max(b - a for a, b in bounds)
    return torch.tensor([[min(a + i, b - 1) for i in range(width)] for a, b in bounds])


def max_pool_with_indices(spatial: int) -> None:
    """A table row: max pooling of a number of spatial dimensions."""

    @op(f"aten::max_pool{spatial}d_with_indices")
    def emit(ctx, x, kernel_size, stride=(), padding=0, dilation=1, ceil_mode=False):
        """max_pool2d_with_indices(Tensor self, int[2] kernel_size, int[2] stride=[],
        int[2] padding=0, int[2] dilation=1, bool ceil_mode=False) -> (Tensor, Tensor)"""
        kernel = full_list(kernel_size, spatial)
        stride, padding = full_list(stride, spatial) or kernel, full_list(padding, spatial)
        window = kernel, stride, padding, full_list(dilation, spatial)
        sizes = _static_sizes(ctx, x, spatial)
        tables = [_window_table(ctx, *row, ceil_mode) for row in zip(sizes, *window)]
        return batched(ctx, x, spatial, lambda v: _max_over_tables(ctx, v, tables))


def adaptive_max_pool(spatial: int) -> None:
    """A table row: max pooling of a number of spatial dimensions to a size."""

    @op(f"aten::adaptive_max_pool{spatial}d")
    def emit(ctx, x, output_size):
        """adaptive_max_pool2d(Tensor self, int[2] output_size) -> (Tensor, Tensor)"""
        rows = zip(_static_sizes(ctx, x, spatial), full_list(output_size, spatial))
        tables = [_adaptive_table(s, s if t is None else t) for s, t in rows]
        return batched(ctx, x, spatial, lambda v: _max_over_tables(ctx, v, tables))


for _spatial in (1, 2, 3):
    max_pool_with_indices(_spatial)
    adaptive_max_pool(_spatial)


# ---- fractional ----------------------------------------------------------------------------------
def _fractional_starts(samples, size, kernel, count):
    """The first positions of all windows along one dimension, [..., count], as PyTorch draws them
    from `samples`."""
    if count == 1:
        return torch.full((*samples.shape, 1), size - kernel)
    alpha = torch.tensor((size - kernel) / (count - 1), dtype=samples.dtype)
    sample = samples[..., None]
    steps = ((torch.arange(count, dtype=samples.dtype) + sample) * alpha).to(torch.int64)
    starts = steps - (sample * alpha).to(torch.int64)
    starts[..., -1] = size - kernel
    return starts


@op("aten::fractional_max_pool2d", "aten::fractional_max_pool3d")
def fractional_max_pool(ctx, x, kernel_size, output_size, random_samples):
    """fractional_max_pool2d(Tensor self, int[2] kernel_size, int[2] output_size,
    Tensor random_samples) -> (Tensor, Tensor)"""
    if ctx.is_tensor(random_samples):
        raise ctx.refuse("fractional_max_pool with samples that are computed in the network")
    spatial = random_samples.shape[-1]
    kernel, count = full_list(kernel_size, spatial), full_list(output_size, spatial)
    sizes = _static_sizes(ctx, x, spatial)
    order = list(range(spatial))[::-1] if spatial == 2 else list(range(spatial))
    starts = [
        _fractional_starts(random_samples[..., own], *row)
        for own, *row in zip(order, sizes, kernel, count)
    ]
    return batched(ctx, x, spatial, lambda v: _max_per_channel(ctx, v, starts, kernel, sizes))


def _max_per_channel(ctx, x, starts, kernel, sizes):
    """Windows of their own for each sample and channel: ``starts[d]`` is [N, C, windows]."""
    count = [s.shape[-1] for s in starts]
    if any(not isinstance(d, int) for d in shape(ctx, x)):
        raise ctx.refuse("fractional_max_pool of a dynamic batch")
    windows = [start[..., None] + torch.arange(k) for start, k in zip(starts, kernel)]
    rows = [_flat_positions(own, sizes) for own in zip(*[w.flatten(0, 1) for w in windows])]
    lead = list(shape(ctx, x)[:2])
    positions = torch.stack(rows).reshape(*lead, *rows[0].shape)
    flat = reshape(ctx, x, [*lead, -1])
    windows = reshape(ctx, gather(ctx, flat, 2, positions.flatten(2)), positions.shape)
    values, chosen = _max_of_windows(ctx, windows, positions.shape[3])
    indices = gather(ctx, positions, 3, ctx.reshape(chosen, [*shape(ctx, chosen), 1]))
    return ctx.reshape(values, [*lead, *count]), ctx.reshape(indices, [*lead, *count])


# ---- the inverse ---------------------------------------------------------------------------------
def _unpool(ctx, x, indices, output_size):
    """Put the values of x at `indices` of zeros of size [*, *output_size]."""
    spatial = len(output_size)
    sizes = list(shape(ctx, x))
    lead = sizes[: rank(ctx, x) - spatial]
    count, total = product(sizes[len(lead) :]), product(output_size)
    values, places = (reshape(ctx, v, [*lead, count]) for v in (x, indices))
    kind = dtype(ctx, x)
    zeros = ctx.expand(ctx.literal(torch.zeros([1] * (len(lead) + 1), dtype=kind)), [*lead, total])
    return ctx.reshape(ctx.scatter(zeros, places, values, len(lead), None), [*lead, *output_size])


@op("aten::max_unpool2d")
def max_unpool2d(ctx, x, indices, output_size):
    """max_unpool2d(Tensor self, Tensor indices, SymInt[2] output_size) -> Tensor"""
    return _unpool(ctx, x, indices, list(output_size))


@op("aten::max_unpool3d")
def max_unpool3d(ctx, x, indices, output_size, stride, padding):
    """max_unpool3d(Tensor self, Tensor indices, SymInt[3] output_size, int[3] stride,
    int[3] padding) -> Tensor"""
    return _unpool(ctx, x, indices, list(output_size))
