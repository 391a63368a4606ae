"""Relax operators whose own legalisation is slow or inexact, as tensor expressions."""

from __future__ import annotations

from typing import Any

from tvm import relax, te, tirx
from tvm.relax.transform.legalize_ops.linear_algebra import _matmul as default_matmul
from tvm.relax.transform.legalize_ops.nn import _nn_layer_norm as default_layer_norm

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


def _layer_norm(bb: relax.BlockBuilder, call: Any) -> Any:
    """Normalisation over trailing axes from the mean of squared differences, which does not cancel."""
    attrs, shape = call.attrs, static_shape(call.args[0])
    axes = sorted(int(a) % len(shape) for a in attrs.axes) if shape else []
    trailing = bool(axes) and axes == list(range(len(shape) - len(axes), len(shape)))
    if not trailing or str(call.ty.dtype) != "float32" or len(call.args) != 3:
        return default_layer_norm(bb, call)
    count = len(axes)
    weight = call.args[1:] if attrs.center and attrs.scale else None
    if weight is None:
        return default_layer_norm(bb, call)
    return bb.call_te(
        lambda x, g, b: layer_norm(x, g, b, count, float(attrs.epsilon)),
        *call.args,
        primfunc_name_hint="layer_norm",
    )


def layer_norm(x: Any, weight: Any, bias: Any, count: int, epsilon: float) -> Any:
    """Normalise the last `count` axes of `x`."""
    lead, tail = list(x.shape[:-count]), list(x.shape[-count:])
    size = 1.0
    for extent in tail:
        size *= int(extent)

    def total(value: Any, name: str) -> Any:
        axes = [te.reduce_axis((0, d), f"{name}{i}") for i, d in enumerate(tail)]
        return te.compute(
            lead, lambda *at: te.sum(value(list(at), axes), axis=axes), name=name
        )

    scale = tirx.const(1.0 / size, "float32")
    sums = total(lambda at, r: x(*at, *r), "total")
    squares = total(lambda at, r: _square(x(*at, *r) - sums(*at) * scale), "squares")

    def element(*at: Any) -> Any:
        row, column = at[: len(lead)], at[len(lead) :]
        spread = tirx.sqrt(squares(*row) * scale + tirx.const(epsilon, "float32"))
        return (x(*at) - sums(*row) * scale) / spread * weight(*column) + bias(*column)

    return te.compute(x.shape, element, name="layer_norm")


def _square(value: Any) -> Any:
    return value * value


LEGALIZE: dict[str, Any] = {
    "relax.matmul": _matmul,
    "relax.nn.layer_norm": _layer_norm,
}
