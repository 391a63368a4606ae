"""A program that writes in place, and the table of them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch


@dataclass(frozen=True)
class Program:
    """`function` of inputs like `inputs` (shapes, or functions that make one); `refused`: what the
    refusal says.

    `fresh`: the inputs of the comparison, where they have other sizes than the traced ones;
    `data_sized`: some sizes depend on the values of the inputs.
    """

    name: str
    function: Callable[..., Any]
    inputs: tuple[Any, ...] = ((3, 4),)
    refused: str = ""
    fresh: tuple[Any, ...] = ()
    data_sized: bool = False

    def make(self, specs: tuple[Any, ...] | None = None) -> list[torch.Tensor]:
        return [spec() if callable(spec) else torch.randn(spec) for spec in specs or self.inputs]


PROGRAMS: list[Program] = []


def program(*inputs: Any, **facts: Any) -> Callable[..., Any]:
    """A row of the table."""

    def add(function: Callable[..., Any]) -> Callable[..., Any]:
        PROGRAMS.append(Program(function.__name__, function, inputs or ((3, 4),), **facts))
        return function

    return add


def mask34() -> torch.Tensor:
    return torch.rand(3, 4) > 0.5


def index2() -> torch.Tensor:
    return torch.randperm(3)[:2]


def ints34() -> torch.Tensor:
    return torch.randint(-9, 9, (3, 4))
