"""The few functions of the CUDA driver that are called directly.

Torch offers neither copy nodes in graphs nor a change of their addresses, and takes twice the time
to make streams wait for each other.
"""

from __future__ import annotations

import ctypes
import functools
import weakref
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from ctypes import POINTER, c_int, c_size_t, c_uint, c_ulonglong, c_void_p
from typing import Any

import torch

from ..errors import Torch2TrtError

_THREAD_LOCAL = 1  # CU_STREAM_CAPTURE_MODE_THREAD_LOCAL
_ON_DEVICE = 2  # CU_MEMORYTYPE_DEVICE
_NO_CONTEXT = 201  # CUDA_ERROR_INVALID_CONTEXT
_ORDER = "streams could not be made to wait for each other"


class CopyParams(ctypes.Structure):
    """``CUDA_MEMCPY3D`` of the CUDA driver."""

    _fields_ = [
        ("srcXInBytes", c_size_t), ("srcY", c_size_t), ("srcZ", c_size_t), ("srcLOD", c_size_t),
        ("srcMemoryType", c_int), ("srcHost", c_void_p), ("srcDevice", c_ulonglong),
        ("srcArray", c_void_p), ("reserved0", c_void_p),
        ("srcPitch", c_size_t), ("srcHeight", c_size_t),
        ("dstXInBytes", c_size_t), ("dstY", c_size_t), ("dstZ", c_size_t), ("dstLOD", c_size_t),
        ("dstMemoryType", c_int), ("dstHost", c_void_p), ("dstDevice", c_ulonglong),
        ("dstArray", c_void_p), ("reserved1", c_void_p),
        ("dstPitch", c_size_t), ("dstHeight", c_size_t),
        ("WidthInBytes", c_size_t), ("Height", c_size_t), ("Depth", c_size_t),
    ]  # fmt: skip


_SIGNATURES: dict[str, Sequence[Any]] = {
    "cuCtxGetCurrent": (POINTER(c_void_p),),
    "cuCtxSetCurrent": (c_void_p,),
    "cuDevicePrimaryCtxRetain": (POINTER(c_void_p), c_int),
    "cuDevicePrimaryCtxRelease_v2": (c_int,),
    "cuGetErrorName": (c_int, POINTER(ctypes.c_char_p)),
    "cuGetErrorString": (c_int, POINTER(ctypes.c_char_p)),
    "cuStreamBeginCapture_v2": (c_void_p, c_int),
    "cuStreamEndCapture": (c_void_p, POINTER(c_void_p)),
    "cuGraphCreate": (POINTER(c_void_p), c_uint),
    "cuGraphAddMemcpyNode": (
        POINTER(c_void_p), c_void_p, POINTER(c_void_p), c_size_t, POINTER(CopyParams), c_void_p,
    ),
    "cuGraphAddChildGraphNode": (
        POINTER(c_void_p), c_void_p, POINTER(c_void_p), c_size_t, c_void_p,
    ),
    "cuGraphInstantiateWithFlags": (POINTER(c_void_p), c_void_p, c_ulonglong),
    "cuGraphExecMemcpyNodeSetParams": (c_void_p, c_void_p, POINTER(CopyParams), c_void_p),
    "cuGraphLaunch": (c_void_p, c_void_p),
    "cuGraphExecDestroy": (c_void_p,),
    "cuGraphDestroy": (c_void_p,),
    "cuEventRecord": (c_void_p, c_void_p),
    "cuStreamWaitEvent": (c_void_p, c_void_p, c_uint),
}  # fmt: skip


@functools.cache
def driver() -> Any:
    """The CUDA driver library.

    Raises:
        Torch2TrtError: there is none.
    """
    try:
        library = ctypes.CDLL("libcuda.so.1")
        for name, arguments in _SIGNATURES.items():
            function = getattr(library, name)
            function.argtypes, function.restype = arguments, c_int
    except (OSError, AttributeError) as error:
        raise Torch2TrtError(f"the CUDA driver cannot be used: {error}") from error
    return library


def check(code: int, what: str) -> None:
    """Raise what a driver function returned, unless it succeeded."""
    if code:
        text = ctypes.c_char_p()
        parts = []
        for describe in (driver().cuGetErrorName, driver().cuGetErrorString):
            if describe(code, ctypes.byref(text)) == 0 and text.value is not None:
                parts.append(text.value.decode())
        raise Torch2TrtError(f"{what}: CUDA error {code} {': '.join(parts)}".rstrip())


def current_context() -> c_void_p:
    """The CUDA context of this thread; if it has none, it gets that of torch's current device."""
    context, cuda = c_void_p(), driver()
    check(cuda.cuCtxGetCurrent(ctypes.byref(context)), "this thread has no CUDA context")
    if not context:
        device, what = torch.cuda.current_device(), "this thread could not get a CUDA context"
        check(cuda.cuDevicePrimaryCtxRetain(ctypes.byref(context), device), what)
        try:
            check(cuda.cuCtxSetCurrent(context), what)
        finally:
            cuda.cuDevicePrimaryCtxRelease_v2(device)  # torch retains it as well
    return context


def _complete(code: int, context: c_void_p, function: Callable[[], int], what: str) -> None:
    """What is left to do when a function has returned `code`: nothing if it succeeded.

    A thread that has done nothing on the GPU has no context; it gets this one, and calls again.
    """
    if code == _NO_CONTEXT:
        check(driver().cuCtxSetCurrent(context), "the CUDA context cannot be used")
        code = function()
    check(code, what)


class Detour:
    """Launches on one stream as if on another: after what is there, and before what comes.

    Args:
        stream: the torch stream that the caller uses.
        side: the torch stream to launch on.
    """

    def __init__(self, stream: Any, side: Any):
        self._context, cuda = current_context(), driver()
        self._events = [torch.cuda.Event() for _ in range(2)]
        for event in self._events:
            event.record(stream)  # torch creates it now
        before, after = (event.cuda_event for event in self._events)
        self._side = side.cuda_stream
        self._order = [
            functools.partial(function, *arguments)
            for function, *arguments in (
                (cuda.cuEventRecord, before, stream.cuda_stream),
                (cuda.cuStreamWaitEvent, self._side, before, 0),
                (cuda.cuEventRecord, after, self._side),
                (cuda.cuStreamWaitEvent, stream.cuda_stream, after, 0),
            )
        ]

    def launch(self, binding: Any) -> None:
        """Enqueue an execution context, see ``lane.Binding``."""
        record, wait, record_after, wait_after = self._order
        code = record()
        if code:
            _complete(code, self._context, record, _ORDER)
        check(wait(), _ORDER)
        try:
            binding.launch(self._side)
        finally:
            code = record_after() or wait_after()
        check(code, _ORDER)


class CopyNode:
    """A node that copies device memory, in a graph that may run already.

    Attributes:
        source: where it reads.
    """

    def __init__(self, graph: Any, after: Any, source: int, target: int, nbytes: int):
        self.node = c_void_p()
        self._params = CopyParams(
            srcMemoryType=_ON_DEVICE, srcDevice=source, dstMemoryType=_ON_DEVICE, dstDevice=target,
            WidthInBytes=nbytes, Height=1, Depth=1,
        )  # fmt: skip
        self._context = current_context()
        code = driver().cuGraphAddMemcpyNode(
            ctypes.byref(self.node), graph, *_nodes(after), self._params, self._context
        )
        check(code, "a copy could not be added to a CUDA graph")
        self.source, self._target = source, target
        self._update: Callable[[], int] = lambda: 0

    def attach(self, executable: Any) -> None:
        """From now on changes are for `executable`."""
        self._update = functools.partial(
            driver().cuGraphExecMemcpyNodeSetParams,
            executable, self.node, ctypes.byref(self._params), self._context,
        )  # fmt: skip

    def read_from(self, address: int) -> None:
        """Copy from here in the launches to come."""
        if address != self.source:
            self._params.srcDevice = address
            self._change()
            self.source = address

    def write_to(self, address: int) -> None:
        """Copy to here in the launches to come."""
        if address != self._target:
            self._params.dstDevice = address
            self._change()
            self._target = address

    def _change(self) -> None:
        code = self._update()
        if code:
            what = "the address of a tensor could not be exchanged in a CUDA graph"
            _complete(code, self._context, self._update, what)


class Executable:
    """An executable graph: copies in, a captured graph, copies out.

    Args:
        body: a captured graph; it is copied.
        uploads: of each copy before it the address read, the address written and the size.
        downloads: the same of the copies after it.
    """

    def __init__(
        self,
        body: c_void_p,
        uploads: Sequence[tuple[int, int, int]],
        downloads: Sequence[tuple[int, int, int]],
    ):
        self._context, cuda = current_context(), driver()
        graph, child = c_void_p(), c_void_p()
        check(cuda.cuGraphCreate(ctypes.byref(graph), 0), "a CUDA graph could not be made")
        weakref.finalize(self, cuda.cuGraphDestroy, graph).atexit = False
        self.uploads = [CopyNode(graph, (), *copy) for copy in uploads]
        before = [copy.node for copy in self.uploads]
        code = cuda.cuGraphAddChildGraphNode(ctypes.byref(child), graph, *_nodes(before), body)
        check(code, "what was captured could not be added to a CUDA graph")
        self.downloads = [CopyNode(graph, [child], *copy) for copy in downloads]
        executable = c_void_p()
        code = cuda.cuGraphInstantiateWithFlags(ctypes.byref(executable), graph, 0)
        check(code, "a CUDA graph could not be instantiated")
        weakref.finalize(self, cuda.cuGraphExecDestroy, executable).atexit = False
        for copy in (*self.uploads, *self.downloads):
            copy.attach(executable)
        self._launch = functools.partial(cuda.cuGraphLaunch, executable)

    def launch(self, handle: int) -> None:
        """Enqueue on a stream."""
        code = self._launch(handle)
        if code:
            again = functools.partial(self._launch, handle)
            _complete(code, self._context, again, "a CUDA graph could not be launched")


@contextmanager
def captured(handle: int, enqueue: Callable[[], None]) -> Iterator[c_void_p]:
    """The graph of what a function enqueues on a stream, other than the default one."""
    cuda, graph = driver(), c_void_p()
    code = cuda.cuStreamBeginCapture_v2(handle, _THREAD_LOCAL)
    check(code, "the stream cannot be captured")
    try:
        enqueue()
    finally:
        code = cuda.cuStreamEndCapture(handle, ctypes.byref(graph))
    check(code, "the engine cannot be captured in a CUDA graph")
    try:
        yield graph
    finally:
        cuda.cuGraphDestroy(graph)


def _nodes(nodes: Sequence[Any]) -> tuple[Any, int]:
    return (c_void_p * len(nodes))(*(node.value for node in nodes)), len(nodes)
