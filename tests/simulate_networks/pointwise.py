"""Activations, unary and binary operations, select, scale, casts, quantisation."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
import torch.nn.functional as F

from .case import Case
from .data import ints, rand

X = torch.cat([rand(2, 3, 5, low=-3, high=3).flatten(), torch.tensor([0.0, -0.0])]).reshape(
    1, 2, 16
)

ACTIVATIONS = {
    "RELU": (0, 0, F.relu),
    "SIGMOID": (0, 0, lambda x: 1 / (1 + torch.exp(-x))),
    "TANH": (0, 0, torch.tanh),
    "LEAKY_RELU": (0.1, 0, lambda x: F.leaky_relu(x, 0.1)),
    "ELU": (1.5, 0, lambda x: F.elu(x, 1.5)),
    "SELU": (1.6732632, 1.0507010, F.selu),
    "SOFTSIGN": (0, 0, F.softsign),
    "SOFTPLUS": (0.5, 2.0, lambda x: 0.5 * torch.log(torch.exp(2.0 * x) + 1)),
    "CLIP": (-1.0, 1.5, lambda x: torch.from_numpy(np.clip(x.numpy(), -1.0, 1.5))),
    "HARD_SIGMOID": (
        0.25,
        0.4,
        lambda x: torch.minimum(torch.maximum(0.25 * x + 0.4, 0 * x), 0 * x + 1),
    ),
    "SCALED_TANH": (1.7, 0.6, lambda x: 1.7 * torch.tanh(0.6 * x)),
    "THRESHOLDED_RELU": (0.5, 0, lambda x: F.threshold(x, 0.5, 0.0)),
    "GELU_ERF": (0, 0, F.gelu),
    "GELU_TANH": (0, 0, lambda x: F.gelu(x, approximate="tanh")),
}

_UNIT = rand(2, 7, low=-0.9, high=0.9)
_POSITIVE = rand(2, 7, low=0.1, high=4)
_HALVES = torch.tensor([[-2.5, -1.5, -0.5, 0.5, 1.5, 2.5, 0.4]])
UNARY = {
    "EXP": (X, np.exp),
    "LOG": (_POSITIVE, np.log),
    "SQRT": (_POSITIVE, np.sqrt),
    "RECIP": (_POSITIVE, np.reciprocal),
    "ABS": (X, np.abs),
    "NEG": (X, np.negative),
    "SIN": (X, np.sin),
    "COS": (X, np.cos),
    "TAN": (_UNIT, np.tan),
    "SINH": (X, np.sinh),
    "COSH": (X, np.cosh),
    "ASIN": (_UNIT, np.arcsin),
    "ACOS": (_UNIT, np.arccos),
    "ATAN": (X, np.arctan),
    "ASINH": (X, np.arcsinh),
    "ACOSH": (_POSITIVE + 1, np.arccosh),
    "ATANH": (_UNIT, np.arctanh),
    "CEIL": (X, np.ceil),
    "FLOOR": (X, np.floor),
    "ERF": (
        torch.tensor([[0.0, 0.5, -1.0]]),
        lambda x: np.float32([[0, 0.5204998778, -0.8427007929]]),
    ),
    "NOT": (torch.tensor([[True, False]]), np.logical_not),
    "SIGN": (torch.tensor([[-3.0, 0.0, 2.5]]), np.sign),
    "ROUND": (_HALVES, lambda x: np.float32([[-2, -2, 0, 0, 2, 2, 0]])),
    "ISINF": (torch.tensor([[1.0, torch.inf, -torch.inf, torch.nan]]), np.isinf),
    "ISNAN": (torch.tensor([[1.0, torch.inf, -torch.inf, torch.nan]]), np.isnan),
}

_A, _B = rand(2, 3, 4), rand(2, 3, 4, seed=5) + 0.05
FLOATS = {
    "SUM": np.add,
    "PROD": np.multiply,
    "MAX": np.maximum,
    "MIN": np.minimum,
    "SUB": np.subtract,
    "DIV": np.divide,
    "FLOOR_DIV": lambda a, b: np.floor(a / b),
    "EQUAL": np.equal,
    "GREATER": np.greater,
    "LESS": np.less,
}
_I = torch.tensor([[7, -7, 7, -7, 6, 0, 2]], dtype=torch.int32)
_J = torch.tensor([[2, 2, -2, -2, 3, 5, 2]], dtype=torch.int32)
INTEGERS = {
    "SUM": [[9, -5, 5, -9, 9, 5, 4]],
    "PROD": [[14, -14, -14, 14, 18, 0, 4]],
    "MAX": [[7, 2, 7, -2, 6, 5, 2]],
    "MIN": [[2, -7, -2, -7, 3, 0, 2]],
    "SUB": [[5, -9, 9, -5, 3, -5, 0]],
    "DIV": [[3, -3, -3, 3, 2, 0, 1]],
    "FLOOR_DIV": [[3, -4, -4, 3, 2, 0, 1]],
    "EQUAL": [[False, False, False, False, False, False, True]],
    "GREATER": [[True, False, True, False, True, False, False]],
    "LESS": [[False, True, False, True, False, True, False]],
}
_P = torch.tensor([[True, True, False, False]])
_Q = torch.tensor([[True, False, True, False]])
BOOLS = {
    "AND": [[True, False, False, False]],
    "OR": [[True, True, True, False]],
    "XOR": [[False, True, True, False]],
}


def cases() -> Iterator[Case]:
    yield from _activations()
    yield from _unary()
    yield from _elementwise()
    yield from _scale()
    yield from _casts()
    yield from _quantization()


def _activations() -> Iterator[Case]:
    for name, (alpha, beta, expected) in ACTIVATIONS.items():

        def build(net, x, name=name, alpha=alpha, beta=beta):
            layer = net.n.add_activation(x, net.enum("ActivationType", name))
            layer.alpha, layer.beta = alpha, beta
            return layer

        yield Case(
            f"activation-{name}",
            build,
            (X,),
            expected,
            needs=(f"ActivationType.{name}",),
            atol=2e-6,
        )
    yield Case(
        "parametric_relu",
        lambda net, x, slope: net.n.add_parametric_relu(x, slope),
        (rand(2, 3, 4), rand(1, 3, 1)),
        lambda x, slope: F.prelu(x, slope.flatten()),
    )


def _unary() -> Iterator[Case]:
    for name, (x, function) in UNARY.items():
        yield Case(
            f"unary-{name}",
            lambda net, x, name=name: net.unary(x, name),
            (x,),
            lambda x, function=function: torch.from_numpy(np.asarray(function(x.numpy()))),
            needs=(f"UnaryOperation.{name}",),
            rtol=2e-5,
        )
    for name, expected in {"ABS": [[3, 0, 4]], "NEG": [[3, 0, -4]], "SIGN": [[-1, 0, 1]]}.items():
        x = torch.tensor([[-3, 0, 4]], dtype=torch.int32)
        yield Case(
            f"unary-{name}-int32",
            lambda net, x, name=name: net.unary(x, name),
            (x,),
            torch.tensor(expected, dtype=torch.int32),
        )


def _elementwise() -> Iterator[Case]:
    def case(name, a, op, b, expected, **options):
        build = lambda net, a, b: net.binary(a, op, b)  # noqa: E731
        return Case(f"elementwise-{name}", build, (a, b), expected, **options)

    for op, function in FLOATS.items():
        expected = torch.from_numpy(function(_A.numpy(), _B.numpy()))
        yield case(f"{op}-float", _A, op, _B, expected)
    yield case("POW-float", _A.abs(), "POW", _B, lambda a, b: a**b, rtol=2e-5)
    for op, expected in INTEGERS.items():
        dtype = torch.bool if op in ("EQUAL", "GREATER", "LESS") else torch.int32
        yield case(f"{op}-int32", _I, op, _J, torch.tensor(expected, dtype=dtype))
        wide = torch.bool if dtype == torch.bool else torch.int64
        yield case(f"{op}-int64", _I.long(), op, _J.long(), torch.tensor(expected, dtype=wide))
    for op, expected in BOOLS.items():
        yield case(f"{op}-bool", _P, op, _Q, torch.tensor(expected))
    half = (_A.half(), _B.half())
    yield case("SUM-half", half[0], "SUM", half[1], lambda a, b: a + b, rtol=1e-3, atol=1e-3)
    yield case(
        "PROD-bfloat16",
        _A.bfloat16(),
        "PROD",
        _B.bfloat16(),
        lambda a, b: a * b,
        rtol=1e-2,
        atol=1e-2,
    )
    yield case("broadcast", rand(2, 1, 4), "SUB", rand(1, 3, 1), lambda a, b: a - b)
    nan = torch.tensor([[1.0, torch.nan, torch.nan], [torch.nan, 2.0, torch.nan]])
    for op in ("EQUAL", "GREATER", "LESS"):
        never = torch.zeros(2, 3, dtype=torch.bool)
        yield case(f"{op}-nan", nan, op, nan.flip(0), never)
    yield Case(
        "select",
        lambda net, c, a, b: net.n.add_select(c, a, b),
        (ints(2, 1, 3, low=0, high=2).bool(), rand(2, 4, 1), rand(1, 4, 3)),
        torch.where,
    )


def _scale() -> Iterator[Case]:
    x = rand(2, 3, 4, 5, low=0.2, high=2)
    per = {"UNIFORM": (1,), "CHANNEL": (3, 1, 1), "ELEMENTWISE": (3, 4, 5)}
    for mode, shape in per.items():
        scale, shift = rand(*shape, low=0.5, high=2), rand(*shape, low=0.1, high=1, seed=3)
        power = rand(*shape, low=1, high=2, seed=4)

        def build(net, x, mode=mode, weights=(shift, scale, power)):
            arrays = [np.ascontiguousarray(w.flatten().numpy()) for w in weights]
            return net.n.add_scale_nd(x, net.enum("ScaleMode", mode), *arrays, 1)

        def expected(x, scale=scale, shift=shift, power=power):
            return (x * scale + shift) ** power

        yield Case(f"scale-{mode}", build, (x,), expected, rtol=2e-5)

    def shift_only(net, x):
        return net.n.add_scale(
            x, net.enum("ScaleMode", "CHANNEL"), np.float32([1, 2, 3]), None, None
        )

    shifts = torch.tensor([1.0, 2.0, 3.0]).reshape(3, 1, 1)
    yield Case("scale-shift_only", shift_only, (x,), lambda x: x + shifts)


def _casts() -> Iterator[Case]:
    def case(name, x, dtype, expected, **options):
        build = lambda net, x: net.cast(x, dtype)  # noqa: E731
        return Case(f"cast-{name}", build, (x,), torch.tensor(expected, dtype=dtype), **options)

    floats = torch.tensor([-2.7, -0.5, 0.0, 0.5, 2.7])
    yield case("float-int32", floats, torch.int32, [-2, 0, 0, 0, 2])
    yield case("float-bool", floats, torch.bool, [True, True, False, True, True])
    yield case("float-int64", floats, torch.int64, [-2, 0, 0, 0, 2], needs=("DataType.INT64",))
    yield case("float-half", floats, torch.float16, [-2.7, -0.5, 0.0, 0.5, 2.7])
    yield case("bool-float", torch.tensor([True, False]), torch.float32, [1.0, 0.0])
    yield case("int32-float", torch.tensor([-3, 4], dtype=torch.int32), torch.float32, [-3.0, 4.0])
    yield case(
        "float-bfloat16",
        floats,
        torch.bfloat16,
        [-2.7, -0.5, 0.0, 0.5, 2.7],
        needs=("DataType.BF16",),
    )
    large = torch.tensor([3e9, -3e9, 1.0])
    yield case("float-int32-saturated", large, torch.int32, [2**31 - 1, -(2**31), 1])
    yield Case("identity", lambda net, x: net.n.add_identity(x), (rand(2, 3),), lambda x: x)


def _quantization() -> Iterator[Case]:
    x = torch.tensor([[[[-200.0, -1.5, -0.5, 0.5], [1.5, 2.5, 3.4, 200.0]]]])

    def both(net, x):
        scale = net.const(0.5)
        return _dequantize(net, _quantize(net, x, scale).get_output(0), scale)

    expected = torch.tensor([[[[-64.0, -1.5, -0.5, 0.5], [1.5, 2.5, 3.5, 63.5]]]])
    yield Case("quantize-tensor", both, (x,), expected, flags=("INT8",))

    weights = rand(2, 3, 4, 4)
    scales = torch.tensor([0.01, 0.02])

    def per_channel(net, x):
        steps = net.const(scales)
        quantized = _quantize(net, net.const(weights), steps, axis=0)
        kernel = _dequantize(net, quantized.get_output(0), steps, axis=0)
        convolution = net.n.add_convolution_nd(x, 2, (4, 4), net.trt.Weights(net.trt.float32))
        convolution.set_input(1, kernel.get_output(0))
        return convolution

    def quantized_convolution(x):
        steps = scales.reshape(2, 1, 1, 1)
        return F.conv2d(x, torch.clamp(torch.round(weights / steps), -128, 127) * steps)

    yield Case(
        "quantize-channel",
        per_channel,
        (rand(1, 3, 6, 6),),
        quantized_convolution,
        flags=("INT8",),
        atol=1e-5,
    )


def _quantize(net, x, scale, axis=-1):
    layer = net.n.add_quantize(x, scale, *_typed(net, net.trt.int8))
    layer.axis = axis
    return layer


def _dequantize(net, x, scale, axis=-1):
    layer = net.n.add_dequantize(x, scale, *_typed(net, net.trt.float32))
    layer.axis = axis
    return layer


def _typed(net, dtype):
    """The third argument of the quantisation layers, which TensorRT 8.6 does not have."""
    return (dtype,) if hasattr(net.trt.IQuantizeLayer, "to_type") else ()
