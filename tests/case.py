"""One case of the operator table, and the oracle it is judged by."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch.utils import _pytree as pytree


@dataclass(frozen=True)
class Case:
    """A small program, its inputs, and where it is refused.

    Attributes:
        name: unique in the table.
        program: a function or module of tensors.
        inputs: one entry per argument: a shape (seeded normal values, float32), or a tensor.
        refused: backend -> words that the refusal contains; the backend must raise
            ``UnsupportedOpError`` with them.
        rtol, atol: relative to the largest magnitude of the expected output, in float32 units by
            default.
        wrong: backend -> reason of a known gap: a strict xfail.
        oracle: "float64" compares with the program in float64; "same" with the program in the
            dtypes of its inputs.
        dynamic: also run with a dynamic first dimension.
    """

    name: str
    program: Callable[..., Any]
    inputs: tuple[Any, ...]
    refused: Mapping[str, str] = field(default_factory=dict)
    wrong: Mapping[str, str] = field(default_factory=dict)
    rtol: float = 1e-5
    oracle: str = "float64"
    dynamic: bool = False

    def __str__(self) -> str:
        return self.name

    def example(self, seed: int = 0) -> tuple[torch.Tensor, ...]:
        """The input tensors; shapes become normal values that depend on the seed."""
        generator = torch.Generator().manual_seed(seed)
        return tuple(
            x.clone() if isinstance(x, torch.Tensor) else torch.randn(x, generator=generator)
            for x in self.inputs
        )

    def expected(self, inputs: tuple[torch.Tensor, ...]) -> list[torch.Tensor]:
        """What PyTorch computes, in float64 where the case says so, with the dtypes of the plain
        run.
        """
        plain = tensors(self.program(*(x.clone() for x in inputs)))
        if self.oracle == "same" or not any(x.dtype == torch.float32 for x in inputs):
            return plain
        program = self.program
        if isinstance(program, torch.nn.Module):
            import copy

            program = copy.deepcopy(program).double()
        precise = tensors(
            program(*(x.double() if x.dtype == torch.float32 else x.clone() for x in inputs))
        )
        return [
            p if p.dtype == torch.float64 and q.dtype == torch.float32 else q
            for p, q in zip(precise, plain)
        ]


def case(name: str, program: Callable[..., Any], *inputs: Any, **options: Any) -> Case:
    """``Case`` with the inputs as positional arguments."""
    return Case(name, program, inputs, **options)


def tensors(tree: Any) -> list[torch.Tensor]:
    """The tensors of a nested result, in order."""
    return [leaf.detach() for leaf in pytree.tree_leaves(tree) if isinstance(leaf, torch.Tensor)]


def assert_same(
    got: list[torch.Tensor], expected: list[torch.Tensor], rtol: float, int64_as_int32: bool = False
) -> None:
    """Same number, shapes, dtypes and values; floats within `rtol` of the largest expected
    magnitude, NaN and inf alike.
    """
    if len(got) != len(expected):
        raise AssertionError(f"got {len(got)} outputs, expected {len(expected)}")
    for index, (g, e) in enumerate(zip(got, expected)):
        wanted = torch.float32 if e.dtype == torch.float64 and g.dtype != torch.float64 else e.dtype
        if int64_as_int32 and wanted == torch.int64 and g.dtype == torch.int32:
            wanted = torch.int32
        if tuple(g.shape) != tuple(e.shape) or g.dtype != wanted:
            raise AssertionError(
                f"output {index}: got {g.dtype}{list(g.shape)}, expected {wanted}{list(e.shape)}"
            )
        if not wanted.is_floating_point:
            torch.testing.assert_close(g, e.to(wanted), rtol=0, atol=0)
            continue
        unit = {torch.float16: 2e-3, torch.bfloat16: 1.6e-2}.get(wanted, rtol)
        finite = e[torch.isfinite(e)]
        scale = float(finite.abs().max()) if finite.numel() else 0.0
        torch.testing.assert_close(
            g.double(), e.double(), rtol=0, atol=max(unit * scale, 1e-30), equal_nan=True
        )
