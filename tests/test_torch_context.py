"""TorchInferenceContext without a GPU: host tensors, an engine that computes in host memory."""

from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext

import pytest
import torch
from fake_engine import FakeCudaEngine

from torch2trt.backends import trt_api
from torch2trt.engine import Engine
from torch2trt.errors import InputMismatchError, Torch2TrtError
from torch2trt.inference import TorchInferenceContext, lane, torch_cuda

pytestmark = pytest.mark.skipif(not trt_api.available(), reason="no TensorRT is installed")


class HostEngine(Engine):
    """An engine on the device that torch calls -1."""

    torch_device = torch.device("cpu")

    def __init__(self):
        super().__init__(FakeCudaEngine(), -1)


class FakeStream:
    def __init__(self, handle=11, device=None):
        self.cuda_stream = handle if isinstance(handle, int) else 12
        self.waits = 0

    def synchronize(self):
        self.waits += 1

    def wait_event(self, event):
        event.waited += 1

    def wait_stream(self, other):
        self.waits += 1


class FakeEvent:
    waited = recorded = 0

    def record(self, stream):
        self.recorded += 1


@pytest.fixture
def streams(monkeypatch):
    """The current stream's handle, to be changed by tests."""
    current = {"handle": 7}
    monkeypatch.setattr(torch_cuda, "_raw_stream", lambda device: current["handle"])
    monkeypatch.setattr(lane, "empty_strided", torch._C._dynamo.guards._empty_strided_cpu)
    for name in ("Stream", "ExternalStream"):
        monkeypatch.setattr(torch.cuda, name, FakeStream)
    monkeypatch.setattr(torch.cuda, "default_stream", lambda device: FakeStream(0))
    monkeypatch.setattr(torch.cuda, "current_stream", lambda device: FakeStream(7))
    monkeypatch.setattr(torch.cuda, "Event", FakeEvent)
    monkeypatch.setattr(torch.cuda, "device", lambda device: nullcontext())
    monkeypatch.setattr(torch.cuda, "stream", lambda stream: nullcontext())
    monkeypatch.setattr(torch.Tensor, "record_stream", lambda tensor, stream: None)
    return current


def aligned(*shape):
    """A tensor at an address that TensorRT takes as it is."""
    count = torch.Size(shape).numel()
    memory = torch.rand(count + 64)
    start = -memory.data_ptr() % 256 // 4
    return memory[start : start + count].view(shape)


def test_numbers_names_and_fresh_outputs(streams):
    context = TorchInferenceContext(HostEngine())
    x, y = aligned(2, 3), aligned(1, 3)
    first, second = context.run(x, y)[0], context(y=y, x=x)["sum"]
    assert first.equal(x + y) and second.equal(x + y)
    assert first.data_ptr() != second.data_ptr()


def test_inputs_are_read_where_they_lie(streams):
    engine = HostEngine()
    context, x, y = TorchInferenceContext(engine), aligned(2, 3), aligned(1, 3)
    context.run(x, y)
    addresses = engine.cuda_engine.contexts[0].addresses
    assert addresses["x"] == x.data_ptr() and addresses["y"] == y.data_ptr()


def test_misaligned_and_strided_inputs_are_copied(streams):
    engine = HostEngine()
    context, y = TorchInferenceContext(engine), aligned(1, 3)
    for x in (aligned(3, 3)[1:], aligned(2, 6)[:, ::2], aligned(3, 2).t()):
        assert context.run(x, y)[0].equal(x + y)
        assert engine.cuda_engine.contexts[0].addresses["x"] != x.data_ptr()


def test_shapes_are_set_only_when_they_change(streams):
    engine = HostEngine()
    context, y, counts = TorchInferenceContext(engine), aligned(1, 3), []
    for rows in (2, 2, 3, 3, 2):
        x = aligned(rows, 3)
        assert context.run(x, y)[0].equal(x + y)
        counts.append(engine.cuda_engine.contexts[0].shape_calls)
    assert counts == [2, 2, 4, 4, 6]


def test_each_stream_has_its_own_execution_context(streams):
    engine = HostEngine()
    context, x, y = TorchInferenceContext(engine), aligned(2, 3), aligned(1, 3)
    for handle in (7, 8, 7, 8, 9):
        streams["handle"] = handle
        assert context.run(x, y)[0].equal(x + y)
    handles = [c.handles for c in engine.cuda_engine.contexts]
    assert handles == [[7, 7], [8, 8], [9]]


def test_a_given_execution_context_and_stream(streams):
    engine = FakeCudaEngine()
    mine = engine.create_execution_context()
    context = TorchInferenceContext(mine, FakeStreamHandle(), device=0)
    assert context.engine.cuda_engine is engine and context._stream.cuda_stream == 77
    with pytest.raises(InputMismatchError, match="got str"):
        TorchInferenceContext(mine, "stream", device=0)


class FakeStreamHandle:
    handle = 77


@pytest.mark.parametrize(
    "inputs, message",
    [
        ((), "missing"),
        ((aligned(2, 3),), r"missing \['y'\]"),
        ((aligned(2, 3), 1), "'y': got int"),
        ((aligned(2, 3).double(), aligned(1, 3)), "'x': got torch.float64, expected torch.float32"),
        ((aligned(5, 3), aligned(1, 3)), "dimension 0 between 1 and 4"),
        ((aligned(2, 4), aligned(1, 3)), "dimension 1"),
    ],
)
def test_wrong_inputs_are_named_and_the_context_works_on(streams, inputs, message):
    context, x, y = TorchInferenceContext(HostEngine()), aligned(2, 3), aligned(1, 3)
    with pytest.raises(InputMismatchError, match=message):
        context.run(*inputs)
    assert context.run(x, y)[0].equal(x + y)


def test_a_failed_launch_gives_tensorrts_reason(streams):
    engine = HostEngine()
    context, x, y = TorchInferenceContext(engine), aligned(2, 3), aligned(1, 3)
    context.run(x, y)
    engine.cuda_engine.broken = True
    engine.cuda_engine.contexts[0].error_recorder = recorder = trt_api.create_recorder()
    recorder.report_error(None, "illegal memory access")
    with pytest.raises(Torch2TrtError, match="illegal memory access"):
        context.run(x, y)
    engine.cuda_engine.broken = False
    assert context.run(x, y)[0].equal(x + y)


def test_sizes_that_a_layer_cannot_take_are_errors_and_the_context_works_on(streams):
    engine = HostEngine()
    engine.cuda_engine.unfit = 3
    context, y = TorchInferenceContext(engine), aligned(1, 3)
    x = aligned(2, 3)
    assert context.run(x, y)[0].equal(x + y)
    (execution,) = engine.cuda_engine.contexts
    recorder = execution.error_recorder = trt_api.create_recorder()
    recorder.report_error(None, "of an earlier call")
    with pytest.raises(Torch2TrtError, match=r"\[3, 3\], \[1, 3\]: a slice lies outside"):
        context.run(aligned(3, 3), y)
    assert context.run(x, y)[0].equal(x + y)


def test_threads(streams):
    context, y = TorchInferenceContext(HostEngine()), aligned(1, 3)

    def work(index):
        x = aligned(1 + index % 4, 3)
        for _ in range(50):
            assert context.run(x, y)[0].equal(x + y)

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(work, range(8)))
