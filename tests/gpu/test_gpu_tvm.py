"""TVM programs on a GPU: numbers, CUDA graphs, precision settings, weights, streams."""

import copy
import importlib.util
import time

import pytest
import torch
import torch.nn.functional as F
from host_cost import medians, write
from module_case import Net
from torch import nn

from torch2trt.backends.flags import set_tf32
from torch2trt.module import TVMModuleWrapper
from torch2trt.watch import Watch

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(importlib.util.find_spec("tvm") is None, reason="TVM is not installed"),
    pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU"),
]


def heads(m, x):
    q, k, v = m[0](x).reshape(*x.shape[:2], 3, 4, 16).permute(2, 0, 3, 1, 4)
    return F.scaled_dot_product_attention(q, k, v).transpose(1, 2).reshape(x.shape)


def block(m, x):
    return F.relu(m[1](F.relu(m[0](x))) + x)


def branches(m, x):
    x = m[0](x).relu()
    return torch.cat((m[1](x).relu(), m[3](m[2](x).relu()), F.avg_pool2d(x, 3, 1, 1)), 1)


CASES = {
    "branches": (
        branches,
        (
            nn.Conv2d(16, 32, 1),
            nn.Conv2d(32, 16, 1),
            nn.Conv2d(32, 24, 1),
            nn.Conv2d(24, 16, 3, padding=1),
        ),
        (1, 16, 19, 17),
    ),
    "block": (block, (nn.Conv2d(16, 16, 3, padding=1), nn.Conv2d(16, 16, 1)), (1, 16, 19, 17)),
    "depthwise": (
        lambda m, x: F.silu(m[0](x)),
        (nn.Conv2d(32, 32, 5, padding=2, groups=32),),
        (1, 32, 20, 20),
    ),
    "mlp": (
        lambda m, x: m[1](F.gelu(m[0](x))) + x,
        (nn.Linear(64, 256), nn.Linear(256, 64)),
        (1, 10, 64),
    ),
    "norms": (lambda m, x: F.softmax(m[0](x), -1), (nn.LayerNorm(96),), (1, 197, 96)),
    "attention": (heads, (nn.Linear(64, 192),), (2, 12, 64)),
    "lstm": (lambda m, x: m[0](x)[0], (nn.LSTM(32, 32, batch_first=True),), (1, 5, 32)),
}


@pytest.fixture(autouse=True)
def exact():
    torch.manual_seed(0)
    with set_tf32(False):
        yield


def network(name):
    function, parts, shape = CASES[name]
    return Net(function, *copy.deepcopy(parts)).cuda().eval(), torch.randn(shape, device="cuda")


def error(got, module, x):
    with torch.no_grad():
        want = copy.deepcopy(module).double()(x.double())
    return float((got.double() - want).norm() / want.norm())


@pytest.mark.parametrize("name", CASES)
def test_tvm_numbers_streams_and_outputs(name):
    module, x = network(name)
    other = torch.randn_like(x)
    wrapped = TVMModuleWrapper(module, check=False).eval()
    first = wrapped(x)
    kept = first.clone()
    assert error(wrapped(other), module, other) <= 1e-5
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        elsewhere = [wrapped(y) for y in (x, other, x)]
    torch.cuda.current_stream().wait_stream(stream)
    again = wrapped(other)
    torch.cuda.synchronize()
    assert error(first, module, x) <= 1e-5
    assert first.equal(kept), "a call wrote on the output of the call before"
    assert elsewhere[0].equal(first) and elsewhere[2].equal(first)
    assert elsewhere[1].equal(again)


@pytest.mark.parametrize("name", ("block", "mlp", "attention"))
def test_tvm_nan_is_kept(name):
    module, x = network(name)
    x.view(-1)[3] = float("nan")
    got, want = TVMModuleWrapper(module, check=False).eval()(x), module(x)
    assert want.isnan().any() and got.isnan().equal(want.isnan())


@pytest.mark.parametrize("dtype", ("float16", "bfloat16", "tf32"))
@pytest.mark.parametrize("name", ("block", "mlp", "attention"))
def test_tvm_lower_precision(name, dtype):
    module, x = network(name)
    got = TVMModuleWrapper(module, dtype=dtype).eval()(x)
    assert got.dtype == torch.float32
    assert 1e-6 < error(got, module, x) <= (2e-2 if dtype == "bfloat16" else 3e-3)


def test_tvm_follows_the_tf32_settings_at_the_call():
    linear = nn.Linear(512, 512).cuda().eval()
    x = torch.randn(64, 512, device="cuda")
    wrapped = TVMModuleWrapper(linear).eval()
    assert error(wrapped(x), linear, x) <= 1e-6
    with set_tf32(True):
        assert 1e-5 < error(wrapped(x), linear, x) <= 2e-3
    assert error(wrapped(x), linear, x) <= 1e-6


def test_tvm_follows_the_weights_of_resnet50_in_half_a_second():
    models = pytest.importorskip("torchvision.models")
    module = models.resnet50().cuda().eval()
    x = torch.randn(1, 3, 224, 224, device="cuda")
    wrapped = TVMModuleWrapper(module, check=False).eval()
    wrapped(x)
    program = wrapped.latest_variant().program.run
    wrapped.train()
    optimiser = torch.optim.SGD(module.parameters(), 1e-3)
    wrapped(torch.randn(2, 3, 64, 64, device="cuda")).square().mean().backward()
    optimiser.step()
    wrapped.eval()
    torch.cuda.synchronize()
    start = time.perf_counter()
    got = wrapped(x)
    torch.cuda.synchronize()
    seconds = time.perf_counter() - start
    assert error(got, module, x) <= 1e-5
    assert wrapped.latest_variant().program.run == program, "it was compiled again"
    assert seconds <= 0.5


def test_tvm_other_batches_and_shapes():
    module, x = network("block")
    wrapped = TVMModuleWrapper(module).eval()
    for batch in (1, 3, 1, 2):
        given = torch.randn(batch, *x.shape[1:], device="cuda")
        assert error(wrapped(given), module, given) <= 1e-5


def test_tvm_takes_any_layout_of_its_input():
    module, x = network("block")
    wrapped = TVMModuleWrapper(module).eval()
    for given in (
        x.contiguous(memory_format=torch.channels_last),
        x.transpose(2, 3).contiguous().transpose(2, 3),
    ):
        assert error(wrapped(given), module, given) <= 1e-5


def test_tvm_report_on_cuda():
    module, x = network("attention")
    rows = TVMModuleWrapper(module).eval().report(x)
    assert any(r.function.startswith("attention") and r.rule == "library" for r in rows)
    assert sum(r.share for r in rows) == pytest.approx(1)


@pytest.mark.parametrize("name", CASES)
def test_tvm_is_one_launch_and_its_branches_give_the_same_numbers(name):
    module, x = network(name)
    wrapped = TVMModuleWrapper(module, check=False).eval()
    expected = wrapped(x)
    compiled = wrapped.latest_variant().program._compiled
    (recorded,) = compiled._recordings.values()
    assert recorded.executable is not None
    if compiled._branches.several:
        assert len(recorded.microseconds) == 2
    with torch.no_grad():
        for run in (compiled.run, compiled._run_branches):
            for _ in range(3):
                assert run([x])[0].equal(expected)


def test_weights_are_exchanged_in_order_with_calls_on_other_streams():
    linear = nn.Linear(1024, 1024, bias=False).cuda().eval()
    x = torch.randn(1024, 1024, device="cuda")
    wrapped = TVMModuleWrapper(linear, check=False).eval()
    wrapped(x)
    main, stream = torch.cuda.current_stream(), torch.cuda.Stream()
    for factor in (2.0, 0.5, 3.0):
        before = copy.deepcopy(linear)
        torch.cuda.synchronize()
        old = [wrapped(x) for _ in range(20)]
        with torch.cuda.stream(stream), torch.no_grad():
            linear.weight.mul_(factor)
            new = wrapped(x)
        again = wrapped(x)
        main.wait_stream(stream)
        torch.cuda.synchronize()
        assert all(error(y, before, x) <= 1e-5 for y in old)
        assert error(new, linear, x) <= 1e-5 and again.equal(new)


def test_the_host_cost_of_a_call():
    module, x = network("branches")
    wrapped = TVMModuleWrapper(module, check=False).eval()
    wrapped(x)
    program = wrapped.latest_variant().program
    (recorded,) = program._compiled._recordings.values()
    handle = torch.cuda.current_stream().cuda_stream
    large = Watch(nn.Sequential(*[nn.Linear(8, 8) for _ in range(200)]).cuda())
    figures = medians(
        {
            "the graph": lambda: recorded.executable.launch(handle),
            "the recording": lambda: recorded.run(x),
            "the program": lambda: program.prepare([x])(x),
            "the program with its checks": lambda: program.run(x),
            "the module": lambda: wrapped(x),
            "whether its weights changed": wrapped._compiled.watch.unchanged,
            "values of 400 parameters": large.same_values,
            "structure of 200 layers": large.same_structure,
        }
    )
    text = write("a TVM module", figures)
    over = figures["the module"] - figures["the program"] - figures["whether its weights changed"]
    assert over <= 15, text
