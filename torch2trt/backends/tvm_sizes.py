"""What can be proven of symbolic sizes, and what is checked as a program runs where it cannot."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import Any

from tvm import ir

from .base import Dim, Tensor
from .tvm_base import TVMContext
from .tvm_names import Analyzer, te, tirx

_LARGEST = 1 << 31


def static(dims: Sequence[Dim]) -> bool:
    """Whether all of `dims` are plain numbers."""
    return all(isinstance(d, int) for d in dims)


def empty(dims: Sequence[Dim]) -> bool:
    """Whether one of `dims` is 0 for certain."""
    return any(isinstance(d, int) and d == 0 for d in dims)


def proven(conditions: Sequence[Any], least: int = 0) -> bool:
    """Whether the conditions hold for all sizes from `least` on."""
    analyzer = Analyzer()
    conditions = [tirx.const(c, "bool") if isinstance(c, bool) else c for c in conditions]
    for size in {v for c in conditions for v in tirx.analysis.undefined_vars(c)}:
        analyzer.bind(size, ir.Range(least, _LARGEST))
    return all(analyzer.can_prove(c) for c in conditions)


def same(a: Dim, b: Dim) -> bool:
    """Whether two sizes are equal for certain."""
    if isinstance(a, int) or isinstance(b, int):
        return isinstance(a, int) and isinstance(b, int) and a == b
    return bool(Analyzer().can_prove_equal(a, b))


def held(start: Dim, count: Dim, step: int, size: Dim) -> tuple[Dim, Dim]:
    """Start and count of a slice without the part of it that no proof finds inside ``[0, size)``.

    The count is another one wherever a part is outside.
    """
    last = start + (count - 1) * step
    low, high = (start, last) if step > 0 else (last, start)
    if proven([count >= 0, low >= 0, high < size]):
        return start, count
    before, behind = tirx.max(0 - low, 0), tirx.max(high - size + 1, 0)
    inside = start + before if step > 0 else start - behind
    return inside, tirx.max(count - before - behind, 0)


def _unless_empty(x: te.Tensor, sizes: Sequence[Any], value: Any) -> te.Tensor:
    there = tirx.all(*[size > 0 for size in sizes])
    return te.compute(x.shape, lambda *at: tirx.Select(there, x(*at), value), name="unless_empty")


class SizeChecks(TVMContext):
    """A part of ``RelaxContext`` and ``RelayContext``: sizes that no proof finds to fit."""

    def assume_shape(self, x: Tensor, shape: Sequence[Dim]) -> Tensor:
        """`x` with a shape that cannot be proven and is checked as the program runs."""
        raise self._missing("a slice whose bounds depend on a size")

    def fit(self, x: Tensor, shape: Sequence[Dim | None]) -> Tensor:
        """`x`, whose sizes are those of `shape` (None: any), or as it runs an error."""
        old = self.shape(x)
        new = [d if want is None or same(d, want) else want for d, want in zip(old, shape)]
        fits = static(old) or all(a is b for a, b in zip(old, new))
        return x if fits else self.assume_shape(x, new)

    def at_least(self, x: Tensor, axis: int, size: int, what: str) -> Tensor:
        sizes: list[Dim | None] = [None] * len(self.shape(x))
        if not proven([self.shape(x)[axis] >= size]):
            sizes[axis] = tirx.max(self.shape(x)[axis], size)
        return self.fit(x, sizes)

    def fit_elements(self, x: Tensor, shape: Sequence[Dim]) -> Tensor:
        """`x` with as many elements as `shape` has, or as it runs an error."""
        old, new = prod(self.shape(x), start=1), prod(shape, start=1)
        if static([old]) or same(old, new):
            return x
        return self.assume_shape(self.emit(self.op("reshape")(x, [old])), [new])

    def unless_empty(self, x: Tensor, sizes: Sequence[Dim], value: float) -> Tensor:
        """`x`, made by adding up along `sizes`; `value` where one of these is 0.

        TVM's loops do not write a result that nothing is added to.
        """
        unsure = [d for d in sizes if not isinstance(d, int) and not proven([d > 0])]
        if not unsure:
            return x
        number = tirx.const(value, self.tvm_dtype(self.dtype(x)))

        def compute(x: te.Tensor, *sizes: Any) -> te.Tensor:
            return _unless_empty(x, sizes, number)

        return self.te(compute, x, *unsure, name="unless_empty")
