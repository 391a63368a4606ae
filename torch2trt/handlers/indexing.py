"""Indexing: embedding, index_select, gather."""

from __future__ import annotations

import torch

from ..registry import op
from .common import axis, rank, shape, tensor
from .elementwise import add, lt, where


def wrapped(ctx, index, size):
    """An index tensor with negative entries counted from the end."""
    if not ctx.is_tensor(index):
        index = index.long()
        if isinstance(size, int):
            return torch.where(index < 0, index + size, index)
        if bool((index >= 0).all()):
            return index
        index = ctx.literal(index)
    index = tensor(ctx, index, torch.int64)
    return where(ctx, lt(ctx, index, 0), add(ctx, index, size), index)


@op("aten::embedding")
def embedding(ctx, weight, indices, padding_idx=-1, scale_grad_by_freq=False, sparse=False):
    """embedding(Tensor weight, Tensor indices, SymInt padding_idx=-1, bool scale_grad_by_freq=False, ...) -> Tensor"""
    return ctx.take(weight, indices, 0)


@op("aten::index_select")
def index_select(ctx, x, dim, index):
    """index_select(Tensor self, int dim, Tensor index) -> Tensor"""
    if not rank(ctx, x):
        return x
    at = axis(ctx, x, dim)
    return ctx.take(x, ctx.reshape(index, [1]) if ctx.is_tensor(index) and not shape(ctx, index) else index, at)


@op("aten::gather")
def gather(ctx, x, dim, index, sparse_grad=False):
    """gather(Tensor self, int dim, Tensor index, *, bool sparse_grad=False) -> Tensor"""
    if not rank(ctx, x):
        return x if not rank(ctx, index) else ctx.expand(x, shape(ctx, index))
    return ctx.gather(x, index, axis(ctx, x, dim))


