"""Steps of a TVM plan beside each other: their streams, and that each waits for what it reads."""

import dataclasses

import pytest
import torch
import torch.nn.functional as F
from module_case import Net
from torch import nn

pytest.importorskip("tvm.relax", reason="TVM with Relax is not installed")

import tvm_ffi  # noqa: E402

import torch2trt.module  # noqa: E402
from torch2trt.backends.cuda import compile_cuda  # noqa: E402
from torch2trt.backends.cuda.branches import Branches, place  # noqa: E402
from torch2trt.backends.cuda.plan import Step  # noqa: E402
from torch2trt.module import TVMModuleWrapper  # noqa: E402
from torch2trt.tvm_program import TVMProgram  # noqa: E402

CPU = torch.device("cpu")


def placed(*reads):
    """The streams of steps; each reads the results of steps by their number, -1 is the input."""
    steps = [
        Step("", "kernel", print, tuple(n + 1 for n in r), (at + 1,)) for at, r in enumerate(reads)
    ]
    return place(steps, 1)


@pytest.mark.parametrize(
    "reads, streams",
    (
        (((-1,), (0,), (1,)), [0, 0, 0]),
        (((-1,), (0,), (0,), (1, 2)), [0, 0, 1, 0]),
        (((-1,), (0,), (0,), (1, 2), (3,), (3,), (4, 5)), [0, 0, 1, 0, 0, 1, 0]),
        (((-1,), (0,), (0,), (0,), (1, 2, 3)), [0, 0, 1, 2, 0]),
        (((-1,), (0,), (0,), (1,), (2,), (3, 4)), [0, 0, 1, 0, 1, 0]),
        (((-1,), (-1,), (0, 1)), [0, 1, 0]),
        (((-1,), *[(0,)] * 6), [0, 0, 1, 2, 3, 0, 0]),
    ),
)
def test_a_step_goes_on_where_one_that_it_reads_ended(reads, streams):
    assert placed(*reads) == streams


class Stream:
    """Knows which steps have run before what is enqueued next."""

    def __init__(self, device=None):
        self.done = set()

    def wait_stream(self, other):
        self.done |= other.done

    def record_event(self):
        return frozenset(self.done)

    def wait_event(self, event):
        self.done |= event


class Use:
    current = None

    def __init__(self, stream):
        self.stream = stream

    def __enter__(self):
        self.before, Use.current = Use.current, self.stream

    def __exit__(self, *error):
        Use.current = self.before


@pytest.fixture
def streams(monkeypatch):
    Use.current = main = Stream()
    held = []
    monkeypatch.setattr(torch.cuda, "Stream", Stream)
    monkeypatch.setattr(torch.cuda, "stream", lambda stream: stream)
    monkeypatch.setattr(torch.cuda, "current_stream", lambda device: Use.current)
    monkeypatch.setattr(tvm_ffi, "use_torch_stream", Use)
    monkeypatch.setattr(
        torch.Tensor, "record_stream", lambda tensor, stream: held.append((tensor, stream))
    )
    return main, held


def inception(m, x):
    x = m[0](x).relu()
    return torch.cat((m[1](x).relu(), m[3](m[2](x).relu()), F.avg_pool2d(x, 3, 1, 1)), 1) + 1


CASES = {
    "inception": (
        Net(
            inception,
            nn.Conv2d(4, 8, 1),
            nn.Conv2d(8, 8, 1),
            nn.Conv2d(8, 8, 1),
            nn.Conv2d(8, 8, 3, padding=1),
        ),
        (2, 4, 9, 7),
    ),
    "attention": (
        Net(
            lambda m, x: F.scaled_dot_product_attention(m[0](x), m[1](x), m[2](x)),
            *(nn.Linear(8, 8) for _ in range(3)),
        ),
        (1, 4, 8),
    ),
    "two outputs": (
        Net(lambda m, x: (m[0](x), m[1](x), x), nn.Linear(8, 4), nn.Linear(8, 3)),
        (2, 3, 8),
    ),
}


class Watched(TVMProgram):
    """A program compiled as for CUDA, with plain loops on the CPU."""

    def _compile(self, module, weights):
        self._compiled = compile_cuda(module, CPU, list(weights.values()))
        self.run = self.run_plainly = self._compiled


def checked(plan, order):
    """The plan with steps that fail unless all they read was made before, on their stream."""
    makers = {n: at for at, step in enumerate(plan.steps) for n in step.results}

    def step_of(at, step):
        def run(*given):
            assert {makers[n] for n in step.arguments if n in makers} <= Use.current.done
            order.append((at, Use.current))
            Use.current.done.add(at)
            return step.run(*given)

        return dataclasses.replace(step, run=run)

    return dataclasses.replace(plan, steps=tuple(step_of(*pair) for pair in enumerate(plan.steps)))


@pytest.mark.parametrize("name", CASES)
def test_every_step_waits_for_what_it_reads(name, streams, monkeypatch):
    main, held = streams
    monkeypatch.setattr(torch2trt.module, "TVMProgram", Watched)
    net, shape = CASES[name]
    x = torch.randn(shape)
    wrapped = TVMModuleWrapper(net.eval(), check=False).eval()
    wrapped(x)
    compiled = wrapped.latest_variant().program._compiled
    order = []
    branches = Branches(checked(compiled.plan, order))
    assert branches.several
    got = branches.run([x, *compiled._weights])
    assert all(a.equal(b) for a, b in zip(got, compiled.plan.run([x, *compiled._weights])))
    assert [at for at, _ in order] == list(range(len(compiled.plan.steps)))
    assert len({id(stream) for _, stream in order}) == len(set(branches.streams)) > 1
    assert main.done == {at for at, _ in order}, "a stream was not joined"
    made = {n for step in compiled.plan.steps for n in step.results}
    read = [n for step in compiled.plan.steps for n in step.arguments if n in made]
    assert len(held) == len(read), "memory could be handed out while it is read"


def test_a_chain_is_not_run_on_several_streams(monkeypatch):
    monkeypatch.setattr(torch2trt.module, "TVMProgram", Watched)
    net = Net(lambda m, x: m[1](F.gelu(m[0](x))), nn.Linear(8, 32), nn.Linear(32, 8)).eval()
    wrapped = TVMModuleWrapper(net, check=False).eval()
    wrapped(torch.randn(2, 5, 8))
    assert not Branches(wrapped.latest_variant().program._compiled.plan).several
