"""CUDA tensors in, CUDA tensors out, on the current stream, without a copy."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any

import torch

from ..backends.tensors import raw_stream as _raw_stream
from ..errors import InputMismatchError, Torch2TrtError
from .inputs import as_engine, in_order
from .lane import Lane, Shapes


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

    Example:
        context = torch2trt.TorchInferenceContext(engine, cuda_graph=True)
        y = context.inference_async(x.cuda())["y"]
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
        self._stream = None if stream is None else _torch_stream(stream, self._device)
        self._many_devices = torch.cuda.device_count() > 1
        if any(spec.on_host for spec in self.engine.specs):
            raise Torch2TrtError(
                "engines with shape tensors as inputs or outputs are not supported here"
            )

    def run(self, *inputs: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """Enqueue the engine.

        Args:
            *inputs: CUDA tensors in the engine's order.

        Returns:
            The outputs in the engine's order.

        Raises:
            InputMismatchError: names the input whose number, shape, dtype or device does not fit.
            Torch2TrtError: TensorRT could not launch.
        """
        device = self._device
        if len(inputs) != len(self._dtypes):
            in_order(self._inputs, inputs, {})
        for x, dtype in zip(inputs, self._dtypes):
            fits = isinstance(x, torch.Tensor) and x.dtype is dtype and x.get_device() == device
            if not fits:
                inputs = tuple([self._usable(i, x) for i, x in enumerate(inputs)])
                break
        return tuple(self._run(tuple([x.shape for x in inputs]), *inputs))

    def prepare(self, inputs: Sequence[torch.Tensor]) -> Callable[..., Sequence[torch.Tensor]]:
        """`run` without its checks, for tensors of the same number, shapes, dtypes and device.

        Args:
            inputs: examples of these tensors.

        Returns:
            A function of such tensors that gives the outputs in the engine's order.

        Raises:
            InputMismatchError: the engine does not take such inputs.
        """
        if any(self._usable(i, x) is not x for i, x in enumerate(inputs)):
            return self.run
        return functools.partial(self._run, tuple([x.shape for x in inputs]))

    def _run(self, shapes: Shapes, *inputs: torch.Tensor) -> Sequence[torch.Tensor]:
        if self._stream is not None or (
            self._many_devices and torch.cuda.current_device() != self._device
        ):
            return self._run_elsewhere(shapes, inputs)
        handle = _raw_stream(self._device)
        lane = self._lanes.get(handle) or self._new_lane(handle)
        return lane.run(inputs, shapes)

    def _run_elsewhere(
        self, shapes: Shapes, inputs: Sequence[torch.Tensor]
    ) -> Sequence[torch.Tensor]:
        stream = self._stream
        if stream is not None:
            stream.wait_stream(torch.cuda.current_stream(self._device))
        with torch.cuda.device(self._device), torch.cuda.stream(stream):
            handle = _raw_stream(self._device)
            lane = self._lanes.get(handle) or self._new_lane(handle)
            return lane.run(inputs, shapes)

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
        """The same as ``inference_async``, and wait for the stream.

        Args:
            *inputs, **named: as for ``inference_async``.
        """
        outputs = self.inference_async(*inputs, **named)
        (self._stream or torch.cuda.current_stream(self._device)).synchronize()
        return outputs

    __call__ = inference_async

    def _new_lane(self, handle: int) -> Lane:
        given, self._given = self._given, None
        with self.engine.guard:
            lane = Lane(self.engine, handle, given, self.cuda_graph)
            return self._lanes.setdefault(handle, lane)

    def _usable(self, index: int, x: Any) -> torch.Tensor:
        spec = self._inputs[index]
        if not isinstance(x, torch.Tensor):
            raise InputMismatchError(
                f"input {spec.name!r}: got {type(x).__name__}, expected a CUDA tensor"
            )
        if x.get_device() != self._device:
            raise InputMismatchError(
                f"input {spec.name!r}: got a tensor on {x.device}, expected"
                f" {self.engine.torch_device}"
            )
        if x.dtype is torch.int64 and spec.dtype is torch.int32:
            x = x.to(torch.int32)
        if x.dtype is not spec.dtype:
            raise InputMismatchError(f"input {spec.name!r}: got {x.dtype}, expected {spec.dtype}")
        return x


def _torch_stream(stream: Any, device: int) -> torch.cuda.Stream:
    if isinstance(stream, torch.cuda.Stream):
        return stream
    handle = getattr(stream, "handle", stream)
    if not isinstance(handle, int):
        raise InputMismatchError(
            f"stream: got {type(stream).__name__}, expected a torch or pycuda stream or a handle"
        )
    return torch.cuda.ExternalStream(handle, device)
