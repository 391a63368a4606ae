"""numpy arrays in, numpy arrays out."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from ..backends import trt_api
from ..errors import InputMismatchError, Torch2TrtError
from .inputs import as_engine, in_order
from .lane import Binding, Bindings
from .memory import Buffer, memory_for
from .profiler import LayerTimes, create_profiler


class InferenceContext:
    """Runs an engine on numpy arrays, through page-locked memory that is kept between calls.

    Waits for its own stream only, never for the device. Several threads may call it; they take
    turns.

    Args:
        context: a ``tensorrt.IExecutionContext``, or an engine.
        stream: a pycuda or torch stream, or a raw handle; by default a new one.
        cuda_device: the engine's CUDA device, by default the current one.
        cuda_context: a pycuda context in which the engine was made; it is pushed for each call.
            Without it everything lives in the device's primary context, as with PyTorch.

    Example:
        context = torch2trt.InferenceContext(engine)
        y = context.inference_async(image=x.numpy())["y"]
        context.inference(image=x.numpy())
        print(context.profile())
    """

    def __init__(
        self,
        context: Any,
        stream: Any = None,
        cuda_device: Any = None,
        cuda_context: Any = None,
    ) -> None:
        self.engine, given = as_engine(context, cuda_device)
        if any(spec.on_host for spec in self.engine.specs):
            raise Torch2TrtError(
                "engines with shape tensors as inputs or outputs are not supported"
            )
        self._dtypes = {s.name: _numpy_dtype(s.name, s.dtype) for s in self.engine.specs}
        self._memory = memory_for(self.engine.device, stream, cuda_context)
        self._bindings = Bindings(self.engine, self._memory.handle, self._memory.synchronize, given)
        self._gate = self.engine.create_gate()
        self._buffers: dict[str, Buffer] = {}
        self._times = threading.local()

    def inference_async(self, *inputs: Any, **named: Any) -> dict[str, np.ndarray[Any, Any]]:
        """Copy in, run and copy out on the stream, and wait for the stream.

        Args:
            *inputs: arrays in the engine's order, of its dtypes.
            **named: further inputs by name.

        Returns:
            New arrays by output name.

        Raises:
            InputMismatchError: names the input whose number, shape or dtype does not fit.
        """
        return self._run(inputs, named, None)

    def inference(self, *inputs: Any, **named: Any) -> dict[str, np.ndarray[Any, Any]]:
        """The same with each layer timed, see ``profile``; timing makes the run slower.

        Args:
            *inputs, **named: as for ``inference_async``.
        """
        profiler = create_profiler()
        outputs = self._run(inputs, named, profiler)
        self._times.last = LayerTimes(tuple(profiler.rows), self.engine.extra.get("sources", {}))
        return outputs

    __call__ = inference_async

    def profile(self) -> LayerTimes:
        """The layer times of this thread's last ``inference``; print it for a table.

        Raises:
            Torch2TrtError: ``inference`` has not run in this thread, or TensorRT told no times.
        """
        times = getattr(self._times, "last", None)
        if times is None:
            raise Torch2TrtError("no layer times yet: call inference() first")
        if not times.rows:
            streams = getattr(self.engine.cuda_engine, "num_aux_streams", 0)
            raise Torch2TrtError(
                f"{trt_api.version()} tells no layer times of this engine, which has {streams}"
                " streams for layers beside each other. Where there are any, profile an engine that"
                " was built with cuda_graph=False (BuildOptions.aux_streams=0)"
            )
        return times

    def _run(
        self, inputs: Sequence[Any], named: dict[str, Any], profiler: Any
    ) -> dict[str, np.ndarray[Any, Any]]:
        specs = self.engine.inputs
        arrays = [
            self._array(spec.name, value)
            for spec, value in zip(specs, in_order(specs, inputs, named))
        ]
        shapes = tuple(array.shape for array in arrays)
        memory = self._memory
        with self._gate, memory.active():
            binding = self._bindings.select(shapes)
            for spec, array in zip(specs, arrays):
                buffer = self._buffer(binding, spec.name, array.nbytes)
                buffer.view(array.shape, array.dtype)[...] = array
                memory.upload(buffer, array.nbytes)
            found = self._outputs(binding)
            try:
                binding.context.profiler = profiler
                binding.launch(memory.handle)
                for name, (buffer, shape) in found.items():
                    memory.download(buffer, _nbytes(shape, self._dtypes[name]))
            finally:
                memory.synchronize()
                binding.context.profiler = None
            return self._results(binding, found)

    def _outputs(self, binding: Binding) -> dict[str, tuple[Buffer, tuple[int, ...]]]:
        return {
            name: (self._buffer(binding, name, _nbytes(shape, self._dtypes[name])), shape)
            for name, shape, _ in binding.outputs
            if shape is not None
        }

    def _results(
        self, binding: Binding, found: dict[str, tuple[Buffer, tuple[int, ...]]]
    ) -> dict[str, np.ndarray[Any, Any]]:
        results = {}
        for name, _, dtype in binding.outputs:
            if name in found:
                buffer, shape = found[name]
                results[name] = buffer.view(shape, self._dtypes[name]).copy()
            else:
                results[name] = binding.allocators[name].take(dtype).cpu().numpy()
        return results

    def _buffer(self, binding: Binding, name: str, nbytes: int) -> Buffer:
        buffer = self._buffers.get(name)
        if buffer is None or buffer.host.nbytes < nbytes:
            self._memory.synchronize()
            buffer = self._buffers[name] = self._memory.allocate(max(nbytes, 1))
        binding.set_address(name, buffer.address)
        return buffer

    def _array(self, name: str, value: Any) -> np.ndarray[Any, Any]:
        array = np.asarray(value)
        dtype = self._dtypes[name]
        if array.dtype == np.int64 and dtype == np.int32:
            narrow = array.astype(np.int32)
            if (narrow != array).any():
                raise InputMismatchError(
                    f"input {name!r}: got int64 values beyond int32, which is what the engine has"
                )
            return narrow
        if array.dtype != dtype:
            raise InputMismatchError(
                f"input {name!r}: got {type(value).__name__} of {array.dtype}, expected {dtype}"
            )
        return array


def _nbytes(shape: tuple[int, ...], dtype: np.dtype[Any]) -> int:
    return int(np.prod(shape, dtype=np.int64)) * dtype.itemsize


def _numpy_dtype(name: str, dtype: torch.dtype) -> np.dtype[Any]:
    try:
        return torch.empty(0, dtype=dtype).numpy().dtype
    except TypeError as error:
        raise Torch2TrtError(
            f"tensor {name!r} is {dtype}, which numpy does not have; use TorchInferenceContext"
        ) from error
