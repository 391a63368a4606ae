"""Pooling and normalisation as TE, with PyTorch's rules for NaN, windows and precision."""

from __future__ import annotations

import functools
import operator
from collections.abc import Callable, Sequence
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
    centred, variance = _moments(x, axes, dtype)

    def compute(*index: Any) -> Any:
        deviation = tirx.sqrt(variance(index) + tirx.const(eps, dtype))
        result = centred(x(*index), index) / deviation
        if weight is not None:
            result = result * _value(weight, index, axes, dtype)
        if bias is not None:
            result = result + _value(bias, index, axes, dtype)
        return result.astype(T.dtype_name(x))

    return te.compute(x.shape, compute, name="norm")


def _moments(
    x: te.Tensor, axes: Sequence[int], dtype: str
) -> tuple[Callable[..., Any], Callable[..., Any]]:
    """The distance of ``(element, index)`` from the mean over `axes`; the variance at ``index``."""
    sizes = [x.shape[axis] for axis in axes]
    count = functools.reduce(operator.mul, sizes, tirx.const(1, "int64")).astype(dtype)
    kept = [axis for axis in range(len(x.shape)) if axis not in axes]

    def centred(element: Any, index: Sequence[Any]) -> Any:
        return element.astype(dtype) - _value(total, index, kept, dtype) / count

    def squared(element: Any, reduce_axes: Any, index: Sequence[Any]) -> Any:
        distance = centred(element, index)
        return te.sum(distance * distance, axis=reduce_axes)

    total = T.reduction(x, axes, False, lambda v, r, _: te.sum(v.astype(dtype), axis=r), "norm_sum")
    spread = T.reduction(x, axes, False, squared, "norm_spread")
    return centred, lambda index: _value(spread, index, kept, dtype) / count


def _value(t: te.Tensor, index: Sequence[Any], axes: Sequence[int], dtype: str) -> Any:
    """The element of `t`, which has only some axes of a tensor, for an index of that tensor."""
    return t(*[index[axis] for axis in axes]).astype(dtype)


def avg_pool(
    x: te.Tensor, kernel: Sequence[int], stride: Sequence[int], padding: Sequence[int],
    sizes: Sequence[Any], count_include_pad: bool,
) -> te.Tensor:  # fmt: skip
    """Windows may hang over the padded input; they are divided by what lies inside."""
    lead = len(x.shape) - len(kernel)
    shape = [*x.shape[:lead], *sizes]
    total = te.compute(shape, _window_sum(x, kernel, stride, padding), name="pool_sum")
    rows = list(zip(kernel, stride, padding, x.shape[lead:]))

    def divide(*index: Any) -> Any:
        counts = [_counted(i, *row, count_include_pad) for i, row in zip(index[lead:], rows)]
        count = functools.reduce(operator.mul, counts, tirx.const(1, "int64"))
        return total(*index) / count.astype(T.dtype_name(x))

    return te.compute(shape, divide, name="avg_pool")


def _window_sum(
    x: te.Tensor, kernel: Sequence[int], stride: Sequence[int], padding: Sequence[int]
) -> Callable[..., Any]:
    """The sum over one window, by its position; outside `x` are zeros."""
    lead = len(x.shape) - len(kernel)
    window = [te.reduce_axis((0, k), name=f"r{i}") for i, k in enumerate(kernel)]

    def total(*index: Any) -> Any:
        rows = zip(index[lead:], stride, padding, window)
        at = [i * s - p + r.var for i, s, p, r in rows]
        inside = tirx.all(*[tirx.all(a >= 0, a < d) for a, d in zip(at, x.shape[lead:])])
        element = x(*index[:lead], *at)
        return te.sum(tirx.if_then_else(inside, element, T.const(0, element)), axis=window)

    return total


def _counted(i: Any, kernel: int, stride: int, padding: int, size: Any, include_pad: bool) -> Any:
    """How many positions of window `i` along one axis count in its average."""
    start = i * stride - padding
    end = tirx.min(start + kernel, size + padding)
    return end - start if include_pad else tirx.min(end, size) - tirx.max(start, 0)
