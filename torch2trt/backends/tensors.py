"""What compiled programs ask of torch: memory, streams, and one CUDA graph capture at a time."""

from __future__ import annotations

import threading

import torch

_ALIGNMENT = 64  # bytes; TVM's code takes it for granted, and a misaligned view crashes it
CAPTURING = threading.Lock()  # torch's random generators take part in one capture at a time


def _empty_strided(
    size: tuple[int, ...], stride: tuple[int, ...], dtype: torch.dtype
) -> torch.Tensor:
    return torch.empty_strided(size, stride, dtype=dtype, device="cuda")


# A tensor on the current CUDA device: (size, stride, dtype). What compiled PyTorch programs call,
# at half the cost.
empty_strided = getattr(torch._C._dynamo.guards, "_empty_strided_cuda", _empty_strided)
# The handle of the current stream of a CUDA device.
raw_stream = getattr(torch._C, "_cuda_getCurrentRawStream", None) or (
    lambda device: torch.cuda.current_stream(device).cuda_stream
)


def aligned(tensor: torch.Tensor) -> torch.Tensor:
    """The tensor, or a copy of it that is contiguous and lies where TVM's code expects it to."""
    tensor = tensor.resolve_neg().contiguous()
    return tensor.clone() if tensor.data_ptr() % _ALIGNMENT else tensor
