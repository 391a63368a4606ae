"""Programs for several sizes: whether what was traced at one size is the program at others."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch.utils import _pytree as pytree

from .errors import ConversionError
from .frozen import first_line, generalises
from .graph import Graph
from .trace import Trace

Axes = tuple[tuple[int, ...], ...]

_Sizes = Callable[[int], int]
_OTHERS: tuple[_Sizes, ...] = (
    lambda size: size + 1, lambda size: 2 * size, lambda size: max(size // 2, min(size, 2)),
)  # fmt: skip


def at_size(tensor: torch.Tensor, axis: int, size: int) -> torch.Tensor:
    """An example of another size, made of the given values, so that indices stay valid."""
    if not tensor.shape[axis]:
        return tensor.new_zeros([size if i == axis else s for i, s in enumerate(tensor.shape)])
    index = torch.arange(size, device=tensor.device) % tensor.shape[axis]
    return tensor.detach().index_select(axis, index)


def check_sizes(
    program: Callable[..., Any],
    trace: Trace,
    graph: Graph,
    example: tuple[Sequence[Any], Mapping[str, Any]],
    dynamic: Axes,
) -> None:
    """Compare a traced program with the program itself at a size that it was not traced with.

    Args:
        program: what was traced.
        trace: of `program`.
        graph: of `trace`, free of in-place writes.
        example: the arguments that it was traced with.
        dynamic: the dynamic axes of each tensor among them.

    Raises:
        ConversionError: the trace holds for its own sizes only; or PyTorch runs the program at none
            of the sizes that were tried.
    """
    failures: list[str] = []
    compared = False
    for other in _OTHERS[:2] if _reads_unchecked(graph) else _OTHERS:
        args, kwargs = _at_other_sizes(example, dynamic, other)
        try:
            frozen = generalises(program, trace, graph, args, kwargs)
        except Exception as error:  # whatever a program says of sizes that it does not take
            shapes = [list(x.shape) for x in _tensors((args, kwargs))]
            failures.append(f"{shapes}: {type(error).__name__}: {first_line(error)}")
            continue
        if frozen:
            raise ConversionError(
                "dynamic sizes: what was traced is another program at other sizes, because it"
                f" computes with sizes in Python: {'; '.join(map(str, frozen))}"
            )
        compared = True
    if not compared:
        raise ConversionError(
            "dynamic sizes: the program fails in PyTorch on inputs of all other sizes that were"
            f" tried: {'; '.join(failures)}"
        )


def _reads_unchecked(graph: Graph) -> bool:
    """Whether indices among the values of smaller inputs might point outside of them, untold."""
    return any(node.kind.startswith("torchvision::") for node in graph.nodes)


def _at_other_sizes(
    example: tuple[Sequence[Any], Mapping[str, Any]], dynamic: Axes, other: _Sizes
) -> tuple[Any, Any]:
    rows = iter(dynamic)

    def resized(leaf: Any) -> Any:
        if isinstance(leaf, torch.Tensor):
            for axis in next(rows):
                leaf = at_size(leaf, axis, other(leaf.shape[axis]))
        return leaf

    return pytree.tree_map(resized, (tuple(example[0]), dict(example[1])))


def _tensors(values: Any) -> list[torch.Tensor]:
    return [leaf for leaf in pytree.tree_leaves(values) if isinstance(leaf, torch.Tensor)]
