"""Over the elements of an axis: softmax, reductions, top k, cumulative sums, normalisation."""

from __future__ import annotations

import torch

from .layers import Layer, rule


@rule("SOFTMAX", "ISoftMaxLayer", widen=True)
def softmax(layer: Layer, x: torch.Tensor) -> torch.Tensor:
    return torch.softmax(x, layer.axis(layer.api.axes, x.ndim))


@rule("RAGGED_SOFTMAX", "IRaggedSoftMaxLayer", widen=True)
def ragged_softmax(layer: Layer, x: torch.Tensor, bounds: torch.Tensor) -> torch.Tensor:
    """Softmax over the first ``bounds`` elements of each sequence, zero behind them."""
    inside = torch.arange(x.shape[-1]) < bounds
    return torch.softmax(x.masked_fill(~inside, -torch.inf), -1).masked_fill(~inside, 0.0)


def _mean(x: torch.Tensor, dims: tuple[int, ...], keep: bool) -> torch.Tensor:
    if x.is_floating_point():
        return x.mean(dims, keep)
    count = max(x.numel() // max(x.sum(dims).numel(), 1), 1)
    return torch.div(_sum(x, dims, keep), count, rounding_mode="trunc")


def _sum(x: torch.Tensor, dims: tuple[int, ...], keep: bool) -> torch.Tensor:
    return x.sum(dims, keep, dtype=x.dtype)


def _product(x: torch.Tensor, dims: tuple[int, ...], keep: bool) -> torch.Tensor:
    for dim in dims:
        x = x.prod(dim, keepdim=True, dtype=x.dtype)
    return x if keep else x.squeeze(dims)


def _extreme(x: torch.Tensor, dims: tuple[int, ...], keep: bool, largest: bool) -> torch.Tensor:
    """The maximum or minimum; of no elements, the least or the greatest value of the type."""
    if x.numel():
        return (torch.amax if largest else torch.amin)(x, dims, keep)
    info = None if x.is_floating_point() else torch.iinfo(x.dtype)
    least, greatest = (info.min, info.max) if info else (-torch.inf, torch.inf)
    return torch.full_like(_sum(x, dims, keep), least if largest else greatest)


REDUCTIONS = {
    "SUM": _sum,
    "PROD": _product,
    "MAX": lambda x, dims, keep: _extreme(x, dims, keep, True),
    "MIN": lambda x, dims, keep: _extreme(x, dims, keep, False),
    "AVG": _mean,
}


@rule("REDUCE", "IReduceLayer", widen=True)
def reduce(layer: Layer, x: torch.Tensor) -> torch.Tensor:
    operation = layer.api.op.name
    layer.check(operation in REDUCTIONS, f"operation {operation} is not simulated")
    return REDUCTIONS[operation](x, layer.axes(layer.api.axes, x.ndim), layer.api.keep_dims)


@rule("TOPK", "ITopKLayer")
def topk(
    layer: Layer, x: torch.Tensor, count: torch.Tensor | None = None
) -> tuple[torch.Tensor, torch.Tensor]:
    """The k largest or smallest along an axis, sorted; of equal ones the first, which is open."""
    axis = layer.axis(layer.api.axes, x.ndim)
    k = layer.api.k if count is None else int(count)
    layer.check(0 <= k <= x.shape[axis], f"k is {k}, the axis has {x.shape[axis]} elements")
    values, indices = x.sort(dim=axis, descending=layer.api.op.name == "MAX", stable=True)
    dtype = layer.dtype(1)
    return values.narrow(axis, 0, k), indices.narrow(axis, 0, k).to(dtype)


@rule("CUMULATIVE", "ICumulativeLayer", widen=True)
def cumulative(layer: Layer, x: torch.Tensor, axis: torch.Tensor) -> torch.Tensor:
    layer.check(layer.api.op.name == "SUM", f"operation {layer.api.op.name} is not simulated")
    dim = int(axis)
    x = x.flip(dim) if layer.api.reverse else x
    sums = x.cumsum(dim, dtype=x.dtype)
    if layer.api.exclusive:
        zero = torch.zeros_like(sums.narrow(dim, 0, min(1, x.shape[dim])))
        sums = torch.cat([zero, sums], dim).narrow(dim, 0, x.shape[dim])
    return sums.flip(dim) if layer.api.reverse else sums


@rule("NORMALIZATION", "INormalizationLayer", widen=True)
def normalization(
    layer: Layer, x: torch.Tensor, scale: torch.Tensor, bias: torch.Tensor
) -> torch.Tensor:
    """(x - mean) / sqrt(variance + epsilon) * scale + bias.

    With groups, scale and bias have one element per group, or per channel (the second version).
    """
    groups = layer.api.num_groups
    if groups == 1:
        return _standardize(x, layer.axes(layer.api.axes, x.ndim), layer.api.epsilon) * scale + bias
    split = x.unflatten(1, (groups, -1))
    normal = _standardize(split, tuple(range(2, split.ndim)), layer.api.epsilon)
    if getattr(layer.api, "is_v2", False):
        return normal.flatten(1, 2) * scale + bias
    return (normal * scale.unsqueeze(2) + bias.unsqueeze(2)).flatten(1, 2)


def _standardize(x: torch.Tensor, dims: tuple[int, ...], epsilon: float) -> torch.Tensor:
    centred = x - x.mean(dims, keepdim=True)
    return centred / torch.sqrt(centred.square().mean(dims, keepdim=True) + epsilon)
