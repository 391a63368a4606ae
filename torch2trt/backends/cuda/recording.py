"""A function of CUDA tensors of fixed shapes, recorded as a CUDA graph and launched."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from ctypes import c_void_p
from typing import Any

import torch

from ...errors import InputMismatchError, Torch2TrtError
from ..driver import CopyNode, Executable
from ..tensors import CAPTURING, empty_strided, raw_stream

_LOG = logging.getLogger(__name__)
Function = Callable[[Sequence[torch.Tensor]], list[torch.Tensor]]
_TRAIN = 10
_CAN_KEEP = hasattr(torch.cuda.CUDAGraph, "raw_cuda_graph")


class Recording:
    """The recorded graph of one call, with its own inputs, outputs and memory.

    The graph begins with copies of the caller's inputs and ends with copies to fresh outputs, so
    that a call is one launch; where this PyTorch or CUDA has no such graph, the copies are launched
    by themselves. Runs on the stream that is current at the call. Calls on different streams wait
    for each other, for they share the memory of the graph; hold a lock where several threads call.

    Args:
        functions: each enqueues the same work on the current stream and gives a list of tensors;
            the fastest is kept. Those after the first one may fail.
        inputs: tensors of the shapes, dtypes and values to record with.
        device: the CUDA device.
    """

    def __init__(
        self,
        functions: Sequence[Function],
        inputs: Sequence[torch.Tensor],
        device: torch.device,
    ) -> None:
        self.device = device
        self._index = torch.empty(0, device=device).get_device()
        self.inputs = [x.detach().clone(memory_format=torch.contiguous_format) for x in inputs]
        self.microseconds: list[float] = []
        self._stream: Any = None  # of the latest call, and its handle
        self._handle: int | None = None
        self._done = torch.cuda.Event()
        self._many_devices = torch.cuda.device_count() > 1
        with torch.cuda.device(device):
            self.graph, self.outputs = self._fastest(functions, torch.cuda.Stream(device))
            self.executable = self._whole() if _CAN_KEEP else None
        self._fresh = [(tuple(y.shape), y.stride(), y.dtype) for y in self.outputs]
        copies = self.executable
        self._reads = _numbered(self.inputs, copies.uploads if copies else ())
        self._writes = _numbered(self.outputs, copies.downloads if copies else ())

    def _fastest(
        self, functions: Sequence[Function], stream: torch.cuda.Stream
    ) -> tuple[Any, list[torch.Tensor]]:
        best = self._record(functions[0], stream)
        for other in functions[1:]:
            try:
                made = self._record(other, stream)
            except RuntimeError as reason:
                _LOG.info("not recorded on several streams: %s", reason)
                continue
            self.microseconds = [_microseconds(graph, stream) for graph, _ in (best, made)]
            best = min(zip(self.microseconds, (0, 1), (best, made)))[2]
        return best

    def _record(
        self, function: Function, stream: torch.cuda.Stream
    ) -> tuple[Any, list[torch.Tensor]]:
        graph = torch.cuda.CUDAGraph(keep_graph=True) if _CAN_KEEP else torch.cuda.CUDAGraph()
        stream.wait_stream(torch.cuda.current_stream(stream.device))
        with torch.cuda.stream(stream):
            for _ in range(2):  # code is loaded and libraries choose their algorithms before it
                function(self.inputs)
            stream.synchronize()
            with CAPTURING, _own_workspaces():
                graph.capture_begin(capture_error_mode="thread_local")
                try:
                    outputs = [y.contiguous() for y in function(self.inputs)]
                finally:
                    graph.capture_end()
            stream.synchronize()
        return graph, outputs

    def _whole(self) -> Executable | None:
        """The graph with the copies in and out, None where it cannot be made."""
        inputs, outputs = ([x for x in some if x.numel()] for some in (self.inputs, self.outputs))
        others = [torch.empty_like(x) for x in (*inputs, *outputs)]  # the caller's, for now
        pairs = list(zip(others, inputs)), list(zip(outputs, others[len(inputs) :]))
        uploads, downloads = [
            [(source.data_ptr(), target.data_ptr(), target.nbytes) for source, target in some]
            for some in pairs
        ]
        try:
            return Executable(c_void_p(self.graph.raw_cuda_graph()), uploads, downloads)
        except Torch2TrtError as reason:
            _LOG.info("inputs and outputs are copied outside of the CUDA graph: %s", reason)
            return None

    def __call__(self, inputs: Sequence[torch.Tensor]) -> list[torch.Tensor]:
        """Copy in, run, copy out; the outputs are fresh.

        Raises:
            InputMismatchError: an input of another shape or dtype than that recorded with.
        """
        return self.run(*[self._usable(x, y) for x, y in zip(self.inputs, inputs, strict=True)])

    def run(self, *inputs: torch.Tensor) -> list[torch.Tensor]:
        """A call without its checks: all inputs are on the device and have the recorded types."""
        if self._many_devices and torch.cuda.current_device() != self._index:
            with torch.cuda.device(self.device):
                return self._enqueue(inputs)
        return self._enqueue(inputs)

    def _enqueue(self, inputs: Sequence[torch.Tensor]) -> list[torch.Tensor]:
        handle = raw_stream(self._index)
        if handle != self._handle:
            self._follow(handle)
        given = [x if x.is_contiguous() else x.contiguous() for x in inputs]
        if self.executable is None:
            outputs = self._by_steps(given)
        else:
            outputs = self._launched(self.executable, given, handle)
        self._done.record(self._stream)
        return outputs

    def _follow(self, handle: int) -> None:
        """Let the current stream wait for what ran on another one."""
        stream = torch.cuda.current_stream(self.device)
        if self._stream is not None:
            stream.wait_event(self._done)
        self._stream, self._handle = stream, handle

    @contextmanager
    def turn(self) -> Iterator[None]:
        """What is enqueued on the current stream meanwhile is in order with the calls."""
        if torch.cuda.is_current_stream_capturing():
            yield
            return
        handle = raw_stream(self._index)
        if handle != self._handle:
            self._follow(handle)
        yield
        self._done.record(self._stream)

    def _usable(self, own: torch.Tensor, given: torch.Tensor) -> torch.Tensor:
        if given.shape != own.shape or given.dtype != own.dtype:
            raise InputMismatchError(
                f"got {given.dtype} {tuple(given.shape)}, expected {own.dtype} {tuple(own.shape)}"
            )
        return given.to(own.device)

    def _launched(
        self, executable: Executable, given: Sequence[torch.Tensor], handle: int
    ) -> list[torch.Tensor]:
        for number, copy in self._reads:
            copy.read_from(given[number].data_ptr())
        outputs = [empty_strided(*like) for like in self._fresh]
        for number, copy in self._writes:
            copy.write_to(outputs[number].data_ptr())
        executable.launch(handle)
        return outputs

    @torch.no_grad()
    def _by_steps(self, given: Sequence[torch.Tensor]) -> list[torch.Tensor]:
        for own, x in zip(self.inputs, given):
            own.copy_(x)
        self.graph.replay()
        return [y.clone() for y in self.outputs]


def _microseconds(graph: Any, stream: torch.cuda.Stream) -> float:
    """The time of one of several launches in a row, the fastest of three trains."""
    best = float("inf")
    with torch.cuda.stream(stream):
        graph.replay()
        for _ in range(3):
            start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
            start.record(stream)
            for _ in range(_TRAIN):
                graph.replay()
            end.record(stream)
            stream.synchronize()
            best = min(best, start.elapsed_time(end) * 1e3 / _TRAIN)
    return best


def _numbered(
    tensors: Sequence[torch.Tensor], copies: Sequence[CopyNode]
) -> list[tuple[int, CopyNode]]:
    """The copies with the numbers of their tensors; those without elements have none."""
    return list(zip([n for n, x in enumerate(tensors) if x.numel()], copies))


class _own_workspaces:
    """cuBLAS takes its workspace from the memory of the recording, and nothing else keeps it."""

    def __enter__(self) -> None:
        torch._C._cuda_clearCublasWorkspaces()

    def __exit__(self, *error: Any) -> None:
        torch._C._cuda_clearCublasWorkspaces()
