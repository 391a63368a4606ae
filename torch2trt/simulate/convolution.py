"""Convolution and deconvolution in two and three dimensions; the padding modes, also of pooling."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F

from .layers import Layer, rule


@dataclass(frozen=True)
class Window:
    """One spatial dimension of a sliding window.

    Attributes:
        size: elements of the input.
        span: elements that the window covers, dilation included.
        stride: elements between windows.
        pre: padding before the input.
        post: padding after it.
        beyond: further elements that the last window reaches past the padding (rounding up).
    """

    size: int
    span: int
    stride: int
    pre: int
    post: int
    beyond: int = 0


def windows(layer: Layer, sizes: tuple[int, ...], kernel: tuple[int, ...]) -> list[Window]:
    """The padding of each spatial dimension of a convolution or pooling, after its padding mode."""
    api, mode = layer.api, layer.api.padding_mode.name
    strides, dilations = tuple(api.stride_nd), _dilation(layer, len(sizes))
    padding = zip(tuple(api.pre_padding), tuple(api.post_padding), strict=True)
    found = []
    for size, taps, stride, dilation, (pre, post) in zip(
        sizes, kernel, strides, dilations, padding, strict=True
    ):
        span = 1 + dilation * (taps - 1)
        if mode.startswith("SAME"):
            total = max((size - 1) // stride * stride + span - size, 0)
            pre, post = _split(mode, total)
        beyond = 0
        if mode == "EXPLICIT_ROUND_UP":
            beyond = -(size + pre + post - span) % stride
        elif mode not in ("EXPLICIT_ROUND_DOWN", "SAME_UPPER", "SAME_LOWER"):
            layer.fail(f"padding mode {mode} is not simulated")
        found.append(Window(size, span, stride, pre, post, beyond))
    return found


def _split(mode: str, total: int) -> tuple[int, int]:
    less, more = total // 2, total - total // 2
    return (less, more) if mode == "SAME_UPPER" else (more, less)


def _dilation(layer: Layer, rank: int) -> tuple[int, ...]:
    return tuple(getattr(layer.api, "dilation_nd", (1,) * rank))


def pad(x: torch.Tensor, pre: list[int], post: list[int], value: float = 0.0) -> torch.Tensor:
    """Pads, or crops where negative, the last dimensions of a tensor."""
    amounts = [n for pair in zip(reversed(pre), reversed(post), strict=True) for n in pair]
    return F.pad(x, amounts, value=value) if any(amounts) else x


def _bias(layer: Layer, given: torch.Tensor | None, like: torch.Tensor) -> torch.Tensor | None:
    bias = layer.weight("bias") if given is None else given.flatten()
    return None if bias is None else bias.to(like.dtype)


@rule("CONVOLUTION", "IConvolutionLayer", widen=True)
def convolution(
    layer: Layer,
    x: torch.Tensor,
    kernel: torch.Tensor | None = None,
    bias: torch.Tensor | None = None,
) -> torch.Tensor:
    """Correlation with a kernel [K, C / groups, ...]; kernel and bias are weights or inputs."""
    api = layer.api
    if kernel is None:
        shape = (api.num_output_maps, x.shape[1] // api.num_groups, *api.kernel_size_nd)
        kernel = layer.weight("kernel").reshape(shape)
    found = windows(layer, tuple(x.shape[2:]), tuple(api.kernel_size_nd))
    apply = F.conv2d if x.ndim == 4 else F.conv3d
    options = {
        "stride": [w.stride for w in found],
        "dilation": _dilation(layer, len(found)),
        "groups": api.num_groups,
    }
    if all(w.pre == w.post and not w.beyond for w in found):
        options["padding"] = [w.pre for w in found]
    else:
        x = pad(x, [w.pre for w in found], [w.post + w.beyond for w in found])
    return apply(x, kernel.to(x.dtype), _bias(layer, bias, x), **options)


@rule("DECONVOLUTION", "IDeconvolutionLayer", widen=True)
def deconvolution(
    layer: Layer,
    x: torch.Tensor,
    kernel: torch.Tensor | None = None,
    bias: torch.Tensor | None = None,
) -> torch.Tensor:
    """The transpose of a convolution, kernel [C, K / groups, ...]; padding trims the output."""
    api, mode = layer.api, layer.api.padding_mode.name
    if kernel is None:
        shape = (x.shape[1], api.num_output_maps // api.num_groups, *api.kernel_size_nd)
        kernel = layer.weight("kernel").reshape(shape)
    strides, dilations = tuple(api.stride_nd), _dilation(layer, x.ndim - 2)
    pre, post = tuple(api.pre_padding), tuple(api.post_padding)
    if mode.startswith("SAME"):
        spans = [1 + d * (k - 1) for d, k in zip(dilations, tuple(api.kernel_size_nd), strict=True)]
        trims = [_split(mode, max(n - s, 0)) for n, s in zip(spans, strides, strict=True)]
        pre, post = zip(*trims, strict=True)
    apply = F.conv_transpose2d if x.ndim == 4 else F.conv_transpose3d
    full = apply(
        x,
        kernel.to(x.dtype),
        _bias(layer, bias, x),
        stride=strides,
        dilation=dilations,
        groups=api.num_groups,
    )
    return pad(full, [-n for n in pre], [-n for n in post])
