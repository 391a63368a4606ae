"""Max pooling that tells where its values come from, and its inverse.

The windows are gathered by constant tables: per spatial dimension a table [windows, kernel] of
input positions, and a table of the same shape that tells which of them lie inside the input.
"""

from __future__ import annotations

import torch

from ..registry import op
from .common import dtype, full_list, is_static, rank, shape
from .elementwise import add, where
from .indexing import gather
from .pooling import adaptive_bounds, batched, pool_size
from .reduction import max_dim
from .shape import reshape


def _static_sizes(ctx, x, spatial):
    sizes = list(shape(ctx, x))[-spatial:]
    if not is_static(sizes):
        raise ctx.refuse("the indices of max pooling over a dynamic size")
    return sizes


def _outer(tables, combine):
    """Tables [n_d, k_d] of all dimensions as one table [n_1, .., k_1, ..]."""
    spatial, result = len(tables), None
    for d, table in enumerate(tables):
        view = [1] * (2 * spatial)
        view[d], view[spatial + d] = table.shape
        result = table.view(view) if result is None else combine(result, table.view(view))
    return result


def _flat_positions(tables, sizes):
    """Where the windows lie in the flattened input: [windows, kernel], both flattened."""
    stride, scaled = 1, []
    for table, size in reversed(list(zip(tables, sizes))):
        scaled.insert(0, table * stride)
        stride *= size
    return _outer(scaled, torch.add).flatten(0, len(tables) - 1).flatten(1)


def _max_over_tables(ctx, x, tables, inside):
    """Values and indices of [N, C, *spatial] over the windows of the tables."""
    sizes = _static_sizes(ctx, x, len(tables))
    positions = _flat_positions(tables, sizes)
    windows = ctx.take(reshape(ctx, x, [*shape(ctx, x)[:2], -1]), positions, 2)
    within = _outer(inside, torch.logical_and).reshape(positions.shape)
    if not bool(within.all()):
        windows = where(ctx, within, windows, _lowest(ctx, x))
    values, chosen = max_dim(ctx, windows, 3)
    starts = torch.arange(positions.shape[0]) * positions.shape[1]
    indices = ctx.take(positions.reshape(-1), add(ctx, chosen, starts), 0)
    target = [*shape(ctx, x)[:2], *[len(table) for table in tables]]
    return ctx.reshape(values, target), ctx.reshape(indices, target)


def _lowest(ctx, x):
    kind = dtype(ctx, x)
    value = float("-inf") if kind.is_floating_point else torch.iinfo(kind).min
    return torch.tensor(value, dtype=kind)


def _window_table(size, kernel, stride, padding, dilation, ceil_mode):
    count = pool_size(size, kernel, stride, padding, dilation, ceil_mode)
    table = torch.arange(count)[:, None] * stride - padding + torch.arange(kernel) * dilation
    return table.clamp(0, size - 1), (table >= 0) & (table < size)


def _adaptive_table(size, count):
    """Uneven windows are filled up with their last position, which changes no maximum."""
    bounds = adaptive_bounds(size, count)
    width = max(b - a for a, b in bounds)
    table = torch.tensor([[min(a + i, b - 1) for i in range(width)] for a, b in bounds])
    return table, torch.ones_like(table, dtype=torch.bool)


def _pools_with_indices(spatial: int):
    """The operators of one number of spatial dimensions."""

    @op(f"aten::max_pool{spatial}d_with_indices")
    def max_pool(ctx, x, kernel_size, stride=(), padding=0, dilation=1, ceil_mode=False):
        """max_pool2d_with_indices(Tensor self, int[2] kernel_size, int[2] stride=[],
        int[2] padding=0, int[2] dilation=1, bool ceil_mode=False) -> (Tensor, Tensor)"""
        kernel = full_list(kernel_size, spatial)
        stride, padding = full_list(stride, spatial) or kernel, full_list(padding, spatial)
        window = kernel, stride, padding, full_list(dilation, spatial)
        sizes = _static_sizes(ctx, x, spatial)
        tables, inside = zip(*[_window_table(*row, ceil_mode) for row in zip(sizes, *window)])
        return batched(ctx, x, spatial, lambda v: _max_over_tables(ctx, v, tables, inside))

    @op(f"aten::adaptive_max_pool{spatial}d")
    def adaptive_max_pool(ctx, x, output_size):
        """adaptive_max_pool2d(Tensor self, int[2] output_size) -> (Tensor, Tensor)"""
        rows = zip(_static_sizes(ctx, x, spatial), full_list(output_size, spatial))
        tables, inside = zip(*[_adaptive_table(s, s if t is None else t) for s, t in rows])
        return batched(ctx, x, spatial, lambda v: _max_over_tables(ctx, v, tables, inside))

    return max_pool, adaptive_max_pool


max_pool1d_with_indices, adaptive_max_pool1d = _pools_with_indices(1)
max_pool2d_with_indices, adaptive_max_pool2d = _pools_with_indices(2)
max_pool3d_with_indices, adaptive_max_pool3d = _pools_with_indices(3)


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
    values, chosen = max_dim(ctx, windows, 3)
    indices = gather(ctx, positions, 3, ctx.reshape(chosen, [*shape(ctx, chosen), 1]))
    return ctx.reshape(values, [*lead, *count]), ctx.reshape(indices, [*lead, *count])


# ---- the inverse ---------------------------------------------------------------------------------
def _unpool(ctx, x, indices, output_size):
    """Put the values of x at `indices` of zeros of size [*, *output_size]."""
    spatial = len(output_size)
    lead = list(shape(ctx, x))[: rank(ctx, x) - spatial]
    values, places = (reshape(ctx, v, [*lead, -1]) for v in (x, indices))
    kind = dtype(ctx, x)
    total = 1
    for size in output_size:
        total = total * size
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
