"""Elements found by index: gather, scatter, one-hot, non-zero, reversal, box suppression."""

from __future__ import annotations

import math

import torch

from .layers import Layer, rule


def _looked_up(
    layer: Layer, indices: torch.Tensor, size: int, axis: int
) -> tuple[torch.Tensor, torch.Tensor]:
    """Indices that are safe to use, and which of them exist: what does not exist reads as zero.

    A negative index counts from the end, where the length of the axis is part of the definition.
    """
    negative = indices < 0
    layer.check(
        tuple(layer.inputs[0].shape)[axis] != -1 or not bool(negative.any()),
        f"a negative index is undefined on axis {axis}, whose length is dynamic",
    )
    indices = torch.where(negative, indices + size, indices).long()
    exists = (indices >= 0) & (indices < size)
    return torch.where(exists, indices, 0), exists


@rule("GATHER", "IGatherLayer")
def gather(layer: Layer, x: torch.Tensor, indices: torch.Tensor) -> torch.Tensor:
    mode, batch = layer.api.mode.name, layer.api.num_elementwise_dims
    if mode == "ND":
        return _gather_nd(layer, x, indices, batch)
    axis = layer.api.axis % x.ndim
    safe, exists = _looked_up(layer, indices, x.shape[axis], axis)
    if mode == "ELEMENT":
        return torch.where(exists, x.gather(axis, safe), torch.zeros((), dtype=x.dtype))
    if not batch:
        return _gather_axis(x, safe, exists, axis)
    layer.check(
        batch == 1 and axis > 0, f"expected 0 or 1 elementwise dims before axis {axis}, got {batch}"
    )
    count = max(x.shape[0], indices.shape[0])
    x, safe, exists = (t.expand(count, *t.shape[1:]) for t in (x, safe, exists))
    rows = [_gather_axis(*row, axis - 1) for row in zip(x, safe, exists, strict=True)]
    return torch.stack(rows)


def _gather_axis(
    x: torch.Tensor, indices: torch.Tensor, exists: torch.Tensor, axis: int
) -> torch.Tensor:
    shape = (*x.shape[:axis], *indices.shape, *x.shape[axis + 1 :])
    taken = x.index_select(axis, indices.flatten()).reshape(shape)
    if exists.all():
        return taken
    kept = exists.reshape(*exists.shape, *(1 for _ in x.shape[axis + 1 :]))
    return torch.where(kept, taken, torch.zeros((), dtype=x.dtype))


def _gather_nd(layer: Layer, x: torch.Tensor, indices: torch.Tensor, batch: int) -> torch.Tensor:
    """The last axis of the indices holds the coordinates of a slice of x, below the batch axes."""
    layer.check(
        x.shape[:batch] == indices.shape[:batch],
        f"the first {batch} dimensions of {tuple(x.shape)} and {tuple(indices.shape)} must agree",
    )
    depth, rows = indices.shape[-1], math.prod(x.shape[:batch])
    rest = x.shape[batch + depth :]
    flat, exists = _linear(layer, indices, x.shape[batch : batch + depth], batch)
    flat, exists = flat.reshape(rows, -1), exists.reshape(rows, -1)
    table = x.reshape(rows, -1, math.prod(rest))
    taken = table[torch.arange(rows).unsqueeze(1), flat]
    taken = torch.where(exists.unsqueeze(-1), taken, torch.zeros((), dtype=x.dtype))
    return taken.reshape(*indices.shape[:-1], *rest)


def _linear(
    layer: Layer, indices: torch.Tensor, sizes: torch.Size, first: int
) -> tuple[torch.Tensor, torch.Tensor]:
    flat = torch.zeros(indices.shape[:-1], dtype=torch.int64)
    exists = torch.ones(indices.shape[:-1], dtype=torch.bool)
    for i, size in enumerate(sizes):
        safe, found = _looked_up(layer, indices[..., i], size, first + i)
        flat, exists = flat * size + safe, exists & found
    return flat, exists


@rule("SCATTER", "IScatterLayer")
def scatter(
    layer: Layer, x: torch.Tensor, indices: torch.Tensor, updates: torch.Tensor
) -> torch.Tensor:
    """Copies x and overwrites elements; two different writes to one element are undefined."""
    layer.check(
        x.dtype == updates.dtype, f"expected updates of dtype {x.dtype}, got {updates.dtype}"
    )
    if layer.api.mode.name == "ELEMENT":
        axis = layer.api.axis % x.ndim
        safe, exists = _looked_up(layer, indices, x.shape[axis], axis)
        _check_exist(layer, exists)
        result = x.scatter(axis, safe, updates)
        _check_kept(layer, result.gather(axis, safe), updates)
        return result
    depth = indices.shape[-1]
    flat, exists = _linear(layer, indices, x.shape[:depth], 0)
    _check_exist(layer, exists)
    table = x.reshape(-1, math.prod(x.shape[depth:])).clone()
    rows = updates.reshape(flat.numel(), table.shape[1])
    table[flat.flatten()] = rows
    _check_kept(layer, table[flat.flatten()], rows)
    return table.reshape(x.shape)


def _check_exist(layer: Layer, exists: torch.Tensor) -> None:
    layer.check(bool(exists.all()), "an index lies outside of the data")


def _check_kept(layer: Layer, written: torch.Tensor, updates: torch.Tensor) -> None:
    kept = (written == updates) | (written.isnan() & updates.isnan())
    layer.check(bool(kept.all()), "several updates with different values go to the same element")


@rule("ONE_HOT", "IOneHotLayer")
def one_hot(
    layer: Layer, indices: torch.Tensor, values: torch.Tensor, depth: torch.Tensor
) -> torch.Tensor:
    """values[1] where the index along the new axis equals the given one, else values[0]."""
    classes, rank = int(depth), indices.ndim + 1
    layer.check(
        bool(((indices >= 0) & (indices < classes)).all()),
        f"expected indices from 0 to {classes - 1}",
    )
    axis = layer.api.axis % rank
    steps = torch.arange(classes).reshape([-1 if i == axis else 1 for i in range(rank)])
    return torch.where(indices.unsqueeze(axis) == steps, values[1], values[0])


@rule("NON_ZERO", "INonZeroLayer")
def non_zero(layer: Layer, x: torch.Tensor) -> torch.Tensor:
    """The indices of the elements that are not zero, in row-major order, one column each."""
    return x.nonzero().t().to(layer.dtype())


@rule("REVERSE_SEQUENCE", "IReverseSequenceLayer")
def reverse_sequence(layer: Layer, x: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
    """Reverses the first ``lengths[i]`` elements along the sequence axis of batch i."""
    batch, sequence = layer.api.batch_axis % x.ndim, layer.api.sequence_axis % x.ndim
    steps = torch.arange(x.shape[sequence])
    ends = lengths.long().unsqueeze(1)
    sources = torch.where(steps < ends, ends - 1 - steps, steps)
    sources = sources if batch < sequence else sources.t()
    shape = [n if i in (batch, sequence) else 1 for i, n in enumerate(x.shape)]
    return x.gather(sequence, sources.reshape(shape).expand(x.shape))


@rule("NMS", "INMSLayer", widen=True)
def nms(
    layer: Layer,
    boxes: torch.Tensor,
    scores: torch.Tensor,
    limit: torch.Tensor,
    overlap: torch.Tensor | None = None,
    threshold: torch.Tensor | None = None,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Per batch and class, in decreasing order of score, drops boxes that overlap a kept one."""
    most, least = int(limit), 0.0 if threshold is None else float(threshold)
    highest = 0.0 if overlap is None else float(overlap)
    rows = []
    for batch in range(boxes.shape[0]):
        kept: dict[int, list[torch.Tensor]] = {}
        for box, kind in _candidates(layer, scores[batch], least):
            corners = _corners(
                layer, boxes[batch, box] if boxes.ndim == 3 else boxes[batch, box, kind]
            )
            chosen = kept.setdefault(kind, [])
            if len(chosen) < most and all(_iou(corners, other) <= highest for other in chosen):
                chosen.append(corners)
                rows.append((batch, kind, box))
    found = torch.tensor(rows, dtype=layer.dtype()).reshape(-1, 3)
    return found, torch.tensor(len(rows), dtype=layer.dtype(1))


def _candidates(layer: Layer, scores: torch.Tensor, least: float) -> list[tuple[int, int]]:
    classes = scores.shape[1]
    order = scores.flatten().argsort(descending=True, stable=True)
    order = order[scores.flatten()[order] > least][: layer.api.topk_box_limit]
    return [divmod(int(i), classes) for i in order]


def _corners(layer: Layer, box: torch.Tensor) -> torch.Tensor:
    """x1, y1, x2, y2 with the lower corner first."""
    first, second = box[:2], box[2:]
    if layer.api.bounding_box_format.name == "CENTER_SIZES":
        first, second = first - second / 2, first + second / 2
    return torch.cat([torch.minimum(first, second), torch.maximum(first, second)])


def _iou(a: torch.Tensor, b: torch.Tensor) -> float:
    sides = (torch.minimum(a[2:], b[2:]) - torch.maximum(a[:2], b[:2])).clamp(min=0)
    shared = float(sides.prod())
    union = float((a[2:] - a[:2]).prod() + (b[2:] - b[:2]).prod()) - shared
    return shared / union if union > 0 else 0.0
