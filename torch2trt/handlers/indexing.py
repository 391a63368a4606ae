"""Reading by index: embedding, index_select, gather, index, take, masks."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from ..backends.base import reached
from ..registry import op
from .common import axis, broadcast_shapes, dtype, full, is_size, numel, rank, shape, tensor
from .elementwise import add, lt, mul, where
from .shape import expand, movedim, permute, reshape, select


def wrapped(ctx: Any, index: Any, size: Any) -> Any:
    """An index tensor as int64 with negative entries counted from the end."""
    if not ctx.is_tensor(index):
        index = index.long()
        if isinstance(size, int):
            return torch.where(index < 0, index + size, index)
        if bool((index >= 0).all()):
            return index
        index = ctx.literal(index)
    index = tensor(ctx, index, torch.int64)
    return where(ctx, lt(ctx, index, 0), add(ctx, index, size), index)


def expanded_index(ctx: Any, index: Any, at: int, sizes: Sequence[Any]) -> Any:
    """A 1-d index along axis `at` as an index for gather or scatter, of the shape `sizes`."""
    line = reshape(ctx, index, [1] * at + [-1] + [1] * (len(sizes) - at - 1))
    return expand(ctx, line, list(sizes))


@op("aten::embedding")
def embedding(ctx, weight, indices, padding_idx=-1, scale_grad_by_freq=False, sparse=False):
    """embedding(Tensor weight, Tensor indices, SymInt padding_idx=-1,
    bool scale_grad_by_freq=False, ...) -> Tensor"""
    return ctx.take(weight, indices, 0)


@op("aten::index_select")
def index_select(ctx, x, dim, index):
    """index_select(Tensor self, int dim, Tensor index) -> Tensor"""
    if not rank(ctx, x):
        return x
    index = index if rank(ctx, index) else reshape(ctx, index, [1])
    return ctx.take(x, index, axis(ctx, x, dim))


@op("aten::gather")
def gather(ctx, x, dim, index, sparse_grad=False):
    """gather(Tensor self, int dim, Tensor index, *, bool sparse_grad=False) -> Tensor"""
    if any(is_size(s, 0) for s in shape(ctx, index)):
        return full(ctx, shape(ctx, index), 0, dtype(ctx, x))
    index = tensor(ctx, index, torch.int64)
    if not rank(ctx, x):
        return x if not rank(ctx, index) else expand(ctx, x, list(shape(ctx, index)))
    if not rank(ctx, index):
        return reshape(ctx, ctx.gather(x, reshape(ctx, index, [1]), 0), [])
    return ctx.gather(x, index, axis(ctx, x, dim))


@op("aten::take_along_dim")
def take_along_dim(ctx, x, indices, dim=None):
    """take_along_dim(Tensor self, Tensor indices, int? dim=None) -> Tensor"""
    if dim is None:
        flat = reshape(ctx, x, [-1])
        return gather(ctx, flat, 0, wrapped(ctx, reshape(ctx, indices, [-1]), numel(ctx, x)))
    at = axis(ctx, x, dim)
    sizes, wanted = list(shape(ctx, x)), list(shape(ctx, indices))
    common = broadcast_shapes(_with(sizes, at, 1), _with(wanted, at, 1))
    x = expand(ctx, x, _with(common, at, sizes[at]))
    index = expand(ctx, wrapped(ctx, indices, sizes[at]), _with(common, at, wanted[at]))
    return gather(ctx, x, at, index)


def _with(sizes: Sequence[Any], at: int, size: Any) -> list[Any]:
    """`sizes` with another one at `at`."""
    return [*sizes[:at], size, *sizes[at + 1 :]]


@op("aten::take")
def take(ctx, x, index):
    """take(Tensor self, Tensor index) -> Tensor: from the flattened tensor"""
    flat = reached(ctx, reshape(ctx, x, [-1]), 0, index)
    return ctx.take(flat, wrapped(ctx, index, numel(ctx, x)), 0)


# ---- index ---------------------------------------------------------------------------------------
def is_mask(ctx: Any, index: Any) -> bool:
    """Whether an index selects by truth; uint8 does so for historical reasons."""
    return dtype(ctx, index) in (torch.bool, torch.uint8)


def _without_masks(ctx: Any, indices: Sequence[Any]) -> list[Any]:
    """Masks as one index tensor per dimension they cover; symbolic ones through nonzero."""
    result: list[Any] = []
    for index in indices:
        if index is None or not is_mask(ctx, index):
            result.append(index)
            continue
        where_true = nonzero(ctx, index)
        result.extend(select(ctx, where_true, 1, i) for i in range(rank(ctx, index)))
    return result


def index_layout(
    ctx: Any, x: Any, indices: Sequence[Any]
) -> tuple[list[int], list[Any], list[Any], int]:
    """How ``x[indices]`` is laid out.

    Returns:
        The order of axes that puts the indexed ones first, the index tensors (broadcast, not
        negative), their common shape, and the position of that shape among the other dimensions.
    """
    indices = _without_masks(ctx, indices)
    axes = [a for a, index in enumerate(indices) if index is not None]
    others = [a for a in range(rank(ctx, x)) if a not in axes]
    lead = broadcast_shapes(*[shape(ctx, indices[a]) for a in axes])
    sizes = shape(ctx, x)
    indexed = [expand(ctx, wrapped(ctx, indices[a], sizes[a]), lead) for a in axes]
    adjacent = axes == list(range(axes[0], axes[0] + len(axes)))
    return [*axes, *others], indexed, lead, axes[0] if adjacent else 0


def linear_index(ctx: Any, indexed: Sequence[Any], sizes: Sequence[Any]) -> Any:
    """Index tensors over the first dimensions of `sizes` as one over these dimensions flattened."""
    linear = indexed[0]
    for index, size in zip(indexed[1:], sizes[1 : len(indexed)]):
        linear = add(ctx, mul(ctx, linear, size), index)
    return linear


def reached_by_all(ctx: Any, x: Any, indices: Sequence[Any]) -> Any:
    """`x`, or an error as the network runs: one of the constant indices lies outside of it."""
    given = {a: i for a, i in enumerate(indices) if i is not None}
    if not any(is_mask(ctx, i) for i in given.values()):
        for at, places in given.items():
            x = reached(ctx, x, at, places)
    return x


@op("aten::index", "aten::_unsafe_index")
def index(ctx, x, indices):
    """index.Tensor(Tensor self, Tensor?[] indices) -> Tensor"""
    if all(i is None for i in indices):
        return x
    x = reached_by_all(ctx, x, indices)
    order, indexed, lead, position = index_layout(ctx, x, indices)
    if len(indexed) == 1:
        return ctx.take(x, indexed[0], order[0])
    moved = permute(ctx, x, order)
    sizes = list(shape(ctx, moved))
    flat = reshape(ctx, moved, [numel(ctx, moved, range(len(indexed))), *sizes[len(indexed) :]])
    taken = ctx.take(flat, linear_index(ctx, indexed, sizes), 0)
    return movedim(ctx, taken, list(range(len(lead))), list(range(position, position + len(lead))))


@op("aten::nonzero")
def nonzero(ctx, x):
    """nonzero(Tensor self) -> Tensor"""
    return ctx.nonzero(x)


@op("aten::nonzero_numpy")
def nonzero_numpy(ctx, x):
    """nonzero_numpy(Tensor self) -> Tensor[]"""
    found = nonzero(ctx, x if rank(ctx, x) else reshape(ctx, x, [1]))
    return [select(ctx, found, 1, i) for i in range(max(rank(ctx, x), 1))]


@op("aten::argwhere")
def argwhere(ctx, x):
    """argwhere(Tensor self) -> Tensor"""
    return nonzero(ctx, x)


@op("aten::where")
def where_true(ctx, condition):
    """where(Tensor condition) -> Tensor[]"""
    return nonzero_numpy(ctx, condition)


@op("aten::masked_select")
def masked_select(ctx, x, mask):
    """masked_select(Tensor self, Tensor mask) -> Tensor"""
    sizes = broadcast_shapes(shape(ctx, x), shape(ctx, mask))
    flat, kept = (reshape(ctx, expand(ctx, v, sizes), [-1]) for v in (x, mask))
    return ctx.take(flat, reshape(ctx, nonzero(ctx, kept), [-1]), 0)
