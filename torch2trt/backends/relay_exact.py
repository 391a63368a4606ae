"""TE functions as Relay operators, and the lowerings of Relay's operators that replace TVM's own.

Importing this module registers the lowerings.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import nullcontext
from itertools import count
from typing import Any

import tvm
from tvm import relay, te, topi
from tvm.relay.op import op as registry
from tvm.relay.op import strategy as plans
from tvm.relay.op.strategy.x86 import conv3d_transpose_strategy_cpu

from .tvm_exact import LOWERINGS, Lowering

_SLOT = object()  # where a tensor goes among the arguments of a TE function
_OPERATORS: dict[Any, tvm.ir.Op] = {}
_NUMBERS = count()


# ---- TE functions --------------------------------------------------------------------------------
def call_te(function: Callable[..., Any], *args: Any, name: str) -> relay.Call:
    """A call of a TE function on the tensors among `args`; equal calls have the same operator."""
    operands = [a for a in args if isinstance(a, relay.Expr)]
    types = [x.checked_type for x in operands]
    template = [_SLOT if isinstance(a, relay.Expr) else a for a in args]

    def compute(tensors: Sequence[te.Tensor]) -> list[te.Tensor]:
        rest = iter(tensors)
        result = function(*[next(rest) if a is _SLOT else a for a in template])
        return [result] if isinstance(result, te.Tensor) else list(result)

    key = function, repr(template), str(types)
    if key not in _OPERATORS:
        _OPERATORS[key] = _operator(f"torch2trt.{name}.{next(_NUMBERS)}", compute, types)
    return relay.Call(_OPERATORS[key], operands)


def _operator(name: str, compute: Callable[..., Any], types: Sequence[Any]) -> tvm.ir.Op:
    """A new Relay operator that stands for a TE function of operands of some types."""
    results = compute([te.placeholder(t.shape, dtype=t.dtype) for t in types])
    fields = [relay.TensorType(t.shape, t.dtype) for t in results]
    result_type = fields[0] if len(fields) == 1 else relay.TupleType(fields)
    pattern, schedule, tag = _plan(results)
    tvm.ir._ffi_api.RegisterOp(name, "A function written in TE.")
    operator = tvm.ir.Op.get(name)
    operator.set_num_inputs(len(types))
    operator.add_type_rel(name, lambda types, attrs: result_type)

    def tagged(attrs: Any, operands: Sequence[te.Tensor], _: Any) -> list[te.Tensor]:
        with tag:
            return compute(operands)

    registry.register_pattern(name, pattern)
    registry.register_strategy(name, _lower(name, tagged, schedule))
    return operator


def _plan(results: Sequence[te.Tensor]) -> tuple[int, Callable[..., te.Schedule], Any]:
    """The pattern, schedule and tag of a TE function: elementwise ones fuse with others."""
    operation = results[0].op
    plain = all(isinstance(t.op, te.PlaceholderOp) for t in operation.input_tensors)
    if len(results) == 1 and plain and not operation.reduce_axis:
        tag = te.tag_scope(topi.tag.INJECTIVE)
        return registry.OpPattern.INJECTIVE, plans.schedule_injective, tag
    return registry.OpPattern.OPAQUE, _schedule_stages, nullcontext()


def _schedule_stages(attrs: Any, outputs: Sequence[te.Tensor], target: Any) -> te.Schedule:
    """Every stage by itself, its outer loops in parallel."""
    plan = te.create_schedule([t.op for t in outputs])
    for stage in plan.stages:
        if isinstance(stage.op, te.ComputeOp) and len(stage.op.axis):
            stage.parallel(stage.fuse(*stage.op.axis[: max(1, len(stage.op.axis) - 1)]))
    return plan


# ---- Relay's own operators -----------------------------------------------------------------------
_SCHEDULES = {
    "elementwise": plans.schedule_injective,
    "reduction": plans.schedule_reduce,
    "pool": plans.schedule_pool,
}


def _lower(name: str, compute: Callable[..., Any], schedule: Callable[..., te.Schedule]) -> Any:
    """What the operator `name` becomes on a CPU."""

    def rule(attrs: Any, operands: Any, result: Any, target: Any) -> Any:
        strategy = registry.OpStrategy()
        strategy.add_implementation(compute, schedule, name=f"{name}.torch2trt")
        return strategy

    strategies = tvm.target.get_native_generic_func(f"{name}_strategy")
    strategies.register(rule, ["cpu"], True)
    return strategies


def _replace(lowering: Lowering) -> None:
    inexact = tvm.ir.Op.get(lowering.name).get_attr("FTVMCompute")

    def compute(attrs: Any, operands: Sequence[te.Tensor], result: Any) -> list[te.Tensor]:
        if not lowering.applies(attrs, operands[0].dtype):
            return inexact(attrs, operands, result)
        return [lowering.compute(attrs, *operands)]

    _lower(lowering.name, compute, _SCHEDULES[lowering.kind])


@plans.conv3d_transpose_strategy.register("cpu", override=True)
def _conv3d_transpose(attrs: Any, *arguments: Any) -> Any:
    """TVM has groups only in what it has for any target."""
    plain = plans.conv3d_transpose_strategy.fdefault if attrs.groups > 1 else None
    return (plain or conv3d_transpose_strategy_cpu)(attrs, *arguments)


for _lowering in LOWERINGS:
    if _lowering.name != "atan2":  # Relay has none
        _replace(_lowering)
