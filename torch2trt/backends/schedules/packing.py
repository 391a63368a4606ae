"""Weights as the kernels want them: recipes written down while compiling, run whenever the weights
change.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch


@dataclass(frozen=True)
class Recipe:
    """How to make one argument of the compiled function.

    Attributes:
        source: the index of the weight among the parameters, or -1 for `constant`.
        steps: names of functions of this module with their arguments, applied one after the other.
        shape: the shape of the result.
        dtype: the dtype of the result, by torch's name.
        constant: a fixed tensor.
    """

    source: int
    steps: tuple[tuple[Any, ...], ...]
    shape: tuple[int, ...]
    dtype: str
    constant: torch.Tensor | None = None

    def then(self, name: str, *args: Any, shape: Sequence[int], dtype: str = "") -> Recipe:
        """This recipe with one more step."""
        steps = (*self.steps, (name, *args))
        return Recipe(self.source, steps, tuple(shape), dtype or self.dtype, self.constant)

    def as_list(self) -> list[Any]:
        """All but the constant as plain values."""
        return [self.source, self.steps, self.shape, self.dtype]

    @classmethod
    def from_list(cls, values: Sequence[Any], constant: torch.Tensor | None) -> Recipe:
        """What `as_list` gave, and the constant."""
        source, steps, shape, dtype = values
        return cls(source, tuple(tuple(s) for s in steps), tuple(shape), dtype, constant)

    def make(self, weight: torch.Tensor | None) -> torch.Tensor:
        """The tensor, in memory that nobody else writes.

        Args:
            weight: that of `source`; None for a constant.
        """
        source = value = self.constant if self.source < 0 else weight
        for name, *args in self.steps:
            value = _STEPS[name](value, *args)
        value = value.contiguous()
        shared = value.untyped_storage().data_ptr() == source.untyped_storage().data_ptr()
        return value.clone() if shared and weight is not None else value


def pack(recipes: Sequence[Recipe], params: Iterable[torch.Tensor]) -> Iterator[torch.Tensor]:
    """What the recipes make of the weights `params`; each weight is let go as soon as no recipe
    needs it.
    """
    weights: list[torch.Tensor | None] = list(params)
    last = {recipe.source: position for position, recipe in enumerate(recipes)}
    for position, recipe in enumerate(recipes):
        yield recipe.make(weights[recipe.source] if recipe.source >= 0 else None)
        if recipe.source >= 0 and last[recipe.source] == position:
            weights[recipe.source] = None


def _columns(value: torch.Tensor, panel: int) -> torch.Tensor:
    """(..., N) to (..., panels, panel): the last panel overlaps the one before; fewer columns than
    one are padded.
    """
    count = value.shape[-1]
    if count % panel == 0:
        return value.reshape(*value.shape[:-1], count // panel, panel)
    if count < panel:
        return torch.nn.functional.pad(value, (0, panel - count)).unsqueeze(-2)
    whole = count // panel
    parts = value[..., : whole * panel].reshape(*value.shape[:-1], whole, panel)
    return torch.cat((parts, value[..., -panel:].unsqueeze(-2)), -2)


def _dense(value: torch.Tensor, panel: int) -> torch.Tensor:
    return _columns(value, panel).permute(1, 0, 2)


def _conv2d(value: torch.Tensor, groups: int, panel: int) -> torch.Tensor:
    outputs, depth, height, width = value.shape
    split = value.reshape(groups, outputs // groups, depth, height, width)
    return _columns(split.permute(0, 3, 4, 2, 1), panel).permute(0, 4, 1, 2, 3, 5)


def _depthwise(value: torch.Tensor) -> torch.Tensor:
    return value.squeeze(1).permute(1, 2, 0)


_STEPS: dict[str, Any] = {
    "permute": lambda value, *dims: value.permute(dims),
    "reshape": lambda value, *shape: value.reshape(shape),
    "astype": lambda value, dtype: value.to(getattr(torch, dtype)),
    "dense": _dense,
    "conv2d": _conv2d,
    "depthwise": _depthwise,
}
