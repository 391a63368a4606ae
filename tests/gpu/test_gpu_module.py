"""TensorRTModule and TVMModule on a GPU."""

import functools
import importlib.util
import signal
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest
import torch
from host_cost import medians, write
from module_case import amplifying
from tiny_engine import same
from torch import nn

from torch2trt import program
from torch2trt.backends.flags import cudnn_flags
from torch2trt.check import relative_error
from torch2trt.errors import EngineBuildError, InputMismatchError, Torch2TrtError
from torch2trt.module import TensorRTModule, TensorRTModuleWrapper, TVMModuleWrapper
from torch2trt.saved import load
from torch2trt.watch import Watch


def net():
    torch.manual_seed(0)
    layers = nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1),
        nn.BatchNorm2d(8),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(4),
        nn.Flatten(),
        nn.Linear(128, 5),
    )
    with torch.no_grad():
        layers[1].running_mean.uniform_(-1, 1)
        layers[1].running_var.uniform_(0.5, 2)
    return layers.eval().cuda()


def wrap(model, batch=4, **options):
    return TensorRTModuleWrapper(model, batch, optimization_level=0, **options)


def images(batch=2):
    return torch.randn(batch, 3, 8, 8, device="cuda")


@pytest.fixture(autouse=True)
def exact_pytorch():
    with cudnn_flags(allow_tf32=False):
        yield


def step(wrapped, model):
    wrapped.train()
    optimiser = torch.optim.SGD(model.parameters(), 0.05)
    wrapped(images(4)).square().mean().backward()
    optimiser.step()
    wrapped.eval()


def test_one_engine_for_all_batches_that_follows_training(monkeypatch):
    builds = []
    build = program.build_engine
    monkeypatch.setattr(
        program, "build_engine", lambda *a, **k: builds.append(a[2]) or build(*a, **k)
    )
    model = net()
    wrapped = wrap(model)
    for batch in (1, 4, 2, 3):
        x = images(batch)
        same(wrapped(x), model(x).detach())
    for _ in range(50):
        x = images(3)
        step(wrapped, model)
        got = wrapped(x)
        with torch.no_grad():
            same(got, model(x))
    assert [options.refit for options in builds] == [False, True]


def test_several_profiles_in_one_engine():
    model = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.ReLU()).eval().cuda()
    small, large = ({"input0": {2: (n, n, n + 2), 3: (n, n, n + 2)}} for n in (4, 10))
    wrapped = wrap(model, 2, dynamic=[small, large])
    for size in (4, 11, 6, 10):
        x = torch.randn(2, 3, size, size, device="cuda")
        same(wrapped(x), model(x).detach())
    with pytest.raises(InputMismatchError, match="nor any other of 2 profiles"):
        wrapped(torch.randn(1, 3, 8, 8, device="cuda"))


def test_refit_is_exact_and_a_new_definition_is_built(monkeypatch):
    model, x = net(), images()
    wrapped = wrap(model, refit=True)
    wrapped(x)
    with torch.no_grad():
        model[5].weight.zero_()
        model[5].bias.copy_(torch.arange(5.0))
    assert wrapped(x).equal(torch.arange(5.0, device="cuda").expand(2, 5))
    model[2] = nn.Tanh()
    with torch.no_grad():
        model[5].weight.normal_()
        same(wrapped(x), model(x))


@pytest.mark.parametrize("dtype, tolerance", [("tf32", 5e-3), ("float16", 5e-3)])
def test_precisions(dtype, tolerance):
    model, x = net(), images()
    got = wrap(model, 2, dtype=dtype)(x)
    with torch.no_grad():
        same(got, model(x), tolerance)


def test_half_modules_and_inputs():
    model = net().half()
    x = images().half()
    with torch.no_grad():
        same(wrap(model, 2)(x), model(x), 1e-2)


class Nested(TensorRTModule):
    def __init__(self):
        super().__init__(max_batchsize=4, optimization_level=0, input_names=["a", "b"])
        self.linear = nn.Linear(6, 6)

    def forward(self, a, b=None):
        y = self.linear(a)
        values, indices = y.topk(2, 1)
        return {"values": values, "indices": indices, "more": (y if b is None else y + b, None)}


def test_nested_and_integer_outputs():
    model = Nested().cuda().eval()
    a, b = torch.randn(3, 6, device="cuda"), torch.randn(3, 6, device="cuda")
    got = model(a, b=b)
    model.train()
    with torch.no_grad():
        expected = model(a, b=b)
    same(got["values"], expected["values"])
    assert got["indices"].dtype == torch.int64 and got["indices"].equal(expected["indices"])
    same(got["more"][0], expected["more"][0])
    assert got["more"][1] is None


class Ordered(nn.Module):
    """Outputs and inputs of one shape, constants among them, in another order than layers."""

    def __init__(self):
        super().__init__()
        self.register_buffer("table", torch.tensor([[3.0, 4.0]]))

    def forward(self, a, b, c):
        last = (c * 2).relu() + 1
        first = self.table + 1, torch.full((1, 2), 7.0, device=a.device), b - a
        return *first, c, self.table, last, torch.ones(1, 2, device=a.device), a.exp()


def test_inputs_and_outputs_are_in_order(tmp_path):
    model = Ordered().eval().cuda()
    inputs = [torch.randn(1, 2, device="cuda") for _ in range(3)]
    wrapped = wrap(model, 1, input_names=["z", "y", "x"])
    expected = Ordered().cuda()(*inputs)
    wrapped(*inputs)
    wrapped.save(tmp_path / "ordered.engine")
    for run in (wrapped, load(tmp_path / "ordered.engine")):
        for got, wanted in zip(run(*inputs), expected, strict=True):
            same(got, wanted)


@pytest.mark.parametrize(
    "inputs, message",
    [
        (lambda: images().cpu(), "'input0': got a tensor on cpu, expected a CUDA tensor"),
        (lambda: images(5), "1 to 4"),
        (lambda: images().half(), "float16|Half|Float|dtype"),
    ],
)
def test_errors_leave_the_module_usable(inputs, message):
    model, x = net(), images()
    wrapped = wrap(model)
    same(wrapped(x), model(x).detach())
    with pytest.raises((Torch2TrtError, RuntimeError), match=message):
        wrapped(inputs())
    same(wrapped(x), model(x).detach())
    step(wrapped, model)


def test_a_failed_build_leaves_the_module_usable():
    model, x = net(), images()

    def forbid(config):
        raise EngineBuildError("not today")

    wrapped = wrap(model, builder_config_fn=forbid)
    with pytest.raises(EngineBuildError, match="not today"):
        wrapped(x)
    step(wrapped, model)


def test_the_cache_saves_the_build(tmp_path, monkeypatch):
    model, x = net(), images()
    wrap(model, cache=tmp_path)(x)

    def fail(*args, **kwargs):
        raise EngineBuildError("was built again")

    monkeypatch.setattr(program, "build_engine", fail)
    same(wrap(model, cache=tmp_path)(x), model(x).detach())


def test_save_and_load_without_the_class(tmp_path):
    model = Nested().cuda().eval()
    a, b = torch.randn(3, 6, device="cuda"), torch.randn(3, 6, device="cuda")
    path = tmp_path / "nested.engine"
    expected = model(a, b=b)
    model.build(path, a, b=b)
    for graph in (False, True):
        loaded = load(path, cuda_graph=graph)
        got = loaded(a, b=b)
        same(got["values"], expected["values"])
        assert got["indices"].equal(expected["indices"]) and got["more"][1] is None
        with pytest.raises(InputMismatchError):
            loaded(a)


def test_a_saved_module_has_the_present_weights(tmp_path):
    model, x = net(), images(3)
    wrapped = wrap(model, refit=True)
    wrapped(x)
    with torch.no_grad():
        model[0].weight.mul_(-1)
    expected = wrapped(x)
    wrapped.save(tmp_path / "net.engine")
    del wrapped
    loaded = load(tmp_path / "net.engine")
    assert loaded(x).equal(expected)
    same(loaded(x[:1]), model(x[:1]).detach())


def test_a_thousand_random_batches_of_a_module():
    model = net()
    wrapped, x = wrap(model), images(4)
    with torch.no_grad():
        expected = model(x)
    for size in torch.randint(1, 5, (1000,)).tolist():
        same(wrapped(x[:size]), expected[:size])


def test_ctrl_c_in_a_build_leaves_the_module_usable():
    model, x = net(), images()
    timers = []

    def interrupt(config):
        timers.append(threading.Timer(0.02, signal.raise_signal, [signal.SIGINT]))
        timers[-1].start()

    wrapped = wrap(nn.Sequential(model, *[nn.Linear(5, 5) for _ in range(20)]).cuda().eval())
    wrapped.settings = replace(wrapped.settings, builder_config_fn=interrupt)
    with pytest.raises(KeyboardInterrupt):
        wrapped(x)
    timers[0].join()
    wrapped.settings = replace(wrapped.settings, builder_config_fn=None)
    with torch.no_grad():
        same(wrapped(x), wrapped.net(x))
    step(wrapped, model)


def test_a_build_out_of_workspace_is_an_error_or_right():
    convolutions = nn.Conv2d(3, 64, 5, padding=2), nn.Conv2d(64, 64, 5, padding=2)
    model, x = nn.Sequential(*convolutions).eval().cuda(), images()
    wrapped = wrap(model, workspace=1)
    try:
        got = wrapped(x)
    except EngineBuildError as error:
        assert "workspace" in str(error).lower()
        wrapped = wrap(model)
        got = wrapped(x)
    with torch.no_grad():
        same(got, model(x))


@pytest.mark.parametrize("how", ["launch", "graph"])
def test_a_cuda_error_in_the_callers_stream_is_an_error_here(processes, how):
    assert "refused:" in processes.output(how)


def test_profile_names_modules_and_source_lines():
    times = wrap(net()).profile(images())
    assert times.total > 0 and "net.0._convolution" in str(times)


class Branches(nn.Module):
    """Four convolutions that do not wait for each other."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.parts = nn.ModuleList(nn.Conv2d(3, 64, n, padding=n // 2) for n in (1, 3, 5, 7))

    def forward(self, x):
        return torch.cat([part(x).relu() for part in self.parts], 1)


def test_layers_beside_each_other_are_timed_without_a_graph_only():
    model, x = Branches().eval().cuda(), images()
    wrapped = wrap(model, cuda_graph=True)
    same(wrapped(x), model(x).detach())
    with pytest.raises(Torch2TrtError, match=r"[1-9] streams.*cuda_graph=False"):
        wrapped.profile(x)
    same(wrapped(x), model(x).detach())
    assert "net.parts.3._convolution" in str(wrap(model).profile(x))


def test_an_accuracy_is_kept():
    model, x = amplifying().cuda(), torch.randn(1, 64, device="cuda")
    expected = model(x).detach()
    wrapped = wrap(model, 1, dtype="float16", accuracy=2e-3)
    assert relative_error(wrapped(x), expected) <= 2e-3
    assert wrapped.latest_variant().program.settings.exact in (1, 2, 4)
    assert relative_error(wrap(model, 1, dtype="float16", check=False)(x), expected) > 2e-3


def test_cuda_graphs_follow_the_weights():
    model, x = net(), images()
    wrapped = wrap(model, cuda_graph=True, refit=True)
    for _ in range(3):
        same(wrapped(x), model(x).detach())
        with torch.no_grad():
            model[0].weight.mul_(1.1)
    same(wrapped(x), model(x).detach())


def test_eight_threads_on_one_module():
    model = net()
    wrapped = wrap(model)
    inputs = [images(1 + n % 4) for n in range(8)]
    with torch.no_grad():
        expected = [model(x) for x in inputs]
    wrapped(inputs[0])
    torch.cuda.synchronize()

    def work(index):
        stream = torch.cuda.Stream()
        with torch.cuda.stream(stream):
            outputs = [wrapped(inputs[index]) for _ in range(200)]
        stream.synchronize()
        for y in outputs[::25]:
            same(y, expected[index])

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(work, range(8)))


@pytest.mark.parametrize("cuda_graph", [False, True], ids=["launch", "graph"])
def test_the_host_cost_of_a_module(cuda_graph):
    wrapped = wrap(nn.ReLU(), 1, cuda_graph=cuda_graph).eval()
    x, stream = torch.randn(1, 16, device="cuda"), torch.cuda.Stream()
    with torch.cuda.stream(stream):
        wrapped(x)
        (variant,) = wrapped._compiled.variants.values()
        engine, watch = variant.program.engine, wrapped._compiled.watch
        bare, y, handle = engine.cuda_engine.create_execution_context(), x * 1, stream.cuda_stream
        if bare.active_optimization_profile < 0:
            bare.set_optimization_profile_async(0, handle)
        bare.set_tensor_address("input0", x.data_ptr())
        bare.set_tensor_address("output0", y.data_ptr())
        figures = medians(
            {
                "execute_async_v3": lambda: bare.execute_async_v3(handle),
                "the module": lambda: wrapped(x),
                "its context": lambda: variant.program.run(x),
                "whether weights changed": watch.unchanged,
                "its way without checks": functools.partial(variant.prepare([x]), x),
            }
        )
        blocks = [nn.Sequential(nn.Conv2d(1, 1, 1), nn.BatchNorm2d(1)) for _ in range(53)]
        watch = Watch(nn.Sequential(*blocks))
        figures["whether 53 convolutions changed"] = medians({"": watch.unchanged})[""]
    text = write(f"a module ({'graph' if cuda_graph else 'launch'})", figures)
    over = figures["the module"] - figures["execute_async_v3"]
    assert over <= (10 if cuda_graph else 15), text


needs_tvm = pytest.mark.skipif(
    importlib.util.find_spec("tvm") is None, reason="TVM is not installed"
)


@needs_tvm
def test_tvm_on_cuda_follows_the_weights_and_the_stream():
    model = net()
    wrapped = TVMModuleWrapper(model)
    for stream in (torch.cuda.default_stream(), torch.cuda.Stream()):
        torch.cuda.synchronize()
        with torch.cuda.stream(stream):
            x = images()
            got = wrapped(x)
            with torch.no_grad():
                expected = model(x)
                model[5].weight.mul_(1.5)
        stream.synchronize()
        same(got, expected, 1e-4)
