"""Elementwise primitives of TensorRT: casts, unary and binary operations, selection.

NaN: ``maximum`` and ``minimum`` give NaN where an operand is NaN. TensorRT promises nothing about
    NaN in SIGN and in activations; ``sign``, ``relu`` and ``clip`` are these plain layers.
    Comparisons follow IEEE 754. Negative zero equals zero everywhere; its sign survives ``neg``,
    ``mul`` and ``atan2`` as far as TensorRT keeps it.
"""

from __future__ import annotations

import math

import torch

from .base import Operand, Tensor
from .tensorrt_base import FLOATS
from .tensorrt_special import SpecialMixin

_UNARY = {
    "abs": "ABS", "neg": "NEG", "sign": "SIGN", "exp": "EXP", "log": "LOG", "sqrt": "SQRT",
    "reciprocal": "RECIP",
    "sin": "SIN", "cos": "COS", "tan": "TAN", "asin": "ASIN", "acos": "ACOS", "atan": "ATAN",
    "sinh": "SINH",
    "cosh": "COSH", "asinh": "ASINH", "acosh": "ACOSH", "atanh": "ATANH", "ceil": "CEIL",
    "floor": "FLOOR",
    "round": "ROUND", "erf": "ERF",
}  # fmt: skip
_ACTIVATION = {"tanh": "TANH", "sigmoid": "SIGMOID", "relu": "RELU"}
_BINARY = {
    "add": "SUM", "sub": "SUB", "mul": "PROD", "div": "DIV", "maximum": "MAX", "minimum": "MIN",
    "eq": "EQUAL",
    "lt": "LESS", "gt": "GREATER", "logical_and": "AND", "logical_or": "OR", "logical_xor": "XOR",
    "pow": "POW",
}  # fmt: skip
_OR_EQUAL = {"le": "LESS", "ge": "GREATER"}
_COMPARISONS = ("eq", "ne", "lt", "gt", "le", "ge")
_WEAK = {  # what 8.6 has no exact layer for
    "maximum": "_extreme_or_nan", "minimum": "_extreme_or_nan", "pow": "_power_of_tensors",
}  # fmt: skip
_BOOL_BINARY = {
    "mul": "AND", "maximum": "OR", "minimum": "AND", "ne": "XOR", "eq": "EQUAL",
    "bitwise_and": "AND", "bitwise_or": "OR", "bitwise_xor": "XOR",
}  # fmt: skip
_LOGIC = ("AND", "OR", "XOR")
_SWAPPED = {"EQUAL": "EQUAL", "LESS": "GREATER", "GREATER": "LESS"}
_UNCHANGED_INTS = ("ceil", "floor", "round", "trunc")
_INT_UNARY = {  # an elementwise operation with a number, which comes first where the last is True
    "neg": ("SUB", 0, True), "bitwise_not": ("SUB", -1, True), "relu": ("MAX", 0, False),
    "logical_not": ("EQUAL", 0, False),
}  # fmt: skip
_NARROW = (torch.uint8, torch.int8)


class ElementwiseMixin(SpecialMixin):
    """cast, unary, binary and where; see ``SymbolicContext`` for their meaning."""

    # ---- casts -----------------------------------------------------------------------------------
    def cast(self, x: Tensor, dtype: torch.dtype) -> Tensor:
        have = self.dtype(x)
        if have == dtype:
            return x
        if have == torch.uint8:
            moved = self.movable(x)
            return self.cast(self.out(self.network.add_identity(x)) if moved is x else moved, dtype)
        if dtype in _NARROW and have == torch.bool:
            return self.back(self.cast(x, torch.int32), dtype)
        if dtype in _NARROW:
            return self._wrap_narrow(x, dtype)
        if dtype == torch.bool and have in FLOATS:
            return self._not(self._with("EQUAL", x, 0))
        if self._would_lose_cast(x):
            x = self._with("PROD", x, 1)
        return self.back(x, dtype)

    def _would_lose_cast(self, x: Tensor) -> bool:
        """8.6 drops a cast to float16 and back; what is computed between, it keeps."""
        half = self._weakly_typed and self.dtype(x) == torch.float16
        return half and self._state.types.only_moved(self.network, x)

    def _wrap_narrow(self, x: Tensor, dtype: torch.dtype) -> Tensor:
        """8-bit integers, wrapped as torch wraps them."""
        if self.dtype(x) not in (torch.int32, torch.int64):
            x = self.cast(x, torch.int32)
        low = torch.iinfo(dtype).min
        lifted = self._with("SUB", x, low) if low else x
        wrapped = self._int_division(
            "remainder", lifted, self.number(256, self.dtype(x), self.rank(x))
        )
        wrapped = self._with("SUM", wrapped, low) if low else wrapped
        return self.back(self.cast(wrapped, torch.int32), dtype)

    # ---- unary -----------------------------------------------------------------------------------
    def unary(self, name: str, x: Tensor) -> Tensor:
        dtype = self.dtype(x)
        if name in ("isnan", "isinf"):
            return self._is_special(name, x)
        if name in ("logical_not", "bitwise_not") and dtype == torch.bool:
            return self._not(x)
        if dtype not in FLOATS:
            return self._int_unary(name, x)
        special = self._not_finite(x)
        if special is not None:
            return self.of_special(name, x, special)
        if name in _UNARY and not (name == "sign" and self._weakly_typed):
            return self._unary_layer(_UNARY[name], x)
        if name in _ACTIVATION:
            return self.activation(_ACTIVATION[name], x)
        composed = getattr(self, f"_{name}", None)
        if composed is None:
            raise self.refuse(f"unary {name} of {dtype} is not available")
        return composed(x)

    def activation(
        self, kind: str, x: Tensor, alpha: float | None = None, beta: float | None = None
    ) -> Tensor:
        """An activation layer by the name of its ``ActivationType``."""
        layer = self.check(self.network.add_activation(x, getattr(self.trt.ActivationType, kind)))
        if alpha is not None:
            layer.alpha = alpha
        if beta is not None:
            layer.beta = beta
        return self.out(layer)

    def _not(self, x: Tensor) -> Tensor:
        return self._unary_layer("NOT", x)

    def _is_special(self, name: str, x: Tensor) -> Tensor:
        if self.dtype(x) not in FLOATS:
            zero = self.number(0, torch.int32, self.rank(x))
            return self.binary(
                "lt", self.elementwise("PROD", self.cast(x, torch.int32), zero), zero
            )
        if name == "isnan" and not self.has("UnaryOperation.ISNAN"):
            return self._not(self.elementwise("EQUAL", x, x))
        return self._unary_layer(name.upper(), x)

    def _int_unary(self, name: str, x: Tensor) -> Tensor:
        """Elementwise layers: unary layers take integers since TensorRT 10 only."""
        dtype = self.dtype(x)
        if name in _UNCHANGED_INTS:
            return x
        if dtype in _NARROW or (dtype == torch.bool and name in ("sign", "abs")):
            return self.cast(self.unary(name, self.cast(x, torch.int32)), dtype)
        if name in _INT_UNARY:
            kind, number, first = _INT_UNARY[name]
            return self._with(kind, x, number, swapped=first)
        if name == "abs":
            return self.elementwise("MAX", x, self._int_unary("neg", x))
        if name == "sign":
            return self._with("MAX", self._with("MIN", x, 1), -1)
        raise self.refuse(f"unary {name} of {dtype} is not available")

    def _with(self, kind: str, x: Tensor, value: float, swapped: bool = False) -> Tensor:
        constant = self.number(value, self.dtype(x), self.rank(x))
        return (
            self.elementwise(kind, constant, x) if swapped else self.elementwise(kind, x, constant)
        )

    def _rsqrt(self, x: Tensor) -> Tensor:
        return self._unary_layer("RECIP", self._unary_layer("SQRT", x))

    def _log2(self, x: Tensor) -> Tensor:
        return self._with("PROD", self._unary_layer("LOG", x), 1 / math.log(2))

    def _expm1(self, x: Tensor) -> Tensor:
        """``tanh(x / 2) * (exp(x) + 1)``: no cancellation near 0."""
        half = self.activation("TANH", self._with("PROD", x, 0.5))
        return self.elementwise("PROD", half, self._with("SUM", self._unary_layer("EXP", x), 1))

    def _log1p(self, x: Tensor) -> Tensor:
        """``2 atanh(x / (2 + x))`` near 0, where ``log(1 + x)`` loses digits."""
        ratio = self.elementwise("DIV", x, self._with("SUM", x, 2))
        near = self._with("PROD", self._unary_layer("ATANH", ratio), 2)
        far = self._unary_layer("LOG", self._with("SUM", x, 1))
        return self._select(self._with("LESS", self._unary_layer("ABS", x), 0.5), near, far)

    def _sign(self, x: Tensor) -> Tensor:
        """0 for NaN, where the layer of 8.6 gives NaN."""
        above, below = (self._with(kind, x, 0) for kind in ("GREATER", "LESS"))
        dtype = self.dtype(x)
        return self.elementwise("SUB", self.cast(above, dtype), self.cast(below, dtype))

    def _trunc(self, x: Tensor) -> Tensor:
        negative = self._with("LESS", x, 0)
        return self._select(negative, self._unary_layer("CEIL", x), self._unary_layer("FLOOR", x))

    # ---- binary ----------------------------------------------------------------------------------
    def elementwise(self, kind: str, a: Tensor, b: Tensor) -> Tensor:
        """An elementwise layer by the name of its ``ElementWiseOperation``; ranks and dtypes are
        equal already."""
        if self._weakly_typed and kind in _SWAPPED:
            for x, value, relation in (
                (a, self._not_finite(b), kind),
                (b, self._not_finite(a), _SWAPPED[kind]),
            ):
                if value is not None:
                    return self.compare_special(relation, x, value)
        if self._weakly_typed and kind in _LOGIC:
            for x, value in ((a, self.value_of(b)), (b, self.value_of(a))):
                if value is not None:
                    return self._logic_with(kind, x, bool(value))
        return self._elementwise_layer(kind, a, b)

    def _logic_with(self, kind: str, x: Tensor, value: bool) -> Tensor:
        """AND, OR or XOR of `x` and one bool, without the bool: 8.6 crashes on some constants of
        that type."""
        if value == (kind == "AND"):
            return x
        opposite = self._not(x)
        return opposite if kind == "XOR" else self._elementwise_layer(kind, x, opposite)

    def binary(self, name: str, a: Operand, b: Operand) -> Tensor:
        if name == "pow" and self.rank(b) == 0 and self.dtype_of(a) in FLOATS:
            exponent = self.value_of(b)
            if exponent is not None:
                return self._power(a, exponent.item())
        if name.startswith("shift_"):
            return self._shift(name, a, b)
        if name.startswith("bitwise_") and self.dtype_of(a) in (torch.int32, torch.int64):
            return self._bitwise(name, a, b)
        return self._aligned_binary(name, *self.align(a, b))

    def _aligned_binary(self, name: str, a: Tensor, b: Tensor) -> Tensor:
        """`a` and `b` have one dtype and rank."""
        dtype = self.dtype(a)
        if dtype == torch.bool:
            return self._bool_binary(name, a, b)
        if dtype in _NARROW:
            return self._narrow_binary(name, a, b)
        if self._weakly_typed and name not in _COMPARISONS:
            a, b = self.computed(a, b), self.computed(b, a)
            if name in _WEAK:
                return getattr(self, _WEAK[name])(name, a, b)
        if name in _BINARY:
            return self.elementwise(_BINARY[name], a, b)
        if name == "ne":
            return self._not(self.elementwise("EQUAL", a, b))
        if name in _OR_EQUAL:
            return self._or_equal(_OR_EQUAL[name], a, b)
        composed = self._float_binary if dtype in FLOATS else self._int_division
        return composed(name, a, b)

    def _extreme_or_nan(self, name: str, a: Tensor, b: Tensor) -> Tensor:
        """MAX or MIN, NaN where an operand is: the layers of 8.6 give the other operand."""
        result = self.elementwise(_BINARY[name], a, b)
        for x in (a, b) if self.dtype(a) in FLOATS else ():
            value = self.value_of(x)
            if value is None or bool(value.isnan()):
                result = self._select(self.elementwise("EQUAL", x, x), result, x)
        return result

    def _or_equal(self, kind: str, a: Tensor, b: Tensor) -> Tensor:
        if self.dtype(a) not in FLOATS:
            return self._not(self.elementwise("GREATER" if kind == "LESS" else "LESS", a, b))
        return self.elementwise("OR", self.elementwise(kind, a, b), self.elementwise("EQUAL", a, b))

    def _bool_binary(self, name: str, a: Tensor, b: Tensor) -> Tensor:
        kind = _BOOL_BINARY.get(name) or (name.startswith("logical_") and _BINARY.get(name))
        if kind:
            return self.elementwise(kind, a, b)
        if name not in ("lt", "le", "gt", "ge"):
            raise self.refuse(f"binary {name} of bool is not available")
        return self.binary(name, self.cast(a, torch.int32), self.cast(b, torch.int32))

    def _narrow_binary(self, name: str, a: Tensor, b: Tensor) -> Tensor:
        """8-bit integers: computed in int32, wrapped as torch wraps them."""
        dtype = self.dtype(a)
        result = self.binary(name, self._in_int32(a), self._in_int32(b))
        if self.dtype(result) == torch.bool:
            return result
        return (
            self._wrap_narrow(result, dtype)
            if name in ("add", "sub", "mul", "pow")
            else self.back(result, dtype)
        )

    def _in_int32(self, x: Tensor) -> Tensor:
        value = self.value_of(x)
        return (
            self.cast(x, torch.int32)
            if value is None
            else self.literal(value.int(), tuple(x.shape))
        )

    def _int_division(self, name: str, a: Tensor, b: Tensor) -> Tensor:
        kind = {
            "floordiv": "FLOOR_DIV",
            "remainder": "FLOOR_DIV",
            "truncdiv": "DIV",
            "fmod": "DIV",
        }.get(name)
        if kind is None:
            raise self.refuse(f"binary {name} of {self.dtype(a)} is not available")
        quotient = self.elementwise(kind, a, b)
        if name in ("floordiv", "truncdiv"):
            return quotient
        return self.elementwise("SUB", a, self.elementwise("PROD", quotient, b))

    def _power(self, a: Operand, exponent: float) -> Tensor:
        """``a ** exponent``; small exponents the way torch computes them."""
        a = self.operand(a)
        if exponent == 1:
            return a
        if exponent in (2, 3):
            square = self.elementwise("PROD", a, a)
            return square if exponent == 2 else self.elementwise("PROD", square, a)
        if exponent in (0.5, -0.5):
            root = self._unary_layer("SQRT", a)
            return root if exponent == 0.5 else self._unary_layer("RECIP", root)
        if exponent in (-1, -2):
            return self._unary_layer(
                "RECIP", a if exponent == -1 else self.elementwise("PROD", a, a)
            )
        if self._weakly_typed and not float(exponent).is_integer():
            return self._power_of_number(a, exponent)
        return self._with("POW", a, exponent)

    # ---- selection -------------------------------------------------------------------------------
    def where(self, condition: Operand, a: Operand, b: Operand) -> Tensor:
        rank = max(self.rank(x) for x in (condition, a, b))
        condition = self._with_rank(condition, rank)
        a, b = self.align(self._with_rank(a, rank), self._with_rank(b, rank))
        dtype = self.dtype(a)
        if dtype in (torch.bool, *_NARROW):
            a, b = self.cast(a, torch.int32), self.cast(b, torch.int32)
        special = [self._not_finite(x) for x in (a, b)]
        if special != [None, None]:
            return self.select_special(condition, (a, b), special)
        return self.back(self._select(condition, a, b), dtype)
