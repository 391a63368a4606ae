"""TE functions as Relay operators, and lowerings that replace TVM's own where those differ from PyTorch.

As for Relax the operators stay what they are in the graph, so that layouts and fusion work on them; importing this
module changes what they become, for the whole process.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import tvm
from tvm import relay, te, tir, topi
from tvm.relay.op import op as registry
from tvm.relay.op import strategy as plans

from . import tvm_pool
from . import tvm_te as T

_CALLS: dict[str, TECall] = {}
_KEYS: dict[Any, str] = {}
_OPERATORS: dict[tuple[str, int], tvm.ir.Op] = {}
_SLOT = object()  # where a tensor goes among the arguments of a TE function


class TECall(NamedTuple):
    """A TE function with its arguments, and the type of its result."""

    function: Callable[..., Any]
    template: tuple[Any, ...]
    type: Any

    def apply(self, operands: Sequence[te.Tensor]) -> list[te.Tensor]:
        rest = iter(operands)
        result = self.function(*[next(rest) if a is _SLOT else a for a in self.template])
        return [result] if isinstance(result, te.Tensor) else list(result)


# ---- TE functions ----------------------------------------------------------------------------------------------------
def call_te(
    function: Callable[..., Any], args: Sequence[Any], is_tensor: Callable[[Any], bool], name: str
) -> relay.Call:
    """A call of a TE function; the tensors among `args` are its operands. Equal calls have equal attributes."""
    operands = [a for a in args if is_tensor(a)]
    template = tuple(_SLOT if is_tensor(a) else a for a in args)
    types = [x.checked_type for x in operands]
    key = _KEYS.setdefault((function, repr(template), str(types)), f"{name}.{len(_KEYS)}")
    results = TECall(function, template, None).apply([te.placeholder(t.shape, dtype=t.dtype) for t in types])
    result_types = [relay.TensorType(t.shape, t.dtype) for t in results]
    _CALLS[key] = TECall(function, template, result_types[0] if len(results) == 1 else relay.TupleType(result_types))
    plain = len(results) == 1 and all(isinstance(t.op, te.PlaceholderOp) for t in results[0].op.input_tensors)
    kind = "injective" if plain and not results[0].op.reduce_axis else "opaque"
    return relay.Call(_operator(kind, len(operands)), operands, tvm.ir.make_node("DictAttrs", key=key))


def _operator(kind: str, count: int) -> tvm.ir.Op:
    """The Relay operator of `count` operands that stands for TE functions of one kind."""
    if (kind, count) in _OPERATORS:
        return _OPERATORS[kind, count]
    name = f"torch2trt.{kind}{count}"
    tvm.ir._ffi_api.RegisterOp(name, "A function written in TE.")
    operator = tvm.ir.Op.get(name)
    operator.set_num_inputs(count)
    operator.set_attrs_type_key("DictAttrs")
    for i in range(count):
        operator.add_argument(f"x{i}", "Tensor", "An operand.")
    operator.add_type_rel(name, lambda types, attrs: _CALLS[str(attrs["key"])].type)
    pattern = registry.OpPattern.INJECTIVE if kind == "injective" else registry.OpPattern.OPAQUE
    registry.register_pattern(name, pattern)
    tag = topi.tag.INJECTIVE if kind == "injective" else ""

    def compute(attrs: Any, operands: Sequence[te.Tensor], _: Any) -> list[te.Tensor]:
        return _tagged(tag, lambda: _CALLS[str(attrs["key"])].apply(operands))

    registry.register_strategy(name, _lower(name, compute, plans.schedule_injective if tag else _schedule_stages))
    return _OPERATORS.setdefault((kind, count), operator)


def _tagged(tag: str, function: Callable[[], Any]) -> Any:
    if not tag:
        return function()
    with te.tag_scope(tag=tag):
        return function()


def _schedule_stages(attrs: Any, outputs: Sequence[te.Tensor], target: Any) -> te.Schedule:
    """Every stage by itself, its outer loops in parallel."""
    plan = te.create_schedule([t.op for t in outputs])
    for stage in plan.stages:
        if isinstance(stage.op, te.ComputeOp) and len(stage.op.axis):
            stage.parallel(stage.fuse(*stage.op.axis[: max(1, len(stage.op.axis) - 1)]))
    return plan


# ---- Relay's own operators -------------------------------------------------------------------------------------------
def _lower(name: str, compute: Callable[..., Any], schedule: Callable[..., te.Schedule]) -> tvm.target.GenericFunc:
    """What the operator `name` becomes on a CPU."""

    def rule(attrs: Any, operands: Any, result: Any, target: Any) -> Any:
        strategy = registry.OpStrategy()
        strategy.add_implementation(compute, schedule, name=f"{name}.torch2trt")
        return strategy

    strategies = tvm.target.get_native_generic_func(f"{name}_strategy")
    strategies.register(rule, ["cpu"], True)
    return strategies


def _lower_elementwise(name: str, function: T.Scalar) -> None:
    compute = T.elementwise(T.wide(function), name.rsplit(".", 1)[-1])

    def rule(attrs: Any, operands: Sequence[te.Tensor], _: Any) -> list[te.Tensor]:
        tag = topi.tag.ELEMWISE if len(operands) == 1 else topi.tag.BROADCAST
        return [_tagged(tag, lambda: compute(*operands))]

    _lower(name, rule, plans.schedule_injective)


def _lower_extreme(name: str, reducer: Any, plain: Callable[..., te.Tensor]) -> None:
    def rule(attrs: Any, operands: Sequence[te.Tensor], _: Any) -> list[te.Tensor]:
        x, rank = operands[0], len(operands[0].shape)
        axes = range(rank) if attrs.axis is None else sorted(int(a) % rank for a in attrs.axis)
        if not T.is_float(x):
            return [plain(x, list(axes), bool(attrs.keepdims))]

        def reduction() -> te.Tensor:
            return T.reduction(x, axes, bool(attrs.keepdims), lambda v, r, _: reducer(v, axis=r), name)

        return [_tagged(topi.tag.COMM_REDUCE, reduction)]

    _lower(name, rule, plans.schedule_reduce)


def _lower_max_pool(rank: int) -> None:
    def rule(attrs: Any, operands: Sequence[te.Tensor], _: Any) -> list[te.Tensor]:
        axes = [str(attrs.layout).index(letter) for letter in "DHW"[3 - rank :]]
        padding = [int(p) for p in attrs.padding]
        window = [[int(v) for v in a] for a in (attrs.pool_size, attrs.strides)]
        dilation = [int(d) for d in attrs.dilation]
        return [tvm_pool.max_pool(operands[0], axes, *window, padding[:rank], padding[rank:], dilation, "pool_max")]

    name = f"nn.max_pool{rank}d"
    _lower(name, rule, plans.schedule_pool)


def _register() -> None:
    for name, function in T.EXACT.items():
        if name != "atan2":  # Relay has none
            _lower_elementwise(name, function)
    _lower_elementwise("round", tir.nearbyint)
    _lower_extreme("max", T.max_reducer, topi.max)
    _lower_extreme("min", T.min_reducer, topi.min)
    for rank in (1, 2, 3):
        _lower_max_pool(rank)


_register()
