"""TorchInferenceContext on a fake CUDA: numbers, graphs, errors, cost."""

import threading
from types import SimpleNamespace

import fake_cuda
import pytest
import torch

from torch2trt.backends import driver
from torch2trt.errors import InputMismatchError, Torch2TrtError
from torch2trt.inference import TorchInferenceContext, lane

GRAPH = pytest.mark.parametrize("cuda_graph", [False, True], ids=["launch", "graph"])


@pytest.fixture
def cuda(monkeypatch):
    return fake_cuda.install(monkeypatch)


def rows(count, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(count, 3, generator=generator), torch.randn(1, 3, generator=generator)


@GRAPH
def test_numbers_for_shapes_in_any_order(cuda, cuda_graph):
    engine, driver = cuda
    context = TorchInferenceContext(engine, cuda_graph=cuda_graph)
    kept = []
    for seed, count in enumerate((1, 4, 2, 2, 4, 3, 1, 1)):
        x, y = rows(count, seed)
        kept.append((context.run(x, y)[0], x + y))
    for got, expected in kept:
        assert got.equal(expected)
    assert len({got.data_ptr() for got, _ in kept}) == len(kept)
    assert driver.launches == ([7] * 8 if cuda_graph else [])


def test_names_and_copies_of_strided_inputs(cuda):
    context = TorchInferenceContext(cuda[0], cuda_graph=True)
    x, y = rows(4)
    assert context(y=y, x=x)["sum"].equal(x + y)
    assert context.run(x[::2], y)[0].equal(x[::2] + y)
    assert context.run(x, y.expand(4, 3)[:1])[0].equal(x + y)


@GRAPH
@pytest.mark.parametrize(
    "change, message",
    [
        (lambda x, y: (x,), "missing"),
        (lambda x, y: (x.half(), y), "'x': got torch.float16"),
        (lambda x, y: (x.repeat(3, 1), y), "dimension 0 between 1 and 4"),
        (lambda x, y: (x, y[0]), "'y': got shape"),
        (lambda x, y: (x.numpy(), y), "got ndarray"),
    ],
)
def test_wrong_inputs_are_named_and_the_context_works_on(cuda, cuda_graph, change, message):
    context = TorchInferenceContext(cuda[0], cuda_graph=cuda_graph)
    x, y = rows(2)
    with pytest.raises(InputMismatchError, match=message):
        context.run(*change(x, y))
    assert context.run(x, y)[0].equal(x + y)


def test_a_graph_is_made_once_a_shape_and_again_after_a_refit(cuda):
    engine, driver = cuda
    context = TorchInferenceContext(engine, cuda_graph=True)
    x, y = rows(2)
    for _ in range(5):
        context.run(x, y)
    made = len(engine.cuda_engine.contexts)
    engine.generation += 1
    assert context.run(x, y)[0].equal(x + y)
    assert len(engine.cuda_engine.contexts) == made + 1


def test_old_graphs_are_destroyed(cuda, monkeypatch):
    monkeypatch.setattr(lane, "MAX_GRAPHS", 2)
    engine, driver = cuda
    context = TorchInferenceContext(engine, cuda_graph=True)
    for count in (1, 2, 3, 4):
        context.run(*rows(count))
    bodies, evicted = 4, 2
    assert driver.destroyed == bodies + 2 * evicted


def test_a_thread_without_a_context_gets_the_one_of_the_graph(cuda):
    engine, driver = cuda
    context = TorchInferenceContext(engine, cuda_graph=True)
    x, y = rows(2)
    context.run(x, y)
    driver.without_context = 1
    found = []
    thread = threading.Thread(target=lambda: found.append(context.run(x, y)[0]))
    thread.start()
    thread.join()
    assert found[0].equal(x + y)


def test_an_address_that_cuda_refuses_is_an_error_each_time(cuda):
    engine, driver = cuda
    context = TorchInferenceContext(engine, cuda_graph=True)
    x, y = rows(2)
    context.run(x, y)
    driver.refuse_updates = True
    for _ in range(2):
        with pytest.raises(Torch2TrtError, match="CUDA_ERROR_FAKE"):
            context.run(x + 1, y)
    driver.refuse_updates = False
    assert context.run(x + 1, y)[0].equal(x + 1 + y)


def test_an_engine_that_cannot_be_captured_is_launched(cuda, monkeypatch, caplog):
    engine, driver = cuda
    monkeypatch.setattr(driver, "cuStreamBeginCapture_v2", lambda handle, mode: 900)
    context = TorchInferenceContext(engine, cuda_graph=True)
    x, y = rows(2)
    for _ in range(2):
        assert context.run(x, y)[0].equal(x + y)
    assert caplog.text.count("no CUDA graph for this engine") == 1


@GRAPH
def test_a_launch_that_fails_is_an_error_and_the_context_works_on(cuda, cuda_graph):
    engine, _ = cuda
    context = TorchInferenceContext(engine, cuda_graph=cuda_graph)
    x, y = rows(2)
    engine.cuda_engine.broken = True
    with pytest.raises(Torch2TrtError, match="could not launch"):
        context.run(x, y)
    engine.cuda_engine.broken = False
    assert context.run(x, y)[0].equal(x + y)


class NoShape:
    """What TensorRT 8.6 gives for an output whose shape it does not know."""

    def __len__(self):
        return -1

    def __iter__(self):
        return iter(())


def test_outputs_of_unknown_shape_come_from_the_allocator(cuda, monkeypatch):
    engine, _ = cuda
    x, y = rows(2)
    context = TorchInferenceContext(engine)

    class Allocator:
        def take(self, dtype):
            return torch.full((5,), 3.0, dtype=dtype)

    given = {}
    fake = type(engine.cuda_engine.create_execution_context())
    monkeypatch.setattr(fake, "get_tensor_shape", lambda self, name: NoShape())
    monkeypatch.setattr(fake, "set_output_allocator", given.__setitem__, raising=False)
    monkeypatch.setattr(fake, "compute", lambda self: None)
    monkeypatch.setattr(lane, "create_allocator", lambda device: Allocator())
    monkeypatch.setattr(fake, "set_output_allocator", lambda self, n, a: given.update({n: a}))
    monkeypatch.setattr(fake, "get_max_output_size", lambda self, name: 80, raising=False)
    assert context.run(x, y)[0].tolist() == [3.0] * 5
    assert list(given) == ["sum"] and given["sum"].largest == 80


@pytest.fixture
def allocator(monkeypatch):
    monkeypatch.setattr(lane.trt_api, "trt", lambda: SimpleNamespace(IOutputAllocator=object))
    return lane.create_allocator(torch.device("cpu"))


def test_the_allocator_has_room_for_the_largest_output_and_never_shrinks(allocator):
    allocator.largest = 160
    address = allocator.reallocate_output("y", None, 16, 256)
    assert allocator.reallocate_output_async("y", address, 8, 256, 0) == address
    allocator.memory.copy_(torch.arange(40, dtype=torch.int32).view(torch.uint8))
    allocator.notify_shape("y", (2, 16))
    assert allocator.take(torch.int32).equal(torch.arange(32, dtype=torch.int32).view(2, 16))
    assert allocator.reallocate_output("y", address, 400, 256) and allocator.memory.numel() == 400


def test_an_output_larger_than_asked_for_is_an_error(allocator):
    allocator.reallocate_output("y", None, 16, 256)
    allocator.notify_shape("y", (2, 16))
    with pytest.raises(Torch2TrtError, match=r"\(2, 16\) \(128 bytes\), expected .* 16 bytes"):
        allocator.take(torch.int32)


def test_a_thread_without_a_context_gets_that_of_the_device(cuda, monkeypatch):
    _, fake = cuda
    calls = []

    def retain(pointer, device):
        pointer._obj.value = 5
        return calls.append(("retain", device)) or 0

    monkeypatch.setattr(torch.cuda, "current_device", lambda: 3)
    for name, function in (
        ("cuCtxGetCurrent", lambda pointer: 0),
        ("cuDevicePrimaryCtxRetain", retain),
        ("cuCtxSetCurrent", lambda context: calls.append(("set", context.value)) or 0),
        ("cuDevicePrimaryCtxRelease_v2", lambda device: calls.append(("release", device)) or 0),
    ):
        monkeypatch.setattr(fake, name, function, raising=False)
    assert driver.current_context().value == 5
    assert calls == [("retain", 3), ("set", 5), ("release", 3)]


def test_the_default_stream_waits_for_a_stream_of_the_lanes_own(monkeypatch):
    engine, driver = fake_cuda.install(monkeypatch, handle=0)
    calls = []

    class Event:
        def record(self, stream):
            self.cuda_event = len(calls) + 100
            calls.append(("created", self.cuda_event))

    monkeypatch.setattr(torch.cuda, "Event", Event)
    monkeypatch.setattr(torch.cuda, "default_stream", lambda device: fake_cuda.Stream(0))
    monkeypatch.setattr(torch.cuda, "Stream", lambda device: fake_cuda.Stream(9))
    for name in ("cuEventRecord", "cuStreamWaitEvent"):
        call = lambda *given, name=name: calls.append((name, *given)) or 0  # noqa: E731
        monkeypatch.setattr(driver, name, call, raising=False)
    context, (x, y) = TorchInferenceContext(engine), rows(2)
    for _ in range(2):
        del calls[2:]
        assert context.run(x, y)[0].equal(x + y)
        assert calls[2:] == [
            ("cuEventRecord", 100, 0),
            ("cuStreamWaitEvent", 9, 100, 0),
            ("cuEventRecord", 101, 9),
            ("cuStreamWaitEvent", 0, 101, 0),
        ]
    assert engine.cuda_engine.contexts[0].handles == [9, 9]
