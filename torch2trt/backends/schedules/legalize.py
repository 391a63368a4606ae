"""Relax operators whose own legalisation is slow or inexact, as tensor expressions."""

from __future__ import annotations

from math import prod
from typing import Any

from tvm import ir, relax, te, tirx
from tvm.relax.transform.legalize_ops.linear_algebra import _matmul as default_matmul
from tvm.relax.transform.legalize_ops.nn import _nn_group_norm as default_group_norm

from .layout import static_shape
from .matmul import matmul


def _matmul(bb: relax.BlockBuilder, call: Any) -> Any:
    shapes = [static_shape(a) for a in call.args]
    plain = all(s is not None and len(s) >= 2 and all(s) for s in shapes)
    if not plain or any(str(a.ty.dtype) != "float32" for a in (*call.args, call)):
        return default_matmul(bb, call)
    return bb.call_te(
        matmul, *call.args, primfunc_name_hint="matmul", primfunc_attrs={"op_pattern": 4}
    )


def _registered(bb: relax.BlockBuilder, call: Any) -> Any:
    """The legalisation that the operator has outside this module; it may replace TVM's own."""
    return ir.Op.get(call.op.name).get_attr("FLegalize")(bb, call)


def _layer_norm(bb: relax.BlockBuilder, call: Any) -> Any:
    """Normalisation over trailing axes from the mean of squared differences: nothing cancels."""
    attrs, shape = call.attrs, static_shape(call.args[0])
    axes = sorted(int(a) % len(shape) for a in attrs.axes) if shape else []
    trailing = bool(axes) and axes == list(range(len(shape) - len(axes), len(shape)))
    if not trailing or str(call.ty.dtype) != "float32" or len(call.args) != 3:
        return _registered(bb, call)
    count = len(axes)
    weight = call.args[1:] if attrs.center and attrs.scale else None
    if weight is None:
        return _registered(bb, call)
    return bb.call_te(
        lambda x, g, b: layer_norm(x, g, b, count, float(attrs.epsilon)),
        *call.args,
        primfunc_name_hint="layer_norm",
    )


def layer_norm(x: Any, weight: Any, bias: Any, count: int, epsilon: float) -> Any:
    """Normalise the last `count` axes of `x`."""
    lead, tail = list(x.shape[:-count]), list(x.shape[-count:])

    def total(value: Any, name: str) -> Any:
        axes = [te.reduce_axis((0, d), f"{name}{i}") for i, d in enumerate(tail)]
        return te.compute(
            lead, lambda *at: te.sum(value(list(at), axes), axis=axes), name=name
        )

    scale = tirx.const(1.0 / prod(int(d) for d in tail), "float32")
    sums = total(lambda at, r: x(*at, *r), "total")
    squares = total(lambda at, r: _square(x(*at, *r) - sums(*at) * scale), "squares")

    def element(*at: Any) -> Any:
        row, column = at[: len(lead)], at[len(lead) :]
        spread = tirx.sqrt(squares(*row) * scale + tirx.const(epsilon, "float32"))
        return (x(*at) - sums(*row) * scale) / spread * weight(*column) + bias(*column)

    return te.compute(x.shape, element, name="layer_norm")


def _group_norm(bb: relax.BlockBuilder, call: Any) -> Any:
    attrs, shape = call.attrs, static_shape(call.args[0])
    rank = len(shape or ())
    usual = rank >= 3 and int(attrs.channel_axis) % rank == 1
    axes = sorted(int(a) % rank for a in attrs.axes) if usual else []
    weighted = len(call.args) == 3 and attrs.center and attrs.scale
    if axes != list(range(2, rank)) or not axes or not weighted or str(call.ty.dtype) != "float32":
        return default_group_norm(bb, call)
    return bb.call_te(
        lambda x, g, b: group_norm(x, g, b, int(attrs.num_groups), float(attrs.epsilon)),
        *call.args,
        primfunc_name_hint="group_norm",
    )


def group_norm(x: Any, weight: Any, bias: Any, groups: int, epsilon: float) -> Any:
    """Normalise the channels of each group of `x` (N, C, ...) together."""
    images, channels, *image = x.shape
    each = int(channels) // groups
    sizes = [each, *image]
    scale = tirx.const(1.0 / prod(int(d) for d in sizes), "float32")

    def total(value: Any, name: str) -> Any:
        axes = [te.reduce_axis((0, d), f"{name}{i}") for i, d in enumerate(sizes)]
        return te.compute(
            (images, groups),
            lambda n, g: te.sum(value(n, g, x(n, g * each + axes[0], *axes[1:])), axis=axes),
            name=name,
        )

    sums = total(lambda n, g, v: v, "total")
    squares = total(lambda n, g, v: _square(v - sums(n, g) * scale), "squares")

    def element(n: Any, c: Any, *at: Any) -> Any:
        group = te.indexdiv(c, each)
        spread = tirx.sqrt(squares(n, group) * scale + tirx.const(epsilon, "float32"))
        return (x(n, c, *at) - sums(n, group) * scale) / spread * weight(c) + bias(c)

    return te.compute(x.shape, element, name="group_norm")


def _square(value: Any) -> Any:
    return value * value


LEGALIZE: dict[str, Any] = {
    "relax.matmul": _matmul,
    "relax.nn.layer_norm": _layer_norm,
    "relax.nn.group_norm": _group_norm,
}
