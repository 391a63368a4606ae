"""Dimensions that are known only when the engine runs: integers made of shape tensors."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch

from ..errors import ConversionError
from .base import Dim, Tensor

_OPERATIONS = {
    "add": ("SUM", lambda a, b: a + b),
    "sub": ("SUB", lambda a, b: a - b),
    "mul": ("PROD", lambda a, b: a * b),
    "floordiv": ("FLOOR_DIV", lambda a, b: a // b),
    "min": ("MIN", min),
    "max": ("MAX", max),
}

Terms = dict["SymInt | None", int]


class SymInt:
    """An integer that the engine computes, as a tensor of one element in the network.

    ``+ - * //`` and ``%`` take integers and other symbolic integers on both sides and simplify what
    is trivial. The same dimension of the same tensor is always the same object; two objects are
    equal only when they are identical.

    Attributes:
        signed: whether it may be negative: a difference, or a value of the network.
        terms: what it is the sum of, with factors; None stands for 1.
    """

    def __init__(
        self, context: Any, name: str, make: Callable[[], Tensor], signed: bool = False,
        terms: Terms | None = None,
    ) -> None:  # fmt: skip
        self.context = context
        self.signed = signed
        self.terms: Terms = {self: 1} if terms is None else terms
        self._name = name
        self._make = make
        self._tensor: Tensor | None = None

    @property
    def tensor(self) -> Tensor:
        """The value; its layers are added when it is first needed."""
        if self._tensor is None:
            self._tensor = self._make()
        return self._tensor

    def _binary(self, name: str, a: Dim, b: Dim) -> Dim:
        return self.context.dim_op(name, a, b)

    def __add__(self, other: Dim) -> Dim:
        return self._binary("add", self, other)

    def __radd__(self, other: Dim) -> Dim:
        return self._binary("add", other, self)

    def __sub__(self, other: Dim) -> Dim:
        return self._binary("sub", self, other)

    def __rsub__(self, other: Dim) -> Dim:
        return self._binary("sub", other, self)

    def __mul__(self, other: Dim) -> Dim:
        return self._binary("mul", self, other)

    def __rmul__(self, other: Dim) -> Dim:
        return self._binary("mul", other, self)

    def __floordiv__(self, other: Dim) -> Dim:
        return self._binary("floordiv", self, other)

    def __rfloordiv__(self, other: Dim) -> Dim:
        return self._binary("floordiv", other, self)

    def __mod__(self, other: Dim) -> Dim:
        return self - self // other * other

    def __rmod__(self, other: Dim) -> Dim:
        return other - other // self * self

    def __neg__(self) -> Dim:
        return self._binary("sub", 0, self)

    def __repr__(self) -> str:
        return self._name

    def _unknown(self, *_: object) -> bool:
        raise ConversionError(
            f"{self.context.scope}: {self!r} is known only when the engine runs, so it cannot be "
            "compared, be a condition or become a Python number; make this dimension static, or "
            "compute with tensors"
        )

    __lt__ = __le__ = __gt__ = __ge__ = __bool__ = __int__ = __index__ = __float__ = _unknown


def _may_be_negative(dim: Dim) -> bool:
    return dim < 0 if isinstance(dim, int) else dim.signed


def _simplified(name: str, a: Dim, b: Dim) -> Dim | None:
    if isinstance(a, int) and isinstance(b, int):
        return _OPERATIONS[name][1](a, b)
    if a is b and name in ("sub", "floordiv", "min", "max"):
        return {"sub": 0, "floordiv": 1}.get(name, a)
    neutral = 0 if name in ("add", "sub") else 1
    if name in ("min", "max"):
        return None
    if isinstance(b, int) and b == neutral:
        return a
    if isinstance(a, int) and a == neutral and name in ("add", "mul"):
        return b
    if name == "mul" and 0 in [x for x in (a, b) if isinstance(x, int)]:
        return 0
    return None


def _terms_of(name: str, a: Dim, b: Dim) -> Terms | None:
    """The terms of a sum, of a difference, or of a product with a number."""
    left, right = ({None: d} if isinstance(d, int) else d.terms for d in (a, b))
    if name in ("add", "sub"):
        sign = 1 if name == "add" else -1
        return {t: left.get(t, 0) + sign * right.get(t, 0) for t in {**left, **right}}
    if name == "mul" and (isinstance(a, int) or isinstance(b, int)):
        factor, terms = (a, right) if isinstance(a, int) else (b, left)
        return {t: factor * count for t, count in terms.items()}
    return None


def _never_negative(dim: Dim) -> bool:
    if isinstance(dim, int):
        return dim >= 0
    return all(
        not count or (count > 0 and not (term is not None and term.signed))
        for term, count in dim.terms.items()
    )


class DimsMixin:
    """Shapes and symbolic integers of a TensorRT context."""

    network: Any
    trt: Any
    index_dtype: torch.dtype

    def _reset_dims(self) -> None:
        self._dims: dict[tuple[str, int], SymInt] = {}
        self._shapes: dict[str, Tensor] = {}
        self._results: dict[tuple[Any, ...], SymInt] = {}
        self._required: set[SymInt] = set()

    def is_dim(self, value: Any) -> bool:
        return isinstance(value, SymInt)

    def shape(self, x: Tensor) -> tuple[Dim, ...]:
        static = tuple(x.shape)
        if -1 not in static:
            return static
        return tuple(self._dim(x, i) if dim == -1 else dim for i, dim in enumerate(static))

    def _dim(self, x: Tensor, axis: int) -> SymInt:
        key = (x.name, axis)
        if key not in self._dims:
            self._dims[key] = SymInt(
                self, f"size({x.name}, {axis})", lambda: self._size_of(x, axis)
            )
        return self._dims[key]

    def _size_of(self, x: Tensor, axis: int) -> Tensor:
        return self.out(self.network.add_slice(self.shape_tensor(x), (axis,), (1,), (1,)))

    def shape_tensor(self, x: Tensor) -> Tensor:
        """The shape of `x` as a 1-d tensor of the index dtype."""
        if x.name not in self._shapes:
            self._shapes[x.name] = self.cast(self.out(self.network.add_shape(x)), self.index_dtype)
        return self._shapes[x.name]

    def dim_op(self, name: str, a: Dim, b: Dim) -> Dim:
        """An operation on two dimensions: add sub mul floordiv min max."""
        if not isinstance(a, (int, SymInt)) or not isinstance(b, (int, SymInt)):
            return NotImplemented
        simple = _simplified(name, a, b)
        if simple is not None:
            return simple
        key = (name, a, b)
        if key not in self._results:
            signed = name == "sub" or _may_be_negative(a) or _may_be_negative(b)
            made = f"{name}({a}, {b})", lambda: self._dim_layer(name, a, b), signed
            self._results[key] = SymInt(self, *made, _terms_of(name, a, b))
        return self._results[key]

    def require(self, dims: Sequence[Dim], what: str) -> None:
        """Make it an error, as the engine runs, that one of `dims` is negative."""
        least: Dim = 0
        for dim in dims:
            if not _never_negative(dim):
                least = self.dim_op("min", least, dim)
        if isinstance(least, int) or least in self._required:
            return
        self._required.add(least)
        equal = self.trt.ElementWiseOperation.EQUAL
        holds = self.network.add_elementwise(least.tensor, self._literal_dims([0]), equal)
        where = self.node.where if self.node is not None else self.scope
        layer = self.check(self.network.add_assertion(self.out(holds), f"{where}: {what}"))
        layer.name = self.unique("assertion")

    def position(self, position: Dim, size: Dim, likely: bool = False) -> Dim:
        if isinstance(position, int) or not position.signed:
            return position
        negative = 0 - self.dim_op("max", self.dim_op("min", position, 0), -1)
        return position + size * negative

    def at_least(self, x: Tensor, axis: int, size: int, what: str) -> Tensor:
        self.require([self.shape(x)[axis] - size], what)
        return x

    def _dim_layer(self, name: str, a: Dim, b: Dim) -> Tensor:
        operation = getattr(self.trt.ElementWiseOperation, _OPERATIONS[name][0])
        return self.out(
            self.network.add_elementwise(self.dim_tensor(a), self.dim_tensor(b), operation)
        )

    def dim_tensor(self, dim: Dim) -> Tensor:
        """A dimension as a 1-d tensor of one element."""
        return self._literal_dims([dim]) if isinstance(dim, int) else dim.tensor

    def _literal_dims(self, dims: Sequence[int]) -> Tensor:
        return self.literal(torch.tensor(list(dims), dtype=self.index_dtype))

    def dims_tensor(self, dims: Sequence[Dim]) -> Tensor:
        """`dims` as a 1-d tensor of the index dtype: a shape tensor."""
        parts: list[Tensor] = []
        run: list[int] = []
        for dim in dims:
            if isinstance(dim, int):
                run.append(dim)
                continue
            if run:
                parts.append(self._literal_dims(run))
            run = []
            parts.append(dim.tensor)
        if run or not parts:
            parts.append(self._literal_dims(run))
        return parts[0] if len(parts) == 1 else self._joined(parts)

    def _joined(self, parts: Sequence[Tensor]) -> Tensor:
        layer = self.network.add_concatenation(list(parts))
        layer.axis = 0
        return self.out(layer)

    def size_tensor(self, dims: Sequence[Dim], dtype: torch.dtype = torch.int64) -> Tensor:
        return self.cast(self.dims_tensor(dims), dtype)

    def as_dim(self, x: Tensor) -> Dim:
        name = f"value({x.name})"
        return SymInt(
            self, name, lambda: self.reshape(self.cast(x, self.index_dtype), (1,)), signed=True
        )
