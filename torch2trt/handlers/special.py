"""Elementwise functions that are written in terms of simpler ones."""

from __future__ import annotations

import math

import torch

from ..registry import op
from .common import (
    broadcast_shapes,
    dtype,
    full,
    promote,
    promote_floats,
    result_type,
    shape,
    tensor,
    to_float,
    widened,
)
from .elementwise import (
    abs_,
    add,
    clamp,
    div,
    eq,
    erf,
    exp,
    log,
    log1p,
    lt,
    maximum,
    minimum,
    mul,
    neg,
    pow_,
    sin,
    sqrt,
    sub,
    trunc,
    where,
)
from .logic import isnan


@op("aten::atan2", "aten::arctan2")
def atan2(ctx, x, other):
    """atan2(Tensor self, Tensor other) -> Tensor"""
    return ctx.binary("atan2", *promote_floats(ctx, x, other))


def _of_numbers(name: str, choose):
    """A table row: the larger or the smaller one, in which a number comes before NaN."""

    @op(f"aten::{name}")
    def emit(ctx, x, other):
        x, other = promote(ctx, x, other)
        chosen = choose(ctx, x, other)
        if not dtype(ctx, chosen).is_floating_point:
            return chosen
        return where(ctx, isnan(ctx, x), other, where(ctx, isnan(ctx, other), x, chosen))

    return emit


fmax = _of_numbers("fmax", maximum)
fmin = _of_numbers("fmin", minimum)


@op("aten::log10")
def log10(ctx, x):
    """log10(Tensor self) -> Tensor"""
    return mul(ctx, log(ctx, x), 1 / math.log(10))


@op("aten::exp2", "aten::special_exp2")
def exp2(ctx, x):
    """exp2(Tensor self) -> Tensor"""
    x = to_float(ctx, x)
    return ctx.binary("pow", tensor(ctx, 2, dtype(ctx, x)), x)


@op("aten::deg2rad")
def deg2rad(ctx, x):
    """deg2rad(Tensor self) -> Tensor"""
    return mul(ctx, to_float(ctx, x), math.pi / 180)


@op("aten::rad2deg")
def rad2deg(ctx, x):
    """rad2deg(Tensor self) -> Tensor"""
    return mul(ctx, to_float(ctx, x), 180 / math.pi)


@op("aten::frac")
def frac(ctx, x):
    """frac(Tensor self) -> Tensor"""
    return sub(ctx, x, trunc(ctx, x))


@op("aten::lerp")
def lerp(ctx, x, end, weight):
    """lerp.Tensor(Tensor self, Tensor end, Tensor weight) -> Tensor:
    from the nearer end, as PyTorch computes it"""
    kind, number = result_type(ctx, x, end), isinstance(weight, (int, float))
    x, end = widened(ctx, x), widened(ctx, end)
    distance, weight = sub(ctx, end, x), weight if number else widened(ctx, weight)
    from_start = add(ctx, x, mul(ctx, distance, weight))
    if number:
        result = from_start if abs(weight) < 0.5 else sub(ctx, end, mul(ctx, distance, 1 - weight))
        return tensor(ctx, result, kind)
    from_end = sub(ctx, end, mul(ctx, distance, sub(ctx, 1.0, weight)))
    return tensor(ctx, where(ctx, lt(ctx, abs_(ctx, weight), 0.5), from_start, from_end), kind)


def _add_scaled(ctx, x, combine, tensor1, tensor2, value):
    """x + value * combine(tensor1, tensor2); half precision is rounded once, at the end."""
    kind = result_type(ctx, x, tensor1, tensor2)
    x, tensor1, tensor2 = (widened(ctx, v) for v in (x, tensor1, tensor2))
    combined = combine(ctx, tensor1, tensor2)
    return tensor(ctx, add(ctx, x, combined if value == 1 else mul(ctx, combined, value)), kind)


@op("aten::addcmul")
def addcmul(ctx, x, tensor1, tensor2, value=1):
    """addcmul(Tensor self, Tensor tensor1, Tensor tensor2, *, Scalar value=1) -> Tensor"""
    return _add_scaled(ctx, x, mul, tensor1, tensor2, value)


@op("aten::addcdiv")
def addcdiv(ctx, x, tensor1, tensor2, value=1):
    """addcdiv(Tensor self, Tensor tensor1, Tensor tensor2, *, Scalar value=1) -> Tensor"""
    return _add_scaled(ctx, x, div, tensor1, tensor2, value)


def _logaddexp(ctx, x, other, scale):
    """max + log1p(exp(-|difference|)), or an infinity that both are: their difference is NaN."""
    x, other = promote_floats(ctx, x, other)
    largest = maximum(ctx, x, other)
    gap = neg(ctx, abs_(ctx, sub(ctx, x, other)))
    soft = log1p(ctx, exp(ctx, gap if scale == 1 else mul(ctx, gap, scale)))
    total = add(ctx, largest, soft if scale == 1 else div(ctx, soft, scale))
    infinite = eq(ctx, abs_(ctx, largest), torch.inf)
    return where(ctx, infinite, largest, total)


@op("aten::logaddexp")
def logaddexp(ctx, x, other):
    """logaddexp(Tensor self, Tensor other) -> Tensor"""
    return _logaddexp(ctx, x, other, 1)


@op("aten::logaddexp2")
def logaddexp2(ctx, x, other):
    """logaddexp2(Tensor self, Tensor other) -> Tensor"""
    return _logaddexp(ctx, x, other, math.log(2))


@op("aten::logit", "aten::special_logit")
def logit(ctx, x, eps=None):
    """logit(Tensor self, float? eps=None) -> Tensor;
    eps is the bound that counts where it is above 1 - eps"""
    x = to_float(ctx, x)
    if eps is not None:
        least = tensor(ctx, eps, dtype(ctx, x))
        x = where(ctx, lt(ctx, x, eps), least, clamp(ctx, x, None, 1 - eps))
    return log(ctx, div(ctx, x, sub(ctx, 1, x)))


@op("aten::erfc", "aten::special_erfc")
def erfc(ctx, x):
    """erfc(Tensor self) -> Tensor

    Beyond 0.5, where 1 - erf(x) loses digits, by ``t exp(P(t) - x^2)`` with
    ``t = 1 / (1 + |x| / 2)`` and a polynomial fit P, whose relative error is below 1.2e-7.
    """
    x = to_float(ctx, x)
    size = abs_(ctx, x)
    t = div(ctx, 1.0, add(ctx, mul(ctx, size, 0.5), 1.0))
    series = _ERFC[-1]
    for coefficient in reversed(_ERFC[:-1]):
        series = add(ctx, mul(ctx, t, series), coefficient)
    tail = mul(ctx, t, exp(ctx, sub(ctx, series, mul(ctx, size, size))))
    far = where(ctx, lt(ctx, x, 0), sub(ctx, 2.0, tail), tail)
    return where(ctx, lt(ctx, size, 0.5), sub(ctx, 1.0, erf(ctx, x)), far)


_ERFC = (
    -1.26551223, 1.00002368, 0.37409196, 0.09678418, -0.18628806,
    0.27886807, -1.13520398, 1.48851587, -0.82215223, 0.17087277,
)  # fmt: skip


@op("aten::xlogy", "aten::special_xlogy")
def xlogy(ctx, x, other):
    """xlogy.Tensor(Tensor self, Tensor other) -> Tensor: 0 where self is 0, unless other is NaN"""
    x, other = promote_floats(ctx, x, other)
    zero = tensor(ctx, 0, dtype(ctx, x))
    product = where(ctx, eq(ctx, x, 0), zero, mul(ctx, x, log(ctx, other)))
    return where(ctx, isnan(ctx, other), other, product)


@op("aten::special_xlog1py")
def xlog1py(ctx, x, other):
    """special_xlog1py(Tensor self, Tensor other) -> Tensor"""
    x, other = promote_floats(ctx, x, other)
    at_zero, zero = eq(ctx, x, 0), tensor(ctx, 0, dtype(ctx, x))
    product = where(ctx, at_zero, zero, mul(ctx, x, log1p(ctx, other)))
    return where(ctx, isnan(ctx, other), other, product)


@op("aten::special_entr")
def entr(ctx, x):
    """special_entr(Tensor self) -> Tensor: -x log(x), 0 at 0, -inf below"""
    x = to_float(ctx, x)
    kind = dtype(ctx, x)
    positive = neg(ctx, mul(ctx, x, log(ctx, x)))
    value = where(ctx, eq(ctx, x, 0), tensor(ctx, 0, kind), positive)
    return where(ctx, lt(ctx, x, 0), tensor(ctx, -torch.inf, kind), value)


@op("aten::sinc", "aten::special_sinc")
def sinc(ctx, x):
    """sinc(Tensor self) -> Tensor"""
    x = to_float(ctx, x)
    kind = dtype(ctx, x)
    wide = widened(ctx, x)
    scaled = mul(ctx, wide, math.pi)
    at_zero, one = eq(ctx, wide, 0), tensor(ctx, 1, dtype(ctx, wide))
    result = where(ctx, at_zero, one, div(ctx, sin(ctx, scaled), scaled))
    return tensor(ctx, result, kind)


@op("aten::hypot")
def hypot(ctx, x, other):
    """hypot(Tensor self, Tensor other) -> Tensor:
    scaled by the larger one, so that squares do not overflow"""
    x, other = promote(ctx, x, other)
    # 8.6 broadcasts what it folds to one number wrongly
    if any(isinstance(v, torch.Tensor) and bool(v.isinf().all()) for v in (x, other)):
        sizes = broadcast_shapes(shape(ctx, x), shape(ctx, other))
        return full(ctx, sizes, torch.inf, dtype(ctx, x))
    x, other = abs_(ctx, x), abs_(ctx, other)
    largest = maximum(ctx, x, other)
    plain = eq(ctx, largest, 0)
    scale = where(ctx, plain, tensor(ctx, 1, dtype(ctx, largest)), largest)
    a, b = div(ctx, x, scale), div(ctx, other, scale)
    length = mul(ctx, scale, sqrt(ctx, add(ctx, mul(ctx, a, a), mul(ctx, b, b))))
    infinite = add(ctx, eq(ctx, x, torch.inf), eq(ctx, other, torch.inf))
    length = where(ctx, infinite, tensor(ctx, torch.inf, dtype(ctx, largest)), length)
    return where(ctx, plain, largest, length)


@op("aten::ldexp")
def ldexp(ctx, x, other):
    """ldexp.Tensor(Tensor self, Tensor other) -> Tensor"""
    return mul(ctx, x, pow_(ctx, 2.0, other))


@op(
    "aten::gcd", "aten::lcm", "aten::nextafter", "aten::digamma", "aten::lgamma", "aten::polygamma",
    "aten::erfinv",
)  # fmt: skip
def unavailable(ctx, *_):
    """gcd, lcm, nextafter, digamma, lgamma, polygamma, erfinv"""
    raise ctx.refuse(
        "neither TensorRT nor TVM has this function, and no exact decomposition is known"
    )
