"""The flags of PyTorch that allow TensorFloat-32."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch


@contextmanager
def set_tf32(on: bool) -> Iterator[None]:
    """Let convolutions and products of float32 round their inputs to TensorFloat-32, or not."""
    matmul, cudnn = torch.backends.cuda.matmul, torch.backends.cudnn
    before = matmul.allow_tf32
    # cuDNN's own flags cannot be assigned to in a process that froze them; this way is always open.
    same = {name: getattr(cudnn, name) for name in ("enabled", "benchmark", "deterministic")}
    limit = {"benchmark_limit": cudnn.benchmark_limit} if cudnn.is_available() else {}
    with cudnn.flags(**same, **limit, allow_tf32=on):
        matmul.allow_tf32 = on
        try:
            yield
        finally:
            matmul.allow_tf32 = before
