"""The CPU schedules: numbers against float64, weights that follow, the report, saved files."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import pytest
import torch
import torch.nn.functional as F

tvm = pytest.importorskip("tvm", reason="apache-tvm is not installed")
relax = pytest.importorskip("tvm.relax", reason="this TVM has no Relax")

from torch2trt.backends.schedules import Compiled, compile_cpu  # noqa: E402
from torch2trt.backends.schedules.target import CodeTarget, host_target  # noqa: E402
from torch2trt.errors import Torch2TrtError  # noqa: E402

R = relax.op


def module(build: Callable[..., Any], inputs: Sequence[Any], weights: Sequence[Any]) -> Any:
    """A module whose `main` is `build(*inputs, *weights)`."""
    bb = relax.BlockBuilder()
    tensors = [*inputs, *weights]
    params = [
        relax.Var(f"p{i}", relax.TensorType(tuple(t.shape), str(t.dtype).split(".")[-1]))
        for i, t in enumerate(tensors)
    ]
    with bb.function("main", params, attrs={"num_input": len(inputs)}):
        with bb.dataflow():
            out = bb.emit_output(bb.normalize(build(*params)))
        bb.emit_func_output(out)
    return bb.get()


def relative_error(got: torch.Tensor, want: torch.Tensor) -> float:
    """The largest difference as a part of the largest value."""
    return ((got.double() - want).abs().max() / want.abs().max()).item()


def run(compiled: Compiled, inputs: Sequence[torch.Tensor]) -> torch.Tensor:
    return torch.from_dlpack(compiled(*inputs))


@dataclass(frozen=True)
class Case:
    """A network in Relax and in PyTorch, the shapes of its tensors, the rule for it."""

    name: str
    build: Callable[..., Any]
    torch: Callable[..., torch.Tensor]
    inputs: Sequence[tuple[int, ...]]
    weights: Sequence[tuple[int, ...]] = ()
    rule: str = "elementwise"


def conv(
    rule: str, x: tuple[int, ...], weight: tuple[int, ...], stride: Any = 1, padding: Any = 0,
    dilation: Any = 1, groups: int = 1,
) -> Case:  # fmt: skip
    """Convolution, bias and ReLU."""
    sides = [padding, padding] if isinstance(padding, int) else list(padding)

    def build(x: Any, w: Any, b: Any) -> Any:
        y = R.nn.conv2d(x, w, strides=stride, padding=sides, dilation=dilation, groups=groups)
        return R.nn.relu(R.add(y, R.reshape(b, (1, weight[0], 1, 1))))

    def reference(x: torch.Tensor, w: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
        return F.relu(F.conv2d(x, w, b, stride, padding, dilation, groups))

    name = f"conv {x} {weight} s{stride} p{padding} d{dilation} g{groups}"
    return Case(name, build, reference, [x], [weight, (weight[0],)], rule)


def dense(x: tuple[int, ...], columns: int) -> Case:
    """A linear layer with the weight as PyTorch has it."""

    def build(x: Any, w: Any, b: Any) -> Any:
        return R.add(R.matmul(x, R.permute_dims(w)), b)

    name = f"dense {x} {columns}"
    return Case(name, build, F.linear, [x], [(columns, x[-1]), (columns,)], "dense")


def product(a: tuple[int, ...], b: tuple[int, ...]) -> Case:
    return Case(f"matmul {a} {b}", R.matmul, torch.matmul, [a, b], (), "matmul")


def plain(
    name: str, shape: tuple[int, ...], build: Any, reference: Any, *more: Any,
    rule: str = "elementwise",
) -> Case:  # fmt: skip
    return Case(f"{name} {shape}", build, reference, [shape, *more], rule=rule)


CASES = [
    conv("conv2d", (1, 3, 23, 19), (20, 3, 7, 7), 2, 3),
    conv("conv2d", (1, 16, 14, 14), (32, 16, 3, 3), 1, 1),
    conv("conv2d", (3, 5, 17, 13), (7, 5, 3, 3), 1, 1),
    conv("conv2d", (3, 24, 11, 11), (40, 24, 3, 3), 2, 1),
    conv("conv2d", (1, 12, 17, 17), (50, 12, 1, 7), 1, (0, 3)),
    conv("conv2d", (1, 8, 20, 20), (16, 8, 3, 3), 1, 2, 2),
    conv("conv2d", (1, 8, 16, 16), (48, 8, 1, 1), 2),
    conv("conv2d", (2, 32, 9, 9), (64, 8, 3, 3), 1, 1, 1, 4),
    conv("conv2d", (1, 6, 9, 9), (12, 2, 3, 3), 1, 1, 1, 3),
    conv("conv2d", (1, 4, 31, 1), (1, 4, 5, 1), 1, (2, 0)),
    conv("conv2d", (1, 3, 32, 32), (96, 3, 16, 16), 16),
    conv("dense", (1, 24, 13, 11), (17, 24, 1, 1)), conv("dense", (3, 40, 7, 7), (144, 40, 1, 1)),
    conv("dense", (1, 100, 1, 1), (4, 100, 1, 1)),
    conv("depthwise", (1, 24, 15, 15), (24, 1, 3, 3), 1, 1, 1, 24),
    conv("depthwise", (3, 7, 15, 13), (7, 1, 5, 5), 2, 2, 1, 7),
    conv("depthwise", (1, 40, 9, 9), (40, 1, 7, 7), 1, 3, 1, 40),
    conv("depthwise", (1, 16, 20, 20), (16, 1, 3, 3), 1, 2, 2, 16),
    Case("conv1d", lambda x, w: R.nn.conv1d(x, w, strides=2, padding=3, dilation=2),
         lambda x, w: F.conv1d(x, w, None, 2, 3, 2), [(2, 12, 41)], [(18, 12, 5)], "conv2d"),
    Case("conv1d depthwise", lambda x, w: R.nn.conv1d(x, w, padding=1, groups=20),
         lambda x, w: F.conv1d(x, w, None, 1, 1, 1, 20), [(1, 20, 30)], [(20, 1, 3)], "depthwise"),
    Case("conv3d", lambda x, w: R.nn.conv3d(x, w, padding=1),
         lambda x, w: F.conv3d(x, w, None, 1, 1),
         [(1, 3, 5, 6, 7)], [(4, 3, 3, 3, 3)], "reduction"),
    Case("transposed", lambda x, w: R.nn.conv2d_transpose(x, w, strides=2, padding=1),
         lambda x, w: F.conv_transpose2d(x, w, None, 2, 1),
         [(1, 6, 7, 9)], [(6, 5, 4, 4)], "reduction"),
    dense((1, 64), 10), dense((1, 2048), 1000), dense((3, 33), 101),
    dense((197, 48), 100), dense((2, 31, 40), 64), dense((5, 17), 3),
    product((2, 3, 17, 20), (2, 3, 20, 29)), product((1, 8), (8, 5)),
    product((4, 9, 16), (1, 16, 3)), product((65, 12), (12, 96)),
    plain("max_pool", (1, 20, 13, 13), lambda x: R.nn.max_pool2d(x, (3, 3), 2, 1),
          lambda x: F.max_pool2d(x, 3, 2, 1), rule="pool"),
    plain("avg_pool", (3, 5, 14, 14), lambda x: R.nn.avg_pool2d(x, (3, 3), 2, 1),
          lambda x: F.avg_pool2d(x, 3, 2, 1, count_include_pad=False), rule="pool"),
    plain("avg_pool padded", (1, 32, 9, 9),
          lambda x: R.nn.avg_pool2d(x, (3, 3), 1, 1, count_include_pad=True),
          lambda x: F.avg_pool2d(x, 3, 1, 1), rule="pool"),
    plain("adaptive", (2, 17, 14, 14), lambda x: R.nn.adaptive_avg_pool2d(x, (7, 7)),
          lambda x: F.adaptive_avg_pool2d(x, 7), rule="reduction"),
    plain("global", (3, 35, 7, 7), lambda x: R.nn.adaptive_avg_pool2d(x, (1, 1)),
          lambda x: F.adaptive_avg_pool2d(x, 1), rule="reduction"),
    plain("softmax", (2, 3, 7, 197), lambda x: R.nn.softmax(x, -1), lambda x: x.softmax(-1),
          rule="reduction"),
    plain("softmax", (4, 11, 5), lambda x: R.nn.softmax(x, 1), lambda x: x.softmax(1),
          rule="reduction"),
    plain("log_softmax", (3, 1000), lambda x: R.nn.log_softmax(x, -1),
          lambda x: x.log_softmax(-1), rule="reduction"),
    plain("layer_norm", (2, 19, 96), lambda x, g, b: R.nn.layer_norm(x, g, b, [-1]),
          lambda x, g, b: F.layer_norm(x, (96,), g, b), (96,), (96,), rule="reduction"),
    plain("group_norm", (2, 12, 9, 9), lambda x, g, b: R.nn.group_norm(x, g, b, 3, 1, [2, 3]),
          lambda x, g, b: F.group_norm(x, 3, g, b), (12,), (12,), rule="reduction"),
    plain("silu", (3, 1001), R.nn.silu, F.silu), plain("gelu", (3, 7, 65), R.nn.gelu, F.gelu),
    plain("tanh", (5, 33), R.tanh, torch.tanh), plain("exp", (1, 129), R.exp, torch.exp),
    plain("permute", (3, 20, 33, 7), lambda x: R.permute_dims(x, [0, 2, 3, 1]),
          lambda x: x.permute(0, 2, 3, 1)),
    plain("concat", (2, 9, 5, 5), lambda x, y: R.concat([x, y], 1),
          lambda x, y: torch.cat([x, y], 1), (2, 20, 5, 5)),
    plain("sum", (3, 4, 50), lambda x: R.sum(x, [1]), lambda x: x.sum(1), rule="reduction"),
    plain("mean of all", (3, 4, 50), lambda x: R.mean(x), lambda x: x.mean(), rule="reduction"),
    plain("broadcast", (5, 1, 33), lambda x, y: R.add(R.multiply(x, y), x),
          lambda x, y: x * y + x, (4, 33)),
]  # fmt: skip


def tensors(shapes: Sequence[tuple[int, ...]], scale: float = 1.0) -> list[torch.Tensor]:
    return [torch.randn(shape) * scale for shape in shapes]


def check(case: Case, target: Any) -> Compiled:
    inputs, weights = tensors(case.inputs), tensors(case.weights, 0.5)
    compiled = compile_cpu(module(case.build, inputs, weights), target, weights)
    want = case.torch(*(t.double() for t in (*inputs, *weights)))
    got = run(compiled, inputs)
    assert got.shape == want.shape
    assert relative_error(got, want) <= 1e-5
    return compiled


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_numbers(case: Case) -> None:
    compiled = check(case, host_target())
    assert case.rule in compiled.rules.values()
    assert "none" not in compiled.rules.values()


@pytest.mark.parametrize("mcpu", ["core-avx2", "x86-64"])
@pytest.mark.parametrize("case", CASES[::5], ids=lambda case: case.name)
def test_numbers_on_narrower_vectors(case: Case, mcpu: str) -> None:
    target = host_target(mcpu)
    if CodeTarget.of(target).missing():
        pytest.skip(f"this CPU cannot run code for {mcpu}")
    assert case.rule in check(case, target).rules.values()


def test_the_target_keeps_to_the_instructions_that_pytorch_may_use(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    whole = CodeTarget.of(host_target()).features
    if "avx2" not in whole:
        pytest.skip("this CPU has no AVX2")
    monkeypatch.setenv("ATEN_CPU_CAPABILITY", "avx2")
    narrow = CodeTarget.of(host_target()).features
    assert "avx2" in narrow and narrow <= whole and not any(f.startswith("avx512") for f in narrow)
    monkeypatch.setenv("ATEN_CPU_CAPABILITY", "default")
    assert "avx" not in CodeTarget.of(host_target()).features
    monkeypatch.setenv("ATEN_CPU_CAPABILITY", "something new")
    assert CodeTarget.of(host_target()).features == whole


def network() -> tuple[Any, list[torch.Tensor], list[torch.Tensor]]:
    """Two convolutions with a residual and a squeeze-and-excitation gate, then a linear layer."""

    def build(x: Any, w1: Any, b1: Any, w2: Any, w3: Any, w4: Any) -> Any:
        y = R.nn.relu(R.add(R.nn.conv2d(x, w1, padding=1), R.reshape(b1, (1, 16, 1, 1))))
        gate = R.sigmoid(R.nn.conv2d(R.mean(y, [2, 3], keepdims=True), w3))
        y = R.nn.relu(R.add(R.nn.conv2d(R.multiply(y, gate), w2, padding=1), x))
        y = R.concat([y, x], 1)
        return R.matmul(R.reshape(R.nn.adaptive_avg_pool2d(y, (1, 1)), (2, 32)), R.permute_dims(w4))

    x = tensors([(2, 16, 9, 9)])
    w = tensors([(16, 16, 3, 3), (16,), (16, 16, 3, 3), (16, 16, 1, 1), (10, 32)], 0.2)
    return build, x, w


def expected(x: torch.Tensor, *weights: torch.Tensor) -> torch.Tensor:
    """The same network in PyTorch, in float64."""
    x, w1, b1, w2, w3, w4 = (t.double() for t in (x, *weights))
    y = F.relu(F.conv2d(x, w1, b1, padding=1))
    y = y * torch.sigmoid(F.conv2d(y.mean((2, 3), keepdim=True), w3))
    y = torch.cat([F.relu(F.conv2d(y, w2, padding=1) + x), x], 1)
    return F.linear(y.mean((2, 3)), w4)


def test_weights_follow() -> None:
    build, inputs, weights = network()
    compiled = compile_cpu(module(build, inputs, weights), None, weights)
    before = run(compiled, inputs)
    assert relative_error(before, expected(*inputs, *weights)) <= 1e-5
    kept = before.clone()
    for w in weights:
        w.mul_(1.5)
    assert torch.equal(run(compiled, inputs), kept)
    compiled.prepare(weights)
    after = run(compiled, inputs)
    assert relative_error(after, expected(*inputs, *weights)) <= 1e-5
    assert relative_error(after, kept.double()) > 1e-2
    assert torch.equal(before, kept)


def test_the_report_names_a_rule_for_every_function() -> None:
    build, inputs, weights = network()
    compiled = compile_cpu(module(build, inputs, weights), None, weights)
    rows = compiled.report(*inputs)
    assert {row.rule for row in rows} <= {"conv2d", "dense", "elementwise", "reduction", "runtime"}
    assert {row.function for row in rows if row.rule == "conv2d"}
    assert set(compiled.rules) <= {row.function for row in rows}
    assert abs(sum(row.share for row in rows) - 1) < 1e-6
    assert all(row.calls >= 1 for row in rows)


def test_save_and_load(tmp_path: Any) -> None:
    build, inputs, weights = network()
    compiled = compile_cpu(module(build, inputs, weights), None, weights)
    compiled.save(tmp_path / "program")
    loaded = Compiled.load(tmp_path / "program")
    assert torch.equal(run(loaded, inputs), run(compiled, inputs))
    changed = [w * 0.5 for w in weights]
    loaded.prepare(changed)
    assert relative_error(run(loaded, inputs), expected(*inputs, *changed)) <= 1e-5
    assert loaded.rules == compiled.rules


def test_code_for_another_cpu_is_refused(tmp_path: Any) -> None:
    build, inputs, weights = network()
    compiled = compile_cpu(module(build, inputs, weights), None, weights)
    compiled.target = CodeTarget("another", compiled.target.features | {"avx9000"})
    compiled.save(tmp_path / "program")
    with pytest.raises(Torch2TrtError, match="avx9000"):
        Compiled.load(tmp_path / "program")


def test_a_file_of_another_kind_is_refused(tmp_path: Any) -> None:
    torch.save({"format": "something else"}, tmp_path / "other")
    with pytest.raises(Torch2TrtError, match="not a program"):
        Compiled.load(tmp_path / "other")


def test_a_dynamic_batch_runs() -> None:
    batch = tvm.tirx.Var("n", "int64")
    bb = relax.BlockBuilder()
    x = relax.Var("x", relax.TensorType((batch, 3, 8, 8), "float32"))
    w = relax.Var("w", relax.TensorType((4, 3, 3, 3), "float32"))
    with bb.function("main", [x, w], attrs={"num_input": 1}):
        with bb.dataflow():
            y = bb.emit(R.nn.relu(R.nn.conv2d(x, w, padding=1)))
            out = bb.emit_output(R.nn.softmax(R.mean(y, [2, 3]), -1))
        bb.emit_func_output(out)
    weight = torch.randn(4, 3, 3, 3)
    compiled = compile_cpu(bb.get(), None, [weight])
    for size in (1, 5):
        image = torch.randn(size, 3, 8, 8)
        want = F.relu(F.conv2d(image.double(), weight.double(), padding=1)).mean((2, 3)).softmax(-1)
        assert relative_error(run(compiled, [image]), want) <= 1e-5


def test_the_thread_pool_has_every_core_and_pins_nobody():
    code = (
        "import os; before = os.sched_getaffinity(0)\n"
        "from torch2trt.backends import tvm_module\n"
        "threads = tvm_module().get_global_func('runtime.NumThreads')()\n"
        "print(threads, os.sched_getaffinity(0) == before)"
    )
    unset = ("TVM_NUM_THREADS", "TVM_BIND_THREADS")
    environment = {k: v for k, v in os.environ.items() if k not in unset}
    command = [sys.executable, "-W", "ignore", "-c", code]
    result = subprocess.run(command, capture_output=True, text=True, env=environment)
    assert result.stdout.split() == [str(os.cpu_count()), "True"], result.stdout + result.stderr


THREADS = """
import os, threading, torch
import torch.nn.functional as F
from torch2trt import TVMModuleWrapper
torch.set_num_threads(2)
module = torch.nn.Conv2d(16, 64, 3).eval()
x = torch.randn(1, 16, 66, 66)
names = lambda: len(os.listdir("/proc/self/task"))
stat = lambda t: open(f"/proc/self/task/{t}/stat").read()
cpu = lambda: sum(int(stat(t).rsplit(")", 1)[1].split()[11]) for t in others)
with torch.inference_mode():
    network = TVMModuleWrapper(module).eval()
    network(x)
    module(x)
    before, others = names(), [t for t in os.listdir("/proc/self/task") if int(t) != os.getpid()]
    for threads in (2, 1):
        torch.set_num_threads(threads)
        start = cpu()
        results = [network(x) for _ in range(3000)]
        print(threads, names() - before, cpu() - start >= 5, len({y.sum().item() for y in results}))
"""


@pytest.mark.skipif(not torch.backends.openmp.is_available(), reason="PyTorch without OpenMP")
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="Linux lists the threads")
def test_loops_run_on_the_threads_of_pytorch() -> None:
    """No thread is started besides PyTorch's; its second one rests while it has one."""
    command = [sys.executable, "-W", "ignore", "-c", THREADS]
    result = subprocess.run(command, capture_output=True, text=True)
    want = ["2 0 True 1", "1 0 False 1"]
    assert result.stdout.splitlines() == want, result.stdout + result.stderr


def test_the_pool_of_tvm_serves_where_pytorch_has_no_openmp(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from torch2trt.backends.schedules import threads

    monkeypatch.setattr(threads, "_openmp", lambda: None)
    before = torch.get_num_threads()
    try:
        for count in (2, 1):
            torch.set_num_threads(count)
            check(CASES[1], host_target())
            assert threads._pool_size == count
    finally:
        torch.set_num_threads(before)


def test_several_threads_of_python_run_at_once() -> None:
    case = CASES[1]
    inputs, weights = tensors(case.inputs), tensors(case.weights, 0.5)
    compiled = [compile_cpu(module(case.build, inputs, weights), None, weights) for _ in range(2)]
    want = run(compiled[0], inputs)
    wrong: list[int] = []

    def work(index: int) -> None:
        wrong.append(sum(not torch.equal(run(compiled[index], inputs), want) for _ in range(50)))

    workers = [threading.Thread(target=work, args=(i,)) for i in range(2)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(60)
    assert wrong == [0, 0]


@pytest.mark.parametrize("stride", [1, 2])
def test_biases_and_activations_of_networks_are_computed_on_the_tiles(stride: int) -> None:
    """A sum that the conversion writes, not Relax, is fused too, also for images of batch one."""
    from torch2trt import TVMModuleWrapper

    layers = torch.nn.Conv2d(3, 16, 3, stride), torch.nn.ReLU(), torch.nn.Conv2d(16, 8, 1)
    network = TVMModuleWrapper(torch.nn.Sequential(*layers, torch.nn.ReLU6())).eval()
    with torch.no_grad():
        rows = network.report(torch.randn(1, 3, 16, 16))
    assert sorted(row.rule for row in rows) == ["conv2d", "dense", "elementwise", "elementwise"]
