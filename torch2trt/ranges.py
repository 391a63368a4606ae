"""Example inputs of the sizes that a program with dynamic dimensions is to serve."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch.utils import _pytree as pytree

from .program import Input
from .sizes import at_size

_SIZES: tuple[Callable[[int, int, int], int], ...] = (
    lambda axis, low, high: low if axis else min(3, high),
    lambda axis, low, high: high if axis else min(5, high),
)  # that a traced program is compared at, besides those of the call


def examples(args: Any, kwargs: Any, inputs: Sequence[Input]) -> list[tuple[Any, Any]]:
    """Arguments to trace with, and others: those given, and of other sizes in every dimension.

    Args:
        args, kwargs: as given, of sizes inside the ranges.
        inputs: of the program, for the tensors among them.
    """
    ranges = [i.ranges for i in inputs]
    sizes: list[list[dict[int, int]]] = [[{0: 2} if 0 in r else {} for r in ranges]]
    for size in _SIZES:
        sizes.append([{n: size(n, r[n][0], r[n][2]) for n in r} for r in ranges])
    first, *others = (_of_sizes(args, kwargs, each, ranges) for each in sizes)
    found = {_shapes_of(first): first}
    for example in (*others, (args, kwargs)):
        found.setdefault(_shapes_of(example), example)
    return list(found.values())


def _of_sizes(
    args: Any, kwargs: Any, sizes: Sequence[Mapping[int, int]], ranges: Sequence[Any]
) -> tuple[Any, Any]:
    rows = iter(zip(sizes, ranges))
    return pytree.tree_map_only(
        torch.Tensor, lambda tensor: _resized(tensor, *next(rows)), (args, kwargs)
    )


def _shapes_of(example: tuple[Any, Any]) -> tuple[torch.Size, ...]:
    return tuple(tensor.shape for tensor in _tensors(example))


def extremes(args: Any, kwargs: Any, inputs: Sequence[Input]) -> list[list[torch.Tensor]]:
    """The tensors among the arguments with dynamic dimensions as small, and as large, as may be."""
    tensors = _tensors((args, kwargs))
    return [
        [
            _resized(x, {n: sizes[end] for n, sizes in i.ranges.items()}, i.ranges)
            for x, i in zip(tensors, inputs)
        ]
        for end in (0, -1)
    ]


def _resized(
    tensor: torch.Tensor, sizes: Mapping[int, int], ranges: Mapping[int, tuple[int, int, int]]
) -> torch.Tensor:
    """An example of other sizes, made of the given values, so that indices stay valid."""
    for axis, size in sizes.items():
        low, _, high = ranges[axis]
        if low <= size <= high and tensor.numel() and tensor.shape[axis] != size:
            tensor = at_size(tensor, axis, size)
    return tensor


def _tensors(values: Any) -> list[torch.Tensor]:
    return [leaf for leaf in pytree.tree_leaves(values) if isinstance(leaf, torch.Tensor)]
