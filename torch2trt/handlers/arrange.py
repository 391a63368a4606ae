"""A tensor's elements in other arrangements: windows, strides, splitting and joining by name."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from ..registry import op
from .common import axis, is_static, numel, rank, shape
from .shape import (
    cat,
    chunk,
    expand,
    flip,
    narrow_to,
    permute,
    reshape,
    split,
    split_with_sizes,
    unsqueeze,
)
from .shape import clamped as clamped_bound


@op("aten::as_strided", "aten::as_strided_copy")
def as_strided(ctx, x, size, stride, storage_offset=None):
    """as_strided(Tensor(a) self, SymInt[] size, SymInt[] stride, SymInt? storage_offset=None)
    -> Tensor(a)"""
    if storage_offset:
        raise ctx.refuse(
            "as_strided with a storage offset, which counts from memory the trace does not know"
        )
    sizes = shape(ctx, x)
    if not is_static([*sizes, *size, *stride]):
        raise ctx.refuse("as_strided of dynamic sizes")
    wanted = _positions(size, stride)
    strides = _recorded_strides(ctx) or _row_major(sizes)
    place = {int(p): i for i, p in enumerate(_positions(sizes, strides).reshape(-1))}
    if any(int(p) not in place for p in wanted.reshape(-1)):
        raise ctx.refuse("as_strided beyond the elements of its input")
    table = torch.tensor([place[int(p)] for p in wanted.reshape(-1)], dtype=torch.int64)
    return ctx.take(reshape(ctx, x, [-1]), table.reshape(size), 0)


def _recorded_strides(ctx: Any) -> Sequence[int] | None:
    """The strides that the input of this as_strided had in the trace, where it is a node of it."""
    node = ctx.node
    return node.inputs[0].strides if node and node.kind.startswith("aten::as_strided") else None


def _row_major(sizes: Sequence[int]) -> list[int]:
    return list(torch.empty(tuple(sizes), device="meta").stride())


def _positions(size: Sequence[int], stride: Sequence[int]) -> torch.Tensor:
    """The memory position of every element."""
    position = torch.zeros(tuple(size), dtype=torch.int64)
    for at, (count, step) in enumerate(zip(size, stride)):
        line = torch.arange(count) * step
        position = position + line.reshape([-1] + [1] * (len(size) - at - 1))
    return position


@op("aten::unfold")
def unfold(ctx, x, dimension, size, step):
    """unfold(Tensor(a) self, int dimension, int size, int step) -> Tensor(a):
    windows, as a last dimension"""
    if not rank(ctx, x):
        return reshape(ctx, x, [1] * size)
    at = axis(ctx, x, dimension)
    length = shape(ctx, x)[at]
    if not isinstance(length, int):
        raise ctx.refuse("windows along a dynamic dimension")
    count = (length - size) // step + 1
    table = torch.arange(count).reshape(-1, 1) * step + torch.arange(size)
    order = [a for a in range(rank(ctx, x) + 1) if a != at + 1]
    return permute(ctx, ctx.take(x, table, at), [*order, at + 1])


# ---- splitting -----------------------------------------------------------------------------------
@op("aten::tensor_split")
def tensor_split(ctx, x, sections, dim=0):
    """tensor_split.sections(Tensor(a) self, SymInt sections, int dim=0) -> Tensor(a)[];
    or by the given indices"""
    at = axis(ctx, x, dim)
    size = shape(ctx, x)[at]
    if ctx.is_tensor(sections):
        raise ctx.refuse(
            "tensor_split at computed positions, whose output shapes depend on the data"
        )
    if isinstance(sections, torch.Tensor):
        sections = sections.tolist()
    if isinstance(sections, int):
        if not isinstance(size, int):
            raise ctx.refuse("tensor_split along a dynamic dimension")
        small, more = divmod(size, sections)
        return split_with_sizes(ctx, x, [small + (i < more) for i in range(sections)], at)
    bounds = [0, *(clamped_bound(ctx, s, size) for s in sections), size]
    lengths = [b - a for a, b in zip(bounds, bounds[1:])]
    lengths = [max(n, 0) if isinstance(n, int) else n for n in lengths]
    return [narrow_to(ctx, x, at, start, length) for start, length in zip(bounds, lengths)]


def _split_along(*names: str, dim: Any):
    @op(*names)
    def emit(ctx, x, sections):
        return tensor_split(ctx, x, sections, dim(rank(ctx, x)))

    return emit


hsplit = _split_along("aten::hsplit", dim=lambda dims: 0 if dims == 1 else 1)
vsplit = _split_along("aten::vsplit", dim=lambda dims: 0)
dsplit = _split_along("aten::dsplit", dim=lambda dims: 2)


@op("aten::unsafe_chunk")
def unsafe_chunk(ctx, x, chunks, dim=0):
    """unsafe_chunk(Tensor self, int chunks, int dim=0) -> Tensor[]"""
    return chunk(ctx, x, chunks, dim)


@op("aten::unsafe_split", "aten::split_copy.Tensor")
def unsafe_split(ctx, x, split_size, dim=0):
    """unsafe_split.Tensor(Tensor self, SymInt split_size, int dim=0) -> Tensor[]"""
    return split(ctx, x, split_size, dim)


@op("aten::unsafe_split_with_sizes", "aten::split_with_sizes_copy")
def unsafe_split_with_sizes(ctx, x, split_sizes, dim=0):
    """unsafe_split_with_sizes(Tensor self, SymInt[] split_sizes, int dim=0) -> Tensor[]"""
    return split_with_sizes(ctx, x, split_sizes, dim)


# ---- joining -------------------------------------------------------------------------------------
@op("aten::atleast_1d", "aten::atleast_1d.Sequence")
def atleast_1d(ctx, x):
    """atleast_1d(Tensor self) -> Tensor, atleast_1d.Sequence(Tensor[] tensors) -> Tensor[]"""
    return _each(x, lambda v: reshape(ctx, v, [1]) if not rank(ctx, v) else v)


@op("aten::atleast_2d", "aten::atleast_2d.Sequence")
def atleast_2d(ctx, x):
    """atleast_2d(Tensor self) -> Tensor, atleast_2d.Sequence(Tensor[] tensors) -> Tensor[]"""
    return _each(x, lambda v: reshape(ctx, v, [1] * (2 - rank(ctx, v)) + list(shape(ctx, v))))


@op("aten::atleast_3d", "aten::atleast_3d.Sequence")
def atleast_3d(ctx, x):
    """atleast_3d(Tensor self) -> Tensor, atleast_3d.Sequence(Tensor[] tensors) -> Tensor[]"""

    def grown(v: Any) -> Any:
        sizes = list(shape(ctx, v))
        by_rank = {0: [1, 1, 1], 1: [1, *sizes, 1], 2: [*sizes, 1]}
        return reshape(ctx, v, by_rank.get(len(sizes), sizes))

    return _each(x, grown)


def _each(x: Any, change: Any) -> Any:
    return [change(v) for v in x] if isinstance(x, (list, tuple)) else change(x)


@op("aten::hstack")
def hstack(ctx, tensors):
    """hstack(Tensor[] tensors) -> Tensor"""
    tensors = atleast_1d(ctx, list(tensors))
    return cat(ctx, tensors, 0 if rank(ctx, tensors[0]) == 1 else 1)


@op("aten::vstack", "aten::row_stack")
def vstack(ctx, tensors):
    """vstack(Tensor[] tensors) -> Tensor"""
    return cat(ctx, atleast_2d(ctx, list(tensors)), 0)


@op("aten::dstack")
def dstack(ctx, tensors):
    """dstack(Tensor[] tensors) -> Tensor"""
    return cat(ctx, atleast_3d(ctx, list(tensors)), 2)


@op("aten::column_stack")
def column_stack(ctx, tensors):
    """column_stack(Tensor[] tensors) -> Tensor"""
    columns = [x if rank(ctx, x) > 1 else reshape(ctx, x, [numel(ctx, x), 1]) for x in tensors]
    return cat(ctx, columns, 1)


# ---- turning -------------------------------------------------------------------------------------
@op("aten::fliplr")
def fliplr(ctx, x):
    """fliplr(Tensor self) -> Tensor"""
    return flip(ctx, x, [1])


@op("aten::flipud")
def flipud(ctx, x):
    """flipud(Tensor self) -> Tensor"""
    return flip(ctx, x, [0])


@op("aten::rot90")
def rot90(ctx, x, k=1, dims=(0, 1)):
    """rot90(Tensor self, int k=1, int[] dims=[0,1]) -> Tensor"""
    first, second = (axis(ctx, x, d) for d in dims)
    turned = flip(ctx, x, {1: [second], 2: [first, second], 3: [first]}.get(k % 4, []))
    if k % 2 == 0:
        return turned
    order = list(range(rank(ctx, x)))
    order[first], order[second] = second, first
    return permute(ctx, turned, order)


# ---- repeating -----------------------------------------------------------------------------------
@op("aten::repeat_interleave.self_int")
def repeat_interleave(ctx, x, repeats, dim=None, output_size=None):
    """repeat_interleave.self_int(Tensor self, SymInt repeats, int? dim=None, *,
    SymInt? output_size=None) -> Tensor"""
    if dim is None or not rank(ctx, x):
        x, dim = reshape(ctx, x, [-1]), 0
    at, sizes = axis(ctx, x, dim), list(shape(ctx, x))
    paired = expand(ctx, unsqueeze(ctx, x, at + 1), [*sizes[: at + 1], repeats, *sizes[at + 1 :]])
    return reshape(ctx, paired, [*sizes[:at], sizes[at] * repeats, *sizes[at + 1 :]])


@op("aten::repeat_interleave.self_Tensor")
def repeat_interleave_each(ctx, x, repeats, dim=None, output_size=None):
    """repeat_interleave.self_Tensor(Tensor self, Tensor repeats, int? dim=None, *,
    SymInt? output_size=None)"""
    if ctx.is_tensor(repeats):
        raise ctx.refuse(
            "repeat_interleave with computed repeats, whose output shape depends on the data"
        )
    if dim is None or not rank(ctx, x):
        x, dim = reshape(ctx, x, [-1]), 0
    at = axis(ctx, x, dim)
    size = shape(ctx, x)[at]
    if repeats.numel() == 1:
        return repeat_interleave(ctx, x, int(repeats), at)
    if not isinstance(size, int):
        raise ctx.refuse("repeat_interleave along a dynamic dimension")
    return ctx.take(x, torch.repeat_interleave(torch.arange(size), repeats.cpu()), at)


@op(
    "aten::repeat_interleave.Tensor", "aten::bincount", "aten::histc", "aten::_unique",
    "aten::_unique2", "aten::unique_dim", "aten::unique_consecutive",
    "aten::unique_dim_consecutive",
)  # fmt: skip
def data_dependent(ctx, *_):
    """_unique2(Tensor self, ...) -> (Tensor, Tensor, Tensor),
    bincount(Tensor self, ...) -> Tensor, ..."""
    raise ctx.refuse("the output shape depends on the data")


@op("aten::resize", "aten::resize_as")
def resize(ctx, x, size, *_):
    """resize(Tensor self, SymInt[] size, *, MemoryFormat? memory_format=None) -> Tensor"""
    like = ctx.is_tensor(size) or isinstance(size, torch.Tensor)  # resize_as
    wanted = list(shape(ctx, size) if like else size)
    if not is_static([*shape(ctx, x), *wanted]):
        raise ctx.refuse("resize of dynamic sizes")
    count = torch.Size(wanted).numel()
    if count > numel(ctx, x):
        raise ctx.refuse("resize to more elements, whose values are not defined")
    return reshape(ctx, narrow_to(ctx, reshape(ctx, x, [-1]), 0, 0, count), wanted)


@op(
    "aten::to_sparse", "aten::_sparse_mm", "aten::_sparse_addmm", "aten::to_dense",
    "aten::sparse_mask", "aten::to_mkldnn", "aten::_to_sparse",
)  # fmt: skip
def sparse(ctx, *_):
    """to_sparse(Tensor self, ...) -> Tensor,
    _sparse_mm(Tensor sparse, Tensor dense) -> Tensor, ..."""
    raise ctx.refuse("tensors that are not dense have no counterpart")
