"""Elementary functions as arithmetic that the compiler can put into vectors, exact to about 2e-7.

The coefficients are least-maximum fits of the relative error in float64: `erf` as
x P(x^2) / Q(x^2) on [0, 4], `exp` as 1 + r + r^2 P(r) on [-ln(2)/2, ln(2)/2], `tanh` as
x + x^3 P(x^2) on [0, 0.625].
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from tvm import tirx

from .stages import Unschedulable, is_load
from .tir import const, rewrite

_EXP = (0.49999993448591915, 0.16666520641313154, 0.04166838789058065, 0.008368715681766642,
        0.0013814603451117648)  # fmt: skip
_ERF_P = (1.1283791065216064, 0.193545401096344, 0.0531017929315567, 0.0038833599537611008,
          0.0002845665439963341, 1.9867832179443212e-06)  # fmt: skip
_ERF_Q = (1.0, 0.5048577189445496, 0.115350142121315, 0.015207282267510891,
          0.0011855755001306534, 3.7420217267936096e-05)  # fmt: skip
_TANH = (-0.3333328194135517, 0.1333144217731861, -0.05373971314680293, 0.02063908037880158,
         -0.005704978798456086)  # fmt: skip
_EXP_LOW, _EXP_HIGH = -86.6, 88.722839
_LN2_HIGH, _LN2_LOW = 0.693359375, -2.12194440e-4


def vectorisable(expr: Any) -> Any:
    """`expr` with what has no vector code replaced.

    That is float32 calls of the mathematical library, and loads of bools.

    Raises:
        Unschedulable: bfloat16 is computed; TVM legalises it, but not where a name is bound to it.
    """

    def change(node: Any) -> Any:
        if str(node.ty.dtype) == "bfloat16":
            raise Unschedulable("it computes in bfloat16")
        # Bools are bytes in memory, and TVM turns only single ones into bits.
        if _is_bool_load(node):
            return tirx.NE(tirx.Cast("uint8", node), const(0, "uint8"))
        if isinstance(node, tirx.Cast) and _is_bool_load(node.value):
            return tirx.Cast(node.ty.dtype, tirx.Cast("uint8", node.value))
        if type(node).__name__ != "Call" or str(node.ty.dtype) != "float32":
            return None
        name = getattr(node.op, "name", "")
        if name == "tirx.pow":
            return _power(*(vectorisable(a) for a in node.args))
        rule = _RULES.get(name)
        return rule(vectorisable(node.args[0])) if rule is not None else None

    return rewrite(expr, change)


def _is_bool_load(node: Any) -> bool:
    return is_load(node) and str(node.ty.dtype) == "bool"


def _let(value: Any, body: Callable[[Any], Any], dtype: str = "float32") -> Any:
    name = tirx.Var("t", dtype)
    return tirx.Let(name, value, body(name))


def _horner(x: Any, coefficients: Sequence[float]) -> Any:
    result: Any = const(coefficients[-1])
    for coefficient in reversed(coefficients[:-1]):
        result = result * x + const(coefficient)
    return result


def _bounded(x: Any, low: float, high: float) -> Any:
    """`x` between two numbers; of a comparison with NaN the second operand remains."""
    return tirx.min(const(high), tirx.max(const(low), x))


def exp(x: Any) -> Any:
    """e to the x; 0 below -86.6, infinity above the largest float32."""

    def scaled(x: Any) -> Any:
        half = _let(_bounded(x, _EXP_LOW, _EXP_HIGH), lambda b: _power_of_e(b, 1)) * const(2.0)
        high = tirx.Select(x > const(_EXP_HIGH), const(float("inf")), half)
        return tirx.Select(x < const(_EXP_LOW), const(0.0), high)

    return _let(x, scaled)


def _power_of_e(b: Any, halvings: int = 0) -> Any:
    """e to the b for -87.3 < b < 88.3, halved that often to reach further up."""

    def tail(n: Any) -> Any:
        rest = (b - n * const(_LN2_HIGH)) - n * const(_LN2_LOW)
        exponent = tirx.Cast("int32", n) + const(127 - halvings, "int32")
        scale = tirx.reinterpret("float32", exponent << const(23, "int32"))
        return _let(rest, lambda r: (r * r * _horner(r, _EXP) + r + const(1.0)) * scale)

    return _let(tirx.floor(b * const(1.4426950408889634) + const(0.5)), tail)


def sigmoid(x: Any) -> Any:
    """1 / (1 + exp(-x)).

    It is 0 where the exponential is above 2^127.5, for 2^128 has the bits of infinity.
    """
    bounded = _bounded(const(0.0) - x, _EXP_LOW, 89.0)
    return _let(bounded, lambda b: const(1.0) / (const(1.0) + _power_of_e(b)))


def erf(x: Any) -> Any:
    """The error function."""

    def ratio(b: Any) -> Any:
        return _let(b * b, lambda t: b * _horner(t, _ERF_P) / _horner(t, _ERF_Q))

    return _let(_bounded(x, -4.0, 4.0), ratio)


def tanh(x: Any) -> Any:
    """The hyperbolic tangent."""

    def parts(x: Any) -> Any:
        size = tirx.max(x, const(0.0) - x)
        small = _let(x * x, lambda t: x * t * _horner(t, _TANH) + x)
        large = const(1.0) - const(2.0) / (exp(size * const(2.0)) + const(1.0))
        signed = _let(large, lambda v: tirx.Select(x < const(0.0), const(0.0) - v, v))
        return tirx.Select(size < const(0.625), small, signed)

    return _let(x, parts)


def _power(base: Any, exponent: Any) -> Any:
    value = float(exponent.value) if isinstance(exponent, tirx.FloatImm) else None
    if value == 2.0:
        return _let(base, lambda b: b * b)
    if value == 3.0:
        return _let(base, lambda b: b * b * b)
    if value == 0.5:
        return tirx.sqrt(base)
    return tirx.power(base, exponent)


_RULES: dict[str, Callable[[Any], Any]] = {
    "tirx.exp": exp,
    "tirx.sigmoid": sigmoid,
    "tirx.erf": erf,
    "tirx.tanh": tanh,
    "tirx.rsqrt": lambda x: const(1.0) / tirx.sqrt(x),
}
