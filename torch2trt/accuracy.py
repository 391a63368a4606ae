"""Is an engine what PyTorch computes, and what to do about it in 16 bits."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch

from .check import check_outputs, first_difference
from .core import GraphModule
from .precision import products
from .program import TensorRTProgram, lowered
from .settings import TOLERANCE, Settings

log = logging.getLogger("torch2trt.module")


def expected_error(settings: Settings, graph: GraphModule) -> float:
    """The relative error to be expected of the coarsest type in which a program computes."""
    types = {str(v.dtype).removeprefix("torch.") for n in graph.graph.nodes for v in n.outputs}
    return max(TOLERANCE.get(name, 0.0) for name in (settings.type_name, *types))


def check_engine(variant: Any, tensors: Sequence[torch.Tensor], expected: Any, owner: str) -> None:
    """Compare a compiled variant with PyTorch.

    Where ``Settings.accuracy`` is not kept, the engine is built again with the first 1, 2, 4, ...
    products in float32. Rounding early in a network is carried through all of it: a few of them
    mostly suffice.

    Args:
        variant: the compiled program; gets another one where the accuracy asks for it.
        tensors: the tensors among the example inputs.
        expected: what PyTorch gives for them.
        owner: the class of the module, for messages.
    """
    accuracy = variant.program.settings.accuracy
    limit = 2 * products(variant.graph.graph)
    while True:
        error = _error(variant, tensors, expected, owner)
        exact = 2 * variant.program.settings.exact or 1
        if accuracy is None or error <= accuracy:
            return
        if exact >= limit:
            log.warning("%s: %.2g is kept, not the accuracy of %g", owner, error, accuracy)
            return
        variant.program = _with_exact(variant, exact)


def _with_exact(variant: Any, exact: int) -> TensorRTProgram:
    given = variant.program
    settings = replace(given.settings, exact=exact)
    return TensorRTProgram(given.inputs, settings, given.device).compile(variant.graph)


def _error(variant: Any, tensors: Sequence[torch.Tensor], expected: Any, owner: str) -> float:
    graph, settings = variant.graph, variant.program.settings
    what = f"the TensorRT engine of {owner} ({settings.type_name})"
    tolerance = expected_error(settings, graph) if settings.accuracy is None else float("inf")

    def explain() -> str:
        lower, attribute = lowered(graph, settings).graph, graph.trace.attribute
        return first_difference(graph.graph, lower, tensors, attribute, tolerance)

    return check_outputs(expected, variant.call(tensors), tolerance, what, explain)
