"""PyTorch's flags for float32 on CUDA, changed for a while.

cuDNN's own cannot be assigned to in a process that froze them with
`torch.backends.disable_global_flags`; `torch.backends.cudnn.flags` is always open.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any

import torch

_AS_THEY_ARE = dict.fromkeys(inspect.signature(torch.backends.cudnn.flags).parameters)


def cudnn_flags(**changes: Any) -> AbstractContextManager[None]:
    """Some of cuDNN's flags changed, the others left as they are."""
    return torch.backends.cudnn.flags(**{**_AS_THEY_ARE, **changes})


@contextmanager
def set_tf32(on: bool) -> Iterator[None]:
    """Let convolutions and products of float32 round their inputs to TensorFloat-32, or not."""
    matmul = torch.backends.cuda.matmul
    before = matmul.allow_tf32
    with cudnn_flags(allow_tf32=on):
        matmul.allow_tf32 = on
        try:
            yield
        finally:
            matmul.allow_tf32 = before
