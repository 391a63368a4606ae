"""Powers of integers for both TVM dialects, by the digits of the exponent: exact as they wrap."""

from __future__ import annotations

import operator
from collections.abc import Callable, Sequence
from functools import reduce
from typing import Any

from .tvm_names import te, tirx
from .tvm_te import Expr, broadcast_shape, const, dtype_name, load

_DIGIT_BITS = 4  # of an exponent that one step of a power takes


def integer_power(base: te.Tensor, exponent: te.Tensor) -> te.Tensor:
    """Wraps as PyTorch does; a negative exponent gives 0 except for the bases 1 and -1."""
    shape = broadcast_shape([base, exponent])
    bits = int(dtype_name(base).lstrip("uint"))
    power = te.compute(shape, lambda *i: _factor(load(base, i), load(exponent, i)))
    terms = []
    for shift in range(0, bits - 1, _DIGIT_BITS):
        terms.append(_digit_power(power, base, exponent, shift))
        power = _product(shape, lambda *i, x=power, **_: x(*i))
    return te.compute(
        shape, lambda *i: reduce(operator.mul, [t(*i) for t in terms]), name="integer_power"
    )


def _digit_power(power: te.Tensor, base: te.Tensor, exponent: te.Tensor, shift: int) -> te.Tensor:
    """`power` to one digit of the exponent."""

    def term(*index: Any, step: Any) -> Any:
        count = _count(load(base, index), load(exponent, index))
        digit = (count >> const(shift, count)) & const((1 << _DIGIT_BITS) - 1, count)
        value = power(*index)
        return tirx.Select(step.astype(dtype_name(count)) < digit, value, const(1, value))

    return _product(power.shape, term)


def _product(shape: Sequence[Any], term: Callable[..., Any]) -> te.Tensor:
    """The product of as many terms as there are values of a digit."""
    step = te.reduce_axis((0, 1 << _DIGIT_BITS), name="step")
    product = te.comm_reducer(lambda p, q: p * q, lambda t: tirx.const(1, t), name="product")
    return te.compute(shape, lambda *i: product(term(*i, step=step.var), axis=step))


def _is_unit(base: Expr) -> Expr:
    return tirx.any(tirx.EQ(base, const(1, base)), tirx.EQ(base, const(-1, base)))


def _factor(base: Expr, exponent: Expr) -> Expr:
    """What a power is a product of: 0 where the exponent is negative."""
    negative = exponent < const(0, exponent)
    return tirx.Select(tirx.all(tirx.Not(_is_unit(base)), negative), const(0, base), base)


def _count(base: Expr, exponent: Expr) -> Expr:
    """How many factors a power is a product of."""
    parity = tirx.floormod(exponent, const(2, exponent))
    count = tirx.Select(exponent < const(0, exponent), const(1, exponent), exponent)
    return tirx.Select(_is_unit(base), parity, count)
