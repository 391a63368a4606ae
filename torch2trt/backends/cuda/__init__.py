"""TVM on CUDA: heavy operators by cuDNN and cuBLAS through PyTorch, the rest fused TVM kernels.

A call is one launch of a CUDA graph.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import nullcontext
from typing import Any

import torch

from ..flags import set_tf32
from .compiled import Compiled
from .plan import Unplannable

__all__ = ["Compiled", "Unplannable", "compile_cuda"]


def compile_cuda(
    mod: Any,
    device: torch.device,
    params: Sequence[torch.Tensor] = (),
    graph: bool = True,
    tf32: bool = False,
) -> Compiled:
    """Compile `main` of a Relax module of static shapes.

    Args:
        mod: its `main` takes `num_input` inputs (an attribute of the function) and then every
            weight.
        device: a CUDA device; on the CPU the same plan runs with TVM's plain loops, for tests.
        params: the weights, in the order of the function's parameters.
        graph: record the whole call as a CUDA graph and replay it.
        tf32: use TensorFloat-32 whatever PyTorch's settings say.

    Raises:
        Unplannable: a shape is dynamic, or the program holds what a plan cannot express.
    """
    from .pipeline import lower

    with set_tf32(True) if tf32 else nullcontext():
        lowered = lower(mod, device)
    compiled = Compiled(lowered, device, graph and device.type == "cuda", tf32)
    compiled.prepare(params)
    return compiled
