"""Shapes, padding, gathering and scattering for both TVM dialects.

Operators go by their Relax names.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from .base import Dim, Operand, Tensor, reached, reached_nd
from .tvm_names import te, tirx
from .tvm_sizes import SizeChecks, empty, held, proven, same, static

SCATTER = {None: "update", "add": "add", "multiply": "mul", "maximum": "max", "minimum": "min"}


def _strided(
    x: te.Tensor, starts: Sequence[Any], sizes: Sequence[Any], steps: Sequence[int]
) -> te.Tensor:
    def compute(*index: Any) -> Any:
        return x(*[i if _whole(s, t) else s + i * t for i, s, t in zip(index, starts, steps)])

    return te.compute(sizes, compute, name="strided_slice")


def _whole(start: Any, step: int) -> bool:
    return isinstance(start, (int, tirx.IntImm)) and int(start) == 0 and int(step) == 1


def _wrapped(i: Any, size: Any, mode: str) -> Any:
    """Where the padded position `i` (relative to the unpadded start) reads."""
    if mode == "replicate":
        return tirx.max(tirx.min(i, size - 1), 0)
    if mode == "circular":
        return tirx.Select(i < 0, i + size, tirx.Select(i >= size, i - size, i))
    return tirx.Select(i < 0, -i, tirx.Select(i >= size, size * 2 - 2 - i, i))


def _pad_edges(x: te.Tensor, before: Sequence[Any], after: Sequence[Any], mode: str) -> te.Tensor:
    padded = [any(not _whole(amount, 1) for amount in pair) for pair in zip(before, after)]
    shape = [d + b + a for d, b, a in zip(x.shape, before, after)]

    def compute(*index: Any) -> Any:
        at = zip(index, x.shape, before, padded)
        return x(*[_wrapped(i - b, d, mode) if wraps else i for i, d, b, wraps in at])

    return te.compute(shape, compute, name=f"pad_{mode}")


def _pad_constant(
    x: te.Tensor, before: Sequence[Any], after: Sequence[Any], value: Any
) -> te.Tensor:
    shape = [d + b + a for d, b, a in zip(x.shape, before, after)]

    def compute(*index: Any) -> Any:
        at = [i - b for i, b in zip(index, before)]
        inside = [tirx.all(i >= 0, i < d) for i, d in zip(at, x.shape)]
        return tirx.if_then_else(tirx.all(*inside), x(*at), value)

    return te.compute(shape, compute, name="pad")


def _take(x: te.Tensor, index: te.Tensor, axis: int) -> te.Tensor:
    rank = len(index.shape)

    def compute(*at: Any) -> Any:
        position = _inside(index(*at[axis : axis + rank]), x.shape[axis])
        return x(*at[:axis], position, *at[axis + rank :])

    shape = [*x.shape[:axis], *index.shape, *x.shape[axis + 1 :]]
    return te.compute(shape, compute, name="take")


def _inside(position: Any, size: Any) -> Any:
    """`position` held inside [0, size): an index out of range must not read foreign memory."""
    position = position.astype("int64")
    return tirx.max(tirx.min(position, size - 1), tirx.const(0, "int64"))


def _gather(x: te.Tensor, index: te.Tensor, axis: int) -> te.Tensor:
    def compute(*at: Any) -> Any:
        return x(*at[:axis], _inside(index(*at), x.shape[axis]), *at[axis + 1 :])

    return te.compute(index.shape, compute, name="gather")


def _gather_nd(x: te.Tensor, index: te.Tensor) -> te.Tensor:
    depth, lead = int(index.shape[-1]), len(index.shape) - 1

    def compute(*at: Any) -> Any:
        position = [_inside(index(*at[:lead], k), x.shape[k]) for k in range(depth)]
        return x(*position, *at[lead:])

    return te.compute([*index.shape[:-1], *x.shape[depth:]], compute, name="gather_nd")


def _kept_in(dtype: torch.dtype) -> torch.dtype:
    """What TVM's scatter takes in place of `dtype`."""
    return torch.uint8 if dtype == torch.bool else dtype


def _added_in(dtype: torch.dtype) -> torch.dtype:
    """What a scatter that accumulates computes in."""
    return torch.float32 if dtype in (torch.float16, torch.bfloat16) else _kept_in(dtype)


def _clipped(index: te.Tensor, *sizes: Any) -> te.Tensor:
    """An index, whose last dimension is over several `sizes`, with its positions inside."""

    def compute(*at: Any) -> Any:
        size = sizes[0]
        for column, other in enumerate(sizes[1:], 1):
            size = tirx.Select(at[-1] == column, other, size)
        return _inside(index(*at), size).astype(index.dtype)

    return te.compute(index.shape, compute, name="clipped")


def _paste(x: te.Tensor, part: te.Tensor) -> te.Tensor:
    """`x` with its leading corner replaced by `part`."""

    def compute(*at: Any) -> Any:
        inside = [i < size for i, size in zip(at, part.shape)]
        return tirx.if_then_else(tirx.all(*inside), part(*at), x(*at))

    return te.compute(x.shape, compute, name="paste")


class IndexPrimitives(SizeChecks):
    """A part of ``RelaxContext`` and ``RelayContext``."""

    # ---- shapes ----------------------------------------------------------------------------------
    def reshape(self, x: Operand, shape: Sequence[Dim]) -> Tensor:
        x = self.operand(x)
        # Relax reads a 0 as "as before"
        if static(shape) and 0 in shape:
            return self.literal(torch.empty(tuple(shape), dtype=self.dtype(x)))
        return self.emit(self.op("reshape")(self.fit_elements(x, shape), list(shape)))

    def permute(self, x: Tensor, dims: Sequence[int]) -> Tensor:
        return (
            x if list(dims) == sorted(dims) else self.emit(self.op("permute_dims")(x, list(dims)))
        )

    def expand(self, x: Operand, shape: Sequence[Dim]) -> Tensor:
        x = self.operand(x)
        old = self.shape(x)
        known = [
            None if isinstance(d, int) else s for d, s in zip(old, shape[len(shape) - len(old) :])
        ]
        return self.emit(self.op("broadcast_to")(self.fit(x, known), list(shape)))

    def concat(self, xs: Sequence[Operand], axis: int) -> Tensor:
        return self.emit(self.op("concat")([self.operand(x) for x in xs], axis))

    def slice(
        self, x: Operand, starts: Sequence[Dim], sizes: Sequence[Dim], steps: Sequence[int]
    ) -> Tensor:
        x = self.operand(x)
        dims = self.shape(x)
        cut = [
            a for a, dim in enumerate(dims)
            if not (_whole(starts[a], steps[a]) and same(dim, sizes[a]))
        ]  # fmt: skip
        if not cut:
            return x
        first, found = list(starts), list(sizes)
        for a in cut:
            first[a], found[a] = held(starts[a], sizes[a], steps[a], dims[a])
        if found != list(sizes):
            return self.assume_shape(self._strided(x, first, found, steps), sizes)
        if all(steps[a] > 0 and static([starts[a], sizes[a]]) and sizes[a] for a in cut):
            begin, count, step = ([v[a] for a in cut] for v in (starts, sizes, steps))
            end = [s + (n - 1) * t + 1 for s, n, t in zip(begin, count, step)]
            cutter = self.op("strided_slice")
            return self.emit(cutter(x, cut, begin, end, step, assume_inbound=True))
        return self._strided(x, first, found, steps)

    def _strided(
        self, x: Tensor, starts: Sequence[Dim], sizes: Sequence[Dim], steps: Sequence[int]
    ) -> Tensor:
        return self.te(_strided, x, list(starts), list(sizes), list(steps), name="strided_slice")

    def position(self, position: Dim, size: Dim, likely: bool = False) -> Dim:
        if proven([position >= 0], least=1):
            return position
        if likely and not proven([position <= 0], least=1):
            return position
        return tirx.Select(position < 0, position + size, position)

    def pad(
        self, x: Operand, before: Sequence[Dim], after: Sequence[Dim], mode: str, value: float = 0
    ) -> Tensor:
        if mode not in ("constant", "reflect", "replicate", "circular"):
            raise self._missing(f"pad {mode}")
        x = self.operand(x)
        if mode != "constant":
            return self.te(_pad_edges, x, list(before), list(after), mode, name=f"pad_{mode}")
        dtype = self.dtype(x)
        if dtype == torch.bool:
            return self.cast(
                self.pad(self.cast(x, torch.uint8), before, after, mode, int(bool(value))), dtype
            )
        if dtype.is_floating_point and static([*before, *after]):
            widths = [amount for pair in zip(before, after) for amount in pair]
            return self.emit(self.op("nn.pad")(x, widths, "constant", float(value)))
        number = tirx.const(value if dtype.is_floating_point else int(value), self.tvm_dtype(dtype))
        return self.te(_pad_constant, x, list(before), list(after), number, name="pad")

    # ---- indexing --------------------------------------------------------------------------------
    def take(self, x: Operand, index: Operand, axis: int) -> Tensor:
        x = reached(self, self.operand(x), axis, index)
        return self.te_index(_take, x, self.operand(index), axis, name="take")

    def gather(self, x: Operand, index: Operand, axis: int) -> Tensor:
        x = reached(self, self.operand(x), axis, index)
        index = self.operand(index)
        if not self.shape(x):
            x = self.reshape(x, [1])
        if not self.shape(index):
            return self.reshape(self.gather(x, self.reshape(index, [1]), axis), [])
        return self.te_index(_gather, x, index, axis, name="gather")

    def gather_nd(self, x: Operand, index: Operand) -> Tensor:
        x, index = reached_nd(self, self.operand(x), index), self.operand(index)
        if not isinstance(self.shape(index)[-1], int):
            raise self.refuse("gather_nd with an index of dynamic depth")
        return self.te_index(_gather_nd, x, index, name="gather_nd")

    def scatter(
        self, x: Operand, index: Operand, source: Operand, axis: int, reduction: str | None
    ) -> Tensor:
        x = reached(self, self.operand(x), axis, index)
        index, source = self._writable(index, self.shape(x)[axis:][:1]), self.operand(source)
        if reduction not in SCATTER:
            raise self._missing(f"scatter with reduction {reduction}")
        if not self.shape(x):
            lines = [self.reshape(v, [1]) for v in (x, index, source)]
            return self.reshape(self.scatter(*lines, axis, reduction), [])
        if empty([*self.shape(index), *self.shape(x)]):
            return x
        dtype = self.dtype(x)
        storage = _added_in(dtype) if reduction in ("add", "multiply") else _kept_in(dtype)
        if storage != dtype:
            wide = [self.cast(v, storage) for v in (x, source)]
            return self.cast(self.scatter(wide[0], index, wide[1], axis, reduction), dtype)
        if reduction in ("maximum", "minimum") and dtype.is_floating_point:
            return self._scatter_extreme(x, index, source, axis, reduction)
        return self._scatter(x, index, source, axis, SCATTER[reduction])

    def _scatter(self, x: Tensor, index: Tensor, source: Tensor, axis: int, mode: str) -> Tensor:
        sizes = list(self.shape(index))
        sizes[axis] = self.shape(x)[axis]
        index = self.cast(index, torch.int64)
        part = self.slice(x, [0] * len(sizes), sizes, [1] * len(sizes))
        result = self.emit(self.op("scatter_elements")(part, index, source, axis, mode))
        return result if part is x else self.te(_paste, x, result, name="paste")

    def _scatter_extreme(
        self, x: Tensor, index: Tensor, source: Tensor, axis: int, reduction: str
    ) -> Tensor:
        """NaN propagates: values that are NaN, or meet one, are marked in a second scatter."""
        marks = [self.cast(self.unary("isnan", v), torch.int32) for v in (x, source)]
        marked = self._scatter(marks[0], index, marks[1], axis, "max")
        result = self._scatter(x, index, source, axis, SCATTER[reduction])
        nan = self.literal(torch.tensor(float("nan"), dtype=self.dtype(x)))
        return self.where(self.cast(marked, torch.bool), nan, result)

    def _writable(self, index: Operand, sizes: Sequence[Dim], nd: bool = False) -> Tensor:
        """A computed index held inside the sizes: one out of range must not write elsewhere."""
        if isinstance(index, torch.Tensor) or empty(self.shape(index)):
            return self.operand(index)
        if nd:
            sizes = sizes[: self.shape(index)[-1]]
        return self.te_index(_clipped, self.operand(index), *(sizes or [1]), name="clipped")

    def scatter_nd(self, x: Operand, index: Operand, source: Operand, accumulate: bool) -> Tensor:
        x = reached_nd(self, self.operand(x), index)
        index, source = self._writable(index, self.shape(x), nd=True), self.operand(source)
        if empty([*self.shape(source), *self.shape(x)]):
            return x
        dtype = self.dtype(x)
        storage = _added_in(dtype) if accumulate else _kept_in(dtype)
        if accumulate and dtype == torch.bool:
            raise self.refuse("scatter_nd that adds booleans")
        x, source = self.cast(x, storage), self.cast(source, storage)
        return self.cast(
            self.emit(self.op("scatter_nd")(x, index, source, "add" if accumulate else "update")),
            dtype,
        )

    def arange(self, start: Dim, length: Dim, step: int = 1) -> Tensor:
        if static([start, length]):
            return self.literal(torch.arange(length, dtype=torch.int64) * step + start)

        def compute(start: Any, length: Any) -> te.Tensor:
            return te.compute([length], lambda i: (start + i * step).astype("int64"), name="arange")

        return self.te_index(compute, start, length, name="arange")
