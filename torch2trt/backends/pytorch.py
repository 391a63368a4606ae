"""PyTorch as a backend: every value is a constant, every node runs as the operator it was."""

from __future__ import annotations

from .base import Context


class TorchContext(Context):
    """Debug mode: nothing is symbolic, so nothing is emitted."""

    name = "torch"
    is_torch = True


TORCH_CONTEXT = TorchContext()
