"""Element by element: activations, unary and binary operations, select, scale, conversion."""

from __future__ import annotations

import math

import torch

from ..backends.trt_api import torch_dtype
from .layers import Layer, rule

# f(x, alpha, beta), as the operator reference writes them.
ACTIVATIONS = {
    "RELU": lambda x, a, b: torch.relu(x),
    "SIGMOID": lambda x, a, b: torch.sigmoid(x),
    "TANH": lambda x, a, b: torch.tanh(x),
    "LEAKY_RELU": lambda x, a, b: torch.where(x >= 0, x, a * x),
    "ELU": lambda x, a, b: torch.where(x >= 0, x, a * torch.expm1(x)),
    "SELU": lambda x, a, b: b * torch.where(x > 0, x, a * torch.expm1(x)),
    "SOFTSIGN": lambda x, a, b: x / (1 + x.abs()),
    "SOFTPLUS": lambda x, a, b: a * torch.logaddexp(b * x, torch.zeros(())),
    "CLIP": lambda x, a, b: x.clamp(max=b).clamp(min=a),
    "HARD_SIGMOID": lambda x, a, b: (a * x + b).clamp(0, 1),
    "SCALED_TANH": lambda x, a, b: a * torch.tanh(b * x),
    "THRESHOLDED_RELU": lambda x, a, b: torch.where(x > a, x, torch.zeros(())),
    "GELU_ERF": lambda x, a, b: 0.5 * x * (1 + torch.erf(math.sqrt(0.5) * x)),
    "GELU_TANH": lambda x, a, b: (
        0.5 * x * (1 + torch.tanh(math.sqrt(2 / math.pi) * (0.044715 * x**3 + x)))
    ),
}

UNARY = {
    "EXP": torch.exp,
    "LOG": torch.log,
    "SQRT": torch.sqrt,
    "RECIP": torch.reciprocal,
    "ABS": torch.abs,
    "NEG": torch.neg,
    "SIN": torch.sin,
    "COS": torch.cos,
    "TAN": torch.tan,
    "SINH": torch.sinh,
    "COSH": torch.cosh,
    "ASIN": torch.asin,
    "ACOS": torch.acos,
    "ATAN": torch.atan,
    "ASINH": torch.asinh,
    "ACOSH": torch.acosh,
    "ATANH": torch.atanh,
    "CEIL": torch.ceil,
    "FLOOR": torch.floor,
    "ERF": torch.erf,
    "NOT": torch.logical_not,
    "SIGN": torch.sign,
    "ROUND": torch.round,
    "ISINF": torch.isinf,
    "ISNAN": torch.isnan,
}


def _divide(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    return a / b if a.is_floating_point() else torch.div(a, b, rounding_mode="trunc")


def _floor_divide(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    return torch.floor(a / b) if a.is_floating_point() else torch.div(a, b, rounding_mode="floor")


ELEMENTWISE = {
    "SUM": torch.add,
    "PROD": torch.mul,
    "MAX": torch.maximum,
    "MIN": torch.minimum,
    "SUB": torch.sub,
    "DIV": _divide,
    "POW": torch.pow,
    "FLOOR_DIV": _floor_divide,
    "AND": torch.logical_and,
    "OR": torch.logical_or,
    "XOR": torch.logical_xor,
    "EQUAL": torch.eq,
    "GREATER": torch.gt,
    "LESS": torch.lt,
}


def check_broadcast(layer: Layer, *operands: torch.Tensor) -> None:
    """Ranks must agree, and a dimension may differ only by being 1: torch's own rule is wider."""
    ranks = {x.ndim for x in operands}
    layer.check(len(ranks) == 1, f"expected operands of one rank, got ranks {sorted(ranks)}")


@rule("ACTIVATION", "IActivationLayer", widen=True)
def activation(layer: Layer, x: torch.Tensor) -> torch.Tensor:
    return ACTIVATIONS[layer.api.type.name](x, layer.api.alpha, layer.api.beta)


@rule("UNARY", "IUnaryLayer", widen=True)
def unary(layer: Layer, x: torch.Tensor) -> torch.Tensor:
    return UNARY[layer.api.op.name](x)


@rule("ELEMENTWISE", "IElementWiseLayer", widen=True)
def elementwise(layer: Layer, a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    check_broadcast(layer, a, b)
    layer.check(a.dtype == b.dtype, f"expected operands of one dtype, got {a.dtype} and {b.dtype}")
    return ELEMENTWISE[layer.api.op.name](a, b)


@rule("SELECT", "ISelectLayer")
def select(layer: Layer, condition: torch.Tensor, a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    check_broadcast(layer, condition, a, b)
    layer.check(condition.dtype == torch.bool, f"expected a bool condition, got {condition.dtype}")
    layer.check(a.dtype == b.dtype, f"expected values of one dtype, got {a.dtype} and {b.dtype}")
    return torch.where(condition, a, b)


@rule("PARAMETRIC_RELU", "IParametricReLULayer", widen=True)
def parametric_relu(layer: Layer, x: torch.Tensor, slope: torch.Tensor) -> torch.Tensor:
    check_broadcast(layer, x, slope)
    return torch.where(x < 0, slope * x, x)


@rule("SCALE", "IScaleLayer", widen=True)
def scale(layer: Layer, x: torch.Tensor) -> torch.Tensor:
    """(x * scale + shift) ** power, with weights per tensor, per channel or per element."""
    axis = layer.api.channel_axis
    shape = {
        "UNIFORM": (1,),
        "CHANNEL": (-1, *(1 for _ in x.shape[axis + 1 :])),
        "ELEMENTWISE": tuple(x.shape[axis:]),
    }[layer.api.mode.name]
    weights = (layer.weight(role) for role in ("scale", "shift", "power"))
    factor, shift, power = (w if w is None else w.to(x.dtype).reshape(shape) for w in weights)
    if factor is not None and shift is not None:
        x = torch.addcmul(shift, x, factor)
    elif factor is not None:
        x = x * factor
    elif shift is not None:
        x = x + shift
    return x if power is None else x**power


def convert(x: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    """Converts by value: floats are truncated towards zero, anything but zero is true.

    A float that the integer type cannot hold has no defined result; here it saturates, as in CUDA.
    """
    if dtype == torch.bool or not x.is_floating_point() or dtype.is_floating_point:
        return x.to(dtype)
    limits = torch.iinfo(dtype)
    exact = x.double().nan_to_num(0.0, posinf=float(limits.max), neginf=float(limits.min)).trunc()
    converted = exact.clamp(limits.min, limits.max).to(dtype)
    return torch.where(exact >= float(limits.max), torch.tensor(limits.max, dtype=dtype), converted)


@rule("CAST", "ICastLayer")
def cast(layer: Layer, x: torch.Tensor) -> torch.Tensor:
    return convert(x, torch_dtype(layer.api.to_type))


@rule("IDENTITY", "IIdentityLayer")
def identity(layer: Layer, x: torch.Tensor) -> torch.Tensor:
    return convert(x, layer.dtype())


def _per_element(layer: Layer, coefficients: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
    """Scale or zero point: one for all, one per index of the axis, or one per block."""
    coefficients = coefficients.float()
    if coefficients.numel() == 1:
        return coefficients.reshape(())
    if coefficients.ndim == 1:
        axis = layer.api.axis % x.ndim
        return coefficients.reshape(-1, *(1 for _ in x.shape[axis + 1 :]))
    for dim, (size, blocks) in enumerate(zip(x.shape, coefficients.shape, strict=True)):
        layer.check(size % blocks == 0, f"{blocks} blocks do not divide dimension {dim}, {size}")
        coefficients = coefficients.repeat_interleave(size // blocks, dim)
    return coefficients


@rule("QUANTIZE", "IQuantizeLayer")
def quantize(
    layer: Layer, x: torch.Tensor, scale: torch.Tensor, zero: torch.Tensor | None = None
) -> torch.Tensor:
    """clamp(round(x / scale) + zero), rounding ties to even; to int8 where it has no choice."""
    dtype = torch_dtype(layer.api.to_type) if hasattr(layer.api, "to_type") else torch.int8
    scaled = x.float() / _per_element(layer, scale, x)
    if dtype.is_floating_point:
        limit = torch.finfo(dtype).max
        return scaled.clamp(-limit, limit).to(dtype)
    offset = 0.0 if zero is None else _per_element(layer, zero, x)
    return (torch.round(scaled) + offset).clamp(-128, 127).to(dtype)


@rule("DEQUANTIZE", "IDequantizeLayer")
def dequantize(
    layer: Layer, x: torch.Tensor, scale: torch.Tensor, zero: torch.Tensor | None = None
) -> torch.Tensor:
    """(x - zero) * scale."""
    offset = 0.0 if zero is None else _per_element(layer, zero, x)
    value = (x.float() - offset) * _per_element(layer, scale, x)
    return value.to(layer.dtype())
