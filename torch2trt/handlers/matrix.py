"""Diagonals, triangles and blocks of matrices."""

from __future__ import annotations

from typing import Any

import torch

from ..registry import op
from .common import axis, broadcast_shapes, dtype, full, is_size, rank, shape, tensor
from .elementwise import ge, le, mul, pow_, sub, where
from .indexing import index_select
from .reduction import sum_
from .scatter import diagonal_positions, diagonal_scatter
from .shape import cat, expand, permute, reshape, unsqueeze


@op("aten::diagonal", "aten::diagonal_copy", "aten::linalg_diagonal")
def diagonal(ctx, x, offset=0, dim1=0, dim2=1):
    """diagonal(Tensor(a) self, int offset=0, int dim1=0, int dim2=1) -> Tensor(a)"""
    order, positions = diagonal_positions(ctx, x, offset, dim1, dim2)
    moved = permute(ctx, x, order)
    sizes = list(shape(ctx, moved))
    flat = reshape(ctx, moved, [*sizes[:-2], sizes[-2] * sizes[-1]])
    return index_select(ctx, flat, -1, torch.tensor(positions, dtype=torch.int64))


@op("aten::diag_embed")
def diag_embed(ctx, x, offset=0, dim1=-2, dim2=-1):
    """diag_embed(Tensor self, int offset=0, int dim1=-2, int dim2=-1) -> Tensor"""
    sizes, dims = list(shape(ctx, x)), rank(ctx, x) + 1
    first, second = dim1 % dims, dim2 % dims
    side = sizes[-1] + abs(offset)
    target = sizes[:-1]
    for at in sorted((first, second)):
        target.insert(at, side)
    return diagonal_scatter(ctx, full(ctx, target, 0, dtype(ctx, x)), x, offset, first, second)


@op("aten::diag")
def diag(ctx, x, diagonal_=0):
    """diag(Tensor self, int diagonal=0) -> Tensor"""
    return diag_embed(ctx, x, diagonal_) if rank(ctx, x) == 1 else diagonal(ctx, x, diagonal_)


@op("aten::diagflat")
def diagflat(ctx, x, offset=0):
    """diagflat(Tensor self, int offset=0) -> Tensor"""
    return diag_embed(ctx, reshape(ctx, x, [-1]), offset)


@op("aten::trace")
def trace(ctx, x):
    """trace(Tensor self) -> Tensor"""
    return sum_(ctx, diagonal(ctx, x), [0])


def _triangle(ctx: Any, x: Any, offset: int, lower: bool) -> Any:
    rows, columns = shape(ctx, x)[-2:]
    row, column = (
        torch.arange(size) if isinstance(size, int) else ctx.arange(0, size)
        for size in (rows, columns)
    )
    gap = sub(ctx, column, unsqueeze(ctx, row, 1))
    kept = (le if lower else ge)(ctx, gap, offset)
    return where(ctx, kept, x, tensor(ctx, 0, dtype(ctx, x)))


@op("aten::tril")
def tril(ctx, x, diagonal=0):
    """tril(Tensor self, int diagonal=0) -> Tensor"""
    return _triangle(ctx, x, diagonal, True)


@op("aten::triu")
def triu(ctx, x, diagonal=0):
    """triu(Tensor self, int diagonal=0) -> Tensor"""
    return _triangle(ctx, x, diagonal, False)


def _any(count: Any) -> bool:
    return not isinstance(count, int) or count > 0


@op("aten::block_diag")
def block_diag(ctx, tensors):
    """block_diag(Tensor[] tensors) -> Tensor"""
    blocks = [reshape(ctx, x, [1] * (2 - rank(ctx, x)) + list(shape(ctx, x))) for x in tensors]
    width = sum(shape(ctx, b)[1] for b in blocks)
    rows, start = [], 0
    for block in blocks:
        size = shape(ctx, block)[1]
        before, after = (
            [full(ctx, [shape(ctx, block)[0], count], 0, dtype(ctx, block))] if _any(count) else []
            for count in (start, width - start - size)
        )
        rows.append(cat(ctx, [*before, block, *after], 1))
        start = start + size
    return cat(ctx, rows, 0)


@op("aten::kron")
def kron(ctx, x, other):
    """kron(Tensor self, Tensor other) -> Tensor"""
    dims = max(rank(ctx, x), rank(ctx, other))
    left, right = ([1] * (dims - rank(ctx, v)) + list(shape(ctx, v)) for v in (x, other))
    spread = reshape(ctx, x, [size for s in left for size in (s, 1)])
    repeated = reshape(ctx, other, [size for s in right for size in (1, s)])
    return reshape(ctx, mul(ctx, spread, repeated), [a * b for a, b in zip(left, right)])


@op("aten::cartesian_prod")
def cartesian_prod(ctx, tensors):
    """cartesian_prod(Tensor[] tensors) -> Tensor"""
    if len(tensors) == 1:
        return tensors[0]
    sizes = [shape(ctx, x)[0] for x in tensors]
    grids = [
        expand(ctx, reshape(ctx, x, [-1] + [1] * (len(sizes) - i - 1)), sizes)
        for i, x in enumerate(tensors)
    ]
    return cat(ctx, [reshape(ctx, g, [-1, 1]) for g in grids], 1)


@op("aten::combinations")
def combinations(ctx, x, r=2, with_replacement=False):
    """combinations(Tensor self, int r=2, bool with_replacement=False) -> Tensor"""
    size = shape(ctx, x)[0]
    if not isinstance(size, int):
        raise ctx.refuse("combinations of a dynamic number of elements")
    table = torch.combinations(torch.arange(size), r, with_replacement)
    return ctx.take(x, table, 0)


@op("aten::vander", "aten::linalg_vander")
def vander(ctx, x, N=None, increasing=None):
    """linalg_vander(Tensor x, *, SymInt? N=None) -> Tensor"""
    if increasing is not None:
        raise ctx.refuse("vander by its deprecated name; use torch.linalg.vander")
    x = x if rank(ctx, x) else reshape(ctx, x, [1])
    count = shape(ctx, x)[-1] if N is None else N
    return pow_(ctx, unsqueeze(ctx, x, -1), torch.arange(count))


@op("aten::cross", "aten::linalg_cross")
def cross(ctx, x, other, dim=None):
    """linalg_cross(Tensor self, Tensor other, *, int dim=-1) -> Tensor;
    cross: the first dimension of size 3"""
    sizes = broadcast_shapes(shape(ctx, x), shape(ctx, other))
    x, other = expand(ctx, x, sizes), expand(ctx, other, sizes)
    if dim is None:
        linalg = ctx.node is not None and "linalg" in ctx.node.kind
        dim = -1 if linalg else next(a for a, size in enumerate(sizes) if is_size(size, 3))
    at = axis(ctx, x, dim)
    ahead, behind = torch.tensor([1, 2, 0]), torch.tensor([2, 0, 1])
    first = mul(ctx, index_select(ctx, x, at, ahead), index_select(ctx, other, at, behind))
    second = mul(ctx, index_select(ctx, x, at, behind), index_select(ctx, other, at, ahead))
    return sub(ctx, first, second)
