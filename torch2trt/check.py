"""Is what a compiled program computes what PyTorch computes?"""

from __future__ import annotations

import logging
from typing import Any

import torch
from torch.utils import _pytree as pytree

from .errors import ConversionError, EngineBuildError

log = logging.getLogger("torch2trt.module")


def check_outputs(expected: Any, got: Any, tolerance: float, what: str) -> float:
    """Compare the floating point outputs of a program with PyTorch's.

    Args:
        expected: PyTorch's outputs, nested as they come.
        got: the program's.
        tolerance: the relative error, in the 2-norm, above which a warning is logged.
        what: how to call the program in messages.

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
    if [tuple(t.shape) for t in wanted] != [tuple(t.shape) for t in found]:
        raise ConversionError(
            f"{what} gives outputs of the shapes {[tuple(t.shape) for t in found]},"
            f" PyTorch {[tuple(t.shape) for t in wanted]}"
        )
    worst = 0.0
    for index, (reference, output) in enumerate(zip(wanted, found)):
        if not reference.is_floating_point() or not reference.numel():
            continue
        error = _relative_error(reference.double(), output.double(), f"output {index} of {what}")
        worst = max(worst, error)
    if worst > tolerance:
        log.warning(
            "%s differs from PyTorch by %.2g (relative error), more than the expected %.2g",
            what,
            worst,
            tolerance,
        )
    return worst


def _relative_error(reference: torch.Tensor, output: torch.Tensor, what: str) -> float:
    finite = torch.isfinite(reference)
    wrong = finite & ~torch.isfinite(output)
    if wrong.any():
        raise EngineBuildError(
            f"{what} is not finite in {int(wrong.sum())} of {wrong.numel()} places where PyTorch's"
            " is: values overflow in the chosen precision. Keep the layers at fault in float32 with"
            " precision={'module.path': 'float32'}, or use bfloat16"
        )
    difference = (output - reference)[finite]
    scale = reference[finite].norm().clamp_min(torch.finfo(torch.float32).tiny)
    return float(difference.norm() / scale)
