"""Relay: the context, the graph executor, modules and whole networks, on a TVM that has it."""

from __future__ import annotations

import copy
import statistics
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

tvm = pytest.importorskip("tvm", reason="TVM is not installed")
relay = pytest.importorskip("tvm.relay", reason="the installed TVM has no Relay")

import torch2trt  # noqa: E402
from torch2trt.backends import relay_build, tvm_context_class  # noqa: E402
from torch2trt.backends.openmp import addresses, use_openmp  # noqa: E402
from torch2trt.backends.relay import RelayContext  # noqa: E402
from torch2trt.backends.relay_build import build_relay, relay_target  # noqa: E402
from torch2trt.errors import (  # noqa: E402
    BackendUnavailableError,
    EngineBuildError,
    InputMismatchError,
    UnsupportedOpError,
)


def small_network() -> nn.Module:
    """Convolutions, pools, a norm with statistics that are not the initial ones, a classifier."""
    torch.manual_seed(0)
    network = nn.Sequential(
        nn.Conv2d(3, 16, 3, padding=1), nn.BatchNorm2d(16), nn.ReLU(), nn.MaxPool2d(3, 2, 1),
        nn.Conv2d(16, 32, 3, groups=4), nn.Hardswish(), nn.AdaptiveAvgPool2d(2), nn.Flatten(),
        nn.Linear(128, 10),
    )  # fmt: skip
    network[1].running_mean.uniform_(-0.5, 0.5)
    network[1].running_var.uniform_(0.5, 1.5)
    return network.eval()


def relative_error(got: torch.Tensor, expected: torch.Tensor) -> float:
    return float((got.double() - expected).norm() / expected.norm())


def convert(
    network: Callable[..., Any], *inputs: torch.Tensor, names: list[str] | None = None
) -> tuple[Any, dict[str, Any]]:
    """The outputs and the weights by name, as the README's program gets them."""
    with torch2trt.core.tvm_network(dialect="relay"):
        _, graph_pth = torch2trt.core.torch2tvm(network, inputs, input_names=names)
    params = {k.name_hint: v for k, v in graph_pth.context.tvm_weight_dict.items()}
    return graph_pth.get_resolved_outputs(), params


def compiled(
    network: Callable[..., Any], *inputs: torch.Tensor, **options: Any
) -> torch2trt.TVMInference:
    outputs, params = convert(network, *inputs)
    function = relay.Function(relay.analysis.free_vars(outputs), outputs)
    return torch2trt.TVMInference(build_relay(function, params, **options))


# ---- the context ---------------------------------------------------------------------------------
def test_outputs_weights_and_free_variables_make_a_function() -> None:
    network, x = small_network(), torch.rand(1, 3, 20, 20)
    outputs, params = convert(network, x, names=["image"])
    function = relay.Function(relay.analysis.free_vars(outputs), outputs)
    assert function.params[0].name_hint == "image"
    assert {p.name_hint for p in function.params} == {"image", *params}
    with tvm.transform.PassContext(opt_level=3):
        library = relay.build(function, relay_target(), params=params)
    executor = tvm.contrib.graph_executor.GraphModule(library["default"](tvm.cpu()))
    executor.run(image=x.numpy())
    got = torch.from_numpy(executor.get_output(0).numpy())
    assert relative_error(got, network.double()(x.double()).detach()) < 1e-5


def test_relay_is_what_an_old_tvm_has() -> None:
    assert tvm_context_class() is tvm_context_class("relay") is RelayContext
    with pytest.raises(BackendUnavailableError, match="relax"):
        tvm_context_class("relax")


def test_expressions_of_the_user_are_taken_and_given() -> None:
    class Twice(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return (x + 1).sum((0, 2))

    x = torch.rand(2, 3, 4)
    graph = torch2trt.GraphModule(Twice(), x)
    with torch2trt.tvm_network(dialect="relay") as ctx:
        var = relay.var("mine", shape=(2, 3, 4))
        y = graph(var * relay.const(2.0))
        assert torch2trt.has_tvm_tensor(y) and ctx.shape(y) == (3,)
        module = ctx.finish([ctx.op("nn.relu")(ctx.op("sum")(y, [0], keepdims=True))])
    run = torch2trt.TVMInference(build_relay(module, ctx.named_weights))
    assert run.input_names == ("mine",)
    assert torch.allclose(run.run(x)[0], (x * 2 + 1).sum().reshape(1))


def test_outputs_that_are_inputs_weights_literals_or_twice_the_same() -> None:
    ctx, x, weight = RelayContext(), torch.rand(2, 3), torch.rand(3)
    var = ctx.input("x", (2, 3), torch.float32)
    y = ctx.binary("add", var, weight)
    module = ctx.finish([y, var, y, weight, ctx.literal(torch.tensor([1, 2]))])
    run = torch2trt.TVMInference(build_relay(module, ctx.named_weights), input_names=["x"])
    for got, expected in zip(
        run.run(x), [x + weight, x, x + weight, weight, torch.tensor([1, 2])], strict=True
    ):
        assert torch.equal(got, expected)


def test_many_inputs_keep_their_order() -> None:
    inputs = [torch.rand(2, 3) for _ in range(20)]
    weights = [torch.rand(3) for _ in range(12)]

    def program(*xs: torch.Tensor) -> torch.Tensor:
        return torch.stack([(i + 1) * x + weights[i % 12] for i, x in enumerate(xs)]).sum(0)

    names = [f"{chr(122 - i)}_in" for i in range(20)]
    outputs, params = convert(program, *inputs, names=names)
    function = relay.Function(relay.analysis.free_vars(outputs), outputs)
    run = torch2trt.TVMInference(build_relay(function, params))
    assert run.input_names == tuple(names)
    assert torch.allclose(run.run(*inputs)[0], program(*inputs))


@pytest.mark.parametrize(("dtype", "options"), [("float32", {"ceil_mode": True}), ("int32", {})])
def test_what_the_own_max_pool_does_not_cover_stays_with_tvm(
    dtype: str, options: dict[str, Any]
) -> None:
    x = torch.arange(36, dtype=getattr(torch, dtype)).reshape(1, 1, 6, 6)
    var = relay.var("x", shape=tuple(x.shape), dtype=dtype)
    pool = relay.nn.max_pool2d(var, (3, 3), (2, 2), (1, 1), (0, 0), **options)
    run = torch2trt.TVMInference(build_relay(relay.Function([var], pool), {}))
    expected = nn.functional.max_pool2d(x.float(), 3, 2, **options)
    assert torch.equal(run.run(x)[0].float(), expected)


def test_a_weight_used_twice_is_one_parameter() -> None:
    layer = nn.Linear(4, 4)
    _, params = convert(lambda x: layer(layer(x)), torch.rand(2, 4))
    assert sorted(v.shape for v in params.values()) == [(4,), (4, 4)]


@pytest.mark.parametrize(
    ("shape", "dtype", "words"),
    [((None, 3), torch.float32, "static sizes"), (("n", 3), torch.float32, "static sizes"),
     ((2, 3), torch.bfloat16, "bfloat16")],
)  # fmt: skip
def test_what_relay_refuses(shape: tuple[Any, ...], dtype: torch.dtype, words: str) -> None:
    with pytest.raises(UnsupportedOpError, match=words):
        RelayContext().input("x", shape, dtype)


def test_a_target_that_does_not_exist_is_named() -> None:
    outputs, params = convert(nn.ReLU(), torch.rand(2, 3))
    with pytest.raises(EngineBuildError, match="no_such_kind"):
        build_relay(
            relay.Function(relay.analysis.free_vars(outputs), outputs), params, "no_such_kind"
        )


# ---- running -------------------------------------------------------------------------------------
def test_numpy_and_torch_in_and_out_and_a_saved_library(tmp_path: Any) -> None:
    network, x = small_network(), torch.rand(1, 3, 20, 20)
    outputs, params = convert(network, x, names=["image"])
    library = build_relay(relay.Function(relay.analysis.free_vars(outputs), outputs), params)
    library.export_library(str(tmp_path / "network.so"))
    expected = network.double()(x.double()).detach()
    for program in (library, tvm.runtime.load_module(str(tmp_path / "network.so"))):
        run = torch2trt.TVMInference(program)
        assert run.input_names == ("image",)
        first = run(image=x)["output0"]
        second = run.inference(x.numpy() * 0)["output0"]
        assert isinstance(second, np.ndarray) and not np.array_equal(first.numpy(), second)
        assert (
            relative_error(first, expected) < 1e-5
        )  # an output is not overwritten by the next run
    with pytest.raises(
        InputMismatchError,
        match=r"'image': got float32\[1, 3, 8, 8\], expected float32\[1, 3, 20, 20\]",
    ):
        run(torch.rand(1, 3, 8, 8))


def test_a_module_follows_its_weights() -> None:
    network, x = small_network(), torch.rand(1, 3, 20, 20)
    wrapped = torch2trt.TVMModuleWrapper(network).eval()
    for scale in (1.0, 3.0):
        with torch.no_grad():
            network[-1].weight.mul_(scale)
            assert relative_error(wrapped(x), copy.deepcopy(network).double()(x.double())) < 1e-5
    wrapped.train()
    wrapped(x).sum().backward()
    assert network[0].weight.grad is not None


# ---- networks ------------------------------------------------------------------------------------
def torchvision_network(
    name: str, size: int = 224, **options: Any
) -> tuple[nn.Module, torch.Tensor]:
    models = pytest.importorskip("torchvision").models
    return models.get_model(name, weights=None, **options), torch.rand(1, 3, size, size)


def vision_transformer() -> tuple[nn.Module, torch.Tensor]:
    models = pytest.importorskip("torchvision").models
    network = models.VisionTransformer(64, 16, 4, 6, 192, 768, num_classes=100)
    nn.init.normal_(network.heads.head.weight)  # zeros otherwise
    return network, torch.rand(1, 3, 64, 64)


def bert_layer() -> tuple[nn.Module, torch.Tensor]:
    layer = nn.TransformerEncoderLayer(
        768, 12, 3072, activation="gelu", layer_norm_eps=1e-12, batch_first=True
    )
    return layer, torch.randn(1, 32, 768)


NETWORKS = {
    "resnet50": lambda: torchvision_network("resnet50"),
    "inception_v3": lambda: torchvision_network("inception_v3", 299, init_weights=False),
    "squeezenet1_1": lambda: torchvision_network("squeezenet1_1"),
    "mobilenet_v2": lambda: torchvision_network("mobilenet_v2"),
    "vision_transformer": vision_transformer,
    "bert_layer": bert_layer,
}


@pytest.mark.parametrize("name", NETWORKS)
def test_network(name: str) -> None:
    torch.manual_seed(0)
    network, x = NETWORKS[name]()
    network.eval()
    run = compiled(network, x)
    with torch.no_grad():
        error = relative_error(run.run(x)[0], network.double()(x.double()))
    assert error < 1e-5


def seconds(function: Callable[..., Any], *inputs: torch.Tensor) -> float:
    start = time.perf_counter()
    function(*inputs)
    return time.perf_counter() - start


@pytest.fixture
def threads() -> Iterator[Callable[[int], None]]:
    """Sets the number of PyTorch's threads until the test ends."""
    before = torch.get_num_threads()
    yield torch.set_num_threads
    torch.set_num_threads(before)


@pytest.mark.parametrize("count", [1, 2])
def test_resnet50_beside_pytorch(count: int, threads: Callable[[int], None]) -> None:
    """On as many cores each."""
    network, x = NETWORKS["resnet50"]()
    network.eval()
    run = compiled(network, x).run
    threads(count)
    with torch.no_grad():
        times = [(seconds(run, x), seconds(network, x)) for _ in range(12)][2:]
    relay_time, torch_time = map(statistics.median, zip(*times))
    assert relay_time <= 1.3 * torch_time


# ---- threads -------------------------------------------------------------------------------------
openmp = pytest.mark.skipif(addresses() is None, reason="this PyTorch does not run on OpenMP")


def add_thread(x: Any) -> Any:
    """Adds to each element the number of the thread of OpenMP that computes it."""
    number = tvm.tir.call_extern("int32", "omp_get_thread_num")
    return tvm.te.compute(x.shape, lambda *i: x(*i) + number.astype("float32"))


def thread_adder() -> Any:
    ctx = RelayContext()
    x = ctx.input("x", (24, 16), torch.float32)
    return ctx.finish([ctx.te_index(add_thread, x, name="add_thread")])


def built_by_tvm(module: Any, params: dict[str, Any], **options: Any) -> Any:
    with tvm.transform.PassContext(opt_level=3):
        return relay.build(module, relay_target(), params=params, **options)


def workers(run: Callable[..., Any]) -> set[float]:
    """The numbers of the threads that compute a `thread_adder`."""
    return set(run(torch.zeros(24, 16))[0].flatten().tolist())


@openmp
@pytest.mark.parametrize("way", ["build_relay", "relay.build", "library"])
def test_loops_run_on_as_many_threads_as_pytorch_has(
    way: str, tmp_path: Any, threads: Callable[[int], None]
) -> None:
    program = (built_by_tvm if way == "relay.build" else build_relay)(thread_adder(), {})
    if way == "library":
        program.export_library(str(tmp_path / "adder.so"))
        program = tvm.runtime.load_module(str(tmp_path / "adder.so"))
    run = torch2trt.TVMInference(program).run
    for count in (2, 1, 3):
        threads(count)
        assert workers(run) == set(range(count))
        assert torch.get_num_threads() == count


@openmp
def test_threads_of_python_run_at_once_on_threads_of_their_own(
    threads: Callable[[int], None],
) -> None:
    threads(2)
    network, x = small_network(), torch.rand(1, 3, 20, 20)
    programs = [compiled(network, x).run for _ in range(2)]
    numbers, expected = torch2trt.TVMInference(build_relay(thread_adder(), {})).run, programs[0](x)
    seen: list[tuple[set[float], int]] = []

    def work(run: Callable[..., Any]) -> None:
        wrong = sum(not torch.equal(run(x)[0], expected[0]) for _ in range(100))
        seen.append((workers(numbers), wrong))

    helpers = [threading.Thread(target=work, args=(run,)) for run in programs]
    for helper in helpers:
        helper.start()
    for helper in helpers:
        helper.join(60)
    assert seen == [({0, 1}, 0)] * 2


@pytest.mark.parametrize("count", [1, 2, 3])
def test_results_do_not_depend_on_threads(count: int, threads: Callable[[int], None]) -> None:
    threads(count)
    network, x = small_network(), torch.rand(2, 3, 40, 40)
    got = compiled(network, x).run(x)[0]
    assert relative_error(got, network.double()(x.double()).detach()) < 1e-5


@pytest.fixture
def old_builder() -> Iterator[None]:
    """Programs are built as by a TVM that torch2trt is not imported beside."""
    tvm.register_func("target.build.llvm", relay_build._to_llvm, override=True)
    yield
    tvm.register_func("target.build.llvm", relay_build._with_launcher, override=True)


def check_that_pytorch_keeps_its_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TVM_NUM_THREADS", "4")  # with one, TVM leaves OpenMP alone
    run = torch2trt.TVMInference(built_by_tvm(thread_adder(), {})).run
    for count in (2, 1):
        torch.set_num_threads(count)
        assert workers(run) == {0}
        assert torch.get_num_threads() == count


@openmp
def test_a_program_without_a_launcher_runs_on_the_threads_of_tvm(
    old_builder: None, monkeypatch: pytest.MonkeyPatch, threads: Callable[[int], None]
) -> None:
    check_that_pytorch_keeps_its_threads(monkeypatch)


def test_the_threads_of_tvm_serve_where_pytorch_has_no_openmp(
    monkeypatch: pytest.MonkeyPatch, threads: Callable[[int], None]
) -> None:
    monkeypatch.setattr(relay_build, "addresses", lambda: None)
    check_that_pytorch_keeps_its_threads(monkeypatch)


@openmp
def test_building_leaves_the_number_of_threads_alone(
    monkeypatch: pytest.MonkeyPatch, threads: Callable[[int], None]
) -> None:
    """Though constants are computed meanwhile."""
    monkeypatch.setenv("TVM_NUM_THREADS", "4")
    x = torch.rand(1, 3, 20, 20)
    outputs, params = convert(small_network(), x)
    function = relay.Function(relay.analysis.free_vars(outputs), outputs)
    threads(2)
    built_by_tvm(tvm.IRModule.from_expr(function), params)
    assert torch.get_num_threads() == 2


@openmp
def test_only_programs_for_this_process_get_a_launcher() -> None:
    x = tvm.te.placeholder((8, 8))
    plan = tvm.te.create_schedule(add_thread(x).op)
    bare = relay.backend.Runtime("cpp", {"system-lib": True})
    assert not use_openmp(tvm.build(plan, [x], relay_target()), addresses())
    assert not use_openmp(built_by_tvm(thread_adder(), {}, runtime=bare).lib, addresses())
    assert use_openmp(built_by_tvm(thread_adder(), {}).lib, addresses())
