"""Matrix products."""

from __future__ import annotations

from typing import Any

from ..registry import op
from .common import broadcast_shapes, dtype, promote, rank, shape, tensor
from .elementwise import add, mul
from .shape import reshape, t, unsqueeze


@op("aten::matmul", "aten::mm", "aten::bmm", "aten::mv", "aten::linalg_matmul")
def matmul(ctx, x, other):
    """matmul(Tensor self, Tensor other) -> Tensor:
    1-d operands are rows on the left and columns on the right"""
    x, other = promote(ctx, x, other)
    left, right = rank(ctx, x) == 1, rank(ctx, other) == 1
    rows = unsqueeze(ctx, x, 0) if left else x
    result = ctx.matmul(rows, unsqueeze(ctx, other, 1) if right else other)
    sizes = list(shape(ctx, result))
    if right:
        sizes = sizes[:-1]
    if left:
        sizes = sizes[:-1] if right else [*sizes[:-2], sizes[-1]]
    return ctx.reshape(result, sizes) if left or right else result


@op("aten::dot", "aten::inner", "aten::vdot")
def dot(ctx, x, other):
    """dot(Tensor self, Tensor tensor) -> Tensor; inner: the products of the last dimensions"""
    if rank(ctx, x) == 0 or rank(ctx, other) == 0:
        return mul(ctx, x, other)
    if rank(ctx, x) == 1 and rank(ctx, other) == 1:
        return matmul(ctx, x, other)
    lead, trail = list(shape(ctx, x))[:-1], list(shape(ctx, other))[:-1]
    size = shape(ctx, x)[-1]
    flat = matmul(ctx, reshape(ctx, x, [-1, size]), t(ctx, reshape(ctx, other, [-1, size])))
    return ctx.reshape(flat, lead + trail)


@op("aten::linear")
def linear(ctx, x, weight, bias=None):
    """linear(Tensor input, Tensor weight, Tensor? bias=None) -> Tensor"""
    result = matmul(ctx, x, t(ctx, weight))
    return result if bias is None else add(ctx, result, bias)


def scaled_sum(ctx: Any, x: Any, product: Any, beta: float, alpha: float) -> Any:
    """``beta * x + alpha * product``; a beta of 0 leaves NaN of `x` out."""
    kind = dtype(ctx, product)
    if not kind.is_floating_point:
        beta, alpha = int(beta), int(alpha)
    product = product if alpha == 1 else tensor(ctx, mul(ctx, product, alpha), kind)
    if beta == 0:
        return ctx.expand(product, broadcast_shapes(shape(ctx, x), shape(ctx, product)))
    return add(ctx, product, x if beta == 1 else tensor(ctx, mul(ctx, x, beta), kind))


@op("aten::addmm", "aten::baddbmm", "aten::addmv")
def addmm(ctx, x, mat1, mat2, beta=1, alpha=1):
    """addmm(Tensor self, Tensor mat1, Tensor mat2, *, Scalar beta=1, Scalar alpha=1) -> Tensor"""
    return scaled_sum(ctx, x, matmul(ctx, mat1, mat2), beta, alpha)


@op("aten::ger", "aten::outer")
def outer(ctx, x, other):
    """outer(Tensor self, Tensor vec2) -> Tensor"""
    return mul(ctx, unsqueeze(ctx, x, 1), unsqueeze(ctx, other, 0))
