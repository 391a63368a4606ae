"""Lowerings of Relax operators that replace TVM's own, where those differ from PyTorch.

TVM lowers ``nn.relu``, ``maximum``, ``max`` and ``nn.max_pool`` so that NaN is lost, ``not_equal`` so that NaN equals
NaN, ``tanh`` and ``atanh`` so that small numbers become zero, ``nn.layer_norm`` through E[x^2] - E[x]^2, has no half
precision for several functions and no vector code for ``sinh`` and ``cosh``. The operators stay what they are in the
graph (layout conversion and pattern matching see them); importing this module only changes what they become, for the
whole process.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import tvm
from tvm import relax, te, tirx, topi

from . import relax_te as T

_LEVEL = 11  # above TVM's own registrations
_LIBM = "acos acosh asin asinh atan cos erf exp log rsqrt sigmoid sin sqrt tan"


def scalar_or_expr(value: relax.Expr) -> Any:
    """The number that a 0-d constant holds, as a TIR immediate; anything else is itself."""
    if not isinstance(value, tvm.ir.GenericConst) or value.ty.ndim != 0:
        return value
    dtype = str(value.ty.dtype)
    number = value.value.numpy()[()].item()
    return tirx.const(number, dtype)


def _lower(name: str, rule: Callable[[relax.BlockBuilder, Any], relax.Expr]) -> None:
    tvm.ir.register_op_attr(f"relax.{name}", "FLegalize", rule, level=_LEVEL)


def _lower_elementwise(name: str, function: T.Scalar) -> None:
    short = name.rsplit(".", 1)[-1]
    compute = T.elementwise(T.wide(function), short)

    def rule(builder: relax.BlockBuilder, call: Any) -> relax.Expr:
        arguments = [scalar_or_expr(a) for a in call.args]
        if not any(isinstance(a, relax.Expr) and not tvm.ir.is_prim_expr(a) for a in arguments):
            arguments = list(call.args)
        return builder.call_te(compute, *arguments, primfunc_name_hint=short)

    _lower(name, rule)


def _lower_extreme(name: str, reducer: Any) -> None:
    inexact = tvm.ir.Op.get(f"relax.{name}").get_attr("FLegalize")

    def compute(x: te.Tensor, axes: Sequence[int], keepdim: bool) -> te.Tensor:
        return T.reduction(x, axes, keepdim, lambda v, r, _: reducer(v, axis=r), name)

    def rule(builder: relax.BlockBuilder, call: Any) -> relax.Expr:
        x = call.args[0]
        if "float" not in str(x.ty.dtype):
            return inexact(builder, call)
        axes = range(x.ty.ndim) if call.attrs.axis is None else [int(a) % x.ty.ndim for a in call.attrs.axis]
        return builder.call_te(compute, x, list(axes), bool(call.attrs.keepdims), primfunc_name_hint=name)

    _lower(name, rule)


def max_pool(
    x: te.Tensor, axes: Sequence[int], kernel: Sequence[int], stride: Sequence[int],
    before: Sequence[int], after: Sequence[int], dilation: Sequence[int],
) -> te.Tensor:  # fmt: skip
    """Max pooling over the spatial `axes` of a float tensor in any layout."""
    if any(before) or any(after):
        pads = [dict(zip(axes, amounts)) for amounts in (before, after)]
        widths = [[pad.get(axis, 0) for axis in range(len(x.shape))] for pad in pads]
        x = topi.nn.pad(x, *widths, pad_value=tirx.const(float("-inf"), x.dtype), name="pad_temp")
    window = [te.reduce_axis((0, k), name=f"r{i}") for i, k in enumerate(kernel)]
    shape = list(x.shape)
    for axis, k, s, d in zip(axes, kernel, stride, dilation):
        shape[axis] = (shape[axis] - d * (k - 1) - 1) // s + 1

    def compute(*index: Any) -> Any:
        at = list(index)
        for axis, r, s, d in zip(axes, window, stride, dilation):
            at[axis] = index[axis] * s + r.var * d
        return T.max_reducer(x(*at), axis=window)

    return te.compute(shape, compute, name="max_pool")


def _lower_max_pool(rank: int) -> None:
    name = f"nn.max_pool{rank}d"
    inexact = tvm.ir.Op.get(f"relax.{name}").get_attr("FLegalize")

    def rule(builder: relax.BlockBuilder, call: Any) -> relax.Expr:
        attrs, x = call.attrs, call.args[0]
        layout = str(attrs.layout)
        plain = sorted(layout) == sorted("NC" + "DHW"[3 - rank :]) and layout == str(attrs.out_layout)
        if not plain or attrs.ceil_mode or "float" not in str(x.ty.dtype):
            return inexact(builder, call)
        axes = [layout.index(letter) for letter in "DHW"[3 - rank :]]
        padding = [int(p) for p in attrs.padding]
        before, after = padding[:rank], padding[len(padding) - rank :]
        kernel, stride, dilation = ([int(v) for v in a] for a in (attrs.pool_size, attrs.strides, attrs.dilation))
        return builder.call_te(
            max_pool, x, axes, kernel, stride, before, after, dilation, primfunc_name_hint=f"max_pool{rank}d"
        )

    _lower(name, rule)


def normalize(
    x: te.Tensor, axes: Sequence[int], weight: te.Tensor | None, bias: te.Tensor | None, eps: float
) -> te.Tensor:
    """(x - mean) / sqrt(var + eps) over `axes` in two passes, at least in float32."""
    dtype = "float64" if T.dtype_name(x) == "float64" else "float32"
    count = tirx.const(1, "int64")
    for axis in axes:
        count = count * x.shape[axis]
    count = count.astype(dtype)
    kept = [axis for axis in range(len(x.shape)) if axis not in axes]

    def value(t: te.Tensor, index: Sequence[Any], positions: Sequence[int]) -> Any:
        return t(*[index[axis] for axis in positions]).astype(dtype)

    total = T.reduction(x, axes, False, lambda v, r, _: te.sum(v.astype(dtype), axis=r), "norm_sum")

    def squared(v: Any, reduce_axes: Any, at: Sequence[Any]) -> Any:
        centred = v.astype(dtype) - value(total, at, kept) / count
        return te.sum(centred * centred, axis=reduce_axes)

    spread = T.reduction(x, axes, False, squared, "norm_spread")

    def compute(*index: Any) -> Any:
        centred = x(*index).astype(dtype) - value(total, index, kept) / count
        variance = value(spread, index, kept) / count
        result = centred / tirx.sqrt(variance + tirx.const(eps, dtype))
        if weight is not None:
            result = result * value(weight, index, axes)
        if bias is not None:
            result = result + value(bias, index, axes)
        return result.astype(T.dtype_name(x))

    return te.compute(x.shape, compute, name="norm")


def _layer_norm(builder: relax.BlockBuilder, call: Any) -> relax.Expr:
    x, weight, bias = call.args
    axes = [int(a) % x.ty.ndim for a in call.attrs.axes]
    weight = weight if call.attrs.scale else None
    bias = bias if call.attrs.center else None
    return builder.call_te(normalize, x, axes, weight, bias, float(call.attrs.epsilon), primfunc_name_hint="layer_norm")


def _register() -> None:
    for name in _LIBM.split():
        _lower_elementwise(name, getattr(tirx, name))
    for name in ("tanh", "sinh", "cosh", "atanh", "maximum", "minimum", "equal", "not_equal"):
        _lower_elementwise(name, getattr(T, name))
    _lower_elementwise("nn.relu", T.relu)
    _lower_elementwise("isnan", tirx.isnan)
    _lower_elementwise("isinf", tirx.isinf)
    _lower_elementwise("power", tirx.pow)
    _lower_elementwise("atan2", tirx.atan2)
    _lower_extreme("max", T.max_reducer)
    _lower_extreme("min", T.min_reducer)
    for rank in (1, 2, 3):
        _lower_max_pool(rank)
    _lower("nn.layer_norm", _layer_norm)


_register()
