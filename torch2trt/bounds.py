"""Slices with fixed bounds along a dynamic dimension: where they stop short of smaller inputs."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch

from .check import node_outputs
from .graph import Graph, Node

_SLICES = {"aten::slice": 1, "aten::slice_copy": 1, "aten::slice_scatter": 2}  # where `dim` is


@torch.no_grad()
def cut_short(
    graph: Graph, smallest: Sequence[torch.Tensor], attribute: Callable[[str], Any]
) -> str:
    """The first slice that the smallest inputs do not fill, as a sentence; empty if there is none.

    ``x[:, :16]`` has 16 elements for most sizes and fewer for small ones; a network that is defined
    once would read what is not there.

    Args:
        graph: a graph traced with larger inputs.
        smallest: inputs of the smallest sizes that it is to serve.
        attribute: gives the parameter or buffer at a path.
    """
    numbers = _constants(graph)
    least = 0 if any(0 in x.shape for x in smallest) else 1  # a bound of 1 cuts no size above
    bounds = {n.scope: found for n in graph.nodes if (found := _fixed_bounds(n, numbers, least))}
    if not bounds and not any(n.kind == "aten::squeeze" for n in graph.nodes):
        return ""
    sizes = {v.name: tuple(x.shape) for v, x in zip(graph.inputs, smallest)}
    for node, outputs in node_outputs(graph, smallest, attribute):
        if node.kind == "aten::squeeze" and _squeezes_more(node, sizes, outputs):
            return f"{node.where}: a dimension that it drops where the size is 1"
        if node.scope in bounds:
            base, dim = node.inputs[0], numbers[node.inputs[_SLICES[node.kind]].name]
            size = sizes[base.name][dim]
            traced = None if base.shape is None else base.shape[dim]  # in scripts it is not known
            beyond = [b for b in bounds[node.scope] if not -size <= b <= size]
            if traced != size and beyond:
                return f"{node.where}: a bound of {beyond[0]} where the size may be {size}"
        sizes.update(
            (value.name, tuple(output.shape)) for value, output in zip(node.outputs, outputs)
            if isinstance(output, torch.Tensor)
        )  # fmt: skip
    return ""


def _squeezes_more(node: Node, sizes: Mapping[str, tuple[int, ...]], outputs: list[Any]) -> bool:
    """Whether it drops other dimensions than in the trace."""
    base, shape = node.inputs[0], node.outputs[0].shape
    return base.name in sizes and shape is not None and outputs[0].dim() != len(shape)


def _constants(graph: Graph) -> dict[str, Any]:
    return {
        n.outputs[0].name: n.attributes["value"] for n in graph.nodes
        if n.kind == "prim::Constant" and "value" in n.attributes
    }  # fmt: skip


def _fixed_bounds(node: Node, numbers: dict[str, Any], least: int) -> list[int]:
    """The bounds of a slice that are written in the program and may lie outside of some size."""
    if node.kind not in _SLICES or node.inputs[0].type != "Tensor":
        return []
    first = _SLICES[node.kind] + 1
    if node.inputs[first - 1].name not in numbers:
        return []
    bounds = [numbers.get(value.name) for value in node.inputs[first : first + 2]]
    return [b for b in bounds if isinstance(b, int) and least < abs(b) < sys.maxsize]
