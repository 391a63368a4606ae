"""Bags of embeddings."""

from __future__ import annotations

import torch

from ..registry import op
from .common import dtype, shape, tensor
from .elementwise import div, eq, ge, gt, lt, mul, ne, where
from .indexing import embedding
from .linear import matmul
from .logic import isfinite, isnan, logical_and, logical_or
from .reduction import amax, any_, mean, sum_
from .shape import cat, reshape, unsqueeze

_SUM, _MEAN, _MAX = 0, 1, 2


def _members(ctx, offsets, count, include_last_offset):
    """Which of `count` indices belong to which bag: bool [bags, count]."""
    if not include_last_offset:
        offsets = cat(ctx, [offsets, torch.full((1,), count, dtype=dtype(ctx, offsets))], 0)
    bags = shape(ctx, offsets)[0] - 1
    starts, ends = (unsqueeze(ctx, _rows(ctx, offsets, first, bags), 1) for first in (0, 1))
    position = torch.arange(count, dtype=dtype(ctx, offsets))
    return logical_and(ctx, ge(ctx, position, starts), lt(ctx, position, ends))


def _rows(ctx, offsets, first, count):
    if not ctx.is_tensor(offsets):
        return offsets[first : first + count]
    return ctx.slice(offsets, [first], [count], [1])


@op("aten::embedding_bag.padding_idx")
def embedding_bag_padded(
    ctx, weight, indices, offsets, scale_grad_by_freq=False, mode=0, sparse=False,
    per_sample_weights=None, include_last_offset=False, padding_idx=-1,
):  # fmt: skip
    """embedding_bag.padding_idx(Tensor weight, Tensor indices, Tensor offsets,
    bool scale_grad_by_freq, int mode, bool sparse, Tensor? per_sample_weights,
    bool include_last_offset, int? padding_idx) -> (Tensor, and 3 for training)"""
    count = shape(ctx, indices)[0]
    if not isinstance(count, int):
        raise ctx.refuse("embedding_bag of a dynamic number of indices")
    rows = embedding(ctx, weight, indices)
    if per_sample_weights is not None:
        rows = mul(ctx, rows, reshape(ctx, per_sample_weights, [-1, 1]))
    padding = None if padding_idx is None else padding_idx % shape(ctx, weight)[0]
    real = None if padding is None else ne(ctx, indices, padding)
    length = _length(ctx, offsets, count, include_last_offset)
    if length:
        result = _equal_bags(ctx, rows, real, length, mode)
    else:
        members = _members(ctx, offsets, count, include_last_offset)
        members = members if real is None else logical_and(ctx, members, real)
        result = _bags(ctx, rows, members, mode, (weight, per_sample_weights))
    return result, None, None, None


def _length(ctx, offsets, count, include_last_offset):
    """How many indices each bag has, where that is known and all have as many; else None."""
    if ctx.is_tensor(offsets):
        return None
    bounds = offsets.tolist() + ([] if include_last_offset else [count])
    lengths = {end - start for start, end in zip(bounds, bounds[1:])}
    whole = bounds[0] == 0 and bounds[-1] == count
    return lengths.pop() if whole and len(lengths) == 1 else None


def _equal_bags(ctx, rows, real, length, mode):
    """The rows [bags * length, size] reduced per bag, those that are not `real` left out."""
    rows = reshape(ctx, rows, [-1, length, shape(ctx, rows)[1]])
    if real is None:
        return (sum_, mean, amax)[mode](ctx, rows, [1])
    real = reshape(ctx, real, [-1, length])
    if mode == _MAX:
        return _maxima(ctx, rows, real)
    own = where(ctx, unsqueeze(ctx, real, 2), rows, torch.zeros((), dtype=dtype(ctx, rows)))
    total = sum_(ctx, own, [1])
    return total if mode == _SUM else _averages(ctx, total, real)


def _bags(ctx, rows, members, mode, table):
    """The rows [count, size] of `table` reduced per bag; a bag without members is zero."""
    if mode == _MAX:
        return _maxima(ctx, unsqueeze(ctx, rows, 0), members)
    totals = _totals_on_tensorrt if ctx.is_tensorrt else _totals
    total = totals(ctx, rows, members, table)
    return total if mode == _SUM else _averages(ctx, total, members)


def _maxima(ctx, rows, members):
    kind = dtype(ctx, rows)
    lowest = torch.tensor(float("-inf"), dtype=kind)
    top = amax(ctx, where(ctx, unsqueeze(ctx, members, 2), rows, lowest), [1], False)
    return where(ctx, _has_members(ctx, members), top, torch.zeros((), dtype=kind))


def _totals_on_tensorrt(ctx, rows, members, table):
    """The sums per bag [bags, size]: a product where the table is known to be finite.

    Infinities that meet in the code that 8.6 generates are no NaN, so they are not put together.
    """
    kind = dtype(ctx, rows)
    if all(t is None or (not ctx.is_tensor(t) and bool(t.isfinite().all())) for t in table):
        return matmul(ctx, tensor(ctx, members, kind), rows)
    zero = torch.zeros((), dtype=kind)
    return sum_(ctx, where(ctx, unsqueeze(ctx, members, 2), unsqueeze(ctx, rows, 0), zero), [1])


def _totals(ctx, rows, members, table):
    """The sums per bag [bags, size], by a product with 0 and 1, which needs finite rows; what is
    not finite is put where a bag has it.
    """
    kind = dtype(ctx, rows)
    weights = tensor(ctx, members, kind)

    def has(what):
        return gt(ctx, matmul(ctx, weights, tensor(ctx, what, kind)), torch.zeros((), dtype=kind))

    infinity, unknown = (torch.tensor(v, dtype=kind) for v in (torch.inf, torch.nan))
    total = matmul(ctx, weights, where(ctx, isfinite(ctx, rows), rows, torch.zeros_like(infinity)))
    above, below = has(eq(ctx, rows, infinity)), has(eq(ctx, rows, -infinity))
    total = where(ctx, above, infinity, where(ctx, below, -infinity, total))
    neither = logical_or(ctx, has(isnan(ctx, rows)), logical_and(ctx, above, below))
    return where(ctx, neither, unknown, total)


def _averages(ctx, total, members):
    kind = dtype(ctx, total)
    number = sum_(ctx, tensor(ctx, members, kind), [1], True)
    divisor = where(ctx, _has_members(ctx, members), number, torch.ones((), dtype=kind))
    return div(ctx, total, divisor)


def _has_members(ctx, members):
    return any_(ctx, members, [1], True)


@op("aten::embedding_bag", "aten::_embedding_bag", "aten::_embedding_bag_forward_only")
def embedding_bag(
    ctx, weight, indices, offsets, scale_grad_by_freq=False, mode=0, sparse=False,
    per_sample_weights=None, include_last_offset=False, padding_idx=-1,
):  # fmt: skip
    """_embedding_bag(Tensor weight, Tensor indices, Tensor offsets, bool scale_grad_by_freq=False,
    int mode=0, ..., int padding_idx=-1) -> (Tensor, and 3 for training):
    a negative padding index is none"""
    options = scale_grad_by_freq, mode, sparse, per_sample_weights, include_last_offset
    padding_idx = padding_idx if padding_idx >= 0 else None
    return embedding_bag_padded(ctx, weight, indices, offsets, *options, padding_idx)
