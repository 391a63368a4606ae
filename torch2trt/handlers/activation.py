"""Activation functions, each in terms of elementwise operators."""

from __future__ import annotations

import math
from typing import Any

import torch

from ..registry import op
from .common import axis, dtype, dtype_of, rank, shape, tensor, to_float, widened
from .elementwise import (
    abs_,
    add,
    clamp,
    div,
    erf,
    exp,
    gt,
    le,
    log,
    log1p,
    mul,
    neg,
    sigmoid,
    sub,
    tanh,
    where,
)
from .reduction import amax, sum_
from .shape import chunk, reshape


def _clipped(ctx: Any, x: Any, low: float, high: float) -> Any:
    """TensorRT has a layer for it, that it fuses with the one before."""
    if ctx.is_tensorrt and low <= high and dtype(ctx, x) in (torch.float32, torch.float16):
        return ctx.activation("CLIP", x, low, high)
    return tensor(ctx, clamp(ctx, x, low, high), dtype(ctx, x))


@op("aten::relu6")
def relu6(ctx, x):
    """relu6(Tensor self) -> Tensor"""
    return _clipped(ctx, x, 0, 6)


@op("aten::hardtanh")
def hardtanh(ctx, x, min_val=-1, max_val=1):
    """hardtanh(Tensor self, Scalar min_val=-1, Scalar max_val=1) -> Tensor"""
    return _clipped(ctx, x, min_val, max_val)


@op("aten::leaky_relu")
def leaky_relu(ctx, x, negative_slope=0.01):
    """leaky_relu(Tensor self, Scalar negative_slope=0.01) -> Tensor"""
    return where(ctx, gt(ctx, x, 0), x, mul(ctx, x, negative_slope))


@op("aten::prelu", "aten::_prelu_kernel")
def prelu(ctx, x, weight):
    """prelu(Tensor self, Tensor weight) -> Tensor: one slope, or one per channel (dimension 1)"""
    dims = rank(ctx, x)
    if rank(ctx, weight) == 1:
        weight = reshape(ctx, weight, [-1, *[1] * (dims - 2)] if dims else [])
    return where(ctx, gt(ctx, x, 0), x, mul(ctx, x, weight))


@op("aten::elu")
def elu(ctx, x, alpha=1, scale=1, input_scale=1):
    """elu(Tensor self, Scalar alpha=1, Scalar scale=1, Scalar input_scale=1) -> Tensor"""
    kind, x = dtype(ctx, x), widened(ctx, x)
    scaled = x if input_scale == 1 else mul(ctx, x, input_scale)
    negative = mul(ctx, sub(ctx, exp(ctx, scaled), 1), alpha * scale)
    result = where(ctx, gt(ctx, x, 0), x if scale == 1 else mul(ctx, x, scale), negative)
    return tensor(ctx, result, kind)


@op("aten::selu")
def selu(ctx, x):
    """selu(Tensor self) -> Tensor"""
    return elu(ctx, x, 1.6732632423543772848170429916717, 1.0507009873554804934193349852946, 1)


@op("aten::celu")
def celu(ctx, x, alpha=1.0):
    """celu(Tensor self, Scalar alpha=1.0) -> Tensor"""
    return elu(ctx, x, alpha, 1, 1.0 / alpha)


@op("aten::softplus")
def softplus(ctx, x, beta=1, threshold=20):
    """softplus(Tensor self, Scalar beta=1, Scalar threshold=20) -> Tensor"""
    kind, x = dtype(ctx, x), widened(ctx, x)
    scaled = x if beta == 1 else mul(ctx, x, beta)
    soft = log1p(ctx, exp(ctx, clamp(ctx, scaled, None, threshold)))
    soft = soft if beta == 1 else div(ctx, soft, beta)
    return tensor(ctx, where(ctx, gt(ctx, scaled, threshold), x, soft), kind)


@op("aten::softsign")
def softsign(ctx, x):
    """softsign(Tensor self) -> Tensor"""
    return div(ctx, x, add(ctx, abs_(ctx, x), 1))


@op("aten::silu")
def silu(ctx, x):
    """silu(Tensor self) -> Tensor"""
    return mul(ctx, x, sigmoid(ctx, x))


@op("aten::mish")
def mish(ctx, x):
    """mish(Tensor self) -> Tensor"""
    return mul(ctx, x, tanh(ctx, softplus(ctx, x)))


@op("aten::hardsigmoid")
def hardsigmoid(ctx, x):
    """hardsigmoid(Tensor self) -> Tensor"""
    return div(ctx, _clipped(ctx, add(ctx, x, 3), 0, 6), 6)


@op("aten::hardswish")
def hardswish(ctx, x):
    """hardswish(Tensor self) -> Tensor"""
    return div(ctx, mul(ctx, x, _clipped(ctx, add(ctx, x, 3), 0, 6)), 6)


@op("aten::gelu")
def gelu(ctx, x, approximate="none"):
    """gelu(Tensor self, *, str approximate='none') -> Tensor"""
    kind = dtype(ctx, x)
    x = widened(ctx, x)  # the sum with 1 cancels for negative numbers
    if approximate == "tanh":
        inner = mul(ctx, x, add(ctx, mul(ctx, mul(ctx, x, x), 0.044715), 1))
        curve = tanh(ctx, mul(ctx, inner, math.sqrt(2 / math.pi)))
    else:
        curve = erf(ctx, mul(ctx, x, math.sqrt(0.5)))
    return tensor(ctx, mul(ctx, mul(ctx, x, 0.5), add(ctx, curve, 1)), kind)


@op("aten::glu")
def glu(ctx, x, dim=-1):
    """glu(Tensor self, int dim=-1) -> Tensor"""

    first, second = chunk(ctx, x, 2, dim)
    return mul(ctx, first, sigmoid(ctx, second))


@op("aten::threshold")
def threshold(ctx, x, threshold, value):
    """threshold(Tensor self, Scalar threshold, Scalar value) -> Tensor"""
    return where(ctx, le(ctx, x, threshold), tensor(ctx, value, dtype(ctx, x)), x)


@op("aten::hardshrink")
def hardshrink(ctx, x, lambd=0.5):
    """hardshrink(Tensor self, Scalar lambd=0.5) -> Tensor"""
    return where(ctx, le(ctx, abs_(ctx, x), lambd), tensor(ctx, 0, dtype(ctx, x)), x)


@op("aten::softshrink")
def softshrink(ctx, x, lambd=0.5):
    """softshrink(Tensor self, Scalar lambd=0.5) -> Tensor"""
    return sub(ctx, x, clamp(ctx, x, -lambd, lambd))


@op("aten::log_sigmoid")
def log_sigmoid(ctx, x):
    """log_sigmoid(Tensor self) -> Tensor: min(x, 0) - log1p(exp(-|x|))"""
    return sub(ctx, clamp(ctx, x, None, 0), log1p(ctx, exp(ctx, neg(ctx, abs_(ctx, x)))))


@op("aten::softmax", "aten::_softmax", "aten::special_softmax")
def softmax(ctx, x, dim, dtype=None):
    """softmax.int(Tensor self, int dim, ScalarType? dtype=None) -> Tensor"""
    x = to_float(ctx, tensor(ctx, x, None if isinstance(dtype, bool) else dtype_of(dtype)))
    if not ctx.shape(x):
        return exp(ctx, sub(ctx, x, x))
    return ctx.softmax(x, axis(ctx, x, dim))


@op("aten::log_softmax", "aten::_log_softmax", "aten::special_log_softmax")
def log_softmax(ctx, x, dim, dtype=None):
    """log_softmax.int(Tensor self, int dim, ScalarType? dtype=None) -> Tensor"""

    x = to_float(ctx, tensor(ctx, x, None if isinstance(dtype, bool) else dtype_of(dtype)))
    if any(isinstance(size, int) and size == 0 for size in shape(ctx, x)):
        return x
    shifted = sub(ctx, x, amax(ctx, x, [dim], True))
    return sub(ctx, shifted, log(ctx, sum_(ctx, exp(ctx, shifted), [dim], True)))


@op("aten::softmin")
def softmin(ctx, x, dim, dtype=None):
    """softmin(Tensor input, int dim, ScalarType? dtype=None) -> Tensor"""
    return softmax(ctx, neg(ctx, x), dim, dtype)


@op("aten::rrelu")
def rrelu(ctx, x, lower=0.125, upper=1 / 3, training=False, generator=None):
    """rrelu(Tensor self, Scalar lower, Scalar upper, bool training=False,
    Generator? generator=None) -> Tensor"""
    if training:
        raise ctx.refuse("rrelu in training mode is random; call module.eval() first")
    return leaky_relu(ctx, x, (lower + upper) / 2)
