"""Views and transformers in the first pass for CUDA: operands are read through views.

Attention is a library call.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import torch
from tvm import relax

from ..schedules.layout import HANDLERS, Value, static_shape
from .library import Epilogue, Library, Product
from .normal import Attention, LayerNorm, Softmax, Strided
from .rewrite import LibraryRewriter, Open, View, own

_PERMUTE = HANDLERS["relax.permute_dims"]
_HALF = ("float16", "bfloat16")
_FLOAT = (*_HALF, "float32", "float64")


@dataclass
class Weights(Value):
    """The softmax of a product that is not emitted yet."""

    product: Open = field(default_factory=Open)

    @property
    def shape(self) -> tuple[int, ...]:
        return self.product.full

    def emit(self, rw: LibraryRewriter) -> Any:
        """The softmax as a call."""
        return _softmax_call(rw, rw.plain_of(self.product))


def _view(
    rw: LibraryRewriter, call: Any, value: Value, change: Any, wide: bool = False
) -> Value | None:
    """The value read through one more view; None where it is no view of what it was made of."""
    if (
        value.recipe is not None
        or value.fields is not None
        or value.only_last
        or value.shape is None
    ):
        return None
    if isinstance(value, View) and value.base is not None:
        base, meta, wide = value.base, value.meta, wide or value.wide
    else:
        base = rw.plain_of(value)
        if not static_shape(base) or 0 in static_shape(base):
            return None
        meta = torch.empty(static_shape(base), device="meta")
    try:
        changed = change(meta)
    except RuntimeError:
        return None
    if static_shape(call) != tuple(changed.shape):
        return None
    return View(base=base, meta=changed, wide=wide, call=call, parent=value)


@own("relax.permute_dims")
def _permute(rw: LibraryRewriter, call: Any, values: list[Value]) -> Value | None:
    value, shape = values[0], values[0].shape
    if shape is None or value.recipe is not None:
        return None
    rank, axes = len(shape), call.attrs.axes
    order = [int(a) % rank for a in axes] if axes is not None else list(range(rank))[::-1]
    image = rank == 4 and order == [0, 3, 1, 2]
    if image or not isinstance(value, View):
        made = _PERMUTE(rw, call, [rw.settled(value)])
        if made is not None:
            return made
    return _view(rw, call, value, lambda x: x.permute(order))


@own("relax.reshape", "relax.squeeze", "relax.expand_dims")
def _reshape(rw: LibraryRewriter, call: Any, values: list[Value]) -> Value | None:
    shape = static_shape(call)
    return None if shape is None else _view(rw, call, values[0], lambda x: x.view(shape))


@own("relax.strided_slice")
def _slice(rw: LibraryRewriter, call: Any, values: list[Value]) -> Value | None:
    numbers = [_numbers(a) for a in call.args[1:]]
    if len(numbers) != 4 or any(n is None for n in numbers):
        return None
    cuts = list(zip(*numbers))
    if any(begin < 0 or end < 0 or step < 1 for _, begin, end, step in cuts):
        return None

    def change(x: torch.Tensor) -> torch.Tensor:
        for axis, begin, end, step in cuts:
            axis %= x.dim()
            count = max(0, -(-(min(end, x.shape[axis]) - begin) // step))
            size, stride = list(x.shape), list(x.stride())
            offset = x.storage_offset() + begin * stride[axis]
            size[axis], stride[axis] = count, stride[axis] * step
            x = x.as_strided(size, stride, offset)
        return x

    return _view(rw, call, values[0], change)


def _numbers(expr: Any) -> list[int] | None:
    try:
        return [int(getattr(f, "value", f)) for f in expr.fields]
    except (AttributeError, TypeError, ValueError):
        return None


@own("relax.nn.softmax")
def _softmax(rw: LibraryRewriter, call: Any, values: list[Value]) -> Value | None:
    (value,), shape = values, static_shape(call)
    if not shape or 0 in shape or str(call.ty.dtype) not in _FLOAT or value.recipe is not None:
        return None
    if int(call.attrs.axis) % len(shape) != len(shape) - 1:
        return None
    scores = (
        isinstance(value, Open) and isinstance(value.operator, Product) and rw.sole(call.args[0])
    )
    if scores and value.epilogue == Epilogue(scale=value.epilogue.scale):
        return Weights(product=value)
    return Value(plain=_softmax_call(rw, rw.plain_of(value)))


def _softmax_call(rw: LibraryRewriter, scores: Any) -> Any:
    dtype = str(scores.ty.dtype)
    library = Library(Softmax(), "plain", Epilogue(), getattr(torch, dtype))
    return rw.library(library, [scores], static_shape(scores), dtype)


@own("relax.nn.layer_norm")
def _layer_norm(rw: LibraryRewriter, call: Any, values: list[Value]) -> Value | None:
    shape, attrs, dtype = static_shape(call), call.attrs, str(call.ty.dtype)
    if (
        not shape
        or 0 in shape
        or dtype not in _FLOAT
        or {str(a.ty.dtype) for a in call.args} != {dtype}
    ):
        return None
    axes = sorted(int(a) % len(shape) for a in attrs.axes)
    if axes != list(range(len(shape) - len(axes), len(shape))) or not (
        attrs.center and attrs.scale
    ):
        return None
    operator = LayerNorm(shape[-len(axes) :], float(attrs.epsilon))
    arguments = [rw.plain_of(v) for v in values]
    if any(static_shape(a) != operator.shape for a in arguments[1:]):
        return None
    library = Library(operator, "plain", Epilogue(), getattr(torch, dtype))
    return Value(plain=rw.library(library, arguments, shape, dtype))


def attention(rw: LibraryRewriter, call: Any, values: list[Value]) -> Value | None:
    """The product of a softmax with values, as one operator."""
    weights, value = values
    if not isinstance(weights, Weights) or weights.plain is not None or not rw.sole(call.args[0]):
        return None
    product, shape = weights.product, static_shape(call)
    if product.operator is None or shape is None or value.recipe is not None:
        return None
    if len(shape) not in (3, 4) or value.shape is None or value.shape[:-2] != shape[:-2]:
        return None
    (q, k), (first, second) = product.operands, (product.operator.first, product.operator.second)
    if not first.size[:-2] == second.size[:-2] == shape[:-2]:
        return None
    v, third = rw.operand(value)
    dtype = product.dtype
    if product.narrow and isinstance(value, View) and value.wide:
        (q, first), (k, second) = product.narrow
        v, third, dtype = value.base, Strided.of(value.meta), str(value.base.ty.dtype)
    if len({str(x.ty.dtype) for x in (q, k, v)}) > 1:
        return None
    operator = Attention(first, second, third, product.epilogue.scale)
    way, taken = rw.choose(
        operator, [(static_shape(x), str(x.ty.dtype)) for x in (q, k, v)], Epilogue()
    )
    library = Library(operator, way, taken, getattr(torch, dtype))
    inner = (shape[0], shape[2], shape[1], shape[3]) if len(shape) == 4 else shape
    made = rw.library(library, [q, k, v], inner, dtype)
    result, meta, wide = (
        Value(plain=made),
        torch.empty(inner, device="meta"),
        dtype != str(call.ty.dtype),
    )
    if wide:
        cast = relax.op.astype(made, str(call.ty.dtype))
        result = View(base=made, meta=meta, wide=True, call=cast, parent=result)
    if len(shape) == 3:
        return result
    turned = relax.op.permute_dims(made, [0, 2, 1, 3])
    return View(base=made, meta=meta.permute(0, 2, 1, 3), wide=wide, call=turned, parent=result)


def widened(rw: LibraryRewriter, call: Any, value: Value) -> Value | None:
    """Half precision that is only read as float32, or rounded back."""
    dtype = str(call.ty.dtype)
    if (
        isinstance(value, View)
        and value.wide
        and value.base is not None
        and dtype == str(value.base.ty.dtype)
    ):
        return _narrowed(value)
    given = str(call.args[0].ty.dtype)
    if given not in _HALF or dtype != "float32":
        return None
    return _view(rw, call, value, lambda x: x, wide=True)


def _narrowed(value: View) -> Value:
    """A wide view rounded back: the same views, without the widening."""
    chain: list[View] = []
    made: Any = value
    while isinstance(made, View):
        chain.append(made)
        made = made.parent
    for part in reversed(chain):
        if part.call.op.name != "relax.astype":
            made = View(base=part.base, meta=part.meta, call=part.call, parent=made)
    return made
