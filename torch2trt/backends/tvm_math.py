"""Elementwise functions, reductions, scans and sorting for both TVM dialects.

Operators go by their Relax names.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from tvm import topi

from . import tvm_te as T
from .base import Dim, Operand, Tensor, reduced
from .tvm_names import tirx
from .tvm_power import integer_power
from .tvm_sizes import SizeChecks, empty

_SAME = (
    "abs sign exp log sqrt rsqrt sin cos tan asin acos atan sinh cosh tanh asinh acosh atanh "
    "ceil floor round trunc erf sigmoid logical_not bitwise_not isnan isinf"
).split()
UNARY = {"neg": "negative", "relu": "nn.relu", **dict(zip(_SAME, _SAME))}
UNARY_TE = {
    "expm1": T.wide(T.expm1), "log1p": T.wide(tirx.log1p), "log2": T.wide(tirx.log2),
    "reciprocal": T.wide(lambda x: T.const(1, x) / x),
}  # fmt: skip
ROUNDING = {"ceil", "floor", "round", "trunc"}

BINARY = {
    "add": "add", "sub": "subtract", "mul": "multiply", "div": "divide", "pow": "power",
    "maximum": "maximum",
    "minimum": "minimum", "atan2": "atan2", "eq": "equal", "ne": "not_equal", "lt": "less",
    "le": "less_equal",
    "gt": "greater", "ge": "greater_equal", "logical_and": "logical_and",
    "logical_or": "logical_or",
    "logical_xor": "logical_xor", "bitwise_and": "bitwise_and", "bitwise_or": "bitwise_or",
    "bitwise_xor": "bitwise_xor",
}  # fmt: skip
BINARY_TE = {
    "floordiv": T.wide(T.floordiv), "truncdiv": T.truncdiv, "remainder": T.wide(T.remainder),
    "fmod": T.wide(T.fmod), "shift_left": T.shift_left, "shift_right": T.shift_right,
}  # fmt: skip
COMPARISONS = {"eq", "ne", "lt", "le", "gt", "ge"}
OF_NOTHING = {"sum": 0, "prod": 1, "mean": math.nan, "any": 0, "all": 1, "max": 0, "min": 0}


class MathPrimitives(SizeChecks):
    """A part of ``RelaxContext`` and ``RelayContext``."""

    # ---- elementwise -----------------------------------------------------------------------------
    def cast(self, x: Tensor, dtype: torch.dtype) -> Tensor:
        source = self.dtype(x)
        if source == dtype:
            return x
        if dtype == torch.bool:
            return self.binary("ne", x, self.literal(torch.zeros((), dtype=source)))
        if source.is_floating_point and dtype in (torch.uint8, torch.int8, torch.int16):
            x = self.emit(self.op("astype")(x, "int32"))  # a negative number wraps, as in PyTorch
        return self.emit(self.op("astype")(x, self.tvm_dtype(dtype)))

    def unary(self, name: str, x: Tensor) -> Tensor:
        dtype = self.dtype(x)
        if name in ROUNDING and not dtype.is_floating_point:
            return x
        if name == "bitwise_not" and dtype == torch.bool:
            name = "logical_not"
        if dtype == torch.uint8 and name == "neg":
            return self.binary("sub", self.literal(torch.zeros((), dtype=dtype)), x)
        if dtype == torch.uint8 and name == "sign":
            return self.cast(self.cast(x, torch.bool), dtype)
        if name in UNARY:
            return self.emit(self.op(UNARY[name])(x))
        if name in UNARY_TE:
            return self.te(T.elementwise(UNARY_TE[name], name), x, name=name)
        raise self._missing(f"unary {name}")

    def binary(self, name: str, a: Operand, b: Operand) -> Tensor:
        a, b = self.operand(a), self.operand(b)
        dtype = self.dtype(a)
        if dtype != self.dtype(b):
            raise self.refuse(f"{name} of two dtypes: {dtype} and {self.dtype(b)}")
        if dtype == torch.bool and name in COMPARISONS:
            a, b = self.cast(a, torch.uint8), self.cast(b, torch.uint8)
        if name == "pow" and dtype == torch.uint8:
            a, b = self.cast(a, torch.int32), self.cast(b, torch.int32)
            return self.cast(self.binary("pow", a, b), dtype)
        if name == "pow" and not dtype.is_floating_point:
            return self.te_index(integer_power, a, b, name="integer_power")
        if name == "truncdiv" and dtype.is_floating_point:
            return self.unary("trunc", self.binary("div", a, b))
        if name in BINARY:
            return self.emit(self.op(BINARY[name])(a, b))
        if name in BINARY_TE:
            return self.te(T.elementwise(BINARY_TE[name], name), a, b, name=name)
        raise self._missing(f"binary {name}")

    def where(self, condition: Operand, a: Operand, b: Operand) -> Tensor:
        return self.emit(
            self.op("where")(self.operand(condition), self.operand(a), self.operand(b))
        )

    # ---- reductions, scans, sorting --------------------------------------------------------------
    def reduce(self, name: str, x: Tensor, axes: Sequence[int], keepdim: bool) -> Tensor:
        axes, dtype = list(axes), self.dtype(x)
        if not axes:
            return x
        if name not in OF_NOTHING:
            raise self._missing(f"reduce {name}")
        if name in ("max", "min"):
            x = self._not_empty(x, axes, name)
            if dtype == torch.bool:
                name = "any" if name == "max" else "all"
        sizes = [self.shape(x)[a] for a in axes]
        if empty(sizes):
            return self._of_nothing(name, x, axes, keepdim)
        result = self._reduce(name, x, axes, keepdim)
        return self.cast(self.unless_empty(result, sizes, OF_NOTHING[name]), dtype)

    def _reduce(self, name: str, x: Tensor, axes: Sequence[int], keepdim: bool) -> Tensor:
        if name in ("any", "all"):
            return self.te(getattr(topi, name), x, axes, keepdim, name=name)
        wide = x if name in ("max", "min") else self._float32(x)
        return self.emit(self.op(name)(wide, axes, keepdim))

    def _of_nothing(self, name: str, x: Tensor, axes: Sequence[int], keepdim: bool) -> Tensor:
        """As a parameter: what TVM knows to be 0 it takes for 0 after a division by 0 too."""
        value = torch.tensor(OF_NOTHING[name], dtype=self.dtype(x))
        return self.expand(self.constant(value, "nothing"), reduced(self.shape(x), axes, keepdim))

    def _not_empty(self, x: Tensor, axes: Sequence[int], what: str) -> Tensor:
        sizes = self.shape(x)
        if empty([sizes[a] for a in axes]):
            raise self.refuse(f"{what} over an empty dimension of the shape {sizes}")
        least = [
            tirx.max(d, 1) if a in axes and not isinstance(d, int) else None
            for a, d in enumerate(sizes)
        ]
        return self.fit(x, least)

    def arg_reduce(self, name: str, x: Tensor, axis: int, keepdim: bool) -> Tensor:
        x = self._not_empty(x, [axis], f"arg{name}")
        if self.dtype(x) in (torch.bool, torch.bfloat16):
            x = self.cast(x, torch.uint8 if self.dtype(x) == torch.bool else torch.float32)
        both = self.te(T.arg_extreme, x, axis, keepdim, name == "max", name=f"arg{name}")
        return self.normalize(both)[0]

    def cumulative(self, name: str, x: Tensor, axis: int) -> Tensor:
        if empty(self.shape(x)):
            return x
        dtype = self.dtype(x)
        if name in ("sum", "prod"):
            scan = self.op("cumsum" if name == "sum" else "cumprod")
            wide = self._float32(x)
            return self.cast(self.emit(scan(wide, axis, self.tvm_dtype(self.dtype(wide)))), dtype)
        if name not in ("max", "min"):
            raise self._missing(f"cumulative {name}")
        return self._running_extreme(f"{name}imum", x, axis)

    def _running_extreme(self, name: str, x: Tensor, axis: int) -> Tensor:
        """By windows that double: each position takes in the one `step` before it."""
        length = self.shape(x)[axis]
        if not isinstance(length, int):
            raise self._missing(f"cumulative {name} along a dimension of size {length}")
        step = 1
        while step < length:
            head = self._narrow(x, axis, 0, step)
            ahead = self._narrow(x, axis, step, length - step)
            behind = self._narrow(x, axis, 0, length - step)
            x = self.concat([head, self.binary(name, ahead, behind)], axis)
            step *= 2
        return x

    def _narrow(self, x: Tensor, axis: int, start: Dim, size: Dim) -> Tensor:
        shape = list(self.shape(x))
        starts = [0] * len(shape)
        starts[axis], shape[axis] = start, size
        return self.slice(x, starts, shape, [1] * len(shape))

    def _sort_key(self, x: Tensor) -> Tensor:
        x = self._float32(x)
        if self.dtype(x) in (torch.bool, torch.uint8, torch.int8, torch.int16):
            return self.cast(x, torch.int32)
        if not self.dtype(x).is_floating_point:
            return x
        return self.te(T.elementwise(T.sort_key, "sort_key"), x, name="sort_key")

    def _order(self, x: Tensor, axis: int, descending: bool) -> Tensor:
        if empty(self.shape(x)):
            return self.cast(x, torch.int64)
        return self.emit(self.op("argsort")(self._sort_key(x), axis, descending, "int64"))

    def topk(self, x: Tensor, k: Dim, axis: int, largest: bool) -> tuple[Tensor, Tensor]:
        if not isinstance(k, int):
            raise self.refuse("topk with a dynamic k")
        index = self._narrow(self._order(x, axis, largest), axis, 0, k)
        return self.gather(x, index, axis), index

    def sort(self, x: Tensor, axis: int, descending: bool) -> tuple[Tensor, Tensor]:
        order = self._order(x, axis, descending)
        return self.gather(x, order, axis), order
