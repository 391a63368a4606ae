"""Stands in for CUDA on a machine without a GPU: streams that do nothing, graphs in host memory.

With it ``TorchInferenceContext`` runs a ``fake_engine`` on CPU tensors.
"""

import ctypes
from types import SimpleNamespace

import torch
from fake_engine import FakeCudaEngine

from torch2trt.backends import driver
from torch2trt.engine import Engine
from torch2trt.inference import lane, torch_cuda


class FakeEngine(Engine):
    """An engine on device -1, which is what CPU tensors say they are on."""

    torch_device = torch.device("cpu")

    def __init__(self):
        super().__init__(FakeCudaEngine(), -1)


class Stream:
    def __init__(self, handle=7, device=None):
        self.cuda_stream = handle

    def synchronize(self):
        pass

    def wait_stream(self, other):
        pass


class FakeDriver:
    """The driver functions on host memory. A graph is a list of steps.

    Attributes:
        launches: the stream handles of the graphs launched.
        destroyed: how many graphs and executables were destroyed.
    """

    def __init__(self, engine):
        self.engine = engine
        self.objects = {}
        self.launches = []
        self.destroyed = 0
        self.without_context = 0
        self.refuse_updates = False

    def _new(self, pointer, value):
        number = len(self.objects) + 1
        self.objects[number] = value
        pointer._obj.value = number
        return 0

    def cuCtxGetCurrent(self, pointer):
        pointer._obj.value = 1
        return 0

    def cuCtxSetCurrent(self, context):
        self.without_context = 0
        return 0

    def cuGetErrorName(self, code, pointer):
        pointer._obj.value = b"CUDA_ERROR_FAKE"
        return 0

    cuGetErrorString = cuGetErrorName

    def cuStreamBeginCapture_v2(self, handle, mode):
        self.engine.cuda_engine.captured = []
        return 0

    def cuStreamEndCapture(self, handle, pointer):
        steps, self.engine.cuda_engine.captured = self.engine.cuda_engine.captured, None
        return self._new(pointer, steps)

    def cuGraphCreate(self, pointer, flags):
        return self._new(pointer, [])

    def cuGraphAddMemcpyNode(self, pointer, graph, after, count, params, context):
        node = SimpleNamespace(params=_copied(params))
        self.objects[graph.value].append(node)
        return self._new(pointer, node)

    def cuGraphAddChildGraphNode(self, pointer, graph, after, count, child):
        self.objects[graph.value] += self.objects[child.value]
        return self._new(pointer, None)

    def cuGraphInstantiateWithFlags(self, pointer, graph, flags):
        return self._new(pointer, list(self.objects[graph.value]))

    def cuGraphExecMemcpyNodeSetParams(self, executable, node, params, context):
        if self.refuse_updates:
            return 1
        self.objects[node.value].params = _copied(params._obj)
        return 0

    def cuGraphLaunch(self, executable, handle):
        if self.without_context:
            return 201
        self.launches.append(handle)
        for step in self.objects[executable.value]:
            if callable(step):
                step()
            else:
                p = step.params
                ctypes.memmove(p.dstDevice, p.srcDevice, p.WidthInBytes)
        return 0

    def cuGraphDestroy(self, graph):
        self.destroyed += 1
        return 0

    cuGraphExecDestroy = cuGraphDestroy


def _copied(params):
    return driver.CopyParams.from_buffer_copy(params)


def install(monkeypatch, handle=7):
    """A fake engine and its driver."""
    engine = FakeEngine()
    cuda = FakeDriver(engine)
    monkeypatch.setattr(driver, "driver", lambda: cuda)
    monkeypatch.setattr(torch_cuda, "_raw_stream", lambda device: handle)
    for name in ("ExternalStream", "Stream"):
        monkeypatch.setattr(torch.cuda, name, Stream)
    monkeypatch.setattr(torch.Tensor, "record_stream", lambda tensor, stream: None)
    monkeypatch.setattr(lane, "empty_strided", torch._C._dynamo.guards._empty_strided_cpu)
    monkeypatch.setattr(lane, "ALIGNMENT", 1)
    return engine, cuda
