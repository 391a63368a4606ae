"""Writing into a copy of a tensor: what in-place writes become, and the scatter family."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any

import torch

from ..backends.base import reached
from ..registry import op
from .common import axis, broadcast_shapes, dtype, full, is_size, numel, rank, shape, tensor
from .elementwise import add, div, eq, maximum, minimum, mul, sub, where
from .indexing import (
    expanded_index,
    index_layout,
    is_mask,
    linear_index,
    reached_by_all,
    wrapped,
)
from .scan import cumsum
from .shape import clamped, expand, movedim, narrow_to, permute, reshape, unsqueeze


@op("aten::copy", "aten::_copy_from")
def copy(ctx, x, src, non_blocking=False):
    """copy(Tensor self, Tensor src, bool non_blocking=False) -> Tensor:
    src in the shape and dtype of self"""
    return expand(ctx, tensor(ctx, src, dtype(ctx, x)), list(shape(ctx, x)))


@op("aten::fill")
def fill(ctx, x, value):
    """fill.Scalar(Tensor self, Scalar value) -> Tensor"""
    return full(ctx, shape(ctx, x), value, dtype(ctx, x))


@op("aten::zero")
def zero(ctx, x):
    """zero(Tensor self) -> Tensor"""
    return fill(ctx, x, 0)


def overwrite(ctx: Any, x: Any, src: Any, at: int, positions: Sequence[int]) -> Any:
    """`x` with the elements at static `positions` of axis `at` replaced by those of `src`."""
    size = shape(ctx, x)[at]
    if not isinstance(size, int):
        raise ctx.refuse("a write with steps into a dynamic dimension")
    table = torch.arange(size)
    table[torch.as_tensor(positions, dtype=torch.int64)] = torch.arange(len(positions)) + size
    return ctx.take(ctx.concat([x, src], at), table, at)


@op("aten::slice_scatter")
def slice_scatter(ctx, x, src, dim=0, start=None, end=None, step=1):
    """slice_scatter(Tensor self, Tensor src, int dim=0, SymInt? start=None, SymInt? end=None,
    SymInt step=1)"""
    at, sizes = axis(ctx, x, dim), list(shape(ctx, x))
    size = sizes[at]
    start = clamped(ctx, 0 if start is None else start, size)
    whole = end is None or (isinstance(end, int) and end >= sys.maxsize)
    end = size if whole else clamped(ctx, end, size)
    if isinstance(start, int) and isinstance(end, int):
        sizes[at] = max(-(-(end - start) // step), 0)
    elif step == 1:
        sizes[at] = shape(ctx, src)[at] if isinstance(shape(ctx, src)[at], int) else end - start
    src = expand(ctx, tensor(ctx, src, dtype(ctx, x)), sizes)
    if isinstance(sizes[at], int) and sizes[at] == 0:
        return x
    if step != 1:
        return overwrite(ctx, x, src, at, range(start, end, step))
    head = [] if isinstance(start, int) and start == 0 else [_part(ctx, x, at, 0, start)]
    after = start + sizes[at]
    tail = [] if _same(after, size) else [_part(ctx, x, at, after, size - after)]
    return ctx.concat([*head, src, *tail], at) if head or tail else src


def _part(ctx: Any, x: Any, at: int, start: Any, length: Any) -> Any:
    if ctx.is_tensor(x) or ctx.is_dim(start) or ctx.is_dim(length):
        return narrow_to(ctx, x, at, start, length)
    return x.narrow(at, start, length)


@op("aten::select_scatter")
def select_scatter(ctx, x, src, dim, index):
    """select_scatter(Tensor self, Tensor src, int dim, SymInt index) -> Tensor"""
    at, sizes = axis(ctx, x, dim), list(shape(ctx, x))
    index = clamped(ctx, index, sizes[at])
    one = expand(ctx, tensor(ctx, src, dtype(ctx, x)), [*sizes[:at], *sizes[at + 1 :]])
    return slice_scatter(ctx, x, unsqueeze(ctx, one, at), at, index, index + 1)


def diagonal_positions(
    ctx: Any, x: Any, offset: int, dim1: int, dim2: int
) -> tuple[list[int], list[int]]:
    """The axes with dim1 and dim2 last, and where the diagonal lies in these two, flattened."""
    first, second = axis(ctx, x, dim1), axis(ctx, x, dim2)
    rest = [a for a in range(rank(ctx, x)) if a not in (first, second)]
    rows, columns = shape(ctx, x)[first], shape(ctx, x)[second]
    if not (isinstance(rows, int) and isinstance(columns, int)):
        raise ctx.refuse("the diagonal of a dynamic dimension")
    row, column = max(-offset, 0), max(offset, 0)
    count = max(min(rows - row, columns - column), 0)
    return [*rest, first, second], [(row + i) * columns + column + i for i in range(count)]


@op("aten::diagonal_scatter")
def diagonal_scatter(ctx, x, src, offset=0, dim1=0, dim2=1):
    """diagonal_scatter(Tensor self, Tensor src, int offset=0, int dim1=0, int dim2=1) -> Tensor"""
    order, positions = diagonal_positions(ctx, x, offset, dim1, dim2)
    moved = permute(ctx, x, order)
    sizes = list(shape(ctx, moved))
    flat = reshape(ctx, moved, [*sizes[:-2], sizes[-2] * sizes[-1]])
    src = expand(ctx, tensor(ctx, src, dtype(ctx, x)), [*sizes[:-2], len(positions)])
    if not positions:
        return x
    written = ctx.reshape(overwrite(ctx, flat, src, len(sizes) - 2, positions), sizes)
    return ctx.permute(written, [order.index(a) for a in range(len(order))])


# ---- scatter -------------------------------------------------------------------------------------
_REDUCTIONS = {
    "add": "add", "sum": "add", "mean": "add", "multiply": "multiply", "prod": "multiply",
    "amax": "maximum", "amin": "minimum",
}  # fmt: skip


def _scatter(ctx: Any, x: Any, dim: int, index: Any, src: Any, reduction: str | None) -> Any:
    """`src` holds one value per element of `index`, or more, of which the leading corner counts."""
    if not rank(ctx, x):
        x, index, src = reshape(ctx, x, [1]), reshape(ctx, index, [-1]), reshape(ctx, src, [-1])
        return reshape(ctx, _scatter(ctx, x, 0, index, src, reduction), [])
    if any(is_size(s, 0) for s in shape(ctx, index)):
        return x
    src = tensor(ctx, src, dtype(ctx, x))
    for at, size in enumerate(shape(ctx, index)):
        if not _same(shape(ctx, src)[at], size):
            src = _part(ctx, src, at, 0, size)
    index, at = tensor(ctx, index, torch.int64), axis(ctx, x, dim)
    reduction = _REDUCTIONS.get(reduction, reduction)
    if dtype(ctx, x) == torch.bool and reduction is not None:
        x, src = tensor(ctx, x, torch.int32), tensor(ctx, src, torch.int32)
        return tensor(ctx, ctx.scatter(x, index, src, at, reduction), torch.bool)
    return ctx.scatter(x, index, src, at, reduction)


def _same(a: Any, b: Any) -> bool:
    return a is b or (isinstance(a, int) and isinstance(b, int) and a == b)


def _values(ctx: Any, x: Any, index: Any, value: Any) -> Any:
    """A number as one value per element of `index`."""
    return full(ctx, shape(ctx, index), value, dtype(ctx, x))


@op("aten::scatter.src", "aten::scatter.reduce")
def scatter(ctx, x, dim, index, src, reduce=None):
    """scatter.src(Tensor self, int dim, Tensor index, Tensor src) -> Tensor"""
    return _scatter(ctx, x, dim, index, src, reduce)


@op("aten::scatter.value", "aten::scatter.value_reduce")
def scatter_value(ctx, x, dim, index, value, reduce=None):
    """scatter.value(Tensor self, int dim, Tensor index, Scalar value) -> Tensor"""
    return _scatter(ctx, x, dim, index, _values(ctx, x, index, value), reduce)


@op("aten::scatter_add")
def scatter_add(ctx, x, dim, index, src):
    """scatter_add(Tensor self, int dim, Tensor index, Tensor src) -> Tensor"""
    return _scatter(ctx, x, dim, index, src, "add")


_NEUTRAL = {"sum": 0, "mean": 0, "prod": 1}


def _neutral(kind: torch.dtype, reduce: str) -> float:
    if reduce in _NEUTRAL:
        return _NEUTRAL[reduce]
    sign = -1 if reduce == "amax" else 1
    if kind.is_floating_point:
        return sign * float("inf")
    if kind == torch.bool:
        return sign > 0
    return torch.iinfo(kind).min if sign < 0 else torch.iinfo(kind).max


@op("aten::scatter_reduce.two")
def scatter_reduce(ctx, x, dim, index, src, reduce, include_self=True):
    """scatter_reduce.two(Tensor self, int dim, Tensor index, Tensor src, str reduce, *,
    bool include_self=True)"""
    kind = dtype(ctx, x)
    counts = None
    if reduce == "mean" or not include_self:
        zeros = full(ctx, shape(ctx, x), 0, torch.int64)
        ones = full(ctx, shape(ctx, index), 1, torch.int64)
        counts = scatter_add(ctx, zeros, dim, index, ones)
    start = x
    if not include_self:
        start = where(ctx, eq(ctx, counts, 0), x, tensor(ctx, _neutral(kind, reduce), kind))
    result = _scatter(ctx, start, dim, index, src, reduce)
    if reduce != "mean":
        return result
    divisor = add(ctx, counts, 1) if include_self else maximum(ctx, counts, tensor(ctx, 1))
    rounding = None if kind.is_floating_point else "floor"
    return div(ctx, result, tensor(ctx, divisor, kind), rounding)


def _along(ctx: Any, x: Any, dim: int, index: Any, source: Any) -> tuple[Any, int, Any, Any]:
    """`x`, the axis, and a 1-d index along `dim` as one as large as `source`, which is at least
    1-d."""
    at = axis(ctx, x, dim)
    source = source if rank(ctx, source) or not rank(ctx, x) else expand(ctx, source, [1])
    x = reached(ctx, x, at, index)
    index = wrapped(ctx, reshape(ctx, index, [-1]), shape(ctx, x)[at] if rank(ctx, x) else 1)
    return x, at, expanded_index(ctx, index, at, list(shape(ctx, source)) or [1]), source


@op("aten::index_add")
def index_add(ctx, x, dim, index, source, alpha=1):
    """index_add(Tensor self, int dim, Tensor index, Tensor source, *, Scalar alpha=1) -> Tensor"""
    x, at, index, source = _along(ctx, x, dim, index, source)
    return _scatter(ctx, x, at, index, source if alpha == 1 else mul(ctx, source, alpha), "add")


@op("aten::index_copy")
def index_copy(ctx, x, dim, index, source):
    """index_copy(Tensor self, int dim, Tensor index, Tensor source) -> Tensor"""
    x, at, index, source = _along(ctx, x, dim, index, source)
    return _scatter(ctx, x, at, index, source, None)


@op("aten::index_fill")
def index_fill(ctx, x, dim, index, value):
    """index_fill.int_Scalar(Tensor self, int dim, Tensor index, Scalar value) -> Tensor"""
    sizes = list(shape(ctx, x)) or [1]
    sizes[axis(ctx, x, dim)] = numel(ctx, index)
    source = full(ctx, sizes, value, dtype(ctx, x))
    return index_copy(ctx, x, dim, index, source)


@op("aten::index_reduce")
def index_reduce(ctx, x, dim, index, source, reduce, include_self=True):
    """index_reduce(Tensor self, int dim, Tensor index, Tensor source, str reduce, *,
    bool include_self=True)"""
    x, at, index, source = _along(ctx, x, dim, index, source)
    return scatter_reduce(ctx, x, at, index, source, reduce, include_self)


# ---- index assignment ----------------------------------------------------------------------------
@op("aten::masked_scatter")
def masked_scatter(ctx, x, mask, source):
    """masked_scatter(Tensor self, Tensor mask, Tensor source) -> Tensor:
    the n-th True takes the n-th of source"""
    sizes = broadcast_shapes(shape(ctx, x), shape(ctx, mask))
    x, mask = expand(ctx, x, sizes), expand(ctx, tensor(ctx, mask, torch.bool), sizes)
    return where(ctx, mask, _nth(ctx, mask, reshape(ctx, source, [-1])), x)


def _nth(ctx: Any, mask: Any, rows: Any) -> Any:
    """For each True of `mask` the row of `rows` that belongs to it: mask.shape + rows.shape[1:]."""
    number = sub(ctx, cumsum(ctx, tensor(ctx, reshape(ctx, mask, [-1]), torch.int64), 0), 1)
    count = shape(ctx, rows)[0]
    last = sub(ctx, count, 1) if ctx.is_dim(count) else count - 1
    number = minimum(ctx, maximum(ctx, number, tensor(ctx, 0)), tensor(ctx, last))
    return ctx.take(ctx.operand(rows), reshape(ctx, number, list(shape(ctx, mask))), 0)


def _put_masked(ctx: Any, x: Any, mask: Any, values: Any, accumulate: bool) -> Any:
    """``x[mask] = values``, where `mask` covers the first dimensions of `x`."""
    rest = rank(ctx, x) - rank(ctx, mask)
    if rank(ctx, values) > rest and shape(ctx, values)[0] != 1:
        rows = expand(ctx, values, [shape(ctx, values)[0], *shape(ctx, x)[rank(ctx, mask) :]])
        values = _nth(ctx, mask, rows)
    elif rank(ctx, values) > rest:
        values = reshape(ctx, values, list(shape(ctx, values))[1:])
    mask = reshape(ctx, mask, [*shape(ctx, mask), *[1] * rest])
    return where(ctx, mask, add(ctx, x, values) if accumulate else values, x)


@op("aten::index_put", "aten::_index_put_impl", "aten::_unsafe_index_put")
def index_put(ctx, x, indices, values, accumulate=False, unsafe=False):
    """index_put(Tensor self, Tensor?[] indices, Tensor values, bool accumulate=False) -> Tensor"""
    values = tensor(ctx, values, dtype(ctx, x))
    given = [i for i in indices if i is not None]
    if len(given) == 1 and indices[0] is not None and is_mask(ctx, given[0]):
        return _put_masked(ctx, x, tensor(ctx, given[0], torch.bool), values, accumulate)
    x = reached_by_all(ctx, x, indices)
    order, indexed, lead, at = index_layout(ctx, x, indices)
    moved = permute(ctx, x, order)
    sizes = list(shape(ctx, moved))
    rest = sizes[len(indexed) :]
    places = linear_index(ctx, indexed, sizes)
    values = _places_first(ctx, expand(ctx, values, [*rest[:at], *lead, *rest[at:]]), lead, at)
    count = numel(ctx, places)
    values = reshape(ctx, values, [count, *rest])
    table = reshape(ctx, moved, [numel(ctx, moved, range(len(indexed))), *rest])
    places = reshape(ctx, places, [count, 1])
    if isinstance(count, int) and count == 0:
        return x
    written = reshape(ctx, _put_rows(ctx, table, places, values, bool(accumulate)), sizes)
    return permute(ctx, written, [order.index(a) for a in range(len(order))])


def _places_first(ctx: Any, values: Any, lead: Sequence[Any], at: int) -> Any:
    """`values` with the dimensions of the index, which begin at `at`, before the others."""
    first = list(range(len(lead)))
    return movedim(ctx, values, [at + i for i in first], first)


def _put_rows(ctx: Any, table: Any, places: Any, values: Any, accumulate: bool) -> Any:
    """`table` with some rows replaced by `values`, or `values` added to them."""
    kind = dtype(ctx, table)
    if accumulate and kind == torch.bool:
        table, values = tensor(ctx, table, torch.int32), tensor(ctx, values, torch.int32)
    return tensor(ctx, ctx.scatter_nd(table, places, values, accumulate), kind)


@op("aten::put")
def put(ctx, x, index, source, accumulate=False):
    """put(Tensor self, Tensor index, Tensor source, bool accumulate=False) -> Tensor:
    into the flattened tensor"""
    flat = reshape(ctx, x, [-1])
    index, source = reshape(ctx, index, [-1]), reshape(ctx, source, [-1])
    written = index_put(ctx, flat, [index], source, accumulate)
    return reshape(ctx, written, list(shape(ctx, x)))
