"""Logic, bits, and tests for special values."""

from __future__ import annotations

import torch

from ..registry import op
from .common import dtype, promote, promote_floats, result_type, shape, tensor
from .elementwise import (
    abs_,
    add,
    eq,
    gt,
    le,
    logical_and,
    logical_not,
    logical_or,
    lt,
    mul,
    ne,
    neg,
    reciprocal,
    sub,
    where,
)
from .reduction import all_, any_
from .shape import reshape, unsqueeze


def bitwise(*names: str, primitive: str, of_bools: str | None = None):
    """A table row: a function of the bits of two integers, on bools the function `of_bools`."""

    @op(*names)
    def emit(ctx, x, other):
        kind = result_type(ctx, x, other)
        if kind == torch.bool and of_bools is None:
            raise ctx.refuse(f"{primitive} of bools")
        name = of_bools if kind == torch.bool else primitive
        return ctx.binary(name, *promote(ctx, x, other, to=kind))

    return emit


def _bitwise_and_logical(name: str):
    return bitwise(
        f"aten::bitwise_{name}", f"aten::__{name}__",
        primitive=f"bitwise_{name}", of_bools=f"logical_{name}",
    )  # fmt: skip


bitwise_and = _bitwise_and_logical("and")
bitwise_or = _bitwise_and_logical("or")
bitwise_xor = _bitwise_and_logical("xor")
left_shift = bitwise("aten::bitwise_left_shift", primitive="shift_left")
right_shift = bitwise("aten::bitwise_right_shift", primitive="shift_right")


@op("aten::bitwise_not")
def bitwise_not(ctx, x):
    """bitwise_not(Tensor self) -> Tensor: the logical not of bools"""
    return ctx.unary("logical_not" if dtype(ctx, x) == torch.bool else "bitwise_not", x)


@op("aten::__lshift__")
def lshift(ctx, x, other):
    """__lshift__.Tensor(Tensor self, Tensor other) -> Tensor: of floats, times a power of two"""
    return _shift(ctx, x, other, left_shift, 2.0)


@op("aten::__rshift__")
def rshift(ctx, x, other):
    """__rshift__.Tensor(Tensor self, Tensor other) -> Tensor:
    of floats, divided by a power of two"""
    return _shift(ctx, x, other, right_shift, 0.5)


def _shift(ctx, x, other, shift, base):
    if not result_type(ctx, x, other).is_floating_point:
        return shift(ctx, x, other)
    x, other = promote(ctx, x, other)
    return ctx.binary("mul", x, ctx.binary("pow", tensor(ctx, base, dtype(ctx, other)), other))


def _nothing_special(ctx, x):
    """False everywhere: integers are neither infinite nor NaN."""
    return ne(ctx, x, x)


@op("aten::isnan")
def isnan(ctx, x):
    """isnan(Tensor self) -> Tensor"""
    return ne(ctx, x, x)


@op("aten::isinf")
def isinf(ctx, x):
    """isinf(Tensor self) -> Tensor"""
    if not dtype(ctx, x).is_floating_point:
        return _nothing_special(ctx, x)
    return eq(ctx, abs_(ctx, x), torch.inf)


@op("aten::isfinite")
def isfinite(ctx, x):
    """isfinite(Tensor self) -> Tensor"""
    return lt(ctx, abs_(ctx, x), torch.inf) if dtype(ctx, x).is_floating_point else eq(ctx, x, x)


@op("aten::isposinf")
def isposinf(ctx, x):
    """isposinf(Tensor self) -> Tensor"""
    return eq(ctx, x, torch.inf) if dtype(ctx, x).is_floating_point else _nothing_special(ctx, x)


@op("aten::isneginf")
def isneginf(ctx, x):
    """isneginf(Tensor self) -> Tensor"""
    return eq(ctx, x, -torch.inf) if dtype(ctx, x).is_floating_point else _nothing_special(ctx, x)


@op("aten::isreal")
def isreal(ctx, x):
    """isreal(Tensor self) -> Tensor"""
    return logical_not(ctx, _nothing_special(ctx, tensor(ctx, x, torch.bool)))


@op("aten::isclose")
def isclose(ctx, x, other, rtol=1e-5, atol=1e-8, equal_nan=False):
    """isclose(Tensor self, Tensor other, float rtol=1e-05, float atol=1e-08, bool equal_nan=False)
    -> Tensor"""
    if result_type(ctx, x, other) == torch.bool:
        x, other = tensor(ctx, x, torch.int32), tensor(ctx, other, torch.int32)
    same = eq(ctx, x, other)
    if equal_nan and result_type(ctx, x, other).is_floating_point:
        same = logical_or(ctx, same, logical_and(ctx, isnan(ctx, x), isnan(ctx, other)))
    distance = abs_(ctx, sub(ctx, x, other))
    allowed = add(ctx, abs_(ctx, mul(ctx, other, rtol)), atol)
    near = logical_and(ctx, isfinite(ctx, distance), le(ctx, distance, allowed))
    return logical_or(ctx, same, near)


def _python_bool(name: str) -> None:
    """A table row: a test whose answer is a Python bool."""

    @op(f"aten::{name}")
    def emit(ctx, *_):
        raise ctx.refuse(
            "a Python bool from tensor values, which are not known before the network runs"
        )


_python_bool("equal")
_python_bool("allclose")
_python_bool("is_nonzero")


@op("aten::isin")
def isin(ctx, elements, test_elements, assume_unique=False, invert=False):
    """isin.Tensor_Tensor(Tensor elements, Tensor test_elements, *, bool assume_unique=False,
    bool invert=False)"""
    elements, test_elements = promote(ctx, elements, test_elements)
    rows = unsqueeze(ctx, elements, -1)
    candidates = reshape(ctx, test_elements, [-1])
    compare, reduce = (ne, all_) if invert else (eq, any_)
    return reduce(ctx, compare(ctx, rows, candidates), [len(shape(ctx, elements))])


@op("aten::signbit")
def signbit(ctx, x):
    """signbit(Tensor self) -> Tensor: also of -0.0; the sign of a NaN is taken to be positive"""
    kind = dtype(ctx, x)
    if kind == torch.bool:
        return _nothing_special(ctx, x)
    if not kind.is_floating_point:
        return lt(ctx, x, 0)
    negative_zero = logical_and(ctx, eq(ctx, x, 0), lt(ctx, reciprocal(ctx, x), 0))
    return logical_or(ctx, lt(ctx, x, 0), negative_zero)


@op("aten::copysign")
def copysign(ctx, x, other):
    """copysign.Tensor(Tensor self, Tensor other) -> Tensor"""
    x, other = promote_floats(ctx, x, other)
    size = abs_(ctx, x)
    return where(ctx, signbit(ctx, other), neg(ctx, size), size)


@op("aten::heaviside")
def heaviside(ctx, x, values):
    """heaviside(Tensor self, Tensor values) -> Tensor"""
    kind = result_type(ctx, x, values)
    return where(ctx, eq(ctx, x, 0), values, tensor(ctx, gt(ctx, x, 0), kind))


@op("aten::nan_to_num")
def nan_to_num(ctx, x, nan=None, posinf=None, neginf=None):
    """nan_to_num(Tensor self, float? nan=None, float? posinf=None, float? neginf=None) -> Tensor"""
    kind = dtype(ctx, x)
    if not kind.is_floating_point:
        return x
    limits = torch.finfo(kind)
    posinf = limits.max if posinf is None else posinf
    neginf = limits.min if neginf is None else neginf
    kept = where(ctx, isnan(ctx, x), tensor(ctx, float(nan or 0), kind), x)
    kept = where(ctx, eq(ctx, x, torch.inf), tensor(ctx, float(posinf), kind), kept)
    return where(ctx, eq(ctx, x, -torch.inf), tensor(ctx, float(neginf), kind), kept)
