"""Statistics and reductions that leave out NaN."""

from __future__ import annotations

from typing import Any

import torch

from ..backends.base import reduced
from ..registry import op
from .common import axes, dtype, full, is_size, numel, rank, shape, tensor, to_float
from .elementwise import abs_, add, clamp, div, eq, exp, log, mul, ne, sqrt, sub, where
from .linear import matmul
from .logic import isnan
from .matrix import diag
from .reduction import amax, amin, mean, sum_, var_mean
from .shape import reshape, t, unsqueeze


@op("aten::aminmax")
def aminmax(ctx, x, dim=None, keepdim=False):
    """aminmax(Tensor self, *, int? dim=None, bool keepdim=False) -> (Tensor min, Tensor max)"""
    dims = [] if dim is None else [dim]
    return amin(ctx, x, dims, keepdim), amax(ctx, x, dims, keepdim)


@op("aten::_aminmax")
def aminmax_all(ctx, x, dim=None, keepdim=False):
    """_aminmax(Tensor self) -> (Tensor, Tensor)"""
    return aminmax(ctx, x, dim, keepdim)


@op("aten::logsumexp")
def logsumexp(ctx, x, dim, keepdim=False):
    """logsumexp(Tensor self, int[1] dim, bool keepdim=False) -> Tensor"""
    x = to_float(ctx, x)
    over = list(axes(ctx, x, dim))
    if not over:
        return x
    if is_size(numel(ctx, x, over), 0):
        return full(ctx, reduced(shape(ctx, x), over, keepdim), -torch.inf, dtype(ctx, x))
    largest = amax(ctx, x, over, True)
    infinite = eq(ctx, abs_(ctx, largest), torch.inf)
    largest = where(ctx, infinite, tensor(ctx, 0, dtype(ctx, x)), largest)
    total = log(ctx, sum_(ctx, exp(ctx, sub(ctx, x, largest)), over, keepdim))
    return add(ctx, total, largest if keepdim else reshape(ctx, largest, list(shape(ctx, total))))


@op("aten::special_logsumexp")
def special_logsumexp(ctx, x, dim, keepdim=False):
    """special_logsumexp(Tensor self, int[1] dim, bool keepdim=False) -> Tensor"""
    return logsumexp(ctx, x, dim, keepdim)


def _numbers(ctx: Any, x: Any) -> Any:
    """0 in place of NaN."""
    if not dtype(ctx, x).is_floating_point:
        return x
    return where(ctx, isnan(ctx, x), tensor(ctx, 0, dtype(ctx, x)), x)


@op("aten::nansum")
def nansum(ctx, x, dim=None, keepdim=False, dtype=None):
    """nansum(Tensor self, int[1]? dim=None, bool keepdim=False, *, ScalarType? dtype=None)
    -> Tensor"""
    return sum_(ctx, _numbers(ctx, x), dim, keepdim, dtype)


@op("aten::nanmean")
def nanmean(ctx, x, dim=None, keepdim=False, dtype=None):
    """nanmean(Tensor self, int[1]? dim=None, bool keepdim=False, *, ScalarType? dtype=None)
    -> Tensor"""
    total = nansum(ctx, x, dim, keepdim, dtype)
    return div(ctx, total, sum_(ctx, eq(ctx, x, x), dim, keepdim))


@op("aten::count_nonzero", "aten::count_nonzero.dim_IntList")
def count_nonzero(ctx, x, dim=None):
    """count_nonzero(Tensor self, int? dim=None) -> Tensor"""
    return sum_(ctx, ne(ctx, x, 0), dim)


@op("aten::var_mean.dim")
def var_mean_dim(ctx, x, dim, unbiased=True, keepdim=False):
    """var_mean.dim(Tensor self, int[1]? dim, bool unbiased=True, bool keepdim=False)
    -> (Tensor, Tensor)"""
    return var_mean(ctx, x, dim, int(unbiased), keepdim)


@op("aten::var_mean")
def var_mean_all(ctx, x, unbiased=True):
    """var_mean(Tensor self, bool unbiased=True) -> (Tensor, Tensor)"""
    return var_mean_dim(ctx, x, None, unbiased)


@op("aten::std_mean.correction")
def std_mean(ctx, x, dim=None, correction=None, keepdim=False):
    """std_mean.correction(Tensor self, int[1]? dim=None, *, Scalar? correction=None,
    bool keepdim=False)"""
    spread, center = var_mean(ctx, x, dim, correction, keepdim)
    return sqrt(ctx, spread), center


@op("aten::std_mean.dim")
def std_mean_dim(ctx, x, dim, unbiased=True, keepdim=False):
    """std_mean.dim(Tensor self, int[1]? dim, bool unbiased=True, bool keepdim=False)
    -> (Tensor, Tensor)"""
    return std_mean(ctx, x, dim, int(unbiased), keepdim)


@op("aten::std_mean")
def std_mean_all(ctx, x, unbiased=True):
    """std_mean(Tensor self, bool unbiased=True) -> (Tensor, Tensor)"""
    return std_mean(ctx, x, None, int(unbiased))


@op("aten::cov")
def cov(ctx, x, correction=1, fweights=None, aweights=None):
    """cov(Tensor self, *, int correction=1, Tensor? fweights=None, Tensor? aweights=None)
    -> Tensor"""
    x = to_float(ctx, reshape(ctx, x, [1] * (2 - rank(ctx, x)) + list(shape(ctx, x))))
    weights = [w for w in (fweights, aweights) if w is not None]
    if not weights:
        count = numel(ctx, x, [1])
        centered = sub(ctx, x, mean(ctx, x, [1], True))
        return _covariance(ctx, centered, centered, count - correction)
    weight = weights[0] if len(weights) == 1 else mul(ctx, *weights)
    total = sum_(ctx, weight, [0])
    centered = sub(ctx, x, div(ctx, sum_(ctx, mul(ctx, x, weight), [1], True), total))
    if aweights is not None:
        share = div(ctx, sum_(ctx, mul(ctx, weight, aweights), [0]), total)
        correction = mul(ctx, share, correction)
    return _covariance(ctx, mul(ctx, centered, weight), centered, sub(ctx, total, correction))


def _covariance(ctx: Any, left: Any, right: Any, divisor: Any) -> Any:
    if isinstance(divisor, int):
        divisor = max(divisor, 0)
    elif not ctx.is_dim(divisor):
        divisor = clamp(ctx, divisor, 0)
    result = div(ctx, matmul(ctx, left, t(ctx, right)), divisor)
    rows = shape(ctx, result)[0]
    if not isinstance(rows, int):
        raise ctx.refuse("the covariance of a dynamic number of variables: one gives a 0-d tensor")
    return reshape(ctx, result, []) if rows == 1 else result


@op("aten::corrcoef")
def corrcoef(ctx, x):
    """corrcoef(Tensor self) -> Tensor"""
    covariance = cov(ctx, x)
    if not rank(ctx, covariance):
        return div(ctx, covariance, covariance)
    spread = sqrt(ctx, diag(ctx, covariance))
    scaled = div(ctx, div(ctx, covariance, unsqueeze(ctx, spread, 1)), unsqueeze(ctx, spread, 0))
    return clamp(ctx, scaled, -1, 1)
