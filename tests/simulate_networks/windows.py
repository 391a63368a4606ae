"""Convolution, deconvolution, pooling, local response normalisation, padding."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
import torch.nn.functional as F

from torch2trt.backends import trt_api

from .case import Case
from .data import rand


def cases() -> Iterator[Case]:
    yield from _convolutions()
    yield from _deconvolutions()
    yield from _poolings()
    yield from _others()


def _array(tensor: torch.Tensor) -> np.ndarray:
    return np.ascontiguousarray(tensor.numpy())


def _window(net, layer, options):
    for name, value in options.items():
        enum = name == "padding_mode"
        setattr(layer, name, net.enum("PaddingMode", value) if enum else value)
    return layer


def _convolution(name, x, weight, bias, expected, options, **case):
    def build(net, x):
        arrays = [_array(weight)] + ([] if bias is None else [_array(bias)])
        layer = net.n.add_convolution_nd(x, weight.shape[0], tuple(weight.shape[2:]), *arrays)
        return _window(net, layer, options)

    return Case(f"convolution-{name}", build, (x,), expected, atol=1e-5, **case)


def _convolutions() -> Iterator[Case]:
    x, w, b = rand(2, 4, 9, 8), rand(6, 4, 3, 3), rand(6)
    yield _convolution("plain", x, w, b, lambda x: F.conv2d(x, w, b), {})
    yield _convolution("no_bias", x, w, None, lambda x: F.conv2d(x, w), {})
    yield _convolution(
        "stride_padding",
        x,
        w,
        b,
        lambda x: F.conv2d(x, w, b, (2, 1), (1, 2)),
        {"stride_nd": (2, 1), "padding_nd": (1, 2)},
    )
    yield _convolution(
        "dilation", x, w, b, lambda x: F.conv2d(x, w, b, dilation=(2, 3)), {"dilation_nd": (2, 3)}
    )
    grouped = rand(6, 2, 3, 3)
    yield _convolution(
        "groups", x, grouped, b, lambda x: F.conv2d(x, grouped, b, groups=2), {"num_groups": 2}
    )
    yield _convolution(
        "asymmetric",
        x,
        w,
        b,
        lambda x: F.conv2d(F.pad(x, (0, 2, 1, 0)), w, b),
        {"pre_padding": (1, 0), "post_padding": (0, 2)},
    )
    # 9 and 8 elements, stride 2: SAME pads 2 and 1; the odd one goes after or before.
    for mode, pads in {"SAME_UPPER": (0, 1, 1, 1), "SAME_LOWER": (1, 0, 1, 1)}.items():
        yield _convolution(
            mode,
            x,
            w,
            b,
            lambda x, pads=pads: F.conv2d(F.pad(x, pads), w, b, 2),
            {"stride_nd": (2, 2), "padding_mode": mode},
        )
    yield _convolution(
        "EXPLICIT_ROUND_UP",
        x,
        w,
        b,
        lambda x: F.conv2d(F.pad(x, (0, 1)), w, b, 2),
        {"stride_nd": (2, 2), "padding_mode": "EXPLICIT_ROUND_UP"},
    )
    volume, kernel = rand(1, 2, 5, 6, 7), rand(3, 2, 2, 3, 3)
    yield _convolution(
        "3d",
        volume,
        kernel,
        None,
        lambda x: F.conv3d(F.pad(x, (1, 0, 0, 1, 0, 0)), kernel),
        {"pre_padding": (0, 0, 1), "post_padding": (0, 1, 0)},
    )
    half = (x.half(), w.half(), b.half())
    yield _convolution(
        "half",
        half[0],
        half[1],
        half[2],
        lambda x: F.conv2d(x.float(), half[1].float(), half[2].float()).half(),
        {},
        rtol=5e-3,
    )
    yield from _operands(x, w, b)


def _operands(x, weight, bias) -> Iterator[Case]:
    """Kernel, bias or both as inputs of the layer, as the ONNX parser leaves them."""
    empty = trt_api.trt().Weights

    def kernel_tensor(net, x, kernel):
        layer = net.n.add_convolution_nd(x, 6, (3, 3), empty(net.trt.float32))
        layer.set_input(1, kernel)
        return layer

    def bias_tensor(net, x, given):
        layer = net.n.add_convolution_nd(x, 6, (3, 3), _array(weight))
        layer.set_input(2, given)
        return layer

    def both(net, x, kernel, given):
        layer = kernel_tensor(net, x, kernel)
        layer.set_input(2, given)
        return layer

    def transposed(net, x, kernel, given):
        layer = net.n.add_deconvolution_nd(x, 4, (3, 3), empty(net.trt.float32))
        layer.set_input(1, kernel)
        layer.set_input(2, given)
        return layer

    deep, other = rand(2, 6, 5, 6), rand(4)
    for name, build, inputs, expected in (
        ("convolution-kernel_input", kernel_tensor, (x, weight), F.conv2d),
        ("convolution-bias_input", bias_tensor, (x, bias), lambda x, b: F.conv2d(x, weight, b)),
        ("convolution-both_inputs", both, (x, weight, bias), F.conv2d),
        ("deconvolution-both_inputs", transposed, (deep, weight, other), F.conv_transpose2d),
    ):
        why = "kernel and bias of a convolution must be constants in TensorRT 8.6"
        yield Case(name, build, inputs, expected, atol=1e-5, unlike=why)


def _deconvolution(name, x, weight, bias, groups, expected, options):
    def build(net, x):
        arrays = [_array(weight)] + ([] if bias is None else [_array(bias)])
        maps = weight.shape[1] * groups
        layer = net.n.add_deconvolution_nd(x, maps, tuple(weight.shape[2:]), *arrays)
        return _window(net, layer, {"num_groups": groups, **options})

    return Case(f"deconvolution-{name}", build, (x,), expected, atol=1e-5)


def _deconvolutions() -> Iterator[Case]:
    x, w, b = rand(2, 4, 5, 6), rand(4, 3, 3, 3), rand(3)
    yield _deconvolution("plain", x, w, b, 1, lambda x: F.conv_transpose2d(x, w, b), {})
    yield _deconvolution(
        "stride_padding",
        x,
        w,
        None,
        1,
        lambda x: F.conv_transpose2d(x, w, None, 2, 1),
        {"stride_nd": (2, 2), "padding_nd": (1, 1)},
    )
    yield _deconvolution(
        "output_padding",
        x,
        w,
        None,
        1,
        lambda x: F.conv_transpose2d(x, w, None, 2, 1, output_padding=1),
        {"stride_nd": (2, 2), "pre_padding": (1, 1), "post_padding": (0, 0)},
    )
    grouped = rand(4, 2, 3, 3)
    yield _deconvolution(
        "groups",
        x,
        grouped,
        None,
        2,
        lambda x: F.conv_transpose2d(x, grouped, None, 2, groups=2),
        {"stride_nd": (2, 2)},
    )
    yield _deconvolution(
        "dilation",
        x,
        w,
        None,
        1,
        lambda x: F.conv_transpose2d(x, w, None, dilation=2),
        {"dilation_nd": (2, 2)},
    )
    full = lambda x: F.conv_transpose2d(x, w, None, 2)  # noqa: E731
    yield _deconvolution(
        "SAME_UPPER",
        x,
        w,
        None,
        1,
        lambda x: full(x)[..., :-1, :-1],
        {"stride_nd": (2, 2), "padding_mode": "SAME_UPPER"},
    )
    yield _deconvolution(
        "SAME_LOWER",
        x,
        w,
        None,
        1,
        lambda x: full(x)[..., 1:, 1:],
        {"stride_nd": (2, 2), "padding_mode": "SAME_LOWER"},
    )
    volume, kernel = rand(1, 2, 3, 4, 5), rand(2, 3, 2, 2, 3)
    yield _deconvolution(
        "3d",
        volume,
        kernel,
        None,
        1,
        lambda x: F.conv_transpose3d(x, kernel, None, (1, 2, 1)),
        {"stride_nd": (1, 2, 1)},
    )


def _pooling(name, x, kind, window, expected, options, **case):
    def build(net, x):
        layer = net.n.add_pooling_nd(x, net.enum("PoolingType", kind), window)
        return _window(net, layer, options)

    return Case(f"pooling-{name}", build, (x,), expected, **case)


def _poolings() -> Iterator[Case]:
    x = rand(2, 3, 9, 10)
    wide = {"stride_nd": (2, 2), "padding_nd": (1, 1)}
    up = {"stride_nd": (2, 2), "padding_nd": (1, 1), "padding_mode": "EXPLICIT_ROUND_UP"}
    counted = {"average_count_excludes_padding": False}
    yield _pooling("max", x, "MAX", (3, 3), lambda x: F.max_pool2d(x, 3, 2, 1), wide)
    yield _pooling(
        "max-ceil", x, "MAX", (3, 3), lambda x: F.max_pool2d(x, 3, 2, 1, ceil_mode=True), up
    )
    yield _pooling(
        "max-asymmetric",
        x,
        "MAX",
        (3, 2),
        lambda x: F.max_pool2d(F.pad(x, (1, 0, 0, 2), value=-torch.inf), (3, 2), 1),
        {"pre_padding": (0, 1), "post_padding": (2, 0)},
    )
    for include, extra in ((False, {}), (True, counted)):
        name = "included" if include else "excluded"
        yield _pooling(
            f"average-{name}",
            x,
            "AVERAGE",
            (3, 3),
            lambda x, include=include: F.avg_pool2d(x, 3, 2, 1, count_include_pad=include),
            {**wide, **extra},
        )
        yield _pooling(
            f"average-ceil-{name}",
            x,
            "AVERAGE",
            (3, 3),
            # With the padding, what lies beyond it counts too, unlike in PyTorch.
            (lambda x: F.avg_pool2d(F.pad(x, (1, 2, 1, 1)), 3, 2))
            if include
            else (lambda x: F.avg_pool2d(x, 3, 2, 1, True, False)),
            {**up, **extra},
        )
    yield _pooling(
        "blend",
        x,
        "MAX_AVERAGE_BLEND",
        (2, 2),
        lambda x: 0.75 * F.max_pool2d(x, 2, 1) + 0.25 * F.avg_pool2d(x, 2, 1),
        {"blend_factor": 0.25},
    )
    # 10 elements, window 3, stride 2: one element of padding, at the end or at the start.
    square = rand(1, 2, 10, 10)
    for mode, pads in {"SAME_UPPER": (0, 1, 0, 1), "SAME_LOWER": (1, 0, 1, 0)}.items():
        yield _pooling(
            f"max-{mode}",
            square,
            "MAX",
            (3, 3),
            lambda x, pads=pads: F.max_pool2d(F.pad(x, pads, value=-torch.inf), 3, 2),
            {"stride_nd": (2, 2), "padding_mode": mode},
        )
    volume = rand(1, 2, 5, 6, 7)
    yield _pooling("max-3d", volume, "MAX", (2, 3, 2), lambda x: F.max_pool3d(x, (2, 3, 2), 1), {})
    yield _pooling(
        "average-3d", volume, "AVERAGE", (2, 3, 2), lambda x: F.avg_pool3d(x, (2, 3, 2), 1), {}
    )
    yield _pooling(
        "average-dynamic",
        x,
        "AVERAGE",
        (2, 2),
        lambda x: F.avg_pool2d(x, 2, 1),
        {},
        dynamic={0: (-1, 3, -1, -1)},
    )


def _others() -> Iterator[Case]:
    x = rand(1, 5, 2, 3)
    yield Case(
        "lrn",
        lambda net, x: net.n.add_lrn(x, 3, 0.7, 0.75, 1.1),
        (x,),
        lambda x: F.local_response_norm(x, 3, 0.7, 0.75, 1.1),
        rtol=1e-4,
    )
    yield Case(
        "padding",
        lambda net, x: net.n.add_padding_nd(x, (1, -1), (2, 1)),
        (x,),
        lambda x: F.pad(x, (-1, 1, 1, 2)),
    )
