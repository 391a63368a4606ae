"""A function of CUDA tensors of fixed shapes, recorded as a CUDA graph and replayed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch

from ..tensors import CAPTURING


class Recording:
    """The recorded graph of one call, with its own inputs, outputs and memory.

    Runs on the stream that is current at the call. Calls on different streams wait for each other, for they share the
    memory of the graph; hold a lock where several threads call.

    Args:
        function: enqueues work on the current stream and gives a list of tensors.
        inputs: tensors of the shapes, dtypes and values to record with.
        device: the CUDA device.
    """

    def __init__(
        self,
        function: Callable[[Sequence[torch.Tensor]], list[torch.Tensor]],
        inputs: Sequence[torch.Tensor],
        device: torch.device,
    ) -> None:
        self.graph = torch.cuda.CUDAGraph()
        self.inputs = [x.detach().clone(memory_format=torch.contiguous_format) for x in inputs]
        self._stream: Any = None
        self._done = torch.cuda.Event()
        with torch.cuda.device(device):
            self.outputs = self._record(function, torch.cuda.Stream(device))

    def _record(self, function: Callable[..., list[torch.Tensor]], stream: torch.cuda.Stream) -> list[torch.Tensor]:
        stream.wait_stream(torch.cuda.current_stream(stream.device))
        with torch.cuda.stream(stream):
            for _ in range(2):  # code is loaded and libraries choose their algorithms outside of the recording
                function(self.inputs)
            stream.synchronize()
            with CAPTURING, _own_workspaces():
                self.graph.capture_begin(capture_error_mode="thread_local")
                try:
                    outputs = function(self.inputs)
                finally:
                    self.graph.capture_end()
            stream.synchronize()
        return outputs

    def __call__(self, inputs: Sequence[torch.Tensor]) -> list[torch.Tensor]:
        """Copy in, replay, copy out; the outputs are fresh."""
        stream = torch.cuda.current_stream(self.inputs[0].device if self.inputs else None)
        if self._stream is not None and self._stream != stream:
            stream.wait_event(self._done)
        for own, given in zip(self.inputs, inputs):
            own.copy_(given)
        self.graph.replay()
        outputs = [y.clone() for y in self.outputs]
        self._done.record(stream)
        self._stream = stream
        return outputs


class _own_workspaces:
    """cuBLAS takes its workspace from the memory of the recording, and nothing else keeps or reuses it."""

    def __enter__(self) -> None:
        torch._C._cuda_clearCublasWorkspaces()

    def __exit__(self, *error: Any) -> None:
        torch._C._cuda_clearCublasWorkspaces()
