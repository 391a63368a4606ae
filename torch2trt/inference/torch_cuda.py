"""CUDA tensors in, CUDA tensors out, on the current stream, without a copy."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from ..errors import InputMismatchError, Torch2TrtError
from .inputs import as_engine, in_order
from .lane import Lane

_ALIGNMENT = (
    256  # bytes, asked for by TensorRT; torch allocates so, views into a tensor need not be
)
_raw_stream = getattr(torch._C, "_cuda_getCurrentRawStream", None) or (
    lambda device: torch.cuda.current_stream(device).cuda_stream
)


class TorchInferenceContext:
    """Runs an engine on CUDA tensors.

    Runs on torch's current stream of the engine's device, waits for nothing and copies nothing.
    Outputs are fresh tensors, yours to keep. Inputs may be dropped right after the call: their
    memory is not handed out again before the engine has read it. Several threads and streams may
    call at once; each stream has its own execution context.

    Inputs must have the engine's dtype and be on its device. Two exceptions are converted: a tensor
    that is not contiguous or not aligned to 256 bytes is copied, and an int64 tensor is cast where
    the engine has int32 (TensorRT 8.6 has no int64).

    Args:
        context: a ``tensorrt.IExecutionContext``, or an engine.
        stream: run on this stream (torch, pycuda, or a raw handle) rather than on the current one.
            It first waits for the current stream; wait for it before you read the outputs.
        device: the engine's CUDA device, by default the current one.
        cuda_graph: record a CUDA graph for each set of input shapes and replay it. Costs a copy of
            inputs and outputs, saves the launches. For the 8 latest sets of shapes.
    """

    def __init__(
        self, context: Any, stream: Any = None, device: Any = None, cuda_graph: bool = False
    ) -> None:
        self.engine, given = as_engine(context, device)
        self.cuda_graph = cuda_graph
        self._device = self.engine.device
        self._given = given
        self._inputs = self.engine.inputs
        self._dtypes = [spec.dtype for spec in self._inputs]
        self._lanes: dict[int, Lane] = {}
        self._many_devices = torch.cuda.device_count() > 1
        self._stream = None if stream is None else _torch_stream(stream, self._device)
        if any(spec.on_host for spec in self.engine.specs):
            raise Torch2TrtError(
                "engines with shape tensors as inputs or outputs are not supported here"
            )

    def run(self, *inputs: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """Enqueue the engine; the outputs in network order.

        Raises:
            InputMismatchError: names the input whose number, shape, dtype or device does not fit.
            Torch2TrtError: TensorRT could not launch.
        """
        if self._stream is not None:
            return self._run_elsewhere(inputs)
        if self._many_devices and torch.cuda.current_device() != self._device:
            with torch.cuda.device(self._device):
                return self._run(inputs)
        return self._run(inputs)

    def _run(self, inputs: Sequence[torch.Tensor]) -> tuple[torch.Tensor, ...]:
        device = self._device
        if len(inputs) != len(self._dtypes):
            in_order(self._inputs, inputs, {})
        for x, dtype in zip(inputs, self._dtypes):
            if not (
                isinstance(x, torch.Tensor)
                and x.dtype is dtype
                and x.get_device() == device
                and x.is_contiguous()
                and not x.data_ptr() % _ALIGNMENT
            ):
                inputs = [self._usable(i, x) for i, x in enumerate(inputs)]
                break
        shapes = tuple([x.shape for x in inputs])
        handle = _raw_stream(device)
        lane = self._lanes.get(handle) or self._new_lane(handle)
        with lane.gate:
            graph = lane.graph(shapes) if self.cuda_graph else None
            if graph is None:
                return tuple(lane.run(inputs, shapes))
            return tuple(graph.run(inputs, handle, lane.stream))

    def _run_elsewhere(self, inputs: Sequence[torch.Tensor]) -> tuple[torch.Tensor, ...]:
        stream = self._stream
        stream.wait_stream(torch.cuda.current_stream(self._device))
        with torch.cuda.device(self._device), torch.cuda.stream(stream):
            return self._run(inputs)

    def inference_async(
        self, *inputs: torch.Tensor, **named: torch.Tensor
    ) -> dict[str, torch.Tensor]:
        """Enqueue the engine.

        Args:
            *inputs: CUDA tensors in the engine's order.
            **named: further inputs by name.

        Returns:
            The outputs by name, as results of the stream's queue like those of any PyTorch
            operation.
        """
        if named:
            inputs = tuple(in_order(self._inputs, inputs, named))
        return {s.name: y for s, y in zip(self.engine.outputs, self.run(*inputs))}

    def inference(self, *inputs: torch.Tensor, **named: torch.Tensor) -> dict[str, torch.Tensor]:
        """The same as ``inference_async``, and wait for the stream."""
        outputs = self.inference_async(*inputs, **named)
        (self._stream or torch.cuda.current_stream(self._device)).synchronize()
        return outputs

    __call__ = inference_async

    def _new_lane(self, handle: int) -> Lane:
        given, self._given = self._given, None
        with self.engine.guard:
            return self._lanes.setdefault(handle, Lane(self.engine, handle, given))

    def _usable(self, index: int, x: Any) -> torch.Tensor:
        spec = self._inputs[index]
        if not isinstance(x, torch.Tensor):
            raise InputMismatchError(
                f"input {spec.name!r}: got {type(x).__name__}, expected a CUDA tensor"
            )
        if x.get_device() != self._device:
            raise InputMismatchError(
                f"input {spec.name!r}: got a tensor on {x.device}, expected {self.engine.torch_device}"
            )
        if x.dtype is torch.int64 and spec.dtype is torch.int32:
            x = x.to(torch.int32)
        if x.dtype is not spec.dtype:
            raise InputMismatchError(f"input {spec.name!r}: got {x.dtype}, expected {spec.dtype}")
        x = x.contiguous()
        return x.clone() if x.data_ptr() % _ALIGNMENT else x


def _torch_stream(stream: Any, device: int) -> torch.cuda.Stream:
    if isinstance(stream, torch.cuda.Stream):
        return stream
    handle = getattr(stream, "handle", stream)
    if not isinstance(handle, int):
        raise InputMismatchError(
            f"stream: got {type(stream).__name__}, expected a torch or pycuda stream or a handle"
        )
    return torch.cuda.ExternalStream(handle, device)
