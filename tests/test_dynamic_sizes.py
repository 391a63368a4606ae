"""Networks defined once for all sizes: at each size the numbers of PyTorch, or an error."""

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from case import assert_same
from runners import tensorrt_program, tvm_dialect, tvm_program

from torch2trt.core import GraphModule, tvm_network
from torch2trt.errors import ConversionError, Torch2TrtError

TABLE = torch.linspace(-2, 3, 27).reshape(9, 3)
INDEX = torch.tensor([1, 3])
POINTS = torch.tensor([[1, 3, 0], [0, 2, 1]])
FAILURES = (RuntimeError, Torch2TrtError)
SHARED = torch.linspace(-1, 2, 12).reshape(4, 3)


@pytest.fixture(params=[tensorrt_program, tvm_program], ids=["tensorrt", "tvm"])
def compiled(request: pytest.FixtureRequest) -> Callable:
    if request.param is tvm_program and tvm_dialect() == "relay":
        pytest.skip("Relay takes static sizes")
    return request.param


# A program, the size it is traced at, the sizes that its slices fit, and some that they do not.
CUT = {
    "first": (lambda x: x[:4] + 1, 6, (4, 5, 9), (1, 3)),
    "last": (lambda x: x[-4:] + 1, 6, (4, 5, 9), (1, 3)),
    "stepped": (lambda x: x[1:6:2] + 1, 7, (6, 9), (1, 2, 5)),
    "select": (lambda x: x[3] + 1, 6, (4, 9), (1, 3)),
    "index_from_end": (lambda x: x[torch.tensor([-3, 0])] + 1, 4, (3, 5), (1, 2)),
    "take_from_end": (lambda x: x.take(torch.tensor([-8, 5])) + 1, 4, (3, 5), (1, 2)),
    "select_by_size": (lambda x: x[x.size(0) - 5] + 1, 6, (3, 4, 5, 9), (1, 2)),
    "from_size": (lambda x: x[x.size(0) - 5 :] + 1, 6, (5, 9), (2, 3, 4)),
    "up_to_size": (lambda x: x[1 : x.size(0) - 2] + 1, 6, (3, 4, 9), (1, 2)),
    "table": (lambda x: TABLE[: 3 * x.size(0)] + 1, 2, (1, 2, 3), (4, 9)),
    "table_from": (lambda x: TABLE[9 - x.size(0) :] + x, 4, (1, 8, 9), (10, 12)),
    "table_select": (lambda x: TABLE[2 * x.size(0)] + 1, 2, (1, 4), (5, 9)),
    "narrow": (lambda x: TABLE.narrow(0, 2, x.size(0)) + x, 4, (1, 7), (8, 9)),
    "index": (lambda x: x[INDEX] + 1, 6, (4, 9), (1, 3)),
    "index_points": (lambda x: x[INDEX, INDEX - 1] + 1, 6, (4, 9), (1, 3)),
    "gather": (lambda x: x.gather(0, POINTS) + 1, 6, (4, 9), (1, 3)),
    "squeeze": (lambda x: x.squeeze(0) + 1, 6, (2, 9), (1,)),
    "index_put": (lambda x: x.index_put((INDEX,), x[:2]) + 1, 6, (4, 9), (2, 3)),
    "index_put_negative": (lambda x: x.index_put((-INDEX,), x[:2]) + 1, 6, (4, 9), (2,)),
    "index_copy": (lambda x: x.index_copy(0, INDEX, x[:2]) + 1, 6, (4, 9), (2, 3)),
    "scatter": (lambda x: x.scatter(0, POINTS, 5.0) + 1, 6, (4, 9), (2, 3)),
    "topk": (lambda x: x.topk(3, 0)[0] + 1, 5, (3, 9), (1, 2)),
}

# A layer of TensorRT finds out as it runs whether a position counts from the end.
COUNTED_FROM_THE_END = {CUT["from_size"][0]: (3, 4), CUT["table_from"][0]: (10,)}


@pytest.mark.parametrize(("program", "size", "inside", "outside"), CUT.values(), ids=CUT)
def test_slices_outside_are_errors_as_they_run(compiled, program, size, inside, outside):
    run = compiled(program, [torch.randn(size, 3)], dynamic=True)
    for rows in inside:
        x = torch.randn(rows, 3)
        assert_same(run([x]), [program(x)], 1e-6)
    for rows in outside:
        x = torch.randn(rows, 3)
        if compiled is tensorrt_program and rows in COUNTED_FROM_THE_END.get(program, ()):
            assert_same(run([x]), [program(x)], 1e-6)
            continue
        with pytest.raises(FAILURES, match=r"match_cast|ASSERTION|must match"):
            run([x])


REDUCED = {
    "sum": lambda x: x[1:].sum(0),
    "prod": lambda x: x[1:].prod(0),
    "mean": lambda x: x[1:].mean(0),
    "matmul": lambda x: x[1:].mT @ x[1:],
    "any": lambda x: (x[1:] > 0).any(0),
    "all": lambda x: (x[1:] > 0).all(0),
    "trapezoid": lambda x: torch.trapezoid(x, dx=0.5, dim=0),
    "softmax": lambda x: x[1:].softmax(1).logsumexp(1),
}


ROW = torch.tensor([[torch.inf, 1.0, -torch.inf]])
ONE = torch.tensor([-torch.inf])
MASK = torch.full((12, 12), -torch.inf).triu(1)

INFINITE = {
    "filled": lambda x: x.new_full((x.size(0), 3), -torch.inf),
    "added": lambda x: x + torch.full_like(x, torch.inf),
    "largest": lambda x: torch.maximum(torch.full_like(x, -torch.inf), x),
    "buffer": lambda x: torch.minimum(ONE.expand(x.size(0), 3), x),
    "row": lambda x: torch.cat([ROW.expand(x.size(0), 3), x + ROW]),
    "mask": lambda x: MASK[: x.size(0), : x.size(0)] + x @ x.mT,
    "row_of_mask": lambda x: MASK[x.size(0) - 1] * 1,
    "chosen": lambda x: torch.where(x > 0, x, -torch.inf).flip(0),
    "nan": lambda x: torch.where(x > 0, x, torch.nan) + torch.full_like(x, torch.nan).nan_to_num(1),
    "pooled": lambda x: F.max_pool1d(torch.full_like(x, -torch.inf)[None], 3, 1, 1),
}


RESIZED = {**REDUCED, **INFINITE}


@pytest.mark.parametrize("program", RESIZED.values(), ids=RESIZED)
def test_nothing_and_infinite_numbers_at_other_sizes(compiled, program):
    run = compiled(program, [torch.randn(4, 3)], dynamic=True)
    for rows in (4, 1, 2, 7):
        x = torch.randn(rows, 3)
        assert_same(run([x]), [program(x)], 1e-6)


KERNEL = torch.linspace(-1, 1, 36).reshape(4, 1, 3, 3)


@pytest.mark.parametrize(
    "program",
    [
        lambda x: F.conv2d(x[None, None], KERNEL, padding=1).relu() * 2,
        lambda x: F.conv2d(x[None, None], KERNEL, stride=2, padding=1).sum((1, 3)),
        lambda x: F.conv_transpose2d(x[None, None], KERNEL.transpose(0, 1), stride=2),
        lambda x: F.interpolate(x[None, None], scale_factor=2, mode="bilinear"),
        lambda x: F.avg_pool2d(x[None, None], 2, 1) + x.mean(),
    ],
    ids=["conv", "conv_strided", "conv_transpose", "interpolate", "avg_pool"],
)
def test_images_of_dynamic_height(compiled, program):
    run = compiled(program, [torch.randn(6, 3)], dynamic=True)
    for rows in (6, 9, 2):
        x = torch.randn(rows, 3)
        assert_same(run([x]), [program(x)], 1e-5)


def asserted(x):
    torch._assert(x.shape[0] == 4, "four rows")
    return x * 2


@pytest.mark.parametrize(
    "program",
    [
        lambda x: x.reshape(4, -1) @ torch.ones(3, 2),
        lambda x: torch.broadcast_to(x, (2, 4, 3)) * 2,
        lambda x: x.mT @ SHARED,
        lambda x: SHARED.mT @ x,
        asserted,
    ],
    ids=["reshape", "expand", "matmul", "matmul_of_constant", "assertion"],
)
def test_programs_of_one_size_are_refused(compiled, program):
    with pytest.raises(ConversionError, match="all other sizes"):
        compiled(program, [torch.randn(4, 3)], dynamic=True)


@pytest.mark.parametrize(
    "program",
    [
        lambda x: torch.broadcast_to(x, (2, 4, 3)) * 2,
        lambda x: x.reshape(4, -1) @ torch.ones(3, 2),
        lambda x: x.mT @ SHARED,
        lambda x: SHARED.mT @ x,
    ],
    ids=["expand", "reshape", "matmul", "matmul_of_constant"],
)
def test_sizes_that_do_not_fit_are_errors_as_they_run(compiled, program, monkeypatch):
    monkeypatch.setattr("torch2trt.core.check_sizes", lambda *_: None)
    run = compiled(program, [torch.randn(4, 3)], dynamic=True)
    x = torch.randn(4, 3)
    assert_same(run([x]), [program(x)], 1e-6)
    for rows in (3, 5):
        with pytest.raises(FAILURES, match=r"match_cast|ASSERTION|SHUFFLE|MATRIX_MULTIPLY"):
            run([torch.randn(rows, 3)])


def rolled(x):
    return TABLE.roll(x.shape[0], 0)[: x.shape[0]] + x


def scaled(x):
    return x * float(x.shape[0])


def looped(x):
    for i in range(x.shape[0]):
        x = x * 2 + i
    return x


@pytest.mark.parametrize(
    ("program", "what"),
    [
        (rolled, r"a constant of aten::roll is 4; for the other inputs 5"),
        (scaled, r"a constant of aten::mul.Tensor is 4.0; for the other inputs 5.0"),
        (looped, r"output 0 of the traced program has other values"),
    ],
    ids=["roll", "scale", "loop"],
)
def test_sizes_that_the_trace_froze_are_refused(compiled, program, what):
    with pytest.raises(ConversionError, match=what) as caught:
        compiled(program, [torch.randn(4, 3)], dynamic=True)
    assert f": {program.__name__}" in str(caught.value)


def test_the_covariance_of_a_dynamic_number_of_variables_is_refused(compiled):
    with pytest.raises(ConversionError, match="dynamic number of variables"):
        compiled(torch.cov, [torch.randn(4, 3)], dynamic=True)


def test_a_program_of_a_largest_size_is_compared_at_a_smaller_one(compiled):
    run = compiled(lambda x: x + TABLE[: x.size(0)], [torch.randn(9, 3)], dynamic=True)
    x = torch.randn(7, 3)
    assert_same(run([x]), [x + TABLE[:7]], 1e-6)


def test_the_comparison_with_other_sizes_can_be_left_out():
    if tvm_dialect() != "relax":
        pytest.skip("needs TVM with dynamic sizes")
    module = GraphModule(scaled, [torch.randn(4, 3)])
    with tvm_network() as ctx:
        rows = ctx.input("x", (None, 3), torch.float32)
        with pytest.raises(ConversionError, match="another program at other sizes"):
            module(rows)
        module.example = None
        assert ctx.is_tensor(module(rows))


def test_comparing_at_other_sizes_leaves_buffers_as_they_were(compiled):
    norm = torch.nn.BatchNorm1d(3)
    norm.eval()
    before = norm.running_mean.clone()
    calls = []

    def program(x):
        calls.append(tuple(x.shape))
        return norm(x) * 2

    compiled(program, [torch.randn(4, 3)], dynamic=True)
    assert {(5, 3), (8, 3)} <= set(calls)
    assert torch.equal(norm.running_mean, before)
