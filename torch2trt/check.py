"""Is what a compiled program computes what PyTorch computes?"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from torch.utils import _pytree as pytree

from .context import torch_network
from .errors import ConversionError, EngineBuildError
from .graph import Graph, Node
from .walk import run_node

log = logging.getLogger("torch2trt.module")


def check_outputs(
    expected: Any,
    got: Any,
    tolerance: float,
    what: str,
    explain: Callable[[], str] = lambda: "",
) -> float:
    """Compare the floating point outputs of a program with PyTorch's.

    Args:
        expected: PyTorch's outputs, nested as they come.
        got: the program's.
        tolerance: the relative error, in the 2-norm, above which a warning is logged.
        what: how to call the program in messages.
        explain: called when there is something to explain; what it returns ends the message.

    Returns:
        The largest relative error of an output.

    Raises:
        ConversionError: another number of outputs, or another shape.
        EngineBuildError: an output is not finite where PyTorch's is.
    """
    wanted, found = (
        [leaf for leaf in pytree.tree_leaves(tree) if isinstance(leaf, torch.Tensor)]
        for tree in (expected, got)
    )
    shapes, got_shapes = ([tuple(t.shape) for t in tensors] for tensors in (wanted, found))
    if shapes != got_shapes:
        raise ConversionError(f"{what} gives outputs of the shapes {got_shapes}, PyTorch {shapes}")
    worst = 0.0
    for index, (reference, output) in enumerate(zip(wanted, found)):
        if reference.is_floating_point() and reference.numel():
            _check_finite(f"output {index} of {what}", output, reference, explain)
            worst = max(worst, relative_error(output, reference))
    if worst > tolerance:
        message = "%s differs from PyTorch by %.2g (relative error), more than the expected %.2g.%s"
        log.warning(message, what, worst, tolerance, explain())
    return worst


def _check_finite(
    name: str, output: torch.Tensor, reference: torch.Tensor, explain: Callable[[], str]
) -> None:
    wrong = int((reference.isfinite() & ~output.isfinite()).sum())
    if wrong:
        raise EngineBuildError(
            f"{name} is not finite in {wrong} of {output.numel()} places where PyTorch's is:"
            " values overflow in the chosen precision. Keep the layers at fault in float32 with"
            f" precision={{'module.path': 'float32'}}, or use bfloat16.{explain()}"
        )


def relative_error(output: torch.Tensor, reference: torch.Tensor) -> float:
    """The 2-norm of the difference over that of the reference, where both are finite."""
    output, reference = output.double(), reference.double()
    finite = reference.isfinite() & output.isfinite()
    scale = reference[finite].norm().clamp_min(torch.finfo(torch.float32).tiny)
    return float((output - reference)[finite].norm() / scale)


@torch.no_grad()
def first_difference(
    graph: Graph,
    lowered: Graph,
    inputs: Sequence[torch.Tensor],
    attribute: Callable[[str], Any],
    tolerance: float,
) -> str:
    """Where a lowered graph first leaves its original, both run by PyTorch; a sentence.

    Args:
        graph: the original.
        lowered: the same with casts; its values have the names of the original's.
        inputs: the tensors among the inputs.
        attribute: gives the parameter or buffer at a path.
        tolerance: the relative error that counts as a difference.
    """
    wanted = _all_values(graph, inputs, attribute)
    for node, values in node_outputs(lowered, inputs, attribute):
        for value, output in zip(node.outputs, values):
            reference = wanted.get(value.name)
            if not isinstance(output, torch.Tensor) or not isinstance(reference, torch.Tensor):
                continue
            if not output.is_floating_point() or output.shape != reference.shape:
                continue
            if (reference.isfinite() & ~output.isfinite()).any():
                return f" The first values that are not finite come from {node.where}."
            error = relative_error(output, reference)
            if error > tolerance:
                return f" It first differs, by {error:.2g}, at {node.where}."
    return ""


def _all_values(
    graph: Graph, inputs: Sequence[torch.Tensor], attribute: Callable[[str], Any]
) -> dict[str, Any]:
    return {
        value.name: output
        for node, outputs in node_outputs(graph, inputs, attribute)
        for value, output in zip(node.outputs, outputs)
    }


def node_outputs(
    graph: Graph, inputs: Sequence[torch.Tensor], attribute: Callable[[str], Any]
) -> Iterator[tuple[Node, list[Any]]]:
    """Each node with its outputs, run by PyTorch."""
    with torch_network() as ctx:
        env: dict[str, Any] = dict(zip((v.name for v in graph.inputs), inputs))
        for node in graph.nodes:
            arguments = [env[v.name] for v in node.inputs]
            outputs = run_node(node, arguments, attribute, ctx, False)
            env.update(zip((v.name for v in node.outputs), outputs))
            yield node, outputs
