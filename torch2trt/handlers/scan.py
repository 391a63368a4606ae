"""Running sums and extremes, sorting and what follows from it."""

from __future__ import annotations

from typing import Any

import torch

from ..registry import op
from .common import axis, dtype, dtype_of, is_size, numel, rank, shape, tensor
from .elementwise import add, clamp, eq, ge, gt, logical_and, logical_not, logical_or, sub, where
from .indexing import gather
from .logic import isnan
from .reduction import amax, any_, argmax, max_dim, sum_
from .shape import narrow_to, reshape, select, squeeze, unsqueeze
from .special import logaddexp


def _accumulated(ctx: Any, x: Any, given: Any) -> Any:
    kind = dtype_of(given) or (dtype(ctx, x) if dtype(ctx, x).is_floating_point else torch.int64)
    return tensor(ctx, x, kind)


@op("aten::cumsum")
def cumsum(ctx, x, dim, dtype=None):
    """cumsum(Tensor self, int dim, *, ScalarType? dtype=None) -> Tensor"""
    x = _accumulated(ctx, x, dtype)
    return ctx.cumulative("sum", x, axis(ctx, x, dim)) if rank(ctx, x) else x


@op("aten::cumprod")
def cumprod(ctx, x, dim, dtype=None):
    """cumprod(Tensor self, int dim, *, ScalarType? dtype=None) -> Tensor"""
    x = _accumulated(ctx, x, dtype)
    return ctx.cumulative("prod", x, axis(ctx, x, dim)) if rank(ctx, x) else x


def positions(ctx: Any, x: Any, at: int) -> Any:
    """0, 1, ... along axis `at`, broadcastable to `x`."""
    size = shape(ctx, x)[at]
    line = torch.arange(size) if isinstance(size, int) else ctx.arange(0, size)
    return reshape(ctx, line, [-1] + [1] * (rank(ctx, x) - at - 1))


def _running_extreme(ctx: Any, name: str, x: Any, dim: int) -> tuple[Any, Any]:
    """The running extreme, and the last position where it was met; NaN stays once it was met."""
    if not rank(ctx, x):
        return x, torch.tensor(0)
    if dtype(ctx, x) == torch.bool:
        values, indices = _running_extreme(ctx, name, tensor(ctx, x, torch.int32), dim)
        return tensor(ctx, values, torch.bool), indices
    at = axis(ctx, x, dim)
    values = ctx.cumulative(name, x, at)
    met = eq(ctx, x, values)
    if dtype(ctx, x).is_floating_point:
        seen = ctx.cumulative("max", tensor(ctx, isnan(ctx, x), torch.int64), at)
        seen = eq(ctx, seen, 1)
        values = where(ctx, seen, tensor(ctx, torch.nan, dtype(ctx, x)), values)
        met = logical_or(ctx, logical_and(ctx, met, logical_not(ctx, seen)), isnan(ctx, x))
    where_met = where(ctx, met, positions(ctx, x, at), tensor(ctx, 0))
    return values, ctx.cumulative("max", where_met, at)


@op("aten::cummax")
def cummax(ctx, x, dim):
    """cummax(Tensor self, int dim) -> (Tensor values, Tensor indices)"""
    return _running_extreme(ctx, "max", x, dim)


@op("aten::cummin")
def cummin(ctx, x, dim):
    """cummin(Tensor self, int dim) -> (Tensor values, Tensor indices)"""
    return _running_extreme(ctx, "min", x, dim)


@op("aten::logcumsumexp", "aten::_logcumsumexp")
def logcumsumexp(ctx, x, dim):
    """logcumsumexp(Tensor self, int dim) -> Tensor: by doubling steps"""
    if not rank(ctx, x):
        return x
    at = axis(ctx, x, dim)
    size = shape(ctx, x)[at]
    if not isinstance(size, int):
        raise ctx.refuse("logcumsumexp along a dynamic dimension")
    step = 1
    while step < size:
        head = narrow_to(ctx, x, at, 0, step)
        ahead = narrow_to(ctx, x, at, step, size - step)
        behind = narrow_to(ctx, x, at, 0, size - step)
        x = ctx.concat([head, logaddexp(ctx, ahead, behind)], at)
        step *= 2
    return x


# ---- sorting -------------------------------------------------------------------------------------
def _sorted(ctx: Any, x: Any, dim: int, descending: bool) -> tuple[Any, Any]:
    if not rank(ctx, x):
        return x, torch.tensor(0)
    return ctx.sort(x, axis(ctx, x, dim), bool(descending))


@op("aten::sort")
def sort(ctx, x, dim=-1, descending=False):
    """sort(Tensor self, int dim=-1, bool descending=False) -> (Tensor values, Tensor indices)"""
    return _sorted(ctx, x, dim, descending)


@op("aten::sort.stable")
def sort_stable(ctx, x, stable, dim=-1, descending=False):
    """sort.stable(Tensor self, *, bool? stable, int dim=-1, bool descending=False)
    -> (Tensor, Tensor)"""
    return _sorted(ctx, x, dim, descending)


@op("aten::argsort")
def argsort(ctx, x, dim=-1, descending=False):
    """argsort(Tensor self, int dim=-1, bool descending=False) -> Tensor"""
    return _sorted(ctx, x, dim, descending)[1]


@op("aten::argsort.stable")
def argsort_stable(ctx, x, stable, dim=-1, descending=False):
    """argsort.stable(Tensor self, *, bool stable, int dim=-1, bool descending=False) -> Tensor"""
    return _sorted(ctx, x, dim, descending)[1]


@op("aten::msort")
def msort(ctx, x):
    """msort(Tensor self) -> Tensor"""
    return _sorted(ctx, x, 0, False)[0]


@op("aten::kthvalue")
def kthvalue(ctx, x, k, dim=-1, keepdim=False):
    """kthvalue(Tensor self, SymInt k, int dim=-1, bool keepdim=False)
    -> (Tensor values, Tensor indices)"""
    values, indices = _sorted(ctx, x, dim, False)
    if not rank(ctx, x):
        return values, indices
    at = axis(ctx, x, dim)
    kept = [unsqueeze(ctx, select(ctx, v, at, k - 1), at) for v in (values, indices)]
    return tuple(kept if keepdim else (squeeze(ctx, v, dim) for v in kept))


def _flat(ctx: Any, x: Any) -> Any:
    return reshape(ctx, x, [numel(ctx, x)])


@op("aten::median.dim")
def median_dim(ctx, x, dim=-1, keepdim=False):
    """median.dim(Tensor self, int dim, bool keepdim=False) -> (Tensor, Tensor):
    the lower one, or NaN"""
    if not rank(ctx, x):
        return x, torch.tensor(0)
    size = shape(ctx, x)[axis(ctx, x, dim)]
    values, indices = kthvalue(ctx, x, (size + 1) // 2, dim, True)
    if dtype(ctx, x).is_floating_point:
        special = isnan(ctx, x)
        found = any_(ctx, special, [dim], True)
        values = where(ctx, found, tensor(ctx, torch.nan, dtype(ctx, x)), values)
        first = argmax(ctx, tensor(ctx, special, torch.int32), dim, True)
        indices = where(ctx, found, first, indices)
    return (values, indices) if keepdim else (squeeze(ctx, values, dim), squeeze(ctx, indices, dim))


def _median_of_nothing(ctx: Any, x: Any) -> torch.Tensor | None:
    """NaN where `x` has no elements."""
    if not is_size(numel(ctx, x), 0):
        return None
    if not dtype(ctx, x).is_floating_point:
        raise ctx.refuse("the median of no integers")
    return torch.tensor(torch.nan, dtype=dtype(ctx, x))


@op("aten::median")
def median(ctx, x):
    """median(Tensor self) -> Tensor"""
    nothing = _median_of_nothing(ctx, x)
    return nothing if nothing is not None else median_dim(ctx, _flat(ctx, x), 0)[0]


@op("aten::nanmedian.dim")
def nanmedian_dim(ctx, x, dim=-1, keepdim=False):
    """nanmedian.dim(Tensor self, int dim, bool keepdim=False) -> (Tensor values, Tensor indices)"""
    if not dtype(ctx, x).is_floating_point or not rank(ctx, x):
        return median_dim(ctx, x, dim, keepdim)
    values, indices = _sorted(ctx, x, dim, False)
    count = sum_(ctx, tensor(ctx, logical_not(ctx, isnan(ctx, x)), torch.int64), [dim], True)
    middle = clamp(ctx, sub(ctx, count, 1), 0, None)
    middle = ctx.binary("floordiv", middle, tensor(ctx, 2))
    kept = [gather(ctx, v, dim, middle) for v in (values, indices)]
    return tuple(kept if keepdim else (squeeze(ctx, v, dim) for v in kept))


@op("aten::nanmedian")
def nanmedian(ctx, x):
    """nanmedian(Tensor self) -> Tensor"""
    nothing = _median_of_nothing(ctx, x)
    return nothing if nothing is not None else nanmedian_dim(ctx, _flat(ctx, x), 0)[0]


@op("aten::mode")
def mode(ctx, x, dim=-1, keepdim=False):
    """mode(Tensor self, int dim=-1, bool keepdim=False) -> (Tensor, Tensor):
    the smallest of the most frequent"""
    if not rank(ctx, x):
        return x, torch.tensor(0)
    at = axis(ctx, x, dim)
    values, indices = _sorted(ctx, x, dim, False)
    same = eq(ctx, unsqueeze(ctx, values, at), unsqueeze(ctx, values, at + 1))
    counts = sum_(ctx, same, [at + 1])
    best = max_dim(ctx, counts, at, True)[1]
    last = sub(ctx, add(ctx, best, amax(ctx, counts, [at], True)), 1)
    kept = [gather(ctx, v, at, last) for v in (values, indices)]
    return tuple(kept if keepdim else (squeeze(ctx, v, at) for v in kept))


# ---- searching in sorted values ------------------------------------------------------------------
@op("aten::searchsorted")
def searchsorted(ctx, sorted_sequence, x, out_int32=False, right=False, side=None, sorter=None):
    """searchsorted.Tensor(Tensor sorted_sequence, Tensor self, *, bool out_int32=False,
    bool right=False, ...)"""
    if sorter is not None:
        sorted_sequence = gather(ctx, sorted_sequence, -1, sorter)
    right = side == "right" if side is not None else right
    if isinstance(x, (bool, int, float)):
        x = torch.tensor(x)
    batched = rank(ctx, sorted_sequence) > 1
    candidates = unsqueeze(ctx, sorted_sequence, -2) if batched else sorted_sequence
    wanted = unsqueeze(ctx, x, -1)
    before = _not_above(ctx, candidates, wanted) if right else _below(ctx, candidates, wanted)
    return tensor(ctx, sum_(ctx, before, [-1]), torch.int32 if out_int32 else torch.int64)


def _below(ctx: Any, candidates: Any, wanted: Any) -> Any:
    return logical_not(ctx, ge(ctx, candidates, wanted))


def _not_above(ctx: Any, candidates: Any, wanted: Any) -> Any:
    return logical_not(ctx, gt(ctx, candidates, wanted))


@op("aten::bucketize")
def bucketize(ctx, x, boundaries, out_int32=False, right=False):
    """bucketize.Tensor(Tensor self, Tensor boundaries, *, bool out_int32=False, bool right=False)
    -> Tensor"""
    return searchsorted(ctx, boundaries, x, out_int32, right)
