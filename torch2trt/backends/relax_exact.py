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
from tvm import relax, te, tirx

from . import tvm_pool
from . import tvm_te as T

_LEVEL = 11  # above TVM's own registrations


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
            tvm_pool.max_pool, x, axes, kernel, stride, before, after, dilation, primfunc_name_hint=f"max_pool{rank}d"
        )

    _lower(name, rule)


def _layer_norm(builder: relax.BlockBuilder, call: Any) -> relax.Expr:
    x, weight, bias = call.args
    axes = [int(a) % x.ty.ndim for a in call.attrs.axes]
    weight = weight if call.attrs.scale else None
    bias = bias if call.attrs.center else None
    return builder.call_te(
        tvm_pool.normalize, x, axes, weight, bias, float(call.attrs.epsilon), primfunc_name_hint="layer_norm"
    )


def _register() -> None:
    for name, function in T.EXACT.items():
        _lower_elementwise(name, function)
    _lower_extreme("max", T.max_reducer)
    _lower_extreme("min", T.min_reducer)
    for rank in (1, 2, 3):
        _lower_max_pool(rank)
    _lower("nn.layer_norm", _layer_norm)


_register()
