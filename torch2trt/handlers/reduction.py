"""Reductions: sums and products, extremes with and without their positions, variances, top-k."""

from __future__ import annotations

import torch

from ..backends.base import reduced
from ..registry import op
from .common import axes, axis, dtype, dtype_of, full, is_size, numel, rank, shape, tensor, to_float
from .elementwise import div, mul, sqrt, sub
from .shape import reshape


def _integers_widen(ctx, x, dtype):
    """Sums and products of integers and bools are int64 unless a dtype is given."""
    kind = dtype_of(dtype) or ctx.dtype(x)
    if dtype is None and not kind.is_floating_point and not kind.is_complex:
        kind = torch.int64
    return tensor(ctx, x, kind)


def _reduce(ctx, name, x, dim, keepdim):
    over = axes(ctx, x, dim)
    return ctx.reduce(name, x, over, keepdim) if over else x


@op("aten::sum.dim_IntList", "aten::sum.dim")
def sum_(ctx, x, dim=None, keepdim=False, dtype=None):
    """sum.dim_IntList(Tensor self, int[1]? dim, bool keepdim=False, *, ScalarType? dtype=None)
    -> Tensor"""
    return _reduce(ctx, "sum", _integers_widen(ctx, x, dtype), dim, keepdim)


@op("aten::sum")
def sum_all(ctx, x, dtype=None):
    """sum(Tensor self, *, ScalarType? dtype=None) -> Tensor"""
    return sum_(ctx, x, None, False, dtype)


@op("aten::mean.dim")
def mean(ctx, x, dim=None, keepdim=False, dtype=None):
    """mean.dim(Tensor self, int[1]? dim, bool keepdim=False, *, ScalarType? dtype=None)
    -> Tensor"""
    return _reduce(ctx, "mean", tensor(ctx, x, dtype_of(dtype)), dim, keepdim)


@op("aten::mean")
def mean_all(ctx, x, dtype=None):
    """mean(Tensor self, *, ScalarType? dtype=None) -> Tensor"""
    return mean(ctx, x, None, False, dtype)


@op("aten::prod.dim_int")
def prod(ctx, x, dim, keepdim=False, dtype=None):
    """prod.dim_int(Tensor self, int dim, bool keepdim=False, *, ScalarType? dtype=None)
    -> Tensor"""
    return _reduce(ctx, "prod", _integers_widen(ctx, x, dtype), dim, keepdim)


@op("aten::prod")
def prod_all(ctx, x, dtype=None):
    """prod(Tensor self, *, ScalarType? dtype=None) -> Tensor"""
    return prod(ctx, x, None, False, dtype)


@op("aten::amax")
def amax(ctx, x, dim=(), keepdim=False):
    """amax(Tensor self, int[1] dim=[], bool keepdim=False) -> Tensor"""
    return _reduce(ctx, "max", x, dim, keepdim)


@op("aten::amin")
def amin(ctx, x, dim=(), keepdim=False):
    """amin(Tensor self, int[1] dim=[], bool keepdim=False) -> Tensor"""
    return _reduce(ctx, "min", x, dim, keepdim)


@op("aten::max")
def max_all(ctx, x):
    """max(Tensor self) -> Tensor"""
    return amax(ctx, x)


@op("aten::min")
def min_all(ctx, x):
    """min(Tensor self) -> Tensor"""
    return amin(ctx, x)


def _with_index(ctx, name, x, dim, keepdim):
    if not rank(ctx, x):
        return x, ctx.literal(torch.tensor(0))
    at = axis(ctx, x, dim)
    return ctx.reduce(name, x, [at], keepdim), ctx.arg_reduce(name, x, at, keepdim)


@op("aten::max.dim")
def max_dim(ctx, x, dim, keepdim=False):
    """max.dim(Tensor self, int dim, bool keepdim=False) -> (Tensor values, Tensor indices)"""
    return _with_index(ctx, "max", x, dim, keepdim)


@op("aten::min.dim")
def min_dim(ctx, x, dim, keepdim=False):
    """min.dim(Tensor self, int dim, bool keepdim=False) -> (Tensor values, Tensor indices)"""
    return _with_index(ctx, "min", x, dim, keepdim)


def _arg(ctx, name, x, dim, keepdim):
    if dim is None:
        flat = ctx.arg_reduce(name, ctx.reshape(x, [numel(ctx, x)]), 0, False)
        return ctx.reshape(flat, [1] * rank(ctx, x)) if keepdim else flat
    if not rank(ctx, x):
        return ctx.literal(torch.tensor(0))
    return ctx.arg_reduce(name, x, axis(ctx, x, dim), keepdim)


@op("aten::argmax")
def argmax(ctx, x, dim=None, keepdim=False):
    """argmax(Tensor self, int? dim=None, bool keepdim=False) -> Tensor"""
    return _arg(ctx, "max", x, dim, keepdim)


@op("aten::argmin")
def argmin(ctx, x, dim=None, keepdim=False):
    """argmin(Tensor self, int? dim=None, bool keepdim=False) -> Tensor"""
    return _arg(ctx, "min", x, dim, keepdim)


def _truth(ctx, name, x, dim, keepdim):
    """uint8 is the one dtype whose answer is not a bool."""
    kind = torch.uint8 if dtype(ctx, x) == torch.uint8 else torch.bool
    return tensor(ctx, _reduce(ctx, name, tensor(ctx, x, torch.bool), dim, keepdim), kind)


@op("aten::all", "aten::all.dim", "aten::all.dims")
def all_(ctx, x, dim=None, keepdim=False):
    """all.dim(Tensor self, int dim, bool keepdim=False) -> Tensor"""
    return _truth(ctx, "all", x, dim, keepdim)


@op("aten::any", "aten::any.dim", "aten::any.dims")
def any_(ctx, x, dim=None, keepdim=False):
    """any.dim(Tensor self, int dim, bool keepdim=False) -> Tensor"""
    return _truth(ctx, "any", x, dim, keepdim)


@op("aten::topk")
def topk(ctx, x, k, dim=-1, largest=True, sorted=True):
    """topk(Tensor self, SymInt k, int dim=-1, bool largest=True, bool sorted=True)
    -> (Tensor, Tensor)"""
    if not rank(ctx, x):
        return x, ctx.literal(torch.tensor(0))
    return ctx.topk(x, k, axis(ctx, x, dim), largest)


def variance(ctx, x, dim, correction, keepdim):
    """The variance over `dim` with divisor max(n - correction, 0), and the mean (kept
    dimensions)."""
    over = axes(ctx, x, dim)
    x = to_float(ctx, x)
    if any(is_size(shape(ctx, x)[a], 0) for a in over):
        sizes = (reduced(shape(ctx, x), over, keep) for keep in (keepdim, True))
        return tuple(full(ctx, s, torch.nan, ctx.dtype(x)) for s in sizes)
    center = ctx.reduce("mean", x, over, True) if over else x
    centered = sub(ctx, x, center)
    total = mul(ctx, centered, centered)
    total = sum_(ctx, total, list(over), keepdim) if over else total
    count = numel(ctx, x, over)
    divisor = max(count - correction, 0) if isinstance(count, int) else count - correction
    return div(ctx, total, divisor), center


@op("aten::var.correction")
def var(ctx, x, dim=None, correction=None, keepdim=False):
    """var.correction(Tensor self, int[1]? dim=None, *, Scalar? correction=None, bool keepdim=False)
    -> Tensor"""
    return variance(ctx, x, dim, 1 if correction is None else correction, keepdim)[0]


@op("aten::var.dim")
def var_dim(ctx, x, dim, unbiased=True, keepdim=False):
    """var.dim(Tensor self, int[1]? dim, bool unbiased=True, bool keepdim=False) -> Tensor"""
    return var(ctx, x, dim, int(unbiased), keepdim)


@op("aten::var")
def var_all(ctx, x, unbiased=True):
    """var(Tensor self, bool unbiased=True) -> Tensor"""
    return var(ctx, x, None, int(unbiased))


@op("aten::std.correction")
def std(ctx, x, dim=None, correction=None, keepdim=False):
    """std.correction(Tensor self, int[1]? dim=None, *, Scalar? correction=None, bool keepdim=False)
    -> Tensor"""
    return sqrt(ctx, var(ctx, x, dim, correction, keepdim))


@op("aten::std.dim")
def std_dim(ctx, x, dim, unbiased=True, keepdim=False):
    """std.dim(Tensor self, int[1]? dim, bool unbiased=True, bool keepdim=False) -> Tensor"""
    return std(ctx, x, dim, int(unbiased), keepdim)


@op("aten::std")
def std_all(ctx, x, unbiased=True):
    """std(Tensor self, bool unbiased=True) -> Tensor"""
    return std(ctx, x, None, int(unbiased))


@op("aten::var_mean.correction")
def var_mean(ctx, x, dim=None, correction=None, keepdim=False):
    """var_mean.correction(Tensor self, int[1]? dim=None, *, Scalar? correction=None,
    bool keepdim=False)"""
    spread, center = variance(ctx, x, dim, 1 if correction is None else correction, keepdim)
    return spread, center if keepdim else reshape(ctx, center, list(shape(ctx, spread)))
