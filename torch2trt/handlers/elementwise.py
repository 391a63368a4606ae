"""Elementwise arithmetic, comparison and logic."""

from __future__ import annotations

import operator

import torch

from ..registry import op
from .common import (
    dtype,
    dtype_of,
    promote,
    promote_floats,
    result_type,
    tensor,
    to_float,
    widened,
)


def unary(*names: str, primitive: str, floats: bool = False):
    """A table row: a function of one tensor that is one primitive.

    Args:
        floats: integers become floats first.
    """

    @op(*names)
    def emit(ctx, x):
        return ctx.unary(primitive, to_float(ctx, x) if floats else x)

    return emit


neg = unary("aten::neg", "aten::negative", primitive="neg")
exp = unary("aten::exp", primitive="exp", floats=True)
expm1 = unary("aten::expm1", primitive="expm1", floats=True)
log = unary("aten::log", primitive="log", floats=True)
log1p = unary("aten::log1p", primitive="log1p", floats=True)
log2 = unary("aten::log2", primitive="log2", floats=True)
sqrt = unary("aten::sqrt", primitive="sqrt", floats=True)
rsqrt = unary("aten::rsqrt", primitive="rsqrt", floats=True)
reciprocal = unary("aten::reciprocal", primitive="reciprocal", floats=True)
sin = unary("aten::sin", primitive="sin", floats=True)
cos = unary("aten::cos", primitive="cos", floats=True)
tan = unary("aten::tan", primitive="tan", floats=True)
asin = unary("aten::asin", "aten::arcsin", primitive="asin", floats=True)
acos = unary("aten::acos", "aten::arccos", primitive="acos", floats=True)
atan = unary("aten::atan", "aten::arctan", primitive="atan", floats=True)
sinh = unary("aten::sinh", primitive="sinh", floats=True)
cosh = unary("aten::cosh", primitive="cosh", floats=True)
tanh = unary("aten::tanh", primitive="tanh", floats=True)
asinh = unary("aten::asinh", "aten::arcsinh", primitive="asinh", floats=True)
acosh = unary("aten::acosh", "aten::arccosh", primitive="acosh", floats=True)
atanh = unary("aten::atanh", "aten::arctanh", primitive="atanh", floats=True)
erf = unary("aten::erf", "aten::special_erf", primitive="erf", floats=True)
sigmoid = unary("aten::sigmoid", "aten::special_expit", primitive="sigmoid", floats=True)
relu = unary("aten::relu", primitive="relu")


def magnitude(*names: str, primitive: str):
    """A table row: a function that leaves bools as they are."""

    @op(*names)
    def emit(ctx, x):
        return x if dtype(ctx, x) == torch.bool else ctx.unary(primitive, x)

    return emit


abs_ = magnitude("aten::abs", "aten::absolute", primitive="abs")
sign = magnitude("aten::sign", "aten::sgn", primitive="sign")


def rounding(*names: str, primitive: str):
    """A table row: rounding, which leaves integers as they are."""

    @op(*names)
    def emit(ctx, x):
        return ctx.unary(primitive, x) if dtype(ctx, x).is_floating_point else x

    return emit


ceil = rounding("aten::ceil", primitive="ceil")
floor = rounding("aten::floor", primitive="floor")
trunc = rounding("aten::trunc", "aten::fix", primitive="trunc")
round_ = rounding("aten::round", primitive="round")


@op("aten::round.decimals")
def round_decimals(ctx, x, decimals=0):
    """round.decimals(Tensor self, *, int decimals) -> Tensor"""
    if decimals == 0:
        return round_(ctx, x)
    kind, x = dtype(ctx, x), widened(ctx, x)
    factor = 10.0 ** abs(decimals)
    scale, back = (mul, div) if decimals > 0 else (div, mul)
    return tensor(ctx, back(ctx, round_(ctx, scale(ctx, x, factor)), factor), kind)


def binary(*names: str, primitive: str, numbers=None, of_bools: str | None = None):
    """A table row: a function of two promoted operands that is one primitive.

    Args:
        numbers: the same on sizes.
        of_bools: another primitive for two bools.
    """

    @op(*names, numbers=numbers)
    def emit(ctx, x, other):
        x, other = promote(ctx, x, other)
        are_bools = of_bools is not None and dtype(ctx, x) == torch.bool
        return ctx.binary(of_bools if are_bools else primitive, x, other)

    return emit


mul = binary(
    "aten::mul", "aten::multiply", primitive="mul", numbers=operator.mul, of_bools="logical_and"
)
maximum = binary("aten::maximum", "aten::max.other", primitive="maximum", of_bools="logical_or")
minimum = binary("aten::minimum", "aten::min.other", primitive="minimum", of_bools="logical_and")
remainder = binary("aten::remainder", primitive="remainder", numbers=operator.mod)
fmod = binary("aten::fmod", primitive="fmod")
eq = binary("aten::eq", primitive="eq", numbers=operator.eq)
ne = binary("aten::ne", "aten::not_equal", primitive="ne")
lt = binary("aten::lt", "aten::less", primitive="lt")
le = binary("aten::le", "aten::less_equal", primitive="le")
gt = binary("aten::gt", "aten::greater", primitive="gt")
ge = binary("aten::ge", "aten::greater_equal", primitive="ge")


def logical(name: str):
    """A table row: a logical function of two tensors of any dtypes."""

    @op(f"aten::{name}")
    def emit(ctx, x, other):
        return ctx.binary(name, tensor(ctx, x, torch.bool), tensor(ctx, other, torch.bool))

    return emit


logical_and = logical("logical_and")
logical_or = logical("logical_or")
logical_xor = logical("logical_xor")


@op("aten::logical_not", "aten::__not__")
def logical_not(ctx, x):
    """logical_not(Tensor self) -> Tensor"""
    return ctx.unary("logical_not", tensor(ctx, x, torch.bool))


def _scaled(ctx, other, alpha):
    if alpha == 1:
        return other
    return other * alpha if isinstance(other, (int, float)) else mul(ctx, other, alpha)


@op("aten::add", numbers=lambda x, other, alpha=1: x + alpha * other)
def add(ctx, x, other, alpha=1):
    """add.Tensor(Tensor self, Tensor other, *, Scalar alpha=1) -> Tensor"""
    x, other = promote(ctx, x, _scaled(ctx, other, alpha), to=result_type(ctx, x, other))
    return ctx.binary("logical_or" if dtype(ctx, x) == torch.bool else "add", x, other)


@op("aten::sub", "aten::subtract", numbers=lambda x, other, alpha=1: x - alpha * other)
def sub(ctx, x, other, alpha=1):
    """sub.Tensor(Tensor self, Tensor other, *, Scalar alpha=1) -> Tensor"""
    kind = result_type(ctx, x, other)
    return ctx.binary("sub", *promote(ctx, x, _scaled(ctx, other, alpha), to=kind))


@op("aten::rsub", numbers=lambda x, other, alpha=1: other - alpha * x)
def rsub(ctx, x, other, alpha=1):
    """rsub.Scalar(Tensor self, Scalar other, Scalar alpha=1) -> Tensor: other - alpha * self"""
    kind = result_type(ctx, x, other)
    return ctx.binary("sub", *promote(ctx, other, _scaled(ctx, x, alpha), to=kind))


def _divide_numbers(x, other, rounding_mode=None):
    return NotImplemented if rounding_mode is None else x // other  # a quotient is no size


@op("aten::div", "aten::divide", "aten::true_divide", numbers=_divide_numbers)
def div(ctx, x, other, rounding_mode=None):
    """div.Tensor_mode(Tensor self, Tensor other, *, str? rounding_mode) -> Tensor"""
    if rounding_mode is not None:
        primitive = {"floor": "floordiv", "trunc": "truncdiv"}[rounding_mode]
        return ctx.binary(primitive, *promote(ctx, x, other))
    return ctx.binary("div", *promote_floats(ctx, x, other))


@op("aten::floor_divide", "aten::floordiv", numbers=operator.floordiv)
def floor_divide(ctx, x, other):
    """floor_divide(Tensor self, Tensor other) -> Tensor"""
    return div(ctx, x, other, "floor")


_SIMPLE_POWERS = {
    2: lambda ctx, x: mul(ctx, x, x),
    1: lambda ctx, x: x,
    0.5: sqrt,
    -1: reciprocal,
}
_WIDE_POWERS = {  # products that half precision would round in between
    3: lambda ctx, x: mul(ctx, mul(ctx, x, x), x),
    4: lambda ctx, x: square(ctx, square(ctx, x)),
}


@op("aten::pow")
def pow_(ctx, x, exponent):
    """pow.Tensor_Scalar(Tensor self, Scalar exponent) -> Tensor"""
    if isinstance(exponent, (int, float)) and dtype(ctx, x).is_floating_point:
        kind = dtype(ctx, x)
        wide = _WIDE_POWERS if kind in (torch.float32, torch.float64) else {}
        power = _SIMPLE_POWERS.get(exponent) or wide.get(exponent)
        if power is not None:
            return power(ctx, x)
    return ctx.binary("pow", *promote(ctx, x, exponent))


@op("aten::float_power")
def float_power(ctx, x, exponent):
    """float_power.Tensor_Tensor(Tensor self, Tensor exponent) -> Tensor: in float64"""
    return ctx.binary("pow", *promote(ctx, x, exponent, to=torch.float64))


@op("aten::square")
def square(ctx, x):
    """square(Tensor self) -> Tensor"""
    x = tensor(ctx, x, torch.int64) if dtype(ctx, x) == torch.bool else x
    return mul(ctx, x, x)


@op("aten::clamp", "aten::clip")
def clamp(ctx, x, min=None, max=None):
    """clamp(Tensor self, Scalar? min=None, Scalar? max=None) -> Tensor"""
    kind = result_type(ctx, *[v for v in (x, min, max) if v is not None])
    x = tensor(ctx, x, kind)
    if min is not None:
        x = maximum(ctx, x, tensor(ctx, min, kind))
    return x if max is None else minimum(ctx, x, tensor(ctx, max, kind))


@op("aten::clamp_min")
def clamp_min(ctx, x, min):
    """clamp_min(Tensor self, Scalar min) -> Tensor"""
    return clamp(ctx, x, min, None)


@op("aten::clamp_max")
def clamp_max(ctx, x, max):
    """clamp_max(Tensor self, Scalar max) -> Tensor"""
    return clamp(ctx, x, None, max)


@op("aten::where.self", "aten::where.ScalarSelf", "aten::where.ScalarOther", "aten::where.Scalar")
def where(ctx, condition, x, other):
    """where.self(Tensor condition, Tensor self, Tensor other) -> Tensor"""
    return ctx.where(tensor(ctx, condition, torch.bool), *promote(ctx, x, other))


@op("aten::masked_fill")
def masked_fill(ctx, x, mask, value):
    """masked_fill.Scalar(Tensor self, Tensor mask, Scalar value) -> Tensor"""
    kind = dtype(ctx, x)
    return ctx.where(tensor(ctx, mask, torch.bool), tensor(ctx, value, kind), tensor(ctx, x, kind))


@op("aten::to.dtype")
def to_dtype(ctx, x, dtype, *_):
    """to.dtype(Tensor self, ScalarType dtype, bool non_blocking=False, bool copy=False, ...)
    -> Tensor"""
    return tensor(ctx, x, dtype_of(dtype))


@op("aten::to.device", "aten::to.prim_Device")
def to_device(ctx, x, device, dtype=None, *_):
    """to.device(Tensor self, Device device, ScalarType dtype, ...) -> Tensor"""
    return tensor(ctx, x, dtype_of(dtype))


@op("aten::to.dtype_layout", "aten::_to_copy")
def to_layout(ctx, x, dtype=None, *_):
    """to.dtype_layout(Tensor self, *, ScalarType? dtype=None, Layout? layout=None,
    Device? device=None, ...)"""
    return tensor(ctx, x, dtype_of(dtype))


@op("aten::to.other", "aten::type_as")
def to_other(ctx, x, other, *_):
    """to.other(Tensor self, Tensor other, ...) -> Tensor"""
    return tensor(ctx, x, dtype(ctx, other))
