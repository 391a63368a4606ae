"""The CUDA graph of a TVM program, on a driver that works on host memory."""

from types import SimpleNamespace

import fake_cuda
import pytest
import torch

from torch2trt.backends import driver
from torch2trt.backends.cuda import compiled, recording
from torch2trt.backends.schedules.packing import Recipe
from torch2trt.errors import InputMismatchError

CPU = torch.device("cpu")


class Graph:
    """A captured graph: the steps that were given to `step` while it was captured."""

    capturing = None

    def __init__(self, keep_graph=False):
        self.steps = []

    def capture_begin(self, capture_error_mode):
        Graph.capturing = self

    def capture_end(self):
        Graph.capturing = None

    def raw_cuda_graph(self):
        fake = driver.driver()
        number = len(fake.objects) + 1
        fake.objects[number] = self.steps
        return number

    def replay(self):
        for run in self.steps:
            run()


class Event:
    def record(self, stream):
        stream.recorded = getattr(stream, "recorded", 0) + 1


class Context:
    """Stands in for `torch.cuda.device` and `torch.cuda.stream`."""

    def __init__(self, entered):
        pass

    def __enter__(self):
        return self

    def __exit__(self, *error):
        return None


class Stream(fake_cuda.Stream):
    device = CPU

    def __init__(self, device=None, handle=7):
        super().__init__(handle)
        self.waits = []

    def wait_event(self, event):
        self.waits.append(event)


@pytest.fixture
def cuda(monkeypatch):
    """The fake driver and the current stream."""
    _, fake = fake_cuda.install(monkeypatch)
    state = SimpleNamespace(driver=fake, stream=Stream(), capturing=False)
    for name, value in (
        ("CUDAGraph", Graph),
        ("Event", Event),
        ("Stream", Stream),
        ("device", Context),
        ("stream", Context),
        ("current_stream", lambda device: state.stream),
        ("is_current_stream_capturing", lambda: state.capturing),
    ):
        monkeypatch.setattr(torch.cuda, name, value)
    monkeypatch.setattr(recording, "raw_stream", lambda device: state.stream.cuda_stream)
    monkeypatch.setattr(recording, "empty_strided", torch._C._dynamo.guards._empty_strided_cpu)
    monkeypatch.setattr(torch._C, "_cuda_clearCublasWorkspaces", lambda: None, raising=False)
    return state


def doubled(inputs):
    """Twice each input, now and in each launch of what is captured."""
    outputs = [torch.empty_like(x) for x in inputs]

    def run():
        for x, y in zip(inputs, outputs):
            torch.mul(x, 2, out=y)

    run()
    if Graph.capturing is not None:
        Graph.capturing.steps.append(run)
    return outputs


def given(seed):
    generator = torch.Generator().manual_seed(seed)
    return [
        torch.randn(3, 4, generator=generator),
        torch.randn(0, 2),
        torch.randn(5, generator=generator),
    ]


@pytest.mark.parametrize("refused", (False, True), ids=("one launch", "copies outside"))
def test_each_call_reads_its_inputs_and_gives_outputs_to_keep(cuda, monkeypatch, refused):
    if refused:
        monkeypatch.setattr(cuda.driver, "cuGraphAddChildGraphNode", lambda *rest: 801)
    recorded = recording.Recording([doubled], given(0), CPU)
    assert (recorded.executable is None) == refused
    kept = [(given(seed), recorded(given(seed))) for seed in (0, 1, 2, 1)]
    for inputs, outputs in kept:
        assert len(outputs) == 3
        assert all(y.equal(2 * x) for x, y in zip(inputs, outputs))
    assert len(cuda.driver.launches) == (0 if refused else 4)


def test_a_strided_input_is_read_as_it_is(cuda):
    recorded = recording.Recording([doubled], given(0), CPU)
    x, *rest = given(3)
    assert recorded([x.t().contiguous().t(), *rest])[0].equal(2 * x)
    assert recorded([x.repeat_interleave(2, 0)[::2], *rest])[0].equal(2 * x)


@pytest.mark.parametrize("change", (lambda x: x[:2], lambda x: x.double(), lambda x: x.t()))
def test_another_shape_or_dtype_is_refused_before_anything_is_read(cuda, change):
    recorded = recording.Recording([doubled], given(0), CPU)
    x, *rest = given(1)
    with pytest.raises(
        InputMismatchError, match=r"got torch.float(32|64) .*expected torch.float32"
    ):
        recorded([change(x), *rest])
    assert cuda.driver.launches == []
    assert recorded([x, *rest])[0].equal(2 * x)


def test_another_stream_waits_for_the_one_before(cuda):
    recorded = recording.Recording([doubled], given(0), CPU)
    first, second = cuda.stream, Stream(handle=9)
    for stream in (first, first, second, first):
        cuda.stream = stream
        recorded(given(0))
    assert (len(first.waits), len(second.waits)) == (1, 1)
    assert cuda.driver.launches == [7, 7, 9, 7]


def failing(inputs):
    if Graph.capturing is not None:
        raise RuntimeError("this cannot be captured")
    return doubled(inputs)


@pytest.mark.parametrize(
    "functions, times, kept",
    (
        ([doubled, doubled], [3.0, 2.0], 1),
        ([doubled, doubled], [2.0, 3.0], 0),
        ([doubled, failing], [], 0),
    ),
)
def test_the_fastest_of_the_recorded_graphs_is_kept(cuda, monkeypatch, functions, times, kept):
    graphs, record = [], recording.Recording._record

    def recorded(self, *rest):
        graphs.append(record(self, *rest))
        return graphs[-1]

    waiting = iter(times)
    monkeypatch.setattr(recording.Recording, "_record", recorded)
    monkeypatch.setattr(recording, "_microseconds", lambda graph, stream: next(waiting))
    made = recording.Recording(functions, given(0), CPU)
    assert made.graph is graphs[kept][0] and made.outputs is graphs[kept][1]
    assert made.microseconds == times
    assert made(given(1))[0].equal(2 * given(1)[0])


def test_addresses_that_stay_are_not_exchanged(cuda, monkeypatch):
    exchange, exchanged = cuda.driver.cuGraphExecMemcpyNodeSetParams, []

    def counted(*arguments):
        exchanged.append(arguments)
        return exchange(*arguments)

    monkeypatch.setattr(cuda.driver, "cuGraphExecMemcpyNodeSetParams", counted)
    outputs = [torch.empty_like(x) for x in given(0)]
    fresh = iter(outputs * 3)
    monkeypatch.setattr(recording, "empty_strided", lambda *like: next(fresh))
    recorded = recording.Recording([doubled], given(0), CPU)
    inputs = given(1)
    for _ in range(3):
        assert recorded.run(*inputs)[0].equal(2 * inputs[0])
    assert len(exchanged) == 4, "two inputs and two outputs with elements, once each"


class Doubler(compiled.Compiled):
    """Twice each input, from a CUDA graph."""

    def __init__(self):
        self.graph, self.device, self.tf32 = True, CPU, False
        self.recipes, self._weights = [Recipe(0, (), (2,), "float32")], [torch.zeros(2)]
        self._recordings = {}
        self._branches, self._lock = SimpleNamespace(several=False), compiled.threading.Lock()
        self.plainly = []

    def run(self, inputs):
        self.plainly.append(len(inputs))
        return doubled(inputs)


def test_a_launch_is_a_call_without_its_checks(cuda, monkeypatch):
    program = Doubler()
    for inputs in (given(1), given(2)):
        assert all(y.equal(2 * x) for x, y in zip(inputs, program.launch(*inputs)))
    x, *rest = given(3)
    assert program.launch(x.t().contiguous().t(), *rest)[0].equal(2 * x)
    assert len(cuda.driver.launches) == 3 and len(program._recordings) == 1
    ran = len(program.plainly)
    monkeypatch.setattr(compiled, "precision", lambda: "another")
    assert program.launch(x, *rest)[0].equal(2 * x)
    assert [*program._recordings] == ["another"] and len(program.plainly) > ran
    cuda.capturing, ran = True, len(program.plainly)
    assert program.launch(x, *rest)[0].equal(2 * x)
    assert len(program.plainly) == ran + 1 and len(cuda.driver.launches) == 4


def test_new_weights_are_written_in_order_with_the_calls(cuda):
    program = Doubler()
    first, second = cuda.stream, Stream(handle=9)
    program.launch(*given(0))
    cuda.stream = second
    waited = []

    def weights():
        waited.append(len(second.waits))
        yield torch.ones(2)

    program.prepare(weights())
    assert waited == [1], "written while a call reads the old ones"
    assert program._weights[0].equal(torch.ones(2))
    cuda.stream = first
    program.launch(*given(0))
    assert len(first.waits) == 1, "a call must not begin before the weights are written"
