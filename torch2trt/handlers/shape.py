"""Shapes: views, permutations, joining, splitting, slicing, padding."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any

import torch

from ..registry import op
from .common import (
    as_list,
    axes,
    axis,
    broadcast_shapes,
    is_size,
    product,
    promote,
    rank,
    shape,
    sizes_of,
)


@op(
    "aten::reshape", "aten::view", "aten::_unsafe_view", "aten::view_copy", "aten::_reshape_copy",
    "aten::_reshape_alias",
)  # fmt: skip
def reshape(ctx, x, size, *_):
    """reshape(Tensor(a) self, SymInt[] shape) -> Tensor(a)"""
    return ctx.reshape(x, sizes_of(ctx, x, size))


@op("aten::reshape_as", "aten::view_as")
def reshape_as(ctx, x, other):
    """view_as(Tensor(a) self, Tensor other) -> Tensor(a)"""
    return ctx.reshape(x, shape(ctx, other))


@op("aten::flatten.using_ints")
def flatten(ctx, x, start_dim=0, end_dim=-1):
    """flatten.using_ints(Tensor(a) self, int start_dim=0, int end_dim=-1) -> Tensor(a)"""
    sizes = list(shape(ctx, x))
    if not sizes:
        return ctx.reshape(x, [1])
    start, end = axis(ctx, x, start_dim), axis(ctx, x, end_dim)
    if start == end:
        return x
    return reshape(ctx, x, [*sizes[:start], product(sizes[start : end + 1]), *sizes[end + 1 :]])


@op("aten::unflatten.int")
def unflatten(ctx, x, dim, sizes):
    """unflatten.int(Tensor(a) self, int dim, SymInt[] sizes) -> Tensor(a)"""
    at, old, sizes = axis(ctx, x, dim), list(shape(ctx, x)), list(sizes)
    if any(is_size(s, -1) for s in sizes):
        known = product([s for s in sizes if not is_size(s, -1)])
        sizes = [old[at] // known if is_size(s, -1) else s for s in sizes]
    return ctx.reshape(x, [*old[:at], *sizes, *old[at + 1 :]])


@op("aten::squeeze", "aten::squeeze_copy")
def squeeze(ctx, x, dim=None):
    """squeeze(Tensor(a) self),
    squeeze.dim(Tensor(a) self, int dim), squeeze.dims(Tensor(a) self, int[] dim)"""
    sizes = list(shape(ctx, x))
    if dim is None:
        wanted = range(len(sizes))
    else:
        wanted = [] if dim == [] else axes(ctx, x, dim)
    dynamic = [a for a in wanted if not isinstance(sizes[a], int)]
    if dynamic and dim is None:
        raise ctx.refuse("squeeze of all dimensions where one is dynamic: name the dimension")
    for a in dynamic:
        x = ctx.at_least(x, a, 2, "squeeze of a dynamic dimension of size 1, which takes it away")
    return ctx.reshape(x, [s for a, s in enumerate(sizes) if a not in wanted or not is_size(s, 1)])


@op("aten::unsqueeze", "aten::unsqueeze_copy")
def unsqueeze(ctx, x, dim):
    """unsqueeze(Tensor(a) self, int dim) -> Tensor(a)"""
    sizes = list(shape(ctx, x))
    at = dim + len(sizes) + 1 if dim < 0 else dim
    return ctx.reshape(x, [*sizes[:at], 1, *sizes[at:]])


@op("aten::permute", "aten::permute_copy")
def permute(ctx, x, dims):
    """permute(Tensor(a) self, int[] dims) -> Tensor(a)"""
    return ctx.permute(x, [axis(ctx, x, d) for d in dims])


@op("aten::transpose.int", "aten::swapaxes", "aten::swapdims")
def transpose(ctx, x, dim0, dim1):
    """transpose.int(Tensor(a) self, int dim0, int dim1) -> Tensor(a)"""
    order = list(range(rank(ctx, x)))
    if not order:
        return x
    first, second = axis(ctx, x, dim0), axis(ctx, x, dim1)
    order[first], order[second] = second, first
    return ctx.permute(x, order)


@op("aten::t", "aten::numpy_T", "aten::mT", "aten::mH", "aten::adjoint", "aten::matrix_H")
def t(ctx, x):
    """t(Tensor(a) self) -> Tensor(a)"""
    return x if rank(ctx, x) < 2 else transpose(ctx, x, -2, -1)


@op("aten::movedim.intlist", "aten::movedim.int", "aten::moveaxis.intlist", "aten::moveaxis.int")
def movedim(ctx, x, source, destination):
    """movedim.intlist(Tensor(a) self, int[] source, int[] destination) -> Tensor(a)"""
    sources = [axis(ctx, x, d) for d in as_list(source)]
    targets = [axis(ctx, x, d) for d in as_list(destination)]
    order: list[int | None] = [None] * rank(ctx, x)
    for source, target in zip(sources, targets):
        order[target] = source
    rest = iter(a for a in range(len(order)) if a not in sources)
    return ctx.permute(x, [next(rest) if a is None else a for a in order])


@op("aten::expand", "aten::expand_copy")
def expand(ctx, x, size, implicit=False):
    """expand(Tensor(a) self, SymInt[] size, *, bool implicit=False) -> Tensor(a)"""
    old = shape(ctx, x)
    offset = len(size) - len(old)
    kept = [is_size(s, -1) and i >= offset for i, s in enumerate(size)]
    return ctx.expand(x, [old[i - offset] if kept[i] else s for i, s in enumerate(size)])


@op("aten::expand_as")
def expand_as(ctx, x, other):
    """expand_as(Tensor(a) self, Tensor other) -> Tensor(a)"""
    return ctx.expand(x, shape(ctx, other))


@op("aten::broadcast_to")
def broadcast_to(ctx, x, size):
    """broadcast_to(Tensor(a) self, SymInt[] size) -> Tensor(a)"""
    return expand(ctx, x, size)


@op("aten::broadcast_tensors")
def broadcast_tensors(ctx, tensors):
    """broadcast_tensors(Tensor[] tensors) -> Tensor[]"""
    target = broadcast_shapes(*[shape(ctx, x) for x in tensors])
    return [ctx.expand(x, target) for x in tensors]


@op("aten::cat", "aten::concat", "aten::concatenate")
def cat(ctx, tensors, dim=0):
    """cat(Tensor[] tensors, int dim=0) -> Tensor;
    1-d tensors with no element are left out as in PyTorch"""
    kept = [x for x in tensors if tuple(shape(ctx, x)) != (0,)] or list(tensors)[:1]
    promoted = promote(ctx, *tensors)
    kept = [p for x, p in zip(tensors, promoted) if any(x is k for k in kept)]
    return kept[0] if len(kept) == 1 else ctx.concat(kept, axis(ctx, kept[0], dim))


@op("aten::stack")
def stack(ctx, tensors, dim=0):
    """stack(Tensor[] tensors, int dim=0) -> Tensor"""
    return cat(ctx, [unsqueeze(ctx, x, dim) for x in tensors], dim)


@op("aten::slice.Tensor", "aten::slice_copy.Tensor")
def slice_(ctx, x, dim=0, start=None, end=None, step=1):
    """slice.Tensor(Tensor(a) self, int dim=0, SymInt? start=None, SymInt? end=None, SymInt step=1)
    -> Tensor(a)"""
    sizes = list(shape(ctx, x))
    at = axis(ctx, x, dim)
    size = sizes[at]
    whole = end is None or (isinstance(end, int) and end >= sys.maxsize)
    counted = _counted_from_the_end(start, None if whole else end)
    start = clamped(ctx, 0 if start is None else start, size, likely=True)
    end = size if whole else clamped(ctx, end, size, likely=True)
    if is_size(start, 0) and end is size and step == 1:
        return x
    length = end - start if isinstance(size, int) or counted is None else counted
    length = max(length, 0) if isinstance(length, int) else length
    return narrow_to(ctx, x, at, start, length if step == 1 else (length + step - 1) // step, step)


def _counted_from_the_end(start: Any, end: Any) -> int | None:
    """The length up to `end` (None: the very end) where the size does not matter."""
    if isinstance(end, int) and end == 0:
        return 0
    if not isinstance(start, int) or start >= 0:
        return None
    if end is None:
        return -start
    return end - start if isinstance(end, int) and end < 0 else None


def clamped(ctx: Any, position: Any, size: Any, likely: bool = False) -> Any:
    """A slice bound inside 0..size; inside a symbolic size, it is taken to be as in the trace."""
    if ctx.is_dim(position):
        return ctx.position(position, size, likely)
    if isinstance(position, int) and position < 0:
        position = size + position
    if isinstance(position, int) and isinstance(size, int):
        return min(max(position, 0), size)
    return position


def narrow_to(ctx: Any, x: Any, at: int, start: Any, length: Any, step: int = 1) -> Any:
    """``x[start : start + step * length : step]`` along axis `at`."""
    sizes = list(shape(ctx, x))
    starts, steps = [0] * len(sizes), [1] * len(sizes)
    starts[at], sizes[at], steps[at] = start, length, step
    return ctx.slice(x, starts, sizes, steps)


@op("aten::narrow")
def narrow(ctx, x, dim, start, length):
    """narrow(Tensor(a) self, int dim, SymInt start, SymInt length) -> Tensor(a)"""
    at = axis(ctx, x, dim)
    if isinstance(start, torch.Tensor):
        start = int(start)
    if ctx.is_tensor(start):
        return _narrow_from(ctx, x, at, start, length)
    return narrow_to(ctx, x, at, clamped(ctx, start, shape(ctx, x)[at]), length)


def _narrow_from(ctx: Any, x: Any, at: int, start: Any, length: Any) -> Any:
    """``narrow`` with a start that is computed."""
    from .elementwise import add
    from .indexing import wrapped

    count = ctx.arange(0, length) if ctx.is_dim(length) else torch.arange(length)
    return ctx.take(x, add(ctx, wrapped(ctx, start, shape(ctx, x)[at]), count), at)


@op("aten::select.int", "aten::select_copy.int")
def select(ctx, x, dim, index):
    """select.int(Tensor(a) self, int dim, SymInt index) -> Tensor(a)"""
    sizes = list(shape(ctx, x))
    at = axis(ctx, x, dim)
    one = narrow_to(ctx, x, at, clamped(ctx, index, sizes[at]), 1)
    return ctx.reshape(one, sizes[:at] + sizes[at + 1 :])


@op("aten::split_with_sizes", "aten::split.sizes")
def split_with_sizes(ctx, x, split_sizes, dim=0):
    """split_with_sizes(Tensor(a) self, SymInt[] split_sizes, int dim=0) -> Tensor(a)[]"""
    at = axis(ctx, x, dim)
    starts = [sum(split_sizes[:i]) for i in range(len(split_sizes))]
    return [narrow_to(ctx, x, at, start, size) for start, size in zip(starts, split_sizes)]


@op("aten::split.Tensor")
def split(ctx, x, split_size, dim=0):
    """split.Tensor(Tensor(a) self, SymInt split_size, int dim=0) -> Tensor(a)[]"""
    size = _static_size(ctx, x, dim, "split")
    count = max((size + split_size - 1) // split_size, 1) if split_size else 1
    sizes = [min(split_size, size - i * split_size) for i in range(count)]
    return split_with_sizes(ctx, x, sizes, dim)


@op("aten::chunk")
def chunk(ctx, x, chunks, dim=0):
    """chunk(Tensor(a) self, int chunks, int dim=0) -> Tensor(a)[]"""
    size = _static_size(ctx, x, dim, "chunk")
    if size == 0:
        return split_with_sizes(ctx, x, [0] * chunks, dim)
    return split(ctx, x, (size + chunks - 1) // chunks, dim)


@op("aten::unbind.int")
def unbind(ctx, x, dim=0):
    """unbind.int(Tensor(a) self, int dim=0) -> Tensor(a)[]"""
    return [select(ctx, x, dim, i) for i in range(_static_size(ctx, x, dim, "unbind"))]


def _static_size(ctx: Any, x: Any, dim: int, what: str) -> int:
    size = shape(ctx, x)[axis(ctx, x, dim)]
    if not isinstance(size, int):
        raise ctx.refuse(f"{what} along a dynamic dimension, whose number of parts is not known")
    return size


@op("aten::repeat")
def repeat(ctx, x, repeats):
    """repeat(Tensor self, SymInt[] repeats) -> Tensor"""
    sizes = [1] * (len(repeats) - rank(ctx, x)) + list(shape(ctx, x))
    x = ctx.reshape(x, sizes)
    if all(is_size(s, 1) or is_size(r, 1) for s, r in zip(sizes, repeats)):
        return ctx.expand(x, [r if is_size(s, 1) else s for s, r in zip(sizes, repeats)])
    paired = ctx.reshape(x, [part for s in sizes for part in (1, s)])
    spread = ctx.expand(paired, [part for s, r in zip(sizes, repeats) for part in (r, s)])
    return ctx.reshape(spread, [r * s for s, r in zip(sizes, repeats)])


@op("aten::tile")
def tile(ctx, x, dims):
    """tile(Tensor self, SymInt[] dims) -> Tensor"""
    return repeat(ctx, x, [1] * (rank(ctx, x) - len(dims)) + list(dims))


@op("aten::flip")
def flip(ctx, x, dims):
    """flip(Tensor self, int[] dims) -> Tensor"""
    sizes = list(shape(ctx, x))
    flipped = [axis(ctx, x, d) for d in dims] if sizes else []
    if not flipped:
        return x
    starts = [s - 1 if a in flipped else 0 for a, s in enumerate(sizes)]
    steps = [-1 if a in flipped else 1 for a in range(len(sizes))]
    return ctx.slice(x, starts, sizes, steps)


@op("aten::roll")
def roll(ctx, x, shifts, dims=()):
    """roll(Tensor self, SymInt[1] shifts, int[1] dims=[]) -> Tensor"""
    shifts, dims = as_list(shifts), as_list(dims)
    if not dims:
        return ctx.reshape(roll(ctx, reshape(ctx, x, [-1]), shifts, [0]), shape(ctx, x))
    for shift, dim in zip(shifts, dims):
        at = axis(ctx, x, dim)
        size = shape(ctx, x)[at]
        shift = 0 if is_size(size, 0) else shift % size
        if not is_size(shift, 0):
            last = narrow_to(ctx, x, at, size - shift, shift)
            x = ctx.concat([last, narrow_to(ctx, x, at, 0, size - shift)], at)
    return x


@op("aten::constant_pad_nd")
def constant_pad_nd(ctx, x, pad, value=0):
    """constant_pad_nd(Tensor self, SymInt[] pad, Scalar value=0) -> Tensor;
    negative amounts cut off"""
    return pad_mode(ctx, x, pad, "constant", value)


def pad_mode(ctx: Any, x: Any, pad: Sequence[Any], mode: str, value: float = 0) -> Any:
    """``torch.nn.functional.pad``: amounts from the last dimension on, negative ones cut off."""
    dims = rank(ctx, x)
    before, after = [0] * dims, [0] * dims
    for i in range(len(pad) // 2):
        before[dims - 1 - i], after[dims - 1 - i] = pad[2 * i], pad[2 * i + 1]
    if mode != "constant" and any(isinstance(p, int) and p < 0 for p in pad):
        return _pad_by_table(ctx, x, before, after, mode)
    cut = [(_negative(b), _negative(a)) for b, a in zip(before, after)]
    for at, (first, last) in enumerate(cut):
        if first or last:
            x = narrow_to(ctx, x, at, first, shape(ctx, x)[at] - first - last)
    before = [0 if first else b for b, (first, _) in zip(before, cut)]
    after = [0 if last else a for a, (_, last) in zip(after, cut)]
    nothing = all(is_size(p, 0) for p in [*before, *after])
    return x if nothing else ctx.pad(x, before, after, mode, value)


def _pad_by_table(ctx: Any, x: Any, before: Sequence[int], after: Sequence[int], mode: str) -> Any:
    """Negative amounts: the values that are cut off still count for the other side's padding."""
    for at, amounts in enumerate(zip(before, after)):
        size = shape(ctx, x)[at]
        if any(amounts):
            if not isinstance(size, int):
                raise ctx.refuse(f"negative padding of a dynamic dimension in mode {mode!r}")
            line = torch.arange(size, dtype=torch.float64).reshape(1, 1, -1)
            table = torch.nn.functional.pad(line, amounts, mode=mode)
            x = ctx.take(x, table.reshape(-1).long(), at)
    return x


def _negative(amount: Any) -> int:
    return -amount if isinstance(amount, int) and amount < 0 else 0


@op("aten::pad")
def pad(ctx, x, pad, mode="constant", value=None):
    """pad(Tensor self, SymInt[] pad, str mode="constant", float? value=None) -> Tensor"""
    return pad_mode(ctx, x, pad, mode, value or 0)


def _padding(*names: str, mode: str) -> None:
    """A table row: padding in one mode."""

    @op(*names)
    def emit(ctx, x, padding):
        return pad_mode(ctx, x, padding, mode)


_padding(*[f"aten::reflection_pad{n}d" for n in (1, 2, 3)], mode="reflect")
_padding(*[f"aten::replication_pad{n}d" for n in (1, 2, 3)], mode="replicate")
_padding("aten::_pad_circular", mode="circular")
