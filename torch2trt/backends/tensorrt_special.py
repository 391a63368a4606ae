"""Infinite numbers and NaN that a program writes down, in networks of TensorRT 8.6.

As constants of one element they are not safe there: code that 8.6 generates may hold 1e38 in place
of an infinite number, and another constant of the network in place of NaN. So neither reaches a
layer: they are computed from finite constants and from something that only a run knows.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import torch

from .base import Dim, Operand, Tensor
from .tensorrt_base import TensorRTBase


class SpecialMixin(TensorRTBase):
    """What takes the place of layers that would read such a constant."""

    def computed(self, x: Tensor, like: Tensor) -> Tensor:
        """`x`, or its infinite number or NaN in the shape of `like` and computed from it."""
        value, dtype, rank = self._not_finite(x), self.dtype(x), self.rank(x)
        if value is None:
            return x
        large = -1.0 if math.isnan(value) else math.copysign(torch.finfo(dtype).max, value)
        numbers = [self.number(v, dtype, rank) for v in (large, large / 2)]
        chosen = self._select(self._with("GREATER", like, 0), *numbers)
        if math.isnan(value):
            return self._unary_layer("SQRT", chosen)
        return self.infinite(chosen, self.number(100, dtype, rank))

    def of_special(self, name: str, x: Tensor, value: float) -> Tensor:
        """A function of an infinite number or NaN, from PyTorch."""
        result: torch.Tensor = getattr(torch, name)(torch.tensor(value, dtype=self.dtype(x)))
        return self.literal(result, (1,) * self.rank(x))

    def compare_special(self, kind: str, x: Tensor, infinity: float) -> Tensor:
        """EQUAL, LESS or GREATER of `x` and an infinite number, which 8.6 gets wrong: from the
        largest finite one; or of `x` and NaN."""
        if math.isnan(infinity):
            return self._elementwise_layer("LESS", x, x)
        largest = math.copysign(torch.finfo(self.dtype(x)).max, infinity)
        beyond, within = ("GREATER", "LESS") if infinity > 0 else ("LESS", "GREATER")
        if kind == within:
            return self.elementwise(
                "OR", self._with(kind, x, largest), self._with("EQUAL", x, largest)
            )
        outside = self._with(beyond, x, largest)
        return outside if kind == "EQUAL" else self.elementwise("LESS", x, x)

    def select_special(
        self, condition: Tensor, values: Sequence[Tensor], special: Sequence[float | None]
    ) -> Tensor:
        """Infinite numbers as products and NaN as a root, see ``computed``."""
        dtype, rank = self.dtype(values[0]), self.rank(values[0])

        def where(chosen: Callable[[float], bool], yes: float, no: float) -> Tensor:
            marks = [yes if s is not None and chosen(s) else no for s in special]
            numbers = [self.number(mark, dtype, rank) for mark in marks]
            return numbers[0] if marks[0] == marks[1] else self._select(condition, *numbers)

        result = self._select(condition, *map(self._finite, values))
        if any(s is not None and math.isinf(s) for s in special):
            result = self.infinite(result, where(math.isinf, 100, 1))
        if any(s is not None and math.isnan(s) for s in special):
            root = self._unary_layer("SQRT", where(math.isnan, -1, 0))
            result = self.elementwise("SUB", result, root)
        return result

    def _finite(self, x: Tensor) -> Tensor:
        """The largest number in place of an infinite one, 1 in place of NaN."""
        value, dtype = self._not_finite(x), self.dtype(x)
        if value is None:
            return x
        largest = math.copysign(torch.finfo(dtype).max, value)
        return self.number(1 if math.isnan(value) else largest, dtype, self.rank(x))

    def infinite(self, x: Tensor, factor: Tensor) -> Tensor:
        """`x` times a factor that takes the largest finite numbers beyond."""
        result = self.elementwise("PROD", x, factor)
        self._infinite[result.name] = None
        return result

    def expand_special(self, value: float, dtype: torch.dtype, shape: Sequence[Dim]) -> Tensor:
        """A whole constant; a product or a root where the shape is known to a run only."""
        if self.is_static(shape):
            return self.literal(torch.full(tuple(shape), value, dtype=dtype))
        if math.isnan(value):
            return self._unary_layer("SQRT", self.expand(self.number(-1, dtype, len(shape)), shape))
        largest = self.number(math.copysign(torch.finfo(dtype).max, value), dtype, len(shape))
        return self.infinite(self.expand(largest, shape), self.number(100, dtype, len(shape)))

    def write(
        self, x: Operand, index: Operand, source: Operand, mode: str, axis: int = 0
    ) -> Tensor:
        """A scatter layer; of infinite constants, one of finite ones and one of factors."""
        if not self._weakly_typed or self.is_tensor(source) or not bool(source.isinf().any()):
            return self._scatter_layer(x, index, source, mode, axis)
        dtype, limits = source.dtype, torch.finfo(source.dtype)
        written = self._scatter_layer(x, index, source.clamp(limits.min, limits.max), mode, axis)
        factors = torch.where(source.isinf(), 100, 1).to(dtype)
        ones = self.expand(self.number(1, dtype, self.rank(x)), self.shape(x))
        return self.infinite(written, self._scatter_layer(ones, index, factors, mode, axis))
