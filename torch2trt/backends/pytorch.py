"""PyTorch as a backend: every value is a constant, and every node runs as the PyTorch operator it
was traced from.
"""

from __future__ import annotations

from .base import Context


class TorchContext(Context):
    """Debug mode: nothing is symbolic, so nothing is emitted."""

    name = "torch"
    is_torch = True


TORCH_CONTEXT = TorchContext()
