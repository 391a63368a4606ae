"""What every contender of the benchmark is given."""

from __future__ import annotations

import copy
import io
from dataclasses import dataclass

import torch
from torch import nn


@dataclass(frozen=True)
class Setting:
    """The module, one input batch on the device, and the precision.

    Attributes:
        dtype: "float32", "tf32" (CUDA only), "float16" or "bfloat16".
        cache: a folder for TensorRT engines; a second run then loads what the first one built.
        level: TensorRT's optimization level, 0 (fast build) to 5 (fast engine); None: its default.
    """

    module: nn.Module
    example: torch.Tensor
    dtype: str = "float32"
    cache: str | None = None
    level: int | None = None

    @property
    def cuda(self) -> bool:
        return self.example.is_cuda

    @property
    def half(self) -> torch.dtype | None:
        """The 16-bit type, if it is one."""
        return None if self.dtype in ("float32", "tf32") else getattr(torch, self.dtype)

    def converted(self) -> tuple[nn.Module, torch.Tensor]:
        """Module and example in the wanted dtype."""
        if self.half is None:
            return self.module, self.example
        example = self.example.to(self.half) if self.example.is_floating_point() else self.example
        return copy.deepcopy(self.module).to(self.half), example


def onnx_bytes(module: nn.Module, example: torch.Tensor) -> bytes:
    """The module as an ONNX file; the module stays where it is."""
    buffer = io.BytesIO()
    on_cpu, inputs = copy.deepcopy(module).cpu(), (example.cpu(),)
    fused = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)  # ONNX has no operator for all of an attention
    try:
        with torch.no_grad():
            torch.onnx.export(on_cpu, inputs, buffer, dynamo=False, opset_version=17)
    finally:
        torch.backends.mha.set_fastpath_enabled(fused)
    return buffer.getvalue()
