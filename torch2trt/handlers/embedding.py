"""Bags of embeddings."""

from __future__ import annotations

import torch

from ..registry import op
from .common import dtype, shape, tensor
from .elementwise import div, ge, lt, mul, ne, where
from .indexing import embedding
from .linear import matmul
from .logic import logical_and
from .reduction import amax, any_, sum_
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
    members = _members(ctx, offsets, count, include_last_offset)
    if padding_idx is not None:
        members = logical_and(ctx, members, ne(ctx, indices, padding_idx % shape(ctx, weight)[0]))
    return _bags(ctx, rows, members, mode, per_sample_weights), None, None, None


def _bags(ctx, rows, members, mode, per_sample_weights):
    """The rows [count, size] reduced per bag; a bag without members is zero."""
    kind = dtype(ctx, rows)
    if mode == _MAX:
        lowest = torch.tensor(float("-inf"), dtype=kind)
        own = where(ctx, unsqueeze(ctx, members, 2), unsqueeze(ctx, rows, 0), lowest)
        top = amax(ctx, own, [1], False)
        return where(ctx, _has_members(ctx, members), top, torch.zeros((), dtype=kind))
    if per_sample_weights is not None:
        rows = mul(ctx, rows, reshape(ctx, per_sample_weights, [-1, 1]))
    total = matmul(ctx, tensor(ctx, members, kind), rows)
    if mode == _SUM:
        return total
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
