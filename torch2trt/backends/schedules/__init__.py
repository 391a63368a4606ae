"""Loop schedules that make TVM's code for CPUs fast.

`compile_cpu` takes a Relax module to a `Compiled`.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch

from .compiled import Compiled

__all__ = ["Compiled", "compile_cpu"]


def compile_cpu(mod: Any, target: Any = None, params: Iterable[torch.Tensor] = ()) -> Compiled:
    """Compile `main` of a Relax module for the CPU.

    Args:
        mod: its `main` takes `num_input` inputs (an attribute of the function), then every weight.
        target: a TVM target; that of this machine by default.
        params: the weights, in the order of the function's parameters; see ``Compiled.prepare``.
    """
    from .pipeline import lower
    from .target import CodeTarget, host_target

    code_target = target if target is not None else host_target()
    lowered = lower(mod, code_target)
    compiled = Compiled(
        lowered.executable,
        lowered.recipes,
        lowered.rules,
        lowered.inputs,
        CodeTarget.of(code_target),
    )
    compiled.prepare(params)
    return compiled
