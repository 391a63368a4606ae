"""Plain TE loop nests for what TVM has no exact operator for: elementwise functions and reductions.

Nothing here is scheduled. A *scalar function* takes and gives TIR expressions of one element.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from fractions import Fraction
from functools import lru_cache
from math import copysign, inf, nan
from typing import Any

from .tvm_names import expr_dtype, te, tirx

Expr = Any  # a TIR expression
Scalar = Callable[..., Expr]

HALF = ("float16", "bfloat16")


def dtype_name(x: Any) -> str:
    """The dtype of a TE tensor or of a TIR expression, as a string."""
    return str(x.dtype) if isinstance(x, te.Tensor) else expr_dtype(x)


def is_float(x: Any) -> bool:
    return "float" in dtype_name(x)


def const(value: float, like: Expr) -> Expr:
    """`value` in the dtype of the expression `like`."""
    return tirx.const(value, dtype_name(like))


def is_nan(x: Expr) -> Expr:
    return tirx.isnan(x.astype("float32") if dtype_name(x) in HALF else x)


def wide(function: Scalar) -> Scalar:
    """`function` computed in float32 where its arguments are half precision, and rounded once."""

    def compute(*xs: Expr) -> Expr:
        dtype = dtype_name(xs[0])
        if dtype not in HALF:
            return function(*xs)
        result = function(*[x.astype("float32") for x in xs])
        return result.astype(dtype) if is_float(result) else result

    return compute


# ---- elementwise ---------------------------------------------------------------------------------
def is_one(dim: Any) -> bool:
    return isinstance(dim, (int, tirx.IntImm)) and int(dim) == 1


def load(x: Any, index: Sequence[Any]) -> Expr:
    """The element of `x` that broadcasts to `index`; a scalar expression is itself."""
    if not isinstance(x, te.Tensor):
        return x
    tail = index[len(index) - len(x.shape) :]
    return x(*[0 if is_one(dim) else i for dim, i in zip(x.shape, tail)])


def broadcast_shape(xs: Sequence[Any]) -> list[Any]:
    """The shape that the tensors in `xs` broadcast to; symbolic dimensions are taken to agree."""
    shapes = [list(x.shape) for x in xs if isinstance(x, te.Tensor)]
    rank = max(map(len, shapes), default=0)
    padded = [[1] * (rank - len(shape)) + shape for shape in shapes]
    result = []
    for dims in zip(*padded):
        others = [dim for dim in dims if not is_one(dim)]
        static = [dim for dim in others if isinstance(dim, (int, tirx.IntImm))]
        result.append((static or others or [1])[0])
    return result


@lru_cache
def elementwise(function: Scalar, name: str) -> Callable[..., te.Tensor]:
    """A TE function that applies a scalar function with broadcasting."""

    def compute(*xs: Any) -> te.Tensor:
        return te.compute(
            broadcast_shape(xs), lambda *index: function(*[load(x, index) for x in xs]), name=name
        )

    return compute


# ---- scalar functions ----------------------------------------------------------------------------
@lru_cache
def _tanh_fraction(terms: int) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Coefficients p, q in z = x^2 with tanh(x) = x p(z) / q(z).

    From Lambert's continued fraction x/(1 + z/(3 + z/(5 + ...))).
    """
    upper, lower = [Fraction(1)], [Fraction(2 * terms - 1)]
    for k in range(terms - 1, 0, -1):  # (2k - 1) + z * upper / lower
        carried = [Fraction(0), *upper]
        scaled = [(2 * k - 1) * c for c in lower]
        size = max(len(carried), len(scaled))
        total = [sum(c[i] for c in (carried, scaled) if i < len(c)) for i in range(size)]
        upper, lower = lower, total
    return tuple(map(int, upper)), tuple(map(int, lower))


def _polynomial(coefficients: Sequence[float], z: Expr) -> Expr:
    result = const(coefficients[-1], z)
    for c in reversed(coefficients[:-1]):
        result = result * z + const(c, z)
    return result


def _small_tanh(x: Expr) -> Expr:
    """tanh for |x| <= 1/2, with a small relative error also near 0."""
    p, q = _tanh_fraction(5 if dtype_name(x) == "float32" else 9)
    scale = float(q[0])
    z = x * x
    return x * _polynomial([c / scale for c in p], z) / _polynomial([c / scale for c in q], z)


def tanh(x: Expr) -> Expr:
    size = tirx.abs(x)
    e = tirx.exp(size * const(-2, x))
    big = (const(1, x) - e) / (const(1, x) + e)
    signed = tirx.Select(x < const(0, x), const(0, x) - big, big)
    return tirx.Select(size < const(0.5, x), _small_tanh(x), signed)


def expm1(x: Expr) -> Expr:
    t = _small_tanh(x * const(0.5, x))
    small = const(2, x) * t / (const(1, x) - t)
    return tirx.Select(tirx.abs(x) < const(0.5, x), small, tirx.exp(x) - const(1, x))


def cosh(x: Expr) -> Expr:
    """Through the exponential of half the size, which is in range wherever the result is."""
    e = tirx.exp(tirx.abs(x) * const(0.5, x))
    return const(0.5, x) * e * e + const(0.5, x) / e / e


def sinh(x: Expr) -> Expr:
    size = tirx.abs(x)
    e = tirx.exp(size * const(0.5, x))
    big = const(0.5, x) * e * e - const(0.5, x) / e / e
    t = _small_tanh(x * const(0.5, x))
    small = const(2, x) * t / (const(1, x) - t * t)
    return tirx.Select(
        size < const(0.5, x), small, tirx.Select(x < const(0, x), const(0, x) - big, big)
    )


def atanh(x: Expr) -> Expr:
    size = tirx.abs(x)
    half = const(0.5, x) * tirx.log1p(const(2, x) * size / (const(1, x) - size))
    signed = tirx.Select(x < const(0, x), const(0, x) - half, half)
    return tirx.Select(size == const(0, x), x, signed)


def _zero(x: Expr) -> Expr:
    """A number that is zero in a form that TVM does not simplify; every other expression is itself.

    TVM takes x * 0 and 0 / x for 0, also where x is NaN or infinite, and -0 + 0 for -0.
    """
    if not isinstance(x, tirx.FloatImm) or x.value != 0:
        return x
    name = dtype_name(x)
    bits = int(name.lstrip("bfloat"))
    negative = tirx.reinterpret(name, tirx.const(-(2 ** (bits - 1)), f"int{bits}"))
    return negative if copysign(1, x.value) < 0 else negative * const(-1, x)


def add(a: Expr, b: Expr) -> Expr:
    return _zero(a) + _zero(b)


def subtract(a: Expr, b: Expr) -> Expr:
    """A sum, because TVM takes x - x for 0 and (x + y) - x for y, which floats are not."""
    return _zero(a) + b * const(-1, b) if is_float(a) else a - b


def multiply(a: Expr, b: Expr) -> Expr:
    return _zero(a) * _zero(b)


def divide(a: Expr, b: Expr) -> Expr:
    return _zero(a) / _zero(b)


def relu(x: Expr) -> Expr:
    """NaN and -0 stay, as in PyTorch."""
    return tirx.Select(x < const(0, x), const(0, x), x)


def _is_number(x: Expr) -> bool:
    return isinstance(x, tirx.FloatImm) and x.value == x.value


def _extreme(beats: Callable[[Expr, Expr], Expr]) -> Scalar:
    """The larger (smaller) of two; NaN propagates. A known number needs one comparison."""

    def choose(a: Expr, b: Expr) -> Expr:
        if not is_float(a):
            return tirx.Select(beats(a, b), a, b)
        if _is_number(b):
            return tirx.Select(beats(b, a), b, a)
        if _is_number(a):
            return tirx.Select(beats(a, b), a, b)
        return tirx.Select(tirx.any(beats(a, b), tirx.isnan(a)), a, b)

    return choose


maximum = _extreme(lambda a, b: a > b)
minimum = _extreme(lambda a, b: a < b)


def equal(a: Expr, b: Expr) -> Expr:
    """False where both are the same NaN, which TVM would simplify to true."""
    return tirx.Not(not_equal(a, b)) if is_float(a) else tirx.EQ(a, b)


def not_equal(a: Expr, b: Expr) -> Expr:
    if not is_float(a):
        return tirx.NE(a, b)
    return tirx.any(a < b, a > b, tirx.isnan(a), tirx.isnan(b))


def _divisor(b: Expr) -> Expr:
    """An integer divisor that stops no process: a division by zero gives something meaningless."""
    return tirx.Select(b == const(0, b), const(1, b), b)


def remainder(a: Expr, b: Expr) -> Expr:
    if not is_float(a):
        return tirx.floormod(a, _divisor(b))
    rest, zero = tirx.truncmod(a, b), const(0, a)
    wrong_sign = tirx.any(tirx.all(rest < zero, b > zero), tirx.all(rest > zero, b < zero))
    return tirx.Select(wrong_sign, rest + b, rest)


def fmod(a: Expr, b: Expr) -> Expr:
    return tirx.truncmod(a, b) if is_float(a) else tirx.truncmod(a, _divisor(b))


def truncdiv(a: Expr, b: Expr) -> Expr:
    return tirx.truncdiv(a, _divisor(b))


def floordiv(a: Expr, b: Expr) -> Expr:
    """Python's rule: floats subtract the remainder first, lest a quotient is rounded up.

    Constants that TVM puts in for `a` or `b` must not make it divide by zero, or divide zero.
    """
    if not is_float(a):
        return tirx.floordiv(a, _divisor(b))
    zero, one = const(0, a), const(1, a)
    rest = tirx.truncmod(a, b)
    wrong_sign = tirx.any(tirx.all(rest < zero, b > zero), tirx.all(rest > zero, b < zero))
    by_zero = tirx.EQ(b, zero)
    safe = tirx.Select(by_zero, one, b)
    quotient = (a - rest) / safe - tirx.Select(wrong_sign, one, zero)
    floor = tirx.floor(quotient)
    rounded = floor + tirx.Select(quotient - floor > const(0.5, a), one, zero)
    sign = tirx.copysign(one, a) * tirx.copysign(one, b)
    result = tirx.Select(tirx.EQ(quotient, zero), tirx.copysign(zero, sign), rounded)
    result = tirx.Select(by_zero, tirx.copysign(const(inf, a), sign), result)
    undefined = tirx.Select(by_zero, tirx.EQ(a, zero), tirx.isinf(a))
    return tirx.Select(tirx.any(undefined, tirx.isnan(a), tirx.isnan(b)), const(nan, a), result)


def _bits(x: Expr) -> Expr:
    return const(int(dtype_name(x).lstrip("uint")), x)


def shift_left(a: Expr, b: Expr) -> Expr:
    outside = tirx.any(b < const(0, b), b >= _bits(b))
    return tirx.Select(
        outside, const(0, a), tirx.shift_left(a, tirx.Select(outside, const(0, b), b))
    )


def shift_right(a: Expr, b: Expr) -> Expr:
    outside = tirx.any(b < const(0, b), b >= _bits(b))
    return tirx.shift_right(a, tirx.Select(outside, _bits(b) - const(1, b), b))


def sort_key(x: Expr) -> Expr:
    """An integer that orders like the float `x`, the two zeros equal and NaN above everything."""
    bits = 64 if dtype_name(x) == "float64" else 32
    canonical = tirx.Select(tirx.EQ(x, const(0, x)), const(0, x), x)
    raw = tirx.reinterpret(f"int{bits}", canonical)
    mirrored = tirx.bitwise_xor(raw, const(2 ** (bits - 1) - 1, raw))
    ordered = tirx.Select(raw < const(0, raw), mirrored, raw)
    return tirx.Select(tirx.isnan(x), const(2 ** (bits - 1) - 1, raw), ordered)


LIBM = "acos acosh asin asinh atan cos erf exp log rsqrt sigmoid sin sqrt tan"
# By operator: what replaces TVM's own lowering, which loses NaN, small numbers or half precision.
EXACT: dict[str, Scalar] = {
    **{name: getattr(tirx, name) for name in LIBM.split()},
    "tanh": tanh, "sinh": sinh, "cosh": cosh, "atanh": atanh, "maximum": maximum,
    "minimum": minimum, "equal": equal, "not_equal": not_equal, "nn.relu": relu,
    "isnan": tirx.isnan, "isinf": tirx.isinf,
    "add": add, "subtract": subtract, "multiply": multiply, "divide": divide, "power": tirx.pow,
    "atan2": tirx.atan2, "round": tirx.nearbyint,
}  # fmt: skip


# ---- reductions ----------------------------------------------------------------------------------
def _reducer(beats: Callable[[Expr, Expr], Expr], worst: float, name: str) -> Callable[..., Expr]:
    def combine(a: Expr, b: Expr) -> Expr:
        # false for NaN; LLVM has no vector code for isnan here
        number = a <= const(float("inf"), a)
        return tirx.Select(beats(a, b), a, tirx.Select(number, b, a))

    return te.comm_reducer(combine, lambda dtype: tirx.const(worst, dtype), name=name)


max_reducer = _reducer(lambda a, b: a > b, float("-inf"), "max_nan")
min_reducer = _reducer(lambda a, b: a < b, float("inf"), "min_nan")


def reduction(
    x: te.Tensor, axes: Sequence[int], keepdim: bool, value: Callable[..., Any], name: str
) -> Any:
    """A reduction over `axes`; ``value(element, reduce_axes, index)`` is its expression."""
    inner = {axis: te.reduce_axis((0, x.shape[axis]), name=f"r{axis}") for axis in axes}
    kept = [axis for axis in range(len(x.shape)) if axis not in inner]
    shape = [1 if a in inner else d for a, d in enumerate(x.shape) if keepdim or a in kept]

    def compute(*index: Expr) -> Any:
        outer = dict(enumerate(index)) if keepdim else dict(zip(kept, index))
        at = [inner[axis].var if axis in inner else outer[axis] for axis in range(len(x.shape))]
        return value(x(*at), list(inner.values()), at)

    return te.compute(shape, compute, name=name)


def arg_extreme(x: te.Tensor, axis: int, keepdim: bool, largest: bool) -> list[te.Tensor]:
    """int64 index and value of the extreme element: the first of equal ones, NaN before all."""

    def combine(a: Any, b: Any) -> Any:
        first = _comes_first(a, b, largest)
        return tirx.Select(first, a[0], b[0]), tirx.Select(first, a[1], b[1])

    def identity(index_dtype: Any, dtype: Any) -> Any:
        bound = tirx.min_value if largest else tirx.max_value
        infinity = -inf if largest else inf
        worst = tirx.const(infinity, dtype) if is_float(x) else bound(dtype)
        return tirx.const(2**63 - 1, index_dtype), worst

    reducer = te.comm_reducer(combine, identity, name="arg_extreme")

    def value(element: Expr, axes: Any, at: Any) -> Any:
        return reducer((at[axis].astype("int64"), element), axis=axes)

    return list(reduction(x, [axis], keepdim, value, "argmax" if largest else "argmin"))


def _comes_first(a: Any, b: Any, largest: bool) -> Expr:
    """Of two pairs (index, value): by the value, NaN before all, and then by the index."""
    better = a[1] > b[1] if largest else a[1] < b[1]
    same = tirx.EQ(a[1], b[1])
    if is_float(a[1]):
        a_nan, b_nan = is_nan(a[1]), is_nan(b[1])
        better = tirx.any(tirx.all(better, tirx.Not(b_nan)), tirx.all(a_nan, tirx.Not(b_nan)))
        same = tirx.any(same, tirx.all(a_nan, b_nan))
    return tirx.any(better, tirx.all(same, a[0] < b[0]))
