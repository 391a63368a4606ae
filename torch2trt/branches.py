"""Branches of scripted functions that depend on sizes: a trace has taken one of them."""

from __future__ import annotations

import math
import operator
import os
from collections.abc import Callable, Mapping
from typing import Any

import torch

_TRACER = os.path.join(os.path.dirname(__file__), "trace.py") + "("  # in the stack of a recording
_OF_SIZES: Mapping[str, Callable[..., Any]] = {
    "aten::dim": len,
    "aten::numel": math.prod,
    "aten::size": lambda sizes, dim=None: sizes if dim is None else sizes[dim],
}
_OF_NUMBERS: Mapping[str, Callable[..., Any]] = {
    "aten::Bool": bool,
    "aten::len": len,
    "aten::__getitem__": operator.getitem,
    "aten::__not__": operator.not_,
    "aten::__and__": operator.and_,
    "aten::__or__": operator.or_,
    "aten::remainder": operator.mod,
    **{f"aten::{name}": getattr(operator, name) for name in ("eq", "ne", "lt", "le", "gt", "ge")},
}


def take_known_branches(torch_graph: torch._C.Graph) -> None:
    """Replace each ``prim::If`` whose condition follows from recorded sizes by what it runs.

    So a scripted function is recorded as Python is: for the sizes of the example.

    Args:
        torch_graph: of a traced module; it is changed.
    """
    waiting = list(torch_graph.nodes())[::-1]
    while waiting:
        node = waiting.pop()
        known = _known(node.input()) if node.kind() == "prim::If" else None
        if isinstance(known, bool):
            waiting += _replaced_by_branch(node, known)[::-1]


def _replaced_by_branch(node: torch._C.Node, condition: bool) -> list[torch._C.Node]:
    """The nodes of the branch, in the place of `node`."""
    branch = list(node.blocks())[0 if condition else 1]
    nodes = list(branch.nodes())
    for inner in nodes:
        inner.moveBefore(node)
    for output, value in zip(list(node.outputs()), list(branch.outputs())):
        output.replaceAllUsesWith(value)
    node.destroy()
    return nodes


def _known(value: torch._C.Value) -> Any:
    """What a number or a list of sizes is, or None where sizes and constants do not tell."""
    node = value.node()
    kind, inputs = node.kind(), list(node.inputs())
    if kind == "prim::Constant":
        constant = value.toIValue()
        return constant if isinstance(constant, (bool, int, float)) else None
    if kind in _OF_SIZES:
        sizes = _recorded_sizes(inputs[0])
        arguments = [sizes, *map(_known, inputs[1:])]
        return None if None in arguments else _OF_SIZES[kind](*arguments)
    if kind in _OF_NUMBERS:
        arguments = [_known(v) for v in inputs]
        return None if None in arguments else _OF_NUMBERS[kind](*arguments)
    return None


def _recorded_sizes(tensor: torch._C.Value) -> list[int] | None:
    """The sizes in this trace; the graph of an older trace may be a part, with sizes of its own."""
    node = tensor.node()
    fresh = node.kind() == "prim::Param" or _TRACER in node.sourceRange()
    return tensor.type().sizes() if fresh else None
