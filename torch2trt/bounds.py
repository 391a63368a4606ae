"""Slices along or by a dynamic dimension: where their bounds lie outside of some inputs."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch

from .check import node_outputs
from .graph import Graph, Node

_SLICES = {"aten::slice": 1, "aten::slice_copy": 1, "aten::slice_scatter": 2}  # where `dim` is


@torch.no_grad()
def cut_short(graph: Graph, inputs: Sequence[torch.Tensor], attribute: Callable[[str], Any]) -> str:
    """The first slice that these inputs do not fill, as a sentence; empty if there is none.

    ``x[:, :16]`` has 16 elements for most sizes and fewer for small ones, ``table[: x.size(1)]``
    has fewer for large ones; a network that is defined once would read what is not there.

    Args:
        graph: a graph traced with inputs of other sizes.
        inputs: of the smallest, or of the largest sizes that it is to serve.
        attribute: gives the parameter or buffer at a path.
    """
    numbers = _constants(graph)
    least = 0 if any(0 in x.shape for x in inputs) else 1  # a bound of 1 cuts no size above
    slices = {n.scope for n in graph.nodes if _may_be_short(n, numbers, least)}
    if not slices and not any(n.kind == "aten::squeeze" for n in graph.nodes):
        return ""
    known: dict[str, Any] = dict(numbers)
    sizes = {v.name: tuple(x.shape) for v, x in zip(graph.inputs, inputs)}
    for node, outputs in node_outputs(graph, inputs, attribute):
        if node.kind == "aten::squeeze" and _squeezes_more(node, sizes, outputs):
            return f"{node.where}: a dimension that it drops where the size is 1"
        if node.scope in slices:
            first = _SLICES[node.kind]
            base, dim = node.inputs[0], numbers[node.inputs[first].name]
            size = sizes[base.name][dim]
            traced = None if base.shape is None else base.shape[dim]  # in scripts it is not known
            for value in node.inputs[first + 1 : first + 3]:
                bound = _number(known.get(value.name))
                moves = traced != size or value.name not in numbers
                if bound is not None and moves and not -size <= bound <= size:
                    return f"{node.where}: a bound of {bound} where the size may be {size}"
        for value, output in zip(node.outputs, outputs):
            known[value.name] = output
            if isinstance(output, torch.Tensor):
                sizes[value.name] = tuple(output.shape)
    return ""


def _number(value: Any) -> int | None:
    """A bound that may lie outside; None for one that means the whole dimension."""
    if isinstance(value, torch.Tensor) and value.numel() == 1 and not value.is_floating_point():
        value = int(value)
    return value if isinstance(value, int) and abs(value) < sys.maxsize else None


def _squeezes_more(node: Node, sizes: Mapping[str, tuple[int, ...]], outputs: list[Any]) -> bool:
    """Whether it drops other dimensions than in the trace."""
    base, shape = node.inputs[0], node.outputs[0].shape
    return base.name in sizes and shape is not None and outputs[0].dim() != len(shape)


def _constants(graph: Graph) -> dict[str, Any]:
    return {
        n.outputs[0].name: n.attributes["value"] for n in graph.nodes
        if n.kind == "prim::Constant" and "value" in n.attributes
    }  # fmt: skip


def _may_be_short(node: Node, numbers: dict[str, Any], least: int) -> bool:
    """Whether a bound of a slice is computed, or is fixed and may lie outside of some size."""
    if node.kind not in _SLICES or node.inputs[0].type != "Tensor":
        return False
    first = _SLICES[node.kind] + 1
    if node.inputs[first - 1].name not in numbers:
        return False
    bounds = [numbers.get(v.name) for v in node.inputs[first : first + 2]]
    computed = any(v.name not in numbers for v in node.inputs[first : first + 2])
    return computed or any(isinstance(b, int) and least < abs(b) < sys.maxsize for b in bounds)
