"""Pooling and normalisation as TE, with PyTorch's rules for NaN, windows and precision."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tvm import topi

from . import tvm_te as T
from .tvm_names import te, tirx


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

    return te.compute(shape, compute, name="max_pool", tag="pool_max")


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


def avg_pool(
    x: te.Tensor, kernel: Sequence[int], stride: Sequence[int], padding: Sequence[int],
    sizes: Sequence[Any],
    count_include_pad: bool,
) -> te.Tensor:  # fmt: skip
    """Windows may hang over the padded input; they are divided by what lies inside."""
    lead = len(x.shape) - len(kernel)
    spatial = x.shape[lead:]
    window = [te.reduce_axis((0, k), name=f"r{i}") for i, k in enumerate(kernel)]

    def load(*index: Any) -> Any:
        at = [
            index[lead + i] * s - p + r.var
            for i, (s, p, r) in enumerate(zip(stride, padding, window))
        ]
        inside = tirx.all(*[tirx.all(a >= 0, a < d) for a, d in zip(at, spatial)])
        return te.sum(
            tirx.if_then_else(inside, x(*index[:lead], *at), T.const(0, x(*index[:lead], *at))),
            axis=window,
        )

    shape = [*x.shape[:lead], *sizes]
    total = te.compute(shape, load, name="pool_sum")

    def divide(*index: Any) -> Any:
        count = tirx.const(1, "int64")
        for i, (k, s, p, d) in enumerate(zip(kernel, stride, padding, spatial)):
            start = index[lead + i] * s - p
            end = tirx.min(start + k, d + p)
            if not count_include_pad:
                start, end = tirx.max(start, 0), tirx.min(end, d)
            count = count * (end - start)
        return total(*index) / count.astype(T.dtype_name(x))

    return te.compute(shape, divide, name="avg_pool")
