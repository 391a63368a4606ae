"""What compiled programs ask of torch: where tensors lie, and one CUDA graph capture at a time."""

from __future__ import annotations

import threading

import torch

_ALIGNMENT = 64  # bytes; TVM's code takes it for granted, and a misaligned view crashes it
CAPTURING = threading.Lock()  # torch's random generators take part in one capture at a time


def aligned(tensor: torch.Tensor) -> torch.Tensor:
    """The tensor, or a copy of it that is contiguous and lies where TVM's code expects it to."""
    tensor = tensor.contiguous()
    return tensor.clone() if tensor.data_ptr() % _ALIGNMENT else tensor
