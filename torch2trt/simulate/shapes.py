"""Where elements go, and tensors from nothing: shuffle, slice, concatenation, constants, fill."""

from __future__ import annotations

import math

import torch

from .layers import Layer, integers, rule


@rule("CONSTANT", "IConstantLayer")
def constant(layer: Layer) -> torch.Tensor:
    shape = tuple(layer.api.shape)
    dtype = layer.dtype()
    if 0 in shape:
        return torch.empty(shape, dtype=dtype)
    return layer.weight("weights").reshape(shape)


@rule("SHAPE", "IShapeLayer")
def shape(layer: Layer, x: torch.Tensor) -> torch.Tensor:
    return torch.tensor(x.shape, dtype=layer.dtype())


@rule("CONCATENATION", "IConcatenationLayer")
def concatenation(layer: Layer, *parts: torch.Tensor) -> torch.Tensor:
    dtypes = {part.dtype for part in parts}
    layer.check(len(dtypes) == 1, f"expected inputs of one dtype, got {sorted(map(str, dtypes))}")
    return torch.cat(parts, layer.api.axis)


@rule("SHUFFLE", "IShuffleLayer")
def shuffle(layer: Layer, x: torch.Tensor, dims: torch.Tensor | None = None) -> torch.Tensor:
    """A transpose, a reshape, a transpose."""
    x = x.permute(tuple(layer.api.first_transpose)[: x.ndim])
    wanted = layer.dimensions("reshape_dims") if dims is None else integers(dims)
    if wanted is not None:
        x = x.reshape(_resolved(layer, x, wanted))
    return x.permute(tuple(layer.api.second_transpose)[: x.ndim])


def _resolved(layer: Layer, x: torch.Tensor, dims: tuple[int, ...]) -> tuple[int, ...]:
    """Replaces 0, the input's dimension at the same place, and -1, whatever is left."""
    if layer.api.zero_is_placeholder:
        layer.check(
            all(d or i < x.ndim for i, d in enumerate(dims)),
            f"a 0 in {dims} has no counterpart in {tuple(x.shape)}",
        )
        dims = tuple(d or x.shape[i] for i, d in enumerate(dims))
    rest = math.prod(d for d in dims if d != -1)
    layer.check(
        -1 not in dims or rest > 0,
        f"the -1 in {dims} is indeterminate for an input without elements",
    )
    return dims


@rule("SQUEEZE", "ISqueezeLayer")
def squeeze(layer: Layer, x: torch.Tensor, axes: torch.Tensor | None = None) -> torch.Tensor:
    """Drops the given axes; without any, each whose size is 1 in the definition."""
    if axes is None:
        dims = tuple(i for i, size in enumerate(tuple(layer.inputs[0].shape)) if size == 1)
    else:
        dims = integers(axes)
    wrong = [dim for dim in dims if x.shape[dim] != 1]
    layer.check(not wrong, f"axes {wrong} of {tuple(x.shape)} are not 1")
    return x.squeeze(dims)


@rule("UNSQUEEZE", "IUnsqueezeLayer")
def unsqueeze(layer: Layer, x: torch.Tensor, axes: torch.Tensor) -> torch.Tensor:
    dims = integers(axes)
    rank = x.ndim + len(dims)
    for dim in sorted(dim % rank for dim in dims):
        x = x.unsqueeze(dim)
    return x


@rule("SLICE", "ISliceLayer")
def slice_(
    layer: Layer,
    x: torch.Tensor,
    start: torch.Tensor | None = None,
    size: torch.Tensor | None = None,
    stride: torch.Tensor | None = None,
    fill: torch.Tensor | None = None,
    axes: torch.Tensor | None = None,
) -> torch.Tensor:
    """Element start + stride * i of each axis; the mode says what lies outside the input."""
    axes = _slice_axes(layer, x, axes)
    parameters = zip(
        axes,
        layer.parameter(start, "start"),
        layer.parameter(size, "shape"),
        layer.parameter(stride, "stride"),
        strict=True,
    )
    mode = layer.api.mode.name
    inside = torch.ones((), dtype=torch.bool)
    for axis, first, count, step in parameters:
        coordinates = first + step * torch.arange(count)
        outside = (coordinates < 0) | (coordinates >= x.shape[axis])
        if outside.any():
            inside = inside & _along(~outside, axis, x.ndim)
            coordinates = _map_outside(layer, mode, coordinates, x.shape[axis])
        x = _take(x, axis, coordinates, first, step)
    if inside.all():
        return x
    layer.check(fill is not None or mode != "FILL", "mode FILL needs a fill value, input 4")
    return torch.where(inside, x, fill.to(x.dtype).reshape(())) if mode == "FILL" else x


def _slice_axes(layer: Layer, x: torch.Tensor, axes: torch.Tensor | None) -> tuple[int, ...]:
    given = layer.dimensions("axes") if axes is None else integers(axes)
    return tuple(range(x.ndim)) if given is None else tuple(axis % x.ndim for axis in given)


def _along(mask: torch.Tensor, axis: int, rank: int) -> torch.Tensor:
    return mask.reshape([-1 if i == axis else 1 for i in range(rank)])


def _map_outside(layer: Layer, mode: str, coordinates: torch.Tensor, size: int) -> torch.Tensor:
    if mode == "STRICT_BOUNDS":
        layer.fail(f"coordinates {coordinates.tolist()} leave the axis, which has {size} elements")
    layer.check(size > 0 or mode == "FILL", f"mode {mode} needs elements, the axis has none")
    if mode == "WRAP":
        return coordinates % size
    if mode == "REFLECT":
        period = max(2 * size - 2, 1)
        folded = coordinates.abs() % period
        return torch.where(folded >= size, period - folded, folded)
    return coordinates.clamp(0, max(size - 1, 0))


def _take(
    x: torch.Tensor, axis: int, coordinates: torch.Tensor, first: int, step: int
) -> torch.Tensor:
    """The given coordinates of one axis; a view where they ascend within the input."""
    count = len(coordinates)
    if step > 0 and 0 <= first and first + step * (count - 1) < x.shape[axis]:
        return x[(slice(None),) * axis + (slice(first, first + step * count, step),)]
    if not x.shape[axis]:
        return x.new_zeros([count if i == axis else n for i, n in enumerate(x.shape)])
    return x.index_select(axis, coordinates)


@rule("FILL", "IFillLayer")
def fill(
    layer: Layer,
    dims: torch.Tensor | None = None,
    alpha: torch.Tensor | None = None,
    beta: torch.Tensor | None = None,
) -> torch.Tensor:
    """alpha + sum over the axes of beta[axis] * index[axis]."""
    operation = layer.api.operation.name
    layer.check(operation == "LINSPACE", f"operation {operation} is random")
    dtype = layer.dtype()
    sizes = layer.parameter(dims, "shape")
    start = torch.tensor(layer.api.alpha) if alpha is None else alpha.reshape(())
    steps = torch.tensor([layer.api.beta]) if beta is None else beta.reshape(-1)
    layer.check(
        len(steps) == len(sizes), f"expected {len(sizes)} steps, one per axis, got {len(steps)}"
    )
    result = start.to(dtype)
    for axis, (size, step) in enumerate(zip(sizes, steps, strict=True)):
        result = result + _along(step.to(dtype) * torch.arange(size, dtype=dtype), axis, len(sizes))
    return result.reshape(sizes)
