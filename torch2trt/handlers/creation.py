"""Tensors made from sizes and numbers; those of static sizes are constants."""

from __future__ import annotations

from typing import Any

import torch

from ..registry import op
from .common import dtype as kind_of
from .common import dtype_of, full, rank, result_type, shape, tensor
from .elementwise import add, div, eq, mul, pow_, sub
from .shape import cat, expand, reshape, unsqueeze


def _kind(ctx: Any, dtype: Any, value: Any) -> torch.dtype:
    """The given dtype, or the one that PyTorch infers from a number, known or computed."""
    if dtype is not None:
        return dtype_of(dtype)
    kind = result_type(ctx, value)
    return torch.get_default_dtype() if kind.is_floating_point else kind


@op("aten::full")
def full_(ctx, size, fill_value, dtype=None, *_):
    """full(SymInt[] size, Scalar fill_value, *, ScalarType? dtype=None, ...) -> Tensor"""
    return full(ctx, size, fill_value, _kind(ctx, dtype, fill_value))


def _filled(name: str, value: float):
    """Table rows: zeros, zeros_like and new_zeros, and the same for other values."""

    @op(f"aten::{name}")
    def of_size(ctx, size, dtype=None, *_):
        """zeros(SymInt[] size, *, ScalarType? dtype=None, ...) -> Tensor"""
        return full(ctx, size, value, dtype_of(dtype) or torch.get_default_dtype())

    @op(f"aten::{name}_like")
    def like(ctx, x, dtype=None, *_):
        """zeros_like(Tensor self, *, ScalarType? dtype=None, ...) -> Tensor"""
        return full(ctx, shape(ctx, x), value, dtype_of(dtype) or kind_of(ctx, x))

    @op(f"aten::new_{name}")
    def new(ctx, x, size, dtype=None, *_):
        """new_zeros(Tensor self, SymInt[] size, *, ScalarType? dtype=None, ...) -> Tensor"""
        return full(ctx, size, value, dtype_of(dtype) or kind_of(ctx, x))

    return of_size, like, new


zeros, zeros_like, new_zeros = _filled("zeros", 0)
ones, ones_like, new_ones = _filled("ones", 1)
empty, empty_like, new_empty = _filled("empty", 0)


@op("aten::empty_permuted")
def empty_permuted(ctx, size, physical_layout, dtype=None, *_):
    """empty_permuted(SymInt[] size, int[] physical_layout, *, ScalarType? dtype=None, ...)
    -> Tensor"""
    return empty(ctx, size, dtype)


@op("aten::new_empty_strided")
def new_empty_strided(ctx, x, size, stride, dtype=None, *_):
    """new_empty_strided(Tensor self, SymInt[] size, SymInt[] stride, *,
    ScalarType? dtype=None, ...) -> Tensor"""
    return new_empty(ctx, x, size, dtype)


@op("aten::full_like")
def full_like(ctx, x, fill_value, dtype=None, *_):
    """full_like(Tensor self, Scalar fill_value, *, ScalarType? dtype=None, ...) -> Tensor"""
    return full(ctx, shape(ctx, x), fill_value, dtype_of(dtype) or kind_of(ctx, x))


@op("aten::new_full")
def new_full(ctx, x, size, fill_value, dtype=None, *_):
    """new_full(Tensor self, SymInt[] size, Scalar fill_value, *, ScalarType? dtype=None, ...)
    -> Tensor"""
    return full(ctx, size, fill_value, dtype_of(dtype) or kind_of(ctx, x))


# ---- ranges --------------------------------------------------------------------------------------
@op("aten::arange.start_step")
def arange_step(ctx, start, end, step=1, dtype=None, *_):
    """arange.start_step(Scalar start, Scalar end, Scalar step=1, *, ScalarType? dtype=None, ...)
    -> Tensor"""
    whole = all(isinstance(v, int) or ctx.is_dim(v) for v in (start, end))
    if not whole or not isinstance(step, int):
        raise ctx.refuse("arange of numbers that are not integers over a dynamic size")
    length = end - start if step == 1 else (end - start + step - (1 if step > 0 else -1)) // step
    return tensor(ctx, ctx.arange(start, length, step), dtype_of(dtype))


@op("aten::arange.start")
def arange_start(ctx, start, end, dtype=None, *_):
    """arange.start(Scalar start, Scalar end, *, ScalarType? dtype=None, ...) -> Tensor"""
    return arange_step(ctx, start, end, 1, dtype)


@op("aten::arange")
def arange(ctx, end, dtype=None, *_):
    """arange(Scalar end, *, ScalarType? dtype=None, ...) -> Tensor"""
    return arange_step(ctx, 0, end, 1, dtype)


@op("aten::linspace")
def linspace(ctx, start, end, steps, dtype=None, *_):
    """linspace.Tensor_Tensor(Tensor start, Tensor end, int steps, *, ScalarType? dtype=None, ...)
    -> Tensor"""
    if not isinstance(steps, int):
        raise ctx.refuse("linspace with a dynamic number of steps")
    if dtype is not None and not dtype_of(dtype).is_floating_point:
        raise ctx.refuse("linspace of integers between computed bounds")
    kind = dtype_of(dtype) or torch.get_default_dtype()
    start, end = (tensor(ctx, v, kind) for v in (start, end))
    step = div(ctx, sub(ctx, end, start), max(steps - 1, 1))
    index = torch.arange(steps)
    near_end = index >= max(steps // 2, 1)
    origin = ctx.where(near_end, *(full(ctx, [steps], v, kind) for v in (end, start)))
    offset = torch.where(near_end, index - (steps - 1), index).to(kind)
    return add(ctx, origin, mul(ctx, step, offset))


@op("aten::logspace")
def logspace(ctx, start, end, steps, base=10.0, dtype=None, *_):
    """logspace.Tensor_Tensor(Tensor start, Tensor end, int steps, float base=10.0, *,
    ScalarType? dtype=None, ...)"""
    exponents = linspace(ctx, start, end, steps, dtype)
    return tensor(ctx, pow_(ctx, float(base), exponents), dtype_of(dtype))


@op("aten::eye.m")
def eye_m(ctx, n, m, dtype=None, *_):
    """eye.m(SymInt n, SymInt m, *, ScalarType? dtype=None, ...) -> Tensor"""
    rows, columns = (ctx.arange(0, size) for size in (n, m))
    same = eq(ctx, unsqueeze(ctx, rows, 1), columns)
    return tensor(ctx, same, dtype_of(dtype) or torch.get_default_dtype())


@op("aten::eye")
def eye(ctx, n, dtype=None, *_):
    """eye(SymInt n, *, ScalarType? dtype=None, ...) -> Tensor"""
    return eye_m(ctx, n, n, dtype)


@op("aten::tril_indices", "aten::triu_indices")
def triangle_indices(ctx, row, col, offset=0, *_):
    """tril_indices(int row, int col, int offset=0, ...) -> Tensor"""
    raise ctx.refuse("the indices of a triangle of dynamic size")


# ---- from values ---------------------------------------------------------------------------------
@op("aten::tensor", "aten::scalar_tensor")
def tensor_(ctx, data, dtype=None, *_):
    """tensor(t[] data, *, ScalarType? dtype=None, Device? device=None, ...) -> Tensor:
    nested lists of numbers"""
    if isinstance(data, (list, tuple)):
        return cat(ctx, [unsqueeze(ctx, tensor_(ctx, v, dtype), 0) for v in data], 0)
    return tensor(ctx, data, dtype_of(dtype))


@op("aten::one_hot")
def one_hot(ctx, x, num_classes=-1):
    """one_hot(Tensor self, int num_classes=-1) -> Tensor"""
    if num_classes < 0:
        raise ctx.refuse("one_hot without num_classes, whose output shape depends on the data")
    return tensor(ctx, eq(ctx, unsqueeze(ctx, x, -1), torch.arange(num_classes)), torch.int64)


@op("aten::meshgrid", "aten::meshgrid.indexing")
def meshgrid(ctx, tensors, indexing="ij"):
    """meshgrid.indexing(Tensor[] tensors, *, str indexing) -> Tensor[]"""
    order = list(range(len(tensors)))
    if indexing == "xy" and len(order) > 1:
        order[:2] = [1, 0]
    lines = [reshape(ctx, x, [1]) if not rank(ctx, x) else x for x in tensors]
    sizes = [shape(ctx, lines[i])[0] for i in order]
    views = [[-1 if order[a] == i else 1 for a in range(len(order))] for i in range(len(lines))]
    return [expand(ctx, reshape(ctx, x, view), sizes) for x, view in zip(lines, views)]


# ---- random numbers ------------------------------------------------------------------------------
@op(
    *[f"aten::{name}" for name in (
        "rand", "randn", "randint", "randperm", "rand_like", "randn_like", "randint_like",
        "bernoulli", "multinomial", "exponential", "normal", "normal_functional", "uniform",
        "poisson", "binomial", "geometric", "cauchy", "log_normal", "random",
    )]
)  # fmt: skip
def random(ctx, *_):
    """rand_like(Tensor self, ...) -> Tensor, bernoulli(Tensor self, ...) -> Tensor, ..."""
    raise ctx.refuse("random numbers: every run would have to give others")
