"""Page-locked host memory and device memory for ``InferenceContext``, from torch or pycuda."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from ..errors import InputMismatchError


@dataclass
class Buffer:
    """Memory for one tensor on both sides.

    Attributes:
        host: page-locked bytes as a numpy array.
        address: where it lies on the device.
        owners: what keeps both alive.
    """

    host: np.ndarray[Any, Any]
    address: int
    owners: tuple[Any, ...]

    def view(self, shape: tuple[int, ...], dtype: np.dtype[Any]) -> np.ndarray[Any, Any]:
        """The host memory as an array."""
        return self.host[: math.prod(shape) * dtype.itemsize].view(dtype).reshape(shape)


class TorchMemory:
    """Memory from torch, on a torch stream or a raw handle; by default on a stream of its own."""

    def __init__(self, device: int, stream: Any = None):
        self._device = torch.device("cuda", device)
        if stream is None:
            stream = torch.cuda.Stream(self._device)
        elif not isinstance(stream, torch.cuda.Stream):
            stream = torch.cuda.ExternalStream(stream_handle(stream), self._device)
        self.stream = stream
        self.handle: int = stream.cuda_stream

    @contextlib.contextmanager
    def active(self) -> Iterator[None]:
        """The device and stream are current while the block runs."""
        with torch.cuda.device(self._device), torch.cuda.stream(self.stream):
            yield

    def allocate(self, nbytes: int) -> Buffer:
        """Memory on both sides."""
        host = torch.empty(nbytes, dtype=torch.uint8, pin_memory=True)
        device = torch.empty(nbytes, dtype=torch.uint8, device=self._device)
        return Buffer(host.numpy(), device.data_ptr(), (host, device))

    def upload(self, buffer: Buffer, nbytes: int) -> None:
        """Enqueue a copy to the device."""
        host, device = buffer.owners
        device[:nbytes].copy_(host[:nbytes], non_blocking=True)

    def download(self, buffer: Buffer, nbytes: int) -> None:
        """Enqueue a copy to the host."""
        host, device = buffer.owners
        host[:nbytes].copy_(device[:nbytes], non_blocking=True)

    def synchronize(self) -> None:
        """Wait for the stream."""
        self.stream.synchronize()


class PycudaMemory:
    """Memory from pycuda in the given context (or in the current one), on a pycuda stream."""

    def __init__(self, stream: Any = None, context: Any = None):
        import pycuda.driver as driver

        self._driver = driver
        self._context = context
        with self.active():
            self.stream = driver.Stream() if stream is None else stream
        self.handle = stream_handle(self.stream)

    @contextlib.contextmanager
    def active(self) -> Iterator[None]:
        """The context is current while the block runs."""
        if self._context is not None:
            self._context.push()
        try:
            yield
        finally:
            if self._context is not None:
                self._context.pop()

    def allocate(self, nbytes: int) -> Buffer:
        """Memory on both sides."""
        host = self._driver.pagelocked_empty(nbytes, np.uint8)
        device = self._driver.mem_alloc(nbytes)
        return Buffer(host, int(device), (host, device))

    def upload(self, buffer: Buffer, nbytes: int) -> None:
        """Enqueue a copy to the device."""
        self._driver.memcpy_htod_async(buffer.address, buffer.host[:nbytes], self.stream)

    def download(self, buffer: Buffer, nbytes: int) -> None:
        """Enqueue a copy to the host."""
        self._driver.memcpy_dtoh_async(buffer.host[:nbytes], buffer.address, self.stream)

    def synchronize(self) -> None:
        """Wait for the stream."""
        self.stream.synchronize()


def stream_handle(stream: Any) -> int:
    """The raw handle of a torch or pycuda stream, or the handle itself.

    Raises:
        InputMismatchError: it is none of these.
    """
    for name in ("cuda_stream", "handle"):
        if hasattr(stream, name):
            return int(getattr(stream, name))
    if isinstance(stream, int):
        return stream
    raise InputMismatchError(
        f"stream: got {type(stream).__name__}, expected a torch or pycuda stream or a handle"
    )


def memory_for(device: int, stream: Any, context: Any) -> TorchMemory | PycudaMemory:
    """The memory that goes with what the caller gave: pycuda's for a pycuda stream or context."""
    from_pycuda = type(stream).__module__.startswith("pycuda")
    if context is not None or from_pycuda:
        return PycudaMemory(stream, context)
    return TorchMemory(device, stream)
