"""Indexing primitives of TensorRT: gather, scatter and their reductions, nonzero."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch

from .base import Operand, Tensor, reached, reached_nd
from .tensorrt_reduce import ReduceMixin, extreme

_NARROW = (torch.bool, torch.uint8, torch.int8)
_MAX_CELLS = 1 << 31
_SCATTER = {
    "add": ("sum", "add"),
    "multiply": ("prod", "mul"),
    "maximum": ("max", "maximum"),
    "minimum": ("min", "minimum"),
}


class IndexMixin(ReduceMixin):
    """take, gather, gather_nd, scatter, scatter_nd and nonzero; see ``SymbolicContext``."""

    def _gather_layer(self, x: Operand, index: Operand, mode: str, axis: int = 0) -> Tensor:
        dtype = self.dtype_of(x)
        x = self.operand(self.via(torch.int32, x) if dtype in _NARROW else x)
        index = self._index(index)
        layer = self.check(self.network.add_gather_v2(x, index, getattr(self.trt.GatherMode, mode)))
        if mode != "ND":
            layer.axis = axis
        return self.back(self.out(layer), dtype)

    def _index(self, index: Operand) -> Tensor:
        if not self.is_tensor(index):
            return self.literal(index.to(self.index_dtype))
        is_index = self.dtype(index) in (torch.int32, torch.int64)
        return index if is_index else self.cast(index, self.index_dtype)

    def take(self, x: Operand, index: Operand, axis: int) -> Tensor:
        x = reached(self, self.operand(x), axis, index)
        return self._gather_layer(x, index, "DEFAULT", axis)

    def gather(self, x: Operand, index: Operand, axis: int) -> Tensor:
        x = reached(self, self.operand(x), axis, index)
        index = self._index(index)
        have, want = self.shape(x), self.shape(index)
        sizes = [have[i] if i == axis else size for i, size in enumerate(want)]
        if not self._same_where_static(have, sizes):
            x = self.slice(x, (0,) * len(sizes), sizes, (1,) * len(sizes))
        return self._gather_layer(x, index, "ELEMENT", axis)

    def _same_where_static(self, a: Sequence[object], b: Sequence[object]) -> bool:
        """Equal static sizes; dynamic ones count as equal, for layers check them in the engine."""
        return all(
            p == q if isinstance(p, int) else not isinstance(q, int)
            for p, q in zip(a, b, strict=True)
        )

    def gather_nd(self, x: Operand, index: Operand) -> Tensor:
        return self._gather_layer(reached_nd(self, self.operand(x), index), index, "ND")

    # ---- scatter ---------------------------------------------------------------------------------
    def _scatter_layer(
        self, x: Operand, index: Operand, source: Operand, mode: str, axis: int = 0
    ) -> Tensor:
        dtype = self.dtype_of(x)
        wide = torch.int32 if dtype in _NARROW else dtype
        data, updates = (self.operand(self.via(wide, value)) for value in (x, source))
        index = self._index(index)
        layer = self.check(
            self.network.add_scatter(data, index, updates, getattr(self.trt.ScatterMode, mode))
        )
        if mode == "ELEMENT":
            layer.axis = axis
        return self.back(self.out(layer), dtype)

    def scatter(
        self, x: Operand, index: Operand, source: Operand, axis: int, reduction: str | None
    ) -> Tensor:
        if reduction is None:
            return self.write(reached(self, x, axis, index), index, source, "ELEMENT", axis)
        x, source, index = self.operand(x), self.operand(source), self._index(index)
        shape, sizes = self.shape(x), self.shape(index)
        if not self.is_static([shape[axis]]):
            raise self.refuse(
                f"scatter with {reduction} along a dynamic dimension is not available"
            )
        collected = self._collect(index, source, axis, shape[axis], reduction)
        covered = [*sizes[:axis], shape[axis], *sizes[axis + 1 :]]
        if not self._same_where_static(shape, covered):
            after = [have - size for have, size in zip(shape, covered, strict=True)]
            neutral = self._neutral(source, reduction)
            collected = self.pad(collected, (0,) * len(after), after, "constant", neutral)
        return self.binary(_SCATTER[reduction][1], x, collected)

    def _neutral(self, x: Tensor, reduction: str) -> float:
        if reduction in ("add", "multiply"):
            return float(reduction == "multiply")
        return extreme(self.dtype(x), largest=reduction == "minimum")

    def _collect(
        self, index: Tensor, source: Tensor, axis: int, size: int, reduction: str
    ) -> Tensor:
        """For each position along `axis` the reduction of what is sent there, in one more
        dimension."""
        rank, dims = self.rank(index), self.shape(index)
        cells = math.prod(dim for dim in dims if isinstance(dim, int)) * size
        if rank == 8 or cells > _MAX_CELLS:
            raise self.refuse(
                f"scatter with {reduction} of {tuple(index.shape)} into {size} positions is too "
                "large"
            )
        split = (*dims[:axis], 1, *dims[axis:])
        view = [1] * (rank + 1)
        view[axis] = size
        targets = self.literal(torch.arange(size, dtype=self.dtype(index)), view)
        hit = self.elementwise("EQUAL", self.reshape(index, split), targets)
        neutral = self.number(self._neutral(source, reduction), self.dtype(source), rank + 1)
        sent = self.where(hit, self.reshape(source, split), neutral)
        return self.reduce(_SCATTER[reduction][0], sent, [axis + 1], keepdim=False)

    def scatter_nd(self, x: Operand, index: Operand, source: Operand, accumulate: bool) -> Tensor:
        if not accumulate:
            return self.write(reached_nd(self, self.operand(x), index), index, source, "ND")
        x, source, index = self.operand(x), self.operand(source), self._index(index)
        shape, depth = self.shape(x), index.shape[-1]
        if not self.is_static(shape) or depth == -1:
            raise self.refuse(
                "scatter_nd with accumulation into a tensor of dynamic shape is not available"
            )
        numbers = self._row_numbers(index, shape[:depth])
        rows, width = math.prod(shape[:depth]), math.prod(shape[depth:])
        count = self._product(self.shape(numbers))
        column = self.reshape(numbers, (count, 1))
        flat = self.reshape(source, (count, width))
        index = self.expand(column, (count, width)) if width != 1 else column
        added = self._collect(index, flat, 0, rows, "add")
        return self.binary("add", x, self.reshape(added, shape))

    def _row_numbers(self, index: Tensor, sizes: Sequence[int]) -> Tensor:
        """Where the positions [..., len(sizes)] lie once the dimensions `sizes` are flattened."""
        strides = [math.prod(sizes[i + 1 :]) for i in range(len(sizes))]
        steps = self.literal(torch.tensor(strides, dtype=self.dtype(index)))
        offsets = self.binary("mul", index, steps)
        return self.reduce("sum", offsets, [self.rank(index) - 1], keepdim=False)

    def _product(self, dims: Sequence[object]) -> object:
        total: object = 1
        for dim in dims:
            total = total * dim
        return total

    # ---- nonzero ---------------------------------------------------------------------------------
    def nonzero(self, x: Tensor) -> Tensor:
        if self.rank(x) == 0:
            raise self.refuse("nonzero of a 0-d tensor is not available")
        found = self.out(self.network.add_non_zero(self.cast(x, torch.bool)))
        return self.cast(self.permute(found, (1, 0)), torch.int64)
