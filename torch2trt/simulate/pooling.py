"""Windows over an input: pooling, local response normalisation, padding."""

from __future__ import annotations

import torch
import torch.nn.functional as F

from .convolution import Window, pad, windows
from .layers import Layer, rule

_MAX = {2: F.max_pool2d, 3: F.max_pool3d}
_AVERAGE = {2: F.avg_pool2d, 3: F.avg_pool3d}


@rule("POOLING", "IPoolingLayer", widen=True)
def pooling(layer: Layer, x: torch.Tensor) -> torch.Tensor:
    """Maximum, average, or (1 - blend) * maximum + blend * average."""
    kernel = tuple(layer.api.window_size_nd)
    found = windows(layer, tuple(x.shape[-len(kernel) :]), kernel)
    kind = layer.api.type.name
    if kind == "MAX":
        return _maximum(x, kernel, found)
    if kind == "AVERAGE":
        return _average(layer, x, kernel, found)
    blend = layer.api.blend_factor
    return (1 - blend) * _maximum(x, kernel, found) + blend * _average(layer, x, kernel, found)


def _maximum(x: torch.Tensor, kernel: tuple[int, ...], found: list[Window]) -> torch.Tensor:
    """Padding counts as minus infinity."""
    wide, strides = x if x.is_floating_point() else x.float(), [w.stride for w in found]
    apply, before = _MAX[len(kernel)], [w.pre for w in found]
    if all(w.pre == w.post <= w.span // 2 and not w.beyond for w in found):
        return apply(wide, kernel, strides, before).to(x.dtype)
    padded = pad(wide, before, [w.post + w.beyond for w in found], value=-torch.inf)
    return apply(padded, kernel, strides).to(x.dtype)


def _average(
    layer: Layer, x: torch.Tensor, kernel: tuple[int, ...], found: list[Window]
) -> torch.Tensor:
    """Padding counts as zeros, as does what lies beyond it; the divisor counts both or neither."""
    before, after = [w.pre for w in found], [w.post + w.beyond for w in found]
    average, strides = _AVERAGE[len(kernel)], [w.stride for w in found]

    def sums(values: torch.Tensor, value: float = 0.0) -> torch.Tensor:
        padded = pad(values, before, after, value=value)
        return average(padded, kernel, strides, divisor_override=1)

    outside = 0.0 if layer.api.average_count_excludes_padding else 1.0
    return sums(x) / sums(torch.ones(1, 1, *x.shape[-len(kernel) :]), outside)


@rule("LRN", "ILRNLayer", widen=True)
def local_response_normalization(layer: Layer, x: torch.Tensor) -> torch.Tensor:
    """x / (k + alpha / window * sum of squares over neighbouring channels) ** beta."""
    api, reach = layer.api, layer.api.window_size // 2
    squares = pad(x.square(), [reach, 0, 0], [reach, 0, 0])
    total = squares.unfold(-3, api.window_size, 1).sum(-1)
    return x / (api.k + api.alpha / api.window_size * total) ** api.beta


@rule("PADDING", "IPaddingLayer")
def padding(layer: Layer, x: torch.Tensor) -> torch.Tensor:
    """Zeros around the last two dimensions; negative amounts crop."""
    return pad(x, list(layer.api.pre_padding_nd), list(layer.api.post_padding_nd))
