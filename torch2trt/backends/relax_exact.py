"""The lowerings of Relax operators that replace TVM's own; importing this module registers them."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import tvm
from tvm import relax, tirx

from . import tvm_pool
from .tvm_exact import LOWERINGS, Lowering

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


def _replace(lowering: Lowering) -> None:
    inexact = tvm.ir.Op.get(f"relax.{lowering.name}").get_attr("FLegalize")
    short = lowering.name.rsplit(".", 1)[-1]

    def rule(builder: relax.BlockBuilder, call: Any) -> relax.Expr:
        if not lowering.applies(call.attrs, str(call.args[0].ty.dtype)):
            return inexact(builder, call)
        arguments = [scalar_or_expr(a) for a in call.args]
        if all(tvm.ir.is_prim_expr(a) for a in arguments):
            arguments = list(call.args)
        compute = partial(lowering.compute, call.attrs)
        return builder.call_te(compute, *arguments, primfunc_name_hint=short)

    _lower(lowering.name, rule)


def _layer_norm(builder: relax.BlockBuilder, call: Any) -> relax.Expr:
    """In two passes: TVM computes the variance as E[x^2] - E[x]^2."""
    x, weight, bias = call.args
    axes = [int(a) % x.ty.ndim for a in call.attrs.axes]
    arguments = weight if call.attrs.scale else None, bias if call.attrs.center else None
    eps = float(call.attrs.epsilon)
    name = "layer_norm"
    return builder.call_te(tvm_pool.normalize, x, axes, *arguments, eps, primfunc_name_hint=name)


for _lowering in LOWERINGS:
    _replace(_lowering)
_lower("nn.layer_norm", _layer_norm)
