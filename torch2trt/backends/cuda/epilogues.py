"""What follows a library operator and may join it: bias, residual, ReLU, scale, rounding."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from ..schedules.layout import Value
from .library import Convolution, Epilogue, Product
from .rewrite import LibraryRewriter, Open, own
from .views import widened


@own("relax.add")
def _add(rw: LibraryRewriter, call: Any, values: list[Value]) -> Value | None:
    for at in (0, 1):
        value, other = values[at], values[1 - at]
        if not _is_open(rw, call.args[at], value) or value.epilogue.relu or value.epilogue.residual:
            continue
        if not value.epilogue.bias and (bias := _bias(rw, value, other)) is not None:
            return _joined(value, replace(value.epilogue, bias=True), bias)
        images = isinstance(value.operator, Convolution) and value.operator.last
        if images and other.recipe is None and other.shape == value.full:
            return _joined(value, replace(value.epilogue, residual=True), other)
    return None


def _bias(rw: LibraryRewriter, value: Open, other: Value) -> Value | None:
    """`other` as a vector of channels, if it is a weight that broadcasts like one."""
    if other.recipe is None or other.recipe.dtype != value.dtype or value.epilogue.scale != 1.0:
        return None
    channels = 1 if isinstance(value.operator, Convolution) else len(value.full) - 1
    rank = len(value.full)
    shape = (1,) * (rank - len(other.shape)) + tuple(other.shape)
    wanted = tuple(value.full[channels] if i == channels else 1 for i in range(rank))
    if shape != wanted:
        return None
    return Value(recipe=rw.reshaped(other.recipe, (value.full[channels],)))


@own("relax.nn.relu")
def _relu(rw: LibraryRewriter, call: Any, values: list[Value]) -> Value | None:
    (value,) = values
    if not _is_open(rw, call.args[0], value) or value.epilogue.relu:
        return None
    return _joined(value, replace(value.epilogue, relu=True))


@own("relax.multiply", "relax.divide")
def _scale(rw: LibraryRewriter, call: Any, values: list[Value]) -> Value | None:
    value, number = values[0], _number(call.args[1])
    if number is not None and call.op.name == "relax.divide":
        number = 1 / number if number else None
    ready = _is_open(rw, call.args[0], value) and isinstance(value.operator, Product)
    if not ready or number is None or value.epilogue != Epilogue():
        return None
    return _joined(value, Epilogue(scale=number))


def _number(expr: Any) -> float | None:
    if (
        type(expr).__name__ != "GenericConst"
        or expr.ty.ndim != 0
        or "float" not in str(expr.ty.dtype)
    ):
        return None
    return float(expr.value.numpy())


@own("relax.astype")
def _astype(rw: LibraryRewriter, call: Any, values: list[Value]) -> Value | None:
    """Half precision is summed in float32 and rounded.

    That is what a half precision library call does.
    """
    value, dtype = values[0], str(call.ty.dtype)
    if not isinstance(value, Open) or value.operator is None:
        return widened(rw, call, value)
    if not _is_open(rw, call.args[0], value) or value.operands[0].ty.dtype != call.ty.dtype:
        return None
    extra = [
        Value(recipe=v.recipe.then("astype", dtype, shape=v.recipe.shape, dtype=dtype))
        for v in value.extra
        if v.recipe is not None
    ]
    if value.dtype == dtype or len(extra) != len(value.extra):
        return None
    return replace(value, dtype=dtype, extra=extra)


def _is_open(rw: LibraryRewriter, argument: Any, value: Value) -> bool:
    return isinstance(value, Open) and value.operator is not None and rw.sole(argument)


def _joined(value: Open, epilogue: Epilogue, *extra: Value) -> Open:
    return replace(value, epilogue=epilogue, extra=[*value.extra, *extra])
