"""The plan of TVM programs for CUDA, run on the CPU: library calls, views, numbers.

Weights that follow, the report.
"""

import copy

import pytest
import torch
import torch.nn.functional as F
from module_case import Net
from torch import nn

pytest.importorskip("tvm.relax", reason="TVM with Relax is not installed")

import torch2trt.module  # noqa: E402
from torch2trt.backends.cuda import (  # noqa: E402
    Unplannable,
    compile_cuda,
    pipeline,
    tune,  # noqa: E402
)
from torch2trt.backends.cuda.library import Convolution, Epilogue, Product  # noqa: E402
from torch2trt.backends.cuda.normal import Strided  # noqa: E402
from torch2trt.backends.flags import cudnn_flags, set_tf32  # noqa: E402
from torch2trt.errors import Torch2TrtError  # noqa: E402
from torch2trt.module import TVMModuleWrapper  # noqa: E402
from torch2trt.tvm_program import TVMProgram  # noqa: E402

CPU = torch.device("cpu")


class Planned(TVMProgram):
    """A program compiled as for CUDA, with plain loops on the CPU."""

    def _compile(self, module, weights):
        self._module = module
        self._compiled = compile_cuda(module, CPU, list(weights.values()))
        self._set_weights = lambda new: self._compiled.prepare(list(new.values()))
        self.run = self.run_plainly = self._compiled


@pytest.fixture(autouse=True)
def planned(monkeypatch):
    monkeypatch.setattr(torch2trt.module, "TVMProgram", Planned)


def error(got, module, x):
    with torch.no_grad():
        want = copy.deepcopy(module).double()(x.double())
    return float((got.double() - want).norm() / want.norm())


def steps(wrapped):
    return [s.name for s in wrapped.latest_variant().program._compiled.plan.steps]


def heads(m, x):
    q, k, v = m[0](x).reshape(*x.shape[:2], 3, 4, 16).permute(2, 0, 3, 1, 4)
    return F.scaled_dot_product_attention(q, k, v).transpose(1, 2).reshape(x.shape) + x


def by_hand(m, x):
    q, k, v = (y.view(*x.shape[:2], 4, 16).transpose(1, 2) for y in m[0](x).chunk(3, -1))
    weights = torch.softmax(q @ k.transpose(2, 3) / 4, -1)
    return (weights @ v).transpose(1, 2).reshape(x.shape)


def masked(m, x):
    q, k, v = (y.view(*x.shape[:2], 4, 16).transpose(1, 2) for y in m[0](x).chunk(3, -1))
    mask = torch.eye(x.shape[1]).to(x) * -3
    return (torch.softmax(q @ k.transpose(2, 3) + mask, -1) @ v).transpose(1, 2).reshape(x.shape)


def read_twice(m, x):
    scores = torch.softmax(x @ x.transpose(1, 2), -1)
    return torch.cat((scores @ x, scores), -1)


CASES = {
    "conv relu add": (
        Net(
            lambda m, x: F.relu(m[1](F.relu(m[0](x))) + x),
            nn.Conv2d(16, 16, 3, padding=1),
            nn.Conv2d(16, 16, 1),
        ),
        (2, 16, 9, 7),
        "convolution",
    ),
    "depthwise": (
        Net(lambda m, x: F.silu(m[0](x)), nn.Conv2d(8, 8, 5, padding=2, groups=8)),
        (1, 8, 9, 9),
        "depthwise",
    ),
    "conv1d": (
        Net(lambda m, x: m[0](x).relu(), nn.Conv1d(8, 12, 3, padding=1)),
        (1, 8, 33),
        "convolution",
    ),
    "conv3d": (Net(lambda m, x: m[0](x), nn.Conv3d(2, 4, 3, 2)), (1, 2, 7, 9, 8), "convolution"),
    "uneven padding": (
        Net(lambda m, x: m[0](F.pad(x, (1, 2, 0, 3))), nn.Conv2d(4, 4, 3)),
        (1, 4, 6, 6),
        "convolution",
    ),
    "mlp": (
        Net(lambda m, x: m[1](F.gelu(m[0](x))) + x, nn.Linear(8, 32), nn.Linear(32, 8)),
        (2, 5, 8),
        "product",
    ),
    "norms": (Net(lambda m, x: F.softmax(m[0](x), -1), nn.LayerNorm(24)), (2, 3, 24), "softmax"),
    "layer norm of images": (
        Net(lambda m, x: m[0](x) * 2, nn.LayerNorm([4, 5])),
        (2, 3, 4, 5),
        "layernorm",
    ),
    "attention": (Net(heads, nn.Linear(64, 192)), (2, 12, 64), "attention"),
    "attention by hand": (Net(by_hand, nn.Linear(64, 192)), (3, 11, 64), "attention"),
    "attention with a mask": (Net(masked, nn.Linear(64, 192)), (2, 6, 64), "softmax"),
    "weights of attention read twice": (Net(read_twice), (2, 6, 5), "softmax"),
    "flat attention": (
        Net(lambda m, x: torch.softmax(x @ x.mT * 0.5, -1) @ x),
        (2, 6, 5),
        "attention",
    ),
    "views": (
        Net(lambda m, x: x[:, 1::2].mT @ m[0](x)[:, 3:, 1:], nn.Linear(5, 5)),
        (2, 6, 5),
        "product",
    ),
    "softmax of columns": (Net(lambda m, x: torch.softmax(x, 1)), (2, 6, 5), "softmax"),
    "lstm": (Net(lambda m, x: m[0](x)[0], nn.LSTM(8, 8, batch_first=True)), (1, 3, 8), "product"),
}


@pytest.mark.parametrize("name", CASES)
def test_numbers_weights_and_memory(name):
    net, shape, served = CASES[name]
    x, other = torch.randn(shape), torch.randn(shape)
    wrapped = TVMModuleWrapper(net.eval()).eval()
    first = wrapped(x)
    assert error(first, net, x) <= 1e-6
    kept = first.clone()
    assert error(wrapped(other), net, other) <= 1e-6
    assert first.equal(kept), "a call wrote on the output of the call before"
    assert any(served in step for step in steps(wrapped)), steps(wrapped)
    compiled = wrapped.latest_variant().program._compiled
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.mul_(1.25)
    assert error(wrapped(x), net, x) <= 1e-6
    assert wrapped.latest_variant().program._compiled is compiled, "new weights compiled again"


def test_attention_is_one_step_and_reads_views():
    net, shape, _ = CASES["attention"]
    wrapped = TVMModuleWrapper(net.eval()).eval()
    wrapped(torch.randn(shape))
    assert steps(wrapped) == ["product_bias_fused", "attention_plain", "fused_reshape_add"]


@pytest.mark.parametrize(
    "name", ("attention", "attention by hand", "flat attention", "mlp", "conv relu add")
)
@pytest.mark.parametrize("dtype", (torch.float16, torch.bfloat16))
def test_half_precision_settings(name, dtype):
    net, shape, served = CASES[name]
    net, x = copy.deepcopy(net).eval(), torch.randn(shape)
    wrapped = TVMModuleWrapper(net, dtype=dtype).eval()
    got = wrapped(x)
    assert got.dtype == torch.float32
    assert 1e-6 < error(got, net, x) <= (2e-3 if dtype == torch.float16 else 2e-2)
    if name not in ("attention by hand", "flat attention"):  # these round their scores
        assert any(served in step for step in steps(wrapped))


@pytest.mark.parametrize("name", ("attention", "mlp"))
def test_half_precision_modules(name):
    net, shape, served = CASES[name]
    half, x = copy.deepcopy(net).half().eval(), torch.randn(shape).half()
    wrapped = TVMModuleWrapper(half, check=False).eval()
    got = wrapped(x)
    assert got.dtype == torch.float16
    assert error(got, half, x) <= 1.2 * error(half(x), half, x)
    assert any(served in step for step in steps(wrapped))


def test_report_names_every_step():
    net, shape, _ = CASES["attention"]
    rows = TVMModuleWrapper(net.eval()).eval().report(torch.randn(shape))
    assert {r.function for r in rows} == {
        "product_bias_fused",
        "attention_plain",
        "fused_reshape_add",
    }
    assert sum(r.share for r in rows) == pytest.approx(1)
    assert [r.seconds for r in rows] == sorted((r.seconds for r in rows), reverse=True)


def test_inputs_and_weights_given_out_are_copies():
    net = Net(lambda m, x: (x, m[0].weight, x.view(-1)), nn.Linear(3, 3)).eval()
    x = torch.randn(2, 3)
    given = TVMModuleWrapper(net).eval()(x)
    for y, source in zip(given, (x, net.parts[0].weight, x)):
        assert y.reshape(-1).equal(source.detach().reshape(-1))
        y.zero_()
    again = TVMModuleWrapper(net).eval()(x)
    assert again[1].equal(net.parts[0].weight) and x.abs().sum() > 0


def test_a_plan_takes_any_layout_of_its_input():
    module = nn.Conv2d(3, 8, 3).eval()
    wrapped = TVMModuleWrapper(module, check=False).eval()
    x = torch.randn(1, 3, 9, 7)
    expected = wrapped(x)
    compiled = wrapped.latest_variant().program._compiled
    shifted = torch.empty(x.numel() + 1)[1:].view(x.shape).copy_(x)
    turned = x.transpose(2, 3).contiguous().transpose(2, 3)
    for given in (x.contiguous(memory_format=torch.channels_last), turned, shifted):
        assert compiled.run([given])[0].equal(expected)
        assert compiled.report(given, repeats=1)


def test_dynamic_shapes_have_no_plan():
    from tvm import relax, tirx

    bb = relax.BlockBuilder()
    x = relax.Var("x", relax.TensorType((tirx.Var("n", "int64"), 3), "float32"))
    with bb.function("main", [x], attrs={"num_input": 1}):
        with bb.dataflow():
            out = bb.emit_output(relax.op.nn.relu(x))
        bb.emit_func_output(out)
    with pytest.raises(Unplannable, match="static|dynamic"):
        compile_cuda(bb.get(), CPU)


def test_a_program_without_schedules_has_no_report():
    program = object.__new__(TVMProgram)
    program._compiled = None
    with pytest.raises(Torch2TrtError, match="no report"):
        program.report([])


def operands(way):
    """A pointwise convolution whose other ways are right, or drop NaN, or are wrong."""
    operator = Convolution((1, 1), ((0, 0), (0, 0)), (1, 1), 1, last=True)
    return (
        operator,
        [((1, 4, 4, 8), "float32"), ((8, 1, 1, 8), "float32"), ((8,), "float32")],
        Epilogue(bias=True),
    )


@pytest.mark.parametrize(
    "change, kept", ((lambda y: y, True), (torch.nan_to_num, False), (lambda y: y + 1e-3, False))
)
def test_the_tuner_takes_only_what_agrees_with_the_plain_way(monkeypatch, change, kept):
    operator, facts, epilogue = operands("product")
    monkeypatch.setattr(tune, "graph_microseconds", lambda call, device: 1.0)
    product = Convolution.product
    monkeypatch.setattr(Convolution, "product", lambda self, *rest: change(product(self, *rest)))
    found = [("plain", Epilogue()), ("product", Epilogue()), ("product", epilogue)]
    with set_tf32(False):
        rows = tune._measure(operator, facts, epilogue, found, CPU)
    assert [(way, taken) for way, taken, _ in rows] == (found if kept else found[:1])


def test_the_tuner_is_not_asked_for_deterministic_algorithms(monkeypatch):
    monkeypatch.setattr(tune, "_measure", lambda *rest: pytest.fail("measured"))
    view = Strided((4, 4), (4, 1))
    facts = [((4, 4), "float32")] * 2 + [((4,), "float32")]
    choose = tune.chooser(torch.device("cuda", 0))
    with cudnn_flags(deterministic=True):
        way, taken = choose(Product(view, view), facts, Epilogue(bias=True))
    assert (way, taken) == tune.candidates(
        Product(view, view), [s for s, _ in facts], Epilogue(bias=True)
    )[0]


@pytest.mark.parametrize("tf32", [False, True])
def test_changing_a_flag_leaves_the_others_as_they_are(tf32):
    cudnn, matmul = torch.backends.cudnn, torch.backends.cuda.matmul

    def flags():
        return cudnn.enabled, cudnn.deterministic, cudnn.allow_tf32, matmul.allow_tf32

    with set_tf32(tf32):
        before = flags()
        assert before[2:] == (tf32, tf32)
        with cudnn_flags(benchmark=True):
            assert cudnn.benchmark
            assert flags() == before
        assert not cudnn.benchmark
        assert flags() == before


def test_another_shape_of_the_output_is_no_kernel():
    net = Net(lambda m, x: F.adaptive_avg_pool2d(m[0](x), 1).flatten(1), nn.Conv2d(4, 8, 3)).eval()
    wrapped, x = TVMModuleWrapper(net).eval(), torch.randn(2, 4, 9, 7)
    first = wrapped(x)
    kept = first.clone()
    assert steps(wrapped)[-1] == "view"
    assert error(wrapped(-x), net, -x) <= 1e-6
    assert first.equal(kept)


def test_blocks_of_threads_are_small_where_elements_do_not_work_together():
    import tvm
    from tvm import relax

    bb = relax.BlockBuilder()
    x = relax.Var("x", relax.TensorType((8, 13, 13, 64), "float32"))
    with bb.function("main", [x], attrs={"num_input": 1}):
        with bb.dataflow():
            pooled = bb.emit(relax.op.nn.max_pool2d(x, 3, 1, 1, layout="NHWC"))
            out = bb.emit_output(relax.op.exp(pooled))
        bb.emit_func_output(out)
    target = tvm.target.Target(
        {"kind": "cuda", "arch": "sm_90", "max_threads_per_block": 1024, "thread_warp_size": 32}
    )
    fused, _ = pipeline.fused(bb.get(), target, tune.chooser(CPU))
    scheduled, rules = pipeline.schedule(fused, target)
    assert set(rules.values()) == {"Fallback"}
    assert 'T.thread_binding(T.int64(256), thread="threadIdx.x")' in scheduled.script()


@pytest.mark.parametrize("like", (torch.rand(2, 3), torch.rand(2, 3, device="meta")))
def test_only_tensors_on_the_device_are_launched_without_checks(like):
    linear = nn.Linear(3, 3).eval()
    wrapped = TVMModuleWrapper(linear, check=False).eval()
    x = torch.rand(2, 3)
    assert error(wrapped(x), linear, x) <= 1e-6
    assert error(wrapped(x + 1), linear, x + 1) <= 1e-6
    program = wrapped.latest_variant().program
    fast = program.prepare([like]) == program._compiled.launch
    assert fast == (like.device == CPU) and (fast or program.prepare([like]) == program.run)
