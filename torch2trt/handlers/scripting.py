"""What TorchScript adds around the operators: types, devices, lists, integers, assertions."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch

from ..context import current_context
from ..registry import builtin_handler, op
from . import common


def plain(*kinds: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Decorator: a function of the node's inputs that gives its one output."""

    def register(function: Callable[..., Any]) -> Callable[..., Any]:
        def handler(inputs: Sequence[Any], attributes: Mapping[str, Any], scope: str) -> list:
            return [function(*inputs)]

        builtin_handler(*kinds)(handler)
        return function

    return register


@plain("aten::is_floating_point")
def is_floating_point(x: Any) -> bool:
    return common.dtype(current_context(), x).is_floating_point


@plain("prim::dtype")
def dtype(x: Any) -> torch.dtype:
    return common.dtype(current_context(), x)


@plain("prim::device")
def device_of(x: Any) -> torch.device | None:
    """None for a symbolic tensor: where a network runs is no part of it."""
    return x.device if isinstance(x, torch.Tensor) else None


@plain("aten::is_complex")
def is_complex(x: Any) -> bool:
    return common.dtype(current_context(), x).is_complex


@plain("aten::device", "aten::device.with_index")
def device(kind: str, index: int | None = None) -> torch.device:
    return torch.device(kind) if index is None else torch.device(kind, index)


@plain("aten::format")
def format_(text: str, *values: Any) -> str:
    return text.format(*values)


@plain("aten::append")
def append(values: list, value: Any) -> list:
    values.append(value)
    return values


@plain("aten::extend")
def extend(values: list, more: list) -> None:
    values.extend(more)


@plain("aten::list")
def list_(values: Sequence[Any]) -> list:
    return list(values)


@plain("aten::__is__")
def is_(a: Any, b: Any) -> bool:
    return a is b


@plain("aten::__isnot__")
def is_not(a: Any, b: Any) -> bool:
    return a is not b


@plain("aten::__derive_index")
def derive_index(index: Any, start: Any, step: Any) -> Any:
    return start + index * step


@plain("aten::__range_length")
def range_length(low: Any, high: Any, step: int) -> Any:
    if all(isinstance(v, int) for v in (low, high, step)):
        return len(range(low, high, step))
    return high - low if step == 1 else (high - low + step - (1 if step > 0 else -1)) // step


@plain("aten::__round_to_zero_floordiv")
def round_to_zero_floordiv(a: Any, b: Any) -> Any:
    if isinstance(a, int) and isinstance(b, int):
        return abs(a) // abs(b) * (1 if (a < 0) == (b < 0) else -1)
    return a // b


def silent(*kinds: str) -> None:
    """Table rows: nodes that check or tell something and have no output."""

    @builtin_handler(*kinds)
    def handler(inputs: Sequence[Any], attributes: Mapping[str, Any], scope: str) -> list:
        return []


silent(
    "aten::_assert_scalar", "aten::_assert_tensor_metadata", "aten::sym_constrain_range",
    "aten::sym_constrain_range_for_size", "aten::_assert_async",
)  # fmt: skip


@builtin_handler("aten::warn")
def warn(inputs: Sequence[Any], attributes: Mapping[str, Any], scope: str) -> list:
    """warn(str message, int stacklevel=2) -> ()"""
    warnings.warn(str(inputs[0]), stacklevel=2)
    return []


@op("aten::_shape_as_tensor")
def shape_as_tensor(ctx, x):
    """_shape_as_tensor(Tensor self) -> Tensor"""
    sizes = common.shape(ctx, x)
    if common.is_static(sizes):
        return torch.tensor(sizes, dtype=torch.int64)
    return ctx.size_tensor(sizes)


@op(*[f"aten::{name}_window" for name in ("hann", "hamming", "bartlett", "blackman", "kaiser")])
def window(ctx, length, *_):
    """hamming_window(int window_length, ...) -> Tensor"""
    raise ctx.refuse("a window of dynamic length")
