"""Interpolation between elements: resize and grid sample."""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F

from .layers import Layer, integers, rule

ROUNDINGS = {
    "FLOOR": torch.floor,
    "CEIL": torch.ceil,
    "HALF_UP": lambda x: torch.floor(x + 0.5),
    "HALF_DOWN": lambda x: torch.ceil(x - 0.5),
}
_INNERMOST = {"LINEAR": 3, "CUBIC": 2}


@rule("RESIZE", "IResizeLayer", widen=True)
def resize(layer: Layer, x: torch.Tensor, shape: torch.Tensor | None = None) -> torch.Tensor:
    """Interpolates axis by axis between the elements around each output coordinate."""
    mode = layer.api.resize_mode.name
    sizes = _output_sizes(layer, x, shape)
    axes = [i for i, (old, new) in enumerate(zip(x.shape, sizes, strict=True)) if old != new]
    reach = _INNERMOST.get(mode, x.ndim)
    layer.check(
        all(axis >= x.ndim - reach for axis in axes),
        f"mode {mode} resizes the last {reach} dimensions, {tuple(x.shape)} becomes {sizes}",
    )
    given = shape is not None or layer.dimensions("shape")
    scales = [None] * x.ndim if given else list(layer.api.scales)
    for axis in axes:
        sources, weights = _taps(layer, mode, x.shape[axis], sizes[axis], scales[axis])
        x = _interpolate(x, axis, sources, weights)
    return x


def _output_sizes(layer: Layer, x: torch.Tensor, shape: torch.Tensor | None) -> tuple[int, ...]:
    if shape is not None:
        return integers(shape)
    given = layer.dimensions("shape")
    if given:
        return given
    lengths = np.array(x.shape, np.float32) * np.array(list(layer.api.scales), np.float32)
    return integers(np.floor(lengths))


def _coordinates(layer: Layer, old: int, new: int, scale: float | None) -> torch.Tensor:
    """Where each output element lies, in elements of the input.

    A scale counts as it was given, even if the lengths have another ratio.
    """
    step = old / new if scale is None else 1 / scale
    steps = torch.arange(new, dtype=torch.float64)
    transformation = layer.api.coordinate_transformation.name
    if new == 1 and layer.api.selector_for_single_pixel.name == "UPPER":
        return steps
    if transformation == "ALIGN_CORNERS":
        return steps * (old - 1) / max(new - 1, 1)
    if transformation == "HALF_PIXEL":
        return (steps + 0.5) * step - 0.5
    return steps * step


def _taps(
    layer: Layer, mode: str, old: int, new: int, scale: float | None
) -> tuple[torch.Tensor, torch.Tensor]:
    """The source elements of each output element, and their weights; one column for each tap."""
    exact = _coordinates(layer, old, new, scale)
    if mode == "NEAREST":
        sources = ROUNDINGS[layer.api.nearest_rounding.name](exact).unsqueeze(1)
        weights = torch.ones_like(sources)
    else:
        whole = torch.floor(exact).unsqueeze(1)
        part = exact.unsqueeze(1) - whole
        offsets = torch.arange(2) if mode == "LINEAR" else torch.arange(-1, 3)
        distance = (part - offsets).abs()
        linear = mode == "LINEAR"
        weights = 1 - distance if linear else _cubic(distance, layer.api.cubic_coeff)
        sources = whole + offsets
    if layer.api.exclude_outside:
        weights = weights * ((sources >= 0) & (sources < old))
        weights = weights / weights.sum(1, keepdim=True)
    return sources.clamp(0, old - 1).long(), weights.float()


def _cubic(d: torch.Tensor, a: float) -> torch.Tensor:
    near = ((a + 2) * d - (a + 3)) * d * d + 1
    far = ((a * d - 5 * a) * d + 8 * a) * d - 4 * a
    return torch.where(d <= 1, near, torch.where(d < 2, far, torch.zeros((), dtype=d.dtype)))


def _interpolate(
    x: torch.Tensor, axis: int, sources: torch.Tensor, weights: torch.Tensor
) -> torch.Tensor:
    if sources.shape[1] == 1:
        return x.index_select(axis, sources[:, 0])
    shape = [-1 if i == axis else 1 for i in range(x.ndim)]
    taps = zip(sources.unbind(1), weights.unbind(1), strict=True)
    return sum(x.index_select(axis, source) * weight.reshape(shape) for source, weight in taps)


INTERPOLATIONS = {"NEAREST": "nearest", "LINEAR": "bilinear", "CUBIC": "bicubic"}
BORDERS = {"FILL": "zeros", "CLAMP": "border", "REFLECT": "reflection"}


@rule("GRID_SAMPLE", "IGridSampleLayer", widen=True)
def grid_sample(layer: Layer, x: torch.Tensor, grid: torch.Tensor) -> torch.Tensor:
    """Samples x at the normalised coordinates of the grid."""
    mode, border = layer.api.interpolation_mode.name, layer.api.sample_mode.name
    layer.check(border in BORDERS, f"sample mode {border} is not one of {', '.join(BORDERS)}")
    return F.grid_sample(
        x,
        grid,
        mode=INTERPOLATIONS[mode],
        padding_mode=BORDERS[border],
        align_corners=layer.api.align_corners,
    )
