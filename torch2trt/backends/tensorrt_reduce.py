"""Reductions, scans and sorting of TensorRT.

NaN: TensorRT promises nothing about NaN in the MAX and MIN of reductions and scans, nor about its
    order in top-k; ``sort`` orders NaN as torch does.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence

import torch

from . import trt_api
from .base import Dim, Tensor, reduced
from .tensorrt_base import FLOATS
from .tensorrt_exact import ExactMixin
from .tensorrt_shape import ShapeMixin

_REDUCE = {
    "sum": "SUM",
    "prod": "PROD",
    "mean": "AVG",
    "max": "MAX",
    "min": "MIN",
    "any": "MAX",
    "all": "MIN",
}
_FOLD = {"sum": "SUM", "prod": "PROD", "max": "MAX", "min": "MIN"}
_SMALL = (torch.bool, torch.uint8, torch.int8)
_DIGIT = 2048  # digits of int32 to this base are exact in float32, sums of 8,192 of them too
_BEYOND = 1 << 30  # above every position, and a float32
_SCAN = {"sum": ("SUM", 0), "prod": ("PROD", 1), "max": ("MAX", None), "min": ("MIN", None)}
_MAX_K = 3840
_MAX_PAIRS = 1 << 28  # comparisons of the sort that needs no top-k
_KEY = 4096  # above every position of a sort by top-k

_OF_NOTHING = {"sum": 0.0, "prod": 1.0, "mean": math.nan, "any": 0.0, "all": 1.0}


def extreme(dtype: torch.dtype, largest: bool) -> float:
    """The largest (else the smallest) value of a dtype, infinite for floats."""
    if dtype in FLOATS:
        return math.inf if largest else -math.inf
    return torch.iinfo(dtype).max if largest else torch.iinfo(dtype).min


class ReduceMixin(ExactMixin, ShapeMixin):
    """reduce, arg_reduce, cumulative, topk and sort; see ``SymbolicContext`` for their meaning."""

    # ---- reductions ------------------------------------------------------------------------------
    def reduce(self, name: str, x: Tensor, axes: Sequence[int], keepdim: bool) -> Tensor:
        if not axes:
            return x
        dtype = self.dtype(x)
        if dtype in _SMALL:
            wide = self._reduce_layer(name, self.cast(x, torch.int32), axes, keepdim)
            return self.back(wide, dtype)
        if not self._weakly_typed or dtype in FLOATS or self._was_small(x):
            return self._reduce_layer(name, x, axes, keepdim)
        return self._reduce_integers(name, x, axes, keepdim)

    def _reduce_layer(self, name: str, x: Tensor, axes: Sequence[int], keepdim: bool) -> Tensor:
        sizes = self.shape(x)
        if name in _OF_NOTHING and 0 in [s for a in axes if isinstance(s := sizes[a], int)]:
            return self._of_nothing(name, x, axes, keepdim)
        if name == "any" and any(not isinstance(sizes[a], int) or not sizes[a] for a in axes):
            name = "sum"  # of nothing, the maximum is not "no"
        if self._weakly_typed and name in ("max", "min") and self.dtype(x) in FLOATS:
            return self._extreme_with_nan(name, x, axes, keepdim)
        return self._reduced(name, x, axes, keepdim)

    def _reduced(self, name: str, x: Tensor, axes: Sequence[int], keepdim: bool) -> Tensor:
        operation = getattr(self.trt.ReduceOperation, _REDUCE[name])
        return self.out(self.network.add_reduce(x, operation, self.axes(axes), keepdim))

    def _extreme_with_nan(self, name: str, x: Tensor, axes: Sequence[int], keepdim: bool) -> Tensor:
        """NaN where any goes in: the layer of 8.6 leaves NaN out, a sum does not."""
        extreme = self._reduced(name, x, axes, keepdim)
        zero = self.number(0, self.dtype(x), self.rank(x))
        only_nan = self._select(self.elementwise("EQUAL", x, x), zero, x)
        total = self._reduced("sum", only_nan, axes, keepdim)
        return self._select(self.elementwise("EQUAL", total, total), extreme, total)

    def _of_nothing(self, name: str, x: Tensor, axes: Sequence[int], keepdim: bool) -> Tensor:
        """What a reduction gives that nothing goes into; 8.6 does not build some of them."""
        sizes = reduced(self.shape(x), axes, keepdim)
        value = torch.tensor(_OF_NOTHING[name]).to(self.dtype(x))
        if self.is_static(sizes):
            return self.literal(value.repeat(sizes))
        return self.expand(self.literal(value), sizes)

    def _was_small(self, x: Tensor) -> bool:
        """Whether integers were bools or bytes, which float32 holds exactly."""
        kind = self._state.types.computed_in(self.network, x)
        return trt_api.torch_dtype(kind) in _SMALL

    def _reduce_integers(self, name: str, x: Tensor, axes: Sequence[int], keepdim: bool) -> Tensor:
        """By elementwise layers, which are exact: the reductions of 8.6 round integers to
        float32."""
        shape = self.shape(x)
        if 0 in shape:
            return self._reduce_layer(name, x, axes, keepdim)
        for axis in axes:
            if isinstance(shape[axis], int):
                x = self._folded(_FOLD[name], x, axis)
        dynamic = [axis for axis in axes if not isinstance(shape[axis], int)]
        if dynamic:
            x = self._reduce_digits(name, x, dynamic)
        kept = [size for axis, size in enumerate(shape) if axis not in axes]
        return x if keepdim else self.reshape(x, kept)

    def _folded(self, kind: str, x: Tensor, axis: int) -> Tensor:
        """An axis halved until it has one position; what an odd size leaves over comes last."""
        size, rest = self.shape(x)[axis], []
        while size > 1:
            half = size // 2
            if size % 2:
                rest.append(self._cut(x, axis, size - 1, 1))
            x = self.elementwise(kind, self._cut(x, axis, 0, half), self._cut(x, axis, half, half))
            size = half
        return functools.reduce(lambda a, b: self.elementwise(kind, a, b), rest, x)

    def _cut(self, x: Tensor, axis: int, start: int, size: int) -> Tensor:
        starts, sizes = [0] * self.rank(x), list(self.shape(x))
        starts[axis], sizes[axis] = start, size
        return self.slice(x, starts, sizes, (1,) * len(sizes))

    def _reduce_digits(self, name: str, x: Tensor, axes: Sequence[int]) -> Tensor:
        """Sums and extremes along dynamic axes: of digits small enough for float32."""
        if name == "prod":
            raise self.refuse("the product of integers along a dynamic dimension is not available")
        high = self._with("FLOOR_DIV", x, _DIGIT)
        low = self.elementwise("SUB", x, self._with("PROD", high, _DIGIT))
        if name == "sum":
            top = self._with("FLOOR_DIV", high, _DIGIT)
            middle = self.elementwise("SUB", high, self._with("PROD", top, _DIGIT))
            top, middle, low = (
                self._reduce_layer("sum", y, axes, True) for y in (top, middle, low)
            )
            high = self.elementwise("SUM", self._with("PROD", top, _DIGIT), middle)
        else:
            leading = self._reduce_layer(name, high, axes, True)
            worst = self.number(-1 if name == "max" else _DIGIT, self.dtype(x), self.rank(x))
            low = self._select(self.elementwise("EQUAL", high, leading), low, worst)
            high, low = leading, self._reduce_layer(name, low, axes, True)
        return self.elementwise("SUM", self._with("PROD", high, _DIGIT), low)

    def arg_reduce(self, name: str, x: Tensor, axis: int, keepdim: bool) -> Tensor:
        """The first position that holds the extreme value (or NaN)."""
        if self.dtype(x) in _SMALL:
            x = self.cast(x, torch.int32)
        size, rank = self.shape(x)[axis], self.rank(x)
        hit = self.elementwise("EQUAL", x, self.reduce(name, x, [axis], keepdim=True))
        if self.dtype(x) in FLOATS:
            hit = self.elementwise("OR", hit, self.unary("isnan", x))
        positions = self.cast(self._positions(size, axis, rank), torch.int32)
        beyond = self.number(_BEYOND, torch.int32, rank)
        first = self._reduce_layer("min", self._select(hit, positions, beyond), [axis], keepdim)
        return self.cast(first, torch.int64)

    def _positions(self, size: Dim, axis: int, rank: int) -> Tensor:
        """0 to size - 1 along an axis."""
        return self.reshape(self.arange(0, size), [size if i == axis else 1 for i in range(rank)])

    # ---- scans -----------------------------------------------------------------------------------
    def cumulative(self, name: str, x: Tensor, axis: int) -> Tensor:
        """By the cumulative layer for sums, else by doubling steps: log2(size) shifted copies.

        Without either (a dynamic size), each position reduces what is not behind it: size * size
        elements.
        """
        dtype = self.dtype(x)
        if dtype in _SMALL:
            return self.back(self.cumulative(name, self.cast(x, torch.int32), axis), dtype)
        if name == "sum" and self.has("add_cumulative"):
            where = self.literal(torch.tensor(axis, dtype=torch.int32))
            operation = self.trt.CumulativeOperation.SUM
            return self.out(self.network.add_cumulative(x, where, operation, False, False))
        size = self.shape(x)[axis]
        kind, neutral = _SCAN[name]
        neutral = extreme(dtype, largest=name == "min") if neutral is None else neutral
        if not isinstance(size, int):
            return self._cumulative_by_mask(name, x, axis, neutral)
        offset = 1
        while offset < size:
            x = self.elementwise(kind, x, self._shifted(x, axis, offset, neutral))
            offset *= 2
        return x

    def _cumulative_by_mask(self, name: str, x: Tensor, axis: int, neutral: float) -> Tensor:
        shape, rank = self.shape(x), self.rank(x)
        if rank == 8:
            raise self.refuse(f"cumulative {name} along a dynamic dimension of 8 is not available")
        size = shape[axis]
        tail = (1,) * (rank - axis - 1)
        positions = self.arange(0, size)
        targets = self.reshape(positions, (size, 1, *tail))
        sources = self.reshape(positions, (1, size, *tail))
        copies = self.reshape(x, (*shape[:axis], 1, *shape[axis:]))
        reached = self.binary("ge", targets, sources)
        kept = self.where(reached, copies, self.number(neutral, self.dtype(x), 1))
        return self.reduce(name, kept, [axis + 1], keepdim=False)

    def _shifted(self, x: Tensor, axis: int, offset: int, value: float) -> Tensor:
        starts = [-offset if i == axis else 0 for i in range(self.rank(x))]
        fill = self.literal(torch.tensor(value, dtype=self.dtype(x)))
        return self.slice_layer(x, starts, self.shape(x), (1,) * len(starts), "FILL", fill)

    # ---- top-k -----------------------------------------------------------------------------------
    def topk(self, x: Tensor, k: Dim, axis: int, largest: bool) -> tuple[Tensor, Tensor]:
        dtype, rank = self.dtype(x), self.rank(x)
        if dtype in _SMALL:
            values, indices = self.topk(self.cast(x, torch.int32), k, axis, largest)
            return self.back(values, dtype), indices
        if (isinstance(k, int) and k > _MAX_K) or self._no_integer_topk(x):
            return self._topk_by_sort(x, k, axis, largest)
        if rank == 1:
            row = self.reshape(x, (1, *self.shape(x)))
            return tuple(self.reshape(y, (k,)) for y in self.topk(row, k, 1, largest))
        if axis < rank - 4:
            order = [i for i in range(rank) if i != axis] + [axis]
            back = [order.index(i) for i in range(rank)]
            results = self.topk(self.permute(x, order), k, rank - 1, largest)
            return tuple(self.permute(y, back) for y in results)
        self.require([self.shape(x)[axis] - k], "topk of more elements than there are")
        return self._topk_layer(x, k, axis, largest)

    def _topk_by_sort(self, x: Tensor, k: Dim, axis: int, largest: bool) -> tuple[Tensor, Tensor]:
        values, indices = self.sort(x, axis, largest)
        sizes = list(self.shape(x))
        sizes[axis] = k
        cut = (0,) * len(sizes), sizes, (1,) * len(sizes)
        return self.slice(values, *cut), self.slice(indices, *cut)

    def _no_integer_topk(self, x: Tensor) -> bool:
        """8.6, whose networks are weakly typed, has top-k of floats only."""
        return self._weakly_typed and self.dtype(x) not in FLOATS

    def _topk_layer(self, x: Tensor, k: Dim, axis: int, largest: bool) -> tuple[Tensor, Tensor]:
        operation = self.trt.TopKOperation.MAX if largest else self.trt.TopKOperation.MIN
        static = k if isinstance(k, int) else 1
        keys = self._largest_nan(x) if self._weakly_typed else x
        layer = self.check(self.network.add_topk(keys, operation, static, 1 << axis))
        if not isinstance(k, int):
            layer.set_input(1, self.scalar(k))
        values, indices = self.out(layer), self.cast(layer.get_output(1), torch.int64)
        return self.gather(x, indices, axis) if self._weakly_typed else values, indices

    def _largest_nan(self, x: Tensor) -> Tensor:
        """What sorts as `x` does in PyTorch: NaN is infinite, what was infinite is the largest
        finite number. 8.6 leaves NaN out."""
        largest = torch.finfo(self.dtype(x)).max
        infinity = self.number(math.inf, self.dtype(x), self.rank(x))
        return self.where(self.elementwise("EQUAL", x, x), self._with("MIN", x, largest), infinity)

    # ---- sorting ---------------------------------------------------------------------------------
    def sort(self, x: Tensor, axis: int, descending: bool) -> tuple[Tensor, Tensor]:
        dtype, size = self.dtype(x), self.shape(x)[axis]
        if dtype in _SMALL:
            values, indices = self.sort(self.cast(x, torch.int32), axis, descending)
            return self.back(values, dtype), indices
        if self._weakly_typed or (isinstance(size, int) and size > _MAX_K):
            indices = self._order_by_rank(x, axis, descending)
        else:
            indices = self._order_by_topk(x, axis, descending)
        return self.gather(x, indices, axis), indices

    def _order_by_topk(self, x: Tensor, axis: int, descending: bool) -> Tensor:
        """Two top-k: the first sorts the values, the second the positions within runs of equal
        values.

        The key of the second is (number of the run, NaN last or first, position); it fits int32.
        """
        size, rank, dtype = self.shape(x)[axis], self.rank(x), self.dtype(x)
        special = self.unary("isnan", x) if dtype in FLOATS else None
        if special is not None:
            x = self._select(special, self.number(extreme(dtype, True), dtype, rank), x)
        values, order = self.topk(x, size, axis, descending)
        key = self._with("PROD", self._run_numbers(values, axis), 2)
        if special is not None:
            marks = self.gather(self.cast(special, torch.int32), order, axis)
            marks = self.cast(marks, torch.int32)
            marks = self._with("SUB", marks, 1, swapped=True) if descending else marks
            key = self.elementwise("SUM", key, marks)
        key = self.elementwise("SUM", self._with("PROD", key, _KEY), self.cast(order, torch.int32))
        key, _ = self.topk(key, size, axis, largest=False)
        position = self._int_division("remainder", key, self.number(_KEY, torch.int32, rank))
        return self.cast(position, torch.int64)

    def _run_numbers(self, values: Tensor, axis: int) -> Tensor:
        """Along a sorted axis: how many different values came before, int32."""
        starts = [-1 if i == axis else 0 for i in range(self.rank(values))]
        former = self.slice_layer(values, starts, self.shape(values), (1,) * len(starts), "CLAMP")
        changed = self.cast(self._not(self.elementwise("EQUAL", values, former)), torch.int32)
        return self.cumulative("sum", changed, axis)

    def _order_by_rank(self, x: Tensor, axis: int, descending: bool) -> Tensor:
        """Every position counts what comes before it; n * n comparisons, no limit from top-k."""
        shape, rank = self.shape(x), self.rank(x)
        pairs = math.prod(dim for dim in shape if isinstance(dim, int)) * shape[axis]
        if pairs > _MAX_PAIRS or rank == 8 or not self.is_static(shape):
            raise self.refuse(
                f"sort of {shape[axis]} elements in {tuple(x.shape)} is not available: top-k sorts "
                f"at most {_MAX_K}, and {pairs} comparisons are more than {_MAX_PAIRS}"
            )
        mine = self.reshape(x, (*shape[: axis + 1], 1, *shape[axis + 1 :]))
        other = self.reshape(x, (*shape[:axis], 1, *shape[axis:]))
        before = self._comes_before(other, mine, descending)
        size, tail = shape[axis], (1,) * (rank - axis - 1)
        earlier = self.literal(torch.ones(size, size).tril(-1).bool(), (size, size, *tail))
        ties = self.elementwise("AND", *self.align(self._ties(other, mine), earlier))
        first = self.cast(self.elementwise("OR", before, ties), torch.int32)
        ranks = self.cast(self.reduce("sum", first, [axis + 1], keepdim=False), torch.int64)
        positions = self.expand(self._positions(size, axis, rank), shape)
        return self.scatter(positions, ranks, positions, axis, None)

    def _comes_before(self, a: Tensor, b: Tensor, descending: bool) -> Tensor:
        before = self.elementwise("GREATER" if descending else "LESS", a, b)
        if self.dtype(a) not in FLOATS:
            return before
        first, last = (a, b) if descending else (b, a)
        special = self.elementwise(
            "AND", self.unary("isnan", first), self._not(self.unary("isnan", last))
        )
        return self.elementwise("OR", before, special)

    def _ties(self, a: Tensor, b: Tensor) -> Tensor:
        equal = self.elementwise("EQUAL", a, b)
        if self.dtype(a) not in FLOATS:
            return equal
        return self.elementwise(
            "OR", equal, self.elementwise("AND", self.unary("isnan", a), self.unary("isnan", b))
        )
