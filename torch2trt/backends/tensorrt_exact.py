"""Elementwise operations that TensorRT lacks, without loss: remainders, atan2, integer bits.

Remainders of floats are exact as long as the quotient stays below 2**24; the product ``divisor *
quotient`` is formed with its rounding error (Dekker's two-product), because a plain ``a - b *
floor(a / b)`` is off by a whole divisor where ``a / b`` rounds up to an integer.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence

import torch

from .base import Operand, Tensor
from .tensorrt_base import FLOATS
from .tensorrt_elementwise import ElementwiseMixin

_SPLITTER = 4097.0  # 2**12 + 1: cuts a float32 into two halves of 12 bits
_MAX_RUNS = 4  # of ones in a mask that are cut out one by one


class ExactMixin(ElementwiseMixin):
    """The composed part of ``binary``."""

    # ---- floats ----------------------------------------------------------------------------------
    def _float_binary(self, name: str, a: Tensor, b: Tensor) -> Tensor:
        if name == "atan2":
            return self._atan2(a, b)
        if name == "truncdiv":
            return self._trunc(self.elementwise("DIV", a, b))
        if name not in ("fmod", "remainder", "floordiv"):
            raise self.refuse(f"binary {name} of {self.dtype(a)} is not available")
        dtype = self.dtype(a)
        a, b = self.cast(a, torch.float32), self.cast(b, torch.float32)
        fmod = self._fmod(a, b)
        if name == "fmod":
            return self.cast(fmod, dtype)
        negative = self.elementwise("XOR", self._with("LESS", fmod, 0), self._with("LESS", b, 0))
        crosses = self.elementwise("AND", negative, self._not(self._with("EQUAL", fmod, 0)))
        if name == "remainder":
            return self.cast(self._select(crosses, self.elementwise("SUM", fmod, b), fmod), dtype)
        return self.cast(self._floor_quotient(a, b, fmod, crosses), dtype)

    def _floor_quotient(self, a: Tensor, b: Tensor, fmod: Tensor, crosses: Tensor) -> Tensor:
        whole = self._unary_layer(
            "ROUND", self.elementwise("DIV", self.elementwise("SUB", a, fmod), b)
        )
        floored = self._select(crosses, self._with("SUB", whole, 1), whole)
        return self._select(self._with("EQUAL", b, 0), self.elementwise("DIV", a, b), floored)

    def _fmod(self, a: Tensor, b: Tensor) -> Tensor:
        size, divisor = self._unary_layer("ABS", a), self._unary_layer("ABS", b)
        quotient = self._unary_layer("FLOOR", self.elementwise("DIV", size, divisor))
        product, error = self._two_product(divisor, quotient)
        rest = self.elementwise("SUB", self.elementwise("SUB", size, product), error)
        rest = self._select(
            self._with("LESS", rest, 0), self.elementwise("SUM", rest, divisor), rest
        )
        small = self.elementwise("LESS", size, divisor)
        rest = self._select(small, size, rest)
        return self._select(self._with("LESS", a, 0), self._unary_layer("NEG", rest), rest)

    def _two_product(self, a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
        product = self.elementwise("PROD", a, b)
        (a1, a2), (b1, b2) = self._halves(a), self._halves(b)
        error = self.elementwise("SUB", product, self.elementwise("PROD", a1, b1))
        error = self.elementwise("SUB", error, self.elementwise("PROD", a2, b1))
        error = self.elementwise("SUB", error, self.elementwise("PROD", a1, b2))
        return product, self.elementwise("SUB", self.elementwise("PROD", a2, b2), error)

    def _halves(self, x: Tensor) -> tuple[Tensor, Tensor]:
        big = self._with("PROD", x, _SPLITTER)
        high = self.elementwise("SUB", big, self.elementwise("SUB", big, x))
        return high, self.elementwise("SUB", x, high)

    def _atan2(self, y: Tensor, x: Tensor) -> Tensor:
        """From the ratio of the smaller to the larger side; right for infinities, zeros and their
        signs."""
        height, width = self._unary_layer("ABS", y), self._unary_layer("ABS", x)
        steep = self.elementwise("GREATER", height, width)
        ratio = self._select(
            steep, self.elementwise("DIV", width, height), self.elementwise("DIV", height, width)
        )
        ones = self.number(1, self.dtype(x), self.rank(x))
        zeros = self.number(0, self.dtype(x), self.rank(x))
        diagonal = self._select(self._with("EQUAL", width, 0), zeros, ones)
        ratio = self._select(self.elementwise("EQUAL", height, width), diagonal, ratio)
        angle = self._unary_layer("ATAN", ratio)
        angle = self._select(steep, self._with("SUB", angle, math.pi / 2, swapped=True), angle)
        angle = self._select(
            self._is_negative(x), self._with("SUB", angle, math.pi, swapped=True), angle
        )
        return self._select(self._is_negative(y), self._unary_layer("NEG", angle), angle)

    def _is_negative(self, x: Tensor) -> Tensor:
        """The sign bit: also true for negative zero."""
        return self.elementwise(
            "OR", self._with("LESS", x, 0), self._with("LESS", self._unary_layer("RECIP", x), 0)
        )

    # ---- powers ----------------------------------------------------------------------------------
    def _is_infinite(self, x: Tensor) -> Tensor:
        largest = torch.finfo(self.dtype(x)).max
        return self._with("GREATER", self._unary_layer("ABS", x), largest)

    def _power_of_number(self, a: Tensor, exponent: float) -> Tensor:
        """By an exponent that is no integer: POW of 8.6 gives NaN for minus infinity."""
        if not math.isfinite(exponent):
            endless = self.number(exponent, self.dtype(a), self.rank(a))
            return self._aligned_binary("pow", a, endless)
        size = self._select(self._is_infinite(a), self._unary_layer("ABS", a), a)
        return self._with("POW", size, exponent)

    def _power_of_tensors(self, name: str, a: Tensor, b: Tensor) -> Tensor:
        """POW, with PyTorch's results where the layer of 8.6 gives NaN: at infinite exponents, at
        powers of minus infinity, and of 1."""
        if self.dtype(a) not in FLOATS:
            raise self.refuse("pow of integers to computed exponents: 8.6 has a layer for floats")
        known = self.value_of(a)
        if known is not None and known > 1:
            return self.elementwise("POW", a, b)
        size, endless = self._unary_layer("ABS", a), self._is_infinite(b)
        whole = self.elementwise("EQUAL", b, self._unary_layer("FLOOR", b))
        rootless = self.elementwise("AND", self._is_infinite(a), self._not(whole))
        power = self.elementwise("POW", self._select(rootless, size, a), b)
        one = self.number(1, self.dtype(a), self.rank(a))
        power = self._select(endless, self._endless_power(a, size, b), power)
        ones = self.elementwise("AND", endless, self._with("EQUAL", size, 1))
        for single in (self._with("EQUAL", a, 1), self._with("EQUAL", b, 0)):
            ones = self.elementwise("OR", ones, single)
        return self._select(ones, one, power)

    def _endless_power(self, a: Tensor, size: Tensor, b: Tensor) -> Tensor:
        """By infinite exponents: 0 or infinite, NaN of NaN."""
        zero = self.number(0, self.dtype(a), self.rank(a))
        above, positive = self._with("GREATER", size, 1), self._with("GREATER", b, 0)
        shrinks = self.elementwise("XOR", above, positive)
        limit = self._select(shrinks, zero, self._unary_layer("ABS", b))
        return self._select(self.elementwise("EQUAL", a, a), limit, a)

    # ---- bits ------------------------------------------------------------------------------------
    def _shift(self, name: str, a: Operand, b: Operand) -> Tensor:
        """Shifts by 0 to width - 1 bits, as factors from a table; to the right it is a floor
        division."""
        dtype = self.dtype_of(a)
        if dtype not in (torch.int32, torch.int64, torch.uint8, torch.int8):
            raise self.refuse(f"binary {name} of {dtype} is not available")
        if dtype in (torch.uint8, torch.int8):
            wide = self._shift(name, self.via(torch.int32, a), self.via(torch.int32, b))
            return self._wrap_narrow(wide, dtype)
        if name == "shift_left":
            return self.binary("mul", a, self._powers_of_two(b, dtype))
        half = self._halved(b)
        once = self.binary("floordiv", a, self._powers_of_two(half, dtype))
        return self.binary("floordiv", once, self._powers_of_two(self._minus(b, half), dtype))

    def _halved(self, b: Operand) -> Operand:
        two = torch.tensor(2, dtype=self.dtype_of(b))
        return self.binary("floordiv", b, two) if self.is_tensor(b) else b // 2

    def _minus(self, a: Operand, b: Operand) -> Operand:
        return self.binary("sub", a, b) if self.is_tensor(a) else a - b

    def _powers_of_two(self, exponent: Operand, dtype: torch.dtype) -> Operand:
        table = torch.tensor(
            [2**i for i in range(torch.iinfo(dtype).bits - 1)] + [torch.iinfo(dtype).min],
            dtype=dtype,
        )
        if not self.is_tensor(exponent):
            return table[exponent.long()]
        return self.take(self.literal(table), exponent, 0)

    def _bitwise(self, name: str, a: Operand, b: Operand) -> Tensor:
        """From the bits in common: ``a | b`` is ``a + b - (a & b)``, ``a ^ b`` is ``a & b`` less
        than that, in integers that wrap around."""
        known = [self.value_of(x) for x in (a, b)]
        if all(value is not None for value in known):
            return self.constant(getattr(torch, name)(*known))
        if known[0] is not None:
            a, b = b, a
        a = self._with_rank(a, max(self.rank(a), self.rank(b)))
        common = self._bits_in_common(a, b)
        if name == "bitwise_and":
            return common
        total = self.elementwise("SUM", *self.align(a, b))
        common = common if name == "bitwise_or" else self._with("PROD", common, 2)
        return self.elementwise("SUB", total, common)

    def _bits_in_common(self, a: Tensor, b: Operand) -> Tensor:
        """``a & b``. What is known of `b` is computed here, not left to the builder: that of 8.6
        crashes on bits of constants."""
        value, dtype = self.value_of(b), self.dtype(a)
        if value is None:
            return self._common_by_column(*self.align(a, b))
        if not self.same_dtype(dtype, value.dtype):
            raise self.refuse(
                f"the operands of one layer have the dtypes {dtype}, {value.dtype}, expected one "
                "dtype"
            )
        value = value if value.dtype == dtype else self._as_int32(value)
        if self.is_tensor(b):
            runs = _runs(int(value), torch.iinfo(dtype).bits)
            if len(runs) <= _MAX_RUNS:
                return self._runs_of(a, runs)
        return self._common_by_column(a, b, value)

    def _runs_of(self, x: Tensor, runs: Sequence[tuple[int, int]]) -> Tensor:
        """The bits of `x` in some runs: what is above the first bit less what is above the last."""
        parts = []
        for low, high in runs:
            part = self._above(x, low)
            if high < torch.iinfo(self.dtype(x)).bits:
                upper = self._times_power(self._above(x, high), high - low)
                part = self.elementwise("SUB", part, upper)
            parts.append(self._times_power(part, low))
        zero = [] if parts else [self._with("PROD", x, 0)]
        return functools.reduce(lambda a, b: self.elementwise("SUM", a, b), parts + zero)

    def _above(self, x: Tensor, bit: int) -> Tensor:
        """`x` shifted to the right; the highest power of two is no integer of the dtype."""
        if bit == torch.iinfo(self.dtype(x)).bits - 1:
            return self._with("FLOOR_DIV", self._above(x, bit - 1), 2)
        return self._with("FLOOR_DIV", x, 2**bit) if bit else x

    def _times_power(self, x: Tensor, bit: int) -> Tensor:
        limits = torch.iinfo(self.dtype(x))
        power = limits.min if bit == limits.bits - 1 else 2**bit
        return self._with("PROD", x, power) if bit else x

    def _common_by_column(self, a: Tensor, b: Operand, value: torch.Tensor | None = None) -> Tensor:
        """Bit by bit on one more dimension: bits 0 .. width - 2 by division, the sign by
        comparison. `value` is what is known of `b`."""
        dtype, rank = self.dtype(a), max(self.rank(a), self.rank(b))
        if rank == 8:
            raise self.refuse("bits of tensors with 8 dimensions are not available")
        limits = torch.iinfo(dtype)
        powers = torch.tensor([2**i for i in range(limits.bits - 1)], dtype=dtype)
        divisors = self.literal(powers, (1,) * rank + tuple(powers.shape))
        bits, sign = self._bits_and_sign(a, divisors)
        if value is None:
            others, other_sign = self._bits_and_sign(b, divisors)
            bits = self.elementwise("PROD", self.elementwise("PROD", bits, others), divisors)
            sign = self._with("PROD", self.elementwise("PROD", sign, other_sign), limits.min)
        else:
            weights, lowest = self._known_bits(b, value, powers, rank)
            bits = self.elementwise("PROD", bits, weights)
            sign = self.elementwise("PROD", sign, lowest)
        return self.elementwise("SUM", self.reduce("sum", bits, [rank], keepdim=False), sign)

    def _known_bits(
        self, b: Operand, value: torch.Tensor, powers: torch.Tensor, rank: int
    ) -> tuple[Tensor, Tensor]:
        """The bits of a known operand, in a column, and its sign, as what they stand for."""
        value = value.reshape((1,) * (rank - value.dim()) + tuple(value.shape))
        weights = value.unsqueeze(-1) & powers
        lowest = value & torch.iinfo(powers.dtype).min
        if self.is_tensor(b):
            return self.literal(weights), self.literal(lowest)
        return self.constant(weights, "bits"), self.constant(lowest, "signs")

    def _bits_and_sign(self, x: Tensor, powers: Tensor) -> tuple[Tensor, Tensor]:
        column = self.reshape(x, (*self.shape(x), 1))
        quotient = self.elementwise("FLOOR_DIV", column, powers)
        bits = self._int_division("remainder", quotient, self._two(powers))
        return bits, self.cast(self._with("LESS", x, 0), self.dtype(x))

    def _two(self, like: Tensor) -> Tensor:
        return self.number(2, self.dtype(like), self.rank(like))


def _runs(mask: int, width: int) -> list[tuple[int, int]]:
    """The runs of ones among the lowest bits of a mask: the first bit and the one behind it."""
    bits = [mask >> bit & 1 for bit in range(width)]
    edges = [at for at, (x, y) in enumerate(zip([0, *bits], [*bits, 0], strict=True)) if x != y]
    return list(zip(edges[::2], edges[1::2], strict=True))
