"""Norms of vectors and matrices, and distances made of them."""

from __future__ import annotations

import math
from typing import Any

import torch

from ..registry import op
from .common import as_list, axes, axis, dtype, dtype_of, rank, shape, tensor, to_float, widened
from .elementwise import abs_, add, div, gt, mul, ne, pow_, sqrt, sub, where
from .reduction import amax, amin, sum_
from .shape import cat, reshape, slice_, unsqueeze


def vector_norm(ctx: Any, x: Any, order: float, dim: Any, keepdim: bool) -> Any:
    """The `order`-norm over `dim`, all dimensions where that is None or empty.

    Half precision is rounded once.
    """
    kind, over = dtype(ctx, x), list(axes(ctx, x, dim))
    return tensor(ctx, _wide_norm(ctx, widened(ctx, x), order, over, keepdim), kind)


def _wide_norm(ctx: Any, x: Any, order: float, over: list[int], keepdim: bool) -> Any:
    size = abs_(ctx, x)
    if not over:
        return tensor(ctx, ne(ctx, x, 0), dtype(ctx, x)) if order == 0 else size
    if order == math.inf:
        return amax(ctx, size, over, keepdim)
    if order == -math.inf:
        return amin(ctx, size, over, keepdim)
    if order == 0:
        return sum_(ctx, tensor(ctx, ne(ctx, x, 0), dtype(ctx, x)), over, keepdim)
    if order == 1:
        return sum_(ctx, size, over, keepdim)
    if order == 2:
        return sqrt(ctx, sum_(ctx, mul(ctx, x, x), over, keepdim))
    return pow_(ctx, sum_(ctx, pow_(ctx, size, float(order)), over, keepdim), 1.0 / order)


@op("aten::linalg_vector_norm")
def linalg_vector_norm(ctx, x, ord=2, dim=None, keepdim=False, dtype=None):
    """linalg_vector_norm(Tensor self, Scalar ord=2, int[1]? dim=None, bool keepdim=False, *,
    ScalarType? dtype=None)"""
    return vector_norm(ctx, to_float(ctx, tensor(ctx, x, dtype_of(dtype))), ord, dim, keepdim)


@op("aten::norm.ScalarOpt_dim", "aten::norm.ScalarOpt_dim_dtype")
def norm_dim(ctx, x, p, dim, keepdim=False, dtype=None):
    """norm.ScalarOpt_dim(Tensor self, Scalar? p, int[1] dim, bool keepdim=False) -> Tensor"""
    return linalg_vector_norm(ctx, x, 2 if p is None else p, dim, keepdim, dtype)


@op("aten::norm", "aten::norm.Scalar", "aten::norm.ScalarOpt_dtype", "aten::native_norm")
def norm(ctx, x, p=2, dtype=None):
    """norm.Scalar(Tensor self, Scalar p=2) -> Tensor"""
    return linalg_vector_norm(ctx, x, 2 if p is None else p, None, False, dtype)


@op("aten::frobenius_norm.dim")
def frobenius_norm(ctx, x, dim=None, keepdim=False):
    """frobenius_norm.dim(Tensor self, int[1] dim, bool keepdim=False) -> Tensor"""
    return linalg_vector_norm(ctx, x, 2, dim, keepdim)


@op("aten::linalg_matrix_norm", "aten::linalg_matrix_norm.str_ord")
def linalg_matrix_norm(ctx, x, ord="fro", dim=(-2, -1), keepdim=False, dtype=None):
    """linalg_matrix_norm(Tensor self, Scalar ord, int[] dim=[-2,-1], bool keepdim=False, *,
    ScalarType? dtype=None)"""
    x = to_float(ctx, tensor(ctx, x, dtype_of(dtype)))
    if ord == "fro":
        return vector_norm(ctx, x, 2, dim, keepdim)
    if ord not in (1, -1, math.inf, -math.inf):
        raise ctx.refuse(f"the matrix norm {ord!r}, which needs singular values")
    row, column = (axis(ctx, x, d) for d in dim)
    summed, kept = (row, column) if abs(ord) == 1 else (column, row)
    totals = sum_(ctx, abs_(ctx, x), [summed], keepdim)
    kept = kept - (0 if keepdim or summed > kept else 1)
    if isinstance(size := shape(ctx, totals)[kept], int) and not size:
        return sum_(ctx, totals, [kept], keepdim)  # of nothing, 0
    return (amax if ord > 0 else amin)(ctx, totals, [kept], keepdim)


@op("aten::linalg_norm", "aten::linalg_norm.ord_str")
def linalg_norm(ctx, x, ord=None, dim=None, keepdim=False, dtype=None):
    """linalg_norm(Tensor self, Scalar? ord=None, int[1]? dim=None, bool keepdim=False, *,
    ScalarType? dtype=None)"""
    if ord is None:
        return linalg_vector_norm(ctx, x, 2, dim, keepdim, dtype)
    dims = list(range(rank(ctx, x))) if dim is None else as_list(dim)
    if isinstance(ord, str) or len(dims) == 2:
        return linalg_matrix_norm(ctx, x, ord, dims, keepdim, dtype)
    return linalg_vector_norm(ctx, x, ord, dims, keepdim, dtype)


@op("aten::renorm")
def renorm(ctx, x, p, dim, maxnorm):
    """renorm(Tensor self, Scalar p, int dim, Scalar maxnorm) -> Tensor:
    every slice along dim no longer than maxnorm"""
    at = axis(ctx, x, dim)
    lengths = vector_norm(ctx, x, p, [a for a in range(rank(ctx, x)) if a != at], True)
    factor = div(ctx, tensor(ctx, maxnorm, dtype(ctx, x)), add(ctx, lengths, 1e-7))
    return mul(ctx, x, where(ctx, gt(ctx, lengths, maxnorm), factor, tensor(ctx, 1, dtype(ctx, x))))


# ---- distances -----------------------------------------------------------------------------------
@op("aten::dist")
def dist(ctx, x, other, p=2):
    """dist(Tensor self, Tensor other, Scalar p=2) -> Tensor"""
    return vector_norm(ctx, sub(ctx, x, other), p, None, False)


@op("aten::cdist", "aten::_cdist_forward", "aten::_euclidean_dist")
def cdist(ctx, x1, x2, p=2.0, compute_mode=None):
    """cdist(Tensor x1, Tensor x2, float p=2, int? compute_mode=None) -> Tensor:
    from the differences themselves"""
    differences = sub(ctx, unsqueeze(ctx, x1, -2), unsqueeze(ctx, x2, -3))
    return vector_norm(ctx, differences, p, [-1], False)


@op("aten::pdist", "aten::_pdist_forward")
def pdist(ctx, x, p=2.0):
    """pdist(Tensor self, float p=2) -> Tensor: of all pairs of rows i < j"""
    count = shape(ctx, x)[0]
    if not isinstance(count, int):
        raise ctx.refuse("pdist of a dynamic number of rows")
    first, second = torch.triu_indices(count, count, 1)
    return vector_norm(ctx, sub(ctx, ctx.take(x, first, 0), ctx.take(x, second, 0)), p, [1], False)


@op("aten::trapezoid.x", "aten::trapz.x")
def trapezoid_x(ctx, y, x, dim=-1):
    """trapezoid.x(Tensor y, Tensor x, *, int dim=-1) -> Tensor"""
    if rank(ctx, x) == 1 and rank(ctx, y) > 1:
        at = axis(ctx, y, dim)
        x = reshape(ctx, x, [-1 if a == at else 1 for a in range(rank(ctx, y))])
    return _trapezoid(ctx, y, diff(ctx, x, 1, dim), dim)


@op("aten::trapezoid.dx", "aten::trapz.dx")
def trapezoid(ctx, y, dx=1, dim=-1):
    """trapezoid.dx(Tensor y, *, Scalar dx=1, int dim=-1) -> Tensor"""
    return _trapezoid(ctx, y, dx, dim)


def _trapezoid(ctx: Any, y: Any, widths: Any, dim: int) -> Any:
    heights = add(ctx, slice_(ctx, y, dim, 1), slice_(ctx, y, dim, 0, -1))
    return div(ctx, sum_(ctx, mul(ctx, heights, widths), [dim]), 2.0)


@op("aten::diff")
def diff(ctx, x, n=1, dim=-1, prepend=None, append=None):
    """diff(Tensor self, int n=1, int dim=-1, Tensor? prepend=None, Tensor? append=None)
    -> Tensor"""
    if not n:
        return x
    parts = [v for v in (prepend, x, append) if v is not None]
    x = cat(ctx, parts, dim) if len(parts) > 1 else x
    for _ in range(n):
        last, first = slice_(ctx, x, dim, 1), slice_(ctx, x, dim, 0, -1)
        x = ne(ctx, last, first) if dtype(ctx, x) == torch.bool else sub(ctx, last, first)
    return x
