"""Distances between vectors."""

from __future__ import annotations

from ..registry import op
from .common import promote, to_float
from .elementwise import add, clamp_min, div, mul, sqrt, square, sub
from .norm import vector_norm
from .reduction import sum_
from .shape import broadcast_tensors


@op("aten::cosine_similarity")
def cosine_similarity(ctx, x1, x2, dim=1, eps=1e-8):
    """cosine_similarity(Tensor x1, Tensor x2, int dim=1, float eps=1e-08) -> Tensor"""
    x1, x2 = (to_float(ctx, x) for x in broadcast_tensors(ctx, promote(ctx, x1, x2)))
    lengths = [
        clamp_min(ctx, sqrt(ctx, sum_(ctx, square(ctx, x), [dim], True)), eps) for x in (x1, x2)
    ]
    return sum_(ctx, mul(ctx, div(ctx, x1, lengths[0]), div(ctx, x2, lengths[1])), [dim])


@op("aten::pairwise_distance")
def pairwise_distance(ctx, x1, x2, p=2.0, eps=1e-6, keepdim=False):
    """pairwise_distance(Tensor x1, Tensor x2, float p=2., float eps=1e-06, bool keepdim=False)
    -> Tensor"""
    return vector_norm(ctx, add(ctx, sub(ctx, x1, x2), eps), p, [-1], keepdim)
