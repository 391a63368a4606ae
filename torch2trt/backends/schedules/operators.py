"""How the first pass treats each Relax operator: which form it takes and what it becomes."""

from __future__ import annotations

from math import prod
from typing import Any

from tvm import relax, topi

from . import conv, matmul, sliding
from .layout import Rewriter, Value, again, handles, static_shape, to_last

_UNARY = [
    "nn.relu", "nn.relu6", "nn.silu", "nn.gelu", "nn.gelu_tanh", "nn.leakyrelu", "nn.selu",
    "sigmoid", "tanh", "exp", "erf", "sqrt", "rsqrt", "abs", "negative", "log", "clip", "square",
    "floor", "ceil", "round", "sign", "astype",
]  # fmt: skip
_BINARY = [
    "add", "subtract", "multiply", "divide", "maximum", "minimum", "power", "greater", "less",
]  # fmt: skip
_REDUCTIONS = ["mean", "sum", "max", "min"]

_INJECTIVE = 2  # in TVM's numbers, what the operator before takes not in
_CONCAT = 5  # operands of a long concatenation that are first joined to one


def _last_form(values: list[Value]) -> bool:
    """Whether an elementwise operator should run on the channels-last forms."""
    tensors = [v for v in values if v.recipe is None and v.shape and len(v.shape) >= 3]
    return any(v.only_last for v in tensors)


@handles(*(f"relax.{name}" for name in _UNARY))
def _unary(rw: Rewriter, call: Any, values: list[Value]) -> Value | None:
    first = values[0]
    if not first.only_last:
        return None
    rest = [rw.plain_of(v) for v in values[1:]]
    return Value(last=rw.emit(again(call, [first.last, *rest])))


@handles(*(f"relax.{name}" for name in _BINARY))
def _binary(rw: Rewriter, call: Any, values: list[Value]) -> Value | None:
    shape = static_shape(call)
    if not _last_form(values) or shape is None:
        return None
    operands = [_operand(rw, v, len(shape)) for v in values]
    if call.op.name == "relax.multiply" and rw.cpu is not None and any(map(_is_gate, values)):
        return Value(last=rw.tensor(topi.multiply, *operands, name="gate", pattern=_INJECTIVE))
    return Value(last=rw.emit(again(call, operands)))


def _is_gate(value: Value) -> bool:
    """Whether the value is one computed number for each channel.

    A product with such a value belongs to what follows.
    """
    shape = value.shape or ()
    return value.recipe is None and len(shape) == 4 and prod(shape[2:]) == 1 < shape[1]


def _operand(rw: Rewriter, value: Value, rank: int) -> Any:
    """An operand that broadcasts against a channels-last tensor of `rank` dimensions."""
    shape = value.shape
    if shape is None or prod(shape) == 1 and value.recipe is None and not shape:
        return rw.plain_of(value)
    if len(shape) == rank:
        return rw.last_of(value)
    full = (1,) * (rank - len(shape)) + shape
    if value.recipe is not None:
        return rw.last_of(Value(recipe=rw.reshaped(value.recipe, full)))
    return rw.last_of(Value(plain=rw.emit(relax.op.reshape(rw.plain_of(value), full))))


@handles("relax.permute_dims")
def _permute(rw: Rewriter, call: Any, values: list[Value]) -> Value | None:
    (value,) = values
    shape = value.shape
    if shape is None:
        return None
    rank = len(shape)
    given = call.attrs.axes
    axes = [int(a) % rank for a in given] if given is not None else list(range(rank))[::-1]
    if value.recipe is not None:
        return Value(recipe=rw.permuted(value.recipe, axes))
    if rank >= 3 and axes == to_last(rank) and value.last is not None:
        return Value(plain=value.last)
    if rank >= 3 and axes == [0, rank - 1, *range(1, rank - 1)] and value.plain is not None:
        return Value(last=value.plain)
    return None


@handles("relax.reshape", "relax.flatten", "relax.squeeze", "relax.expand_dims")
def _reshape(rw: Rewriter, call: Any, values: list[Value]) -> Value | None:
    value, shape, old = values[0], static_shape(call), values[0].shape
    if shape is None or old is None:
        return None
    if value.recipe is not None:
        return Value(recipe=rw.reshaped(value.recipe, shape))
    if value.only_last and shape[:2] == old[:2] and len(shape) >= 3:
        moved = (shape[0], *shape[2:], shape[1])
        return Value(last=rw.emit(relax.op.reshape(value.last, moved)))
    source = value.last if value.only_last and prod(old[2:]) == 1 else rw.plain_of(value)
    return Value(plain=rw.emit(relax.op.reshape(source, shape)))


@handles("relax.astype")
def _astype(rw: Rewriter, call: Any, values: list[Value]) -> Value | None:
    (value,) = values
    if value.recipe is None:
        return _unary(rw, call, values)
    dtype = str(call.attrs.dtype)
    return Value(recipe=value.recipe.then("astype", dtype, shape=value.recipe.shape, dtype=dtype))


@handles(*(f"relax.{name}" for name in _REDUCTIONS))
def _reduce(rw: Rewriter, call: Any, values: list[Value]) -> Value | None:
    (value,) = values
    shape = value.shape
    if not value.only_last or shape is None or call.attrs.axis is None:
        return None
    rank = len(shape)
    axes = sorted(int(a) % rank for a in call.attrs.axis)
    moved = [0 if a == 0 else rank - 1 if a == 1 else a - 1 for a in axes]
    if call.op.name == "relax.mean" and rank == 4 and moved == [1, 2] and call.attrs.keepdims:
        return Value(last=_mean(rw, value.last))
    function = getattr(relax.op, call.op.name.split(".")[-1])
    result = rw.emit(function(value.last, moved, bool(call.attrs.keepdims)))
    if call.attrs.keepdims:
        return Value(last=result)
    kept = [a for a in range(rank) if a not in axes]
    if 1 not in kept or kept[-1] == 1:
        return Value(plain=result)
    return Value(last=result) if kept[:2] == [0, 1] else None


def _mean(rw: Rewriter, x: Any) -> Any:
    """The mean over the pixels of x (N, H, W, C)."""
    if rw.cpu is None or str(x.ty.dtype) != "float32":
        return rw.emit(relax.op.mean(x, [1, 2], True))
    return rw.emit(rw.bb.call_te(sliding.mean, x, primfunc_name_hint="mean"))


@handles("relax.concat")
def _concat(rw: Rewriter, call: Any, values: list[Value]) -> Value | None:
    shape = static_shape(call)
    parts = values[0].fields
    if shape is None or len(shape) < 3 or parts is None or not any(p.only_last for p in parts):
        return None
    axis = int(call.attrs.axis) % len(shape)
    moved = 0 if axis == 0 else len(shape) - 1 if axis == 1 else axis - 1
    while len(parts) > 2 * _CONCAT:
        whole = len(parts) // _CONCAT * _CONCAT
        runs = [parts[i : i + _CONCAT] for i in range(0, whole, _CONCAT)]
        parts = [*(_joined(rw, run, moved) for run in runs), *parts[whole:]]
    return Value(last=rw.emit(relax.op.concat([rw.last_of(p) for p in parts], moved)))


def _joined(rw: Rewriter, parts: list[Value], axis: int) -> Value:
    """A run of operands of a long concatenation as one, made once for all that share the run."""
    key = (axis, *(id(p) for p in parts))
    if key not in rw.joined:
        made = rw.emit(relax.op.concat([rw.last_of(p) for p in parts], axis))
        rw.joined[key] = (parts, Value(last=made))
    return rw.joined[key][1]


@handles("relax.nn.max_pool2d", "relax.nn.avg_pool2d", "relax.nn.adaptive_avg_pool2d")
def _pool(rw: Rewriter, call: Any, values: list[Value]) -> Value | None:
    (value,) = values
    attrs = call.attrs
    if str(attrs.layout) != "NCHW" or value.shape is None:
        return None
    x = rw.last_of(value)
    name = call.op.name.split(".")[-1]
    if name == "adaptive_avg_pool2d":
        size = tuple(int(v) for v in attrs.output_size) if attrs.output_size else None
        if size == (1, 1):
            return Value(last=_mean(rw, x))
        return Value(last=rw.emit(relax.op.nn.adaptive_avg_pool2d(x, size, layout="NHWC")))
    if rw.cpu is not None and str(call.ty.dtype) == "float32" and not attrs.ceil_mode:
        return Value(last=_sliding_pool(rw, x, name, attrs))
    kwargs = {
        "pool_size": [int(v) for v in attrs.pool_size],
        "strides": [int(v) for v in attrs.strides],
        "padding": [int(v) for v in attrs.padding],
        "dilation": [int(v) for v in attrs.dilation],
        "ceil_mode": bool(attrs.ceil_mode),
        "count_include_pad": bool(attrs.count_include_pad),
        "layout": "NHWC",
    }
    return Value(last=rw.emit(getattr(relax.op.nn, name)(x, **kwargs)))


def _sliding_pool(rw: Rewriter, x: Any, name: str, attrs: Any) -> Any:
    pool = sliding.Pool(
        kernel=conv.as_pair(attrs.pool_size),
        strides=conv.as_pair(attrs.strides),
        padding=conv.as_padding(attrs.padding),
        dilation=conv.as_pair(attrs.dilation),
    )
    if name == "max_pool2d":
        return rw.tensor(sliding.max_pool, x, pool, name=name)
    return rw.tensor(sliding.avg_pool, x, pool, bool(attrs.count_include_pad), name=name)


@handles("relax.nn.conv2d")
def _conv2d(rw: Rewriter, call: Any, values: list[Value]) -> Value | None:
    x, weight = values
    attrs = call.attrs
    layouts = (str(attrs.data_layout), str(attrs.kernel_layout))
    if weight.recipe is None or x.shape is None or layouts != ("NCHW", "OIHW"):
        return None
    if weight.recipe.dtype != "float32":
        return None
    spec = conv.ConvSpec(
        strides=conv.as_pair(attrs.strides),
        padding=conv.as_padding(attrs.padding),
        dilation=conv.as_pair(attrs.dilation),
        groups=int(attrs.groups),
        kernel=weight.recipe.shape[2:],
        channels=x.shape[1],
        outputs=weight.recipe.shape[0],
    )
    return Value(last=_conv(rw, rw.last_of(x), weight, spec))


@handles("relax.nn.conv1d")
def _conv1d(rw: Rewriter, call: Any, values: list[Value]) -> Value | None:
    """A convolution over one row of an image."""
    x, weight = values
    attrs, shape = call.attrs, x.shape
    layouts = (str(attrs.data_layout), str(attrs.kernel_layout))
    if weight.recipe is None or shape is None or layouts != ("NCW", "OIW"):
        return None
    if weight.recipe.dtype != "float32":
        return None
    outputs, depth, width = weight.recipe.shape
    pads = [int(p) for p in attrs.padding]
    spec = conv.ConvSpec(
        strides=(1, int(attrs.strides[0])),
        padding=(0, pads[0], 0, pads[-1]),
        dilation=(1, int(attrs.dilation[0])),
        groups=int(attrs.groups),
        kernel=(1, width),
        channels=shape[1],
        outputs=outputs,
    )
    image = rw.emit(relax.op.reshape(rw.last_of(x), (shape[0], 1, shape[2], shape[1])))
    row = Value(recipe=rw.reshaped(weight.recipe, (outputs, depth, 1, width)))
    made = _conv(rw, image, row, spec)
    return Value(last=rw.emit(relax.op.reshape(made, (shape[0], static_shape(made)[2], outputs))))


def _conv(rw: Rewriter, image: Any, weight: Value, spec: conv.ConvSpec) -> Any:
    if not spec.depthwise:
        return _dense_conv(rw, image, weight, spec)
    packed = weight.recipe.then("depthwise", shape=(*spec.kernel, spec.outputs))
    return rw.tensor(sliding.depthwise, image, rw.argument(packed), spec, name="depthwise")


def _dense_conv(rw: Rewriter, image: Any, weight: Value, spec: conv.ConvSpec) -> Any:
    images, height, width, _ = static_shape(image)
    each, depth = spec.outputs // spec.groups, spec.channels // spec.groups
    simple = spec.kernel == (1, 1) == spec.strides and not any(spec.padding)
    if simple and spec.groups == 1:
        matrix = rw.reshaped(weight.recipe, (spec.outputs, depth))
        return _dense(rw, image, rw.permuted(matrix, (1, 0)), "pointwise")
    tile = conv.conv_tile(images, height, width, spec, rw.cpu)
    panels = -(-each // tile.panel)
    shape = (spec.groups, panels, *spec.kernel, depth, tile.panel)
    packed = weight.recipe.then("conv2d", spec.groups, tile.panel, shape=shape)
    return rw.tensor(conv.conv2d, image, rw.argument(packed), spec, tile, name="conv2d")


def _dense(rw: Rewriter, x: Any, weight: Any, name: str) -> Any:
    """x (..., K) times a weight (K, N)."""
    depth, columns = weight.shape
    rows = max(1, prod(static_shape(x)[:-1]))
    tile = matmul.dense_tile(rows, columns, depth, rw.cpu)
    shape = (-(-columns // tile.panel), depth, tile.panel)
    packed = weight.then("dense", tile.panel, shape=shape)
    return rw.tensor(matmul.dense, x, rw.argument(packed), columns, tile, name=name)


@handles("relax.matmul")
def _matmul(rw: Rewriter, call: Any, values: list[Value]) -> Value | None:
    x, weight = values
    if x.shape is None or weight.shape is None or x.recipe is not None:
        return None
    if weight.recipe is not None and len(weight.shape) == 2 and len(x.shape) >= 2:
        if weight.recipe.dtype == "float32":
            return Value(plain=_dense(rw, rw.plain_of(x), weight.recipe, "dense"))
    return None
