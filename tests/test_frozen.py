"""What tracing froze is found, with the line of the program."""

from __future__ import annotations

import copy
import ctypes
import inspect
import math
import pickle
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import torch
from torch import nn
from torch.utils.dlpack import to_dlpack

from torch2trt.core import GraphModule
from torch2trt.errors import InputMismatchError, UnsupportedOpError
from torch2trt.frozen import Frozen, frozen_values, generalises
from torch2trt.trace import trace


def line_of(function: Callable[..., Any], text: str) -> str:
    """The source of the line of `function` that holds `text`, as reports write it."""
    lines, first = inspect.getsourcelines(function)
    (number,) = (first + i for i, line in enumerate(lines) if text in line)
    return f"test_frozen.py({number}): {function.__name__}"


def found(function: Callable[..., Any], *inputs: torch.Tensor) -> tuple[Frozen, ...]:
    return frozen_values(trace(function, inputs))


def branch(x):
    if x.sum() > 0:
        return x + 1
    return x - 1


def integer(x):
    count = int(x.abs().sum())
    return x * count


def item(x):
    return x / x.max().item()


def length(x):
    return x[: len(x) - 1]


def iteration(x):
    total = x[0] * 0
    for row in x:
        total = total + row
    return total


def array(x):
    return x + torch.from_numpy(x.numpy())


def as_tensor(x):
    return x * torch.tensor(x.shape)[0]


def memory(x):
    y = x * 2
    y.untyped_storage().fill_(0)
    return y + 1


def stored(x):
    y = x * 2
    return pickle.loads(pickle.dumps(y)) + 1


def address(x):
    y, z = x * 2, torch.zeros(4, 3)
    ctypes.memmove(z.data_ptr(), y.data_ptr(), 48)
    return z + 1


def capsule(x):
    return torch.from_dlpack(to_dlpack(x * 2)) + 1


def copies_of_views(x):
    y = x * 2
    rows, first = copy.deepcopy((y, y[0]))
    rows.add_(1)
    return rows + first


def filled_elsewhere(x):
    y = torch.empty_like(x)
    ctypes.memmove(torch._C.TensorBase.data_ptr(y), torch._C.TensorBase.data_ptr(x), 48)
    z = y.t()[1:]
    return z + 1


def _fill(y, x):
    ctypes.memmove(torch._C.TensorBase.data_ptr(y), torch._C.TensorBase.data_ptr(x), 48)


def returned(x):
    y = torch.empty_like(x)
    _fill(y, x)
    return y.t()


def copied(x):
    y = torch.empty_like(x)
    _fill(y, x)
    z = torch.zeros(2, 4, 3)
    z[0] = y
    return z + x


def number(x):
    y = torch.empty(())
    return x + y


@pytest.mark.parametrize(
    ("function", "text", "message"),
    [
        (branch, "if x.sum()", "Python boolean"),
        (integer, "int(x.abs", "Python integer"),
        (item, "x.max().item()", "Python number"),
        (length, "len(x)", "Using len"),
        (iteration, "for row in x", "Iterating over a tensor"),
        (array, "from_numpy", "NumPy array"),
        (as_tensor, "torch.tensor", "torch.tensor results are registered as constants"),
        (memory, "y.untyped", "Using the memory of a tensor"),
        (stored, "pickle.loads", "Using the memory of a tensor"),
        (address, "ctypes.memmove", "Using the address of a tensor"),
        (capsule, "torch.from_dlpack", "torch.from_dlpack results are registered as constants"),
        (copies_of_views, "copy.deepcopy", "Deep copies of tensors that share memory"),
        (filled_elsewhere, "z + 1", "reads memory that nothing in the trace fills"),
        (returned, "torch.empty_like", "returns memory that nothing in the trace fills"),
        (copied, "z[0] = y", "reads memory that nothing in the trace fills"),
        (number, "x + y", "reads memory that nothing in the trace fills"),
    ],
    ids=lambda v: v.__name__ if callable(v) else "",
)
def test_warnings_of_the_tracer_have_their_line(
    function: Callable[..., Any], text: str, message: str
) -> None:
    frozen = found(function, torch.rand(4, 3))
    assert [f.source for f in frozen if message in f.message] == [line_of(function, text)]


def test_memory_that_the_program_fills_is_not_frozen() -> None:
    def function(x):
        y, z, nothing = torch.empty_like(x), x.new_empty(2, 4, 3), torch.empty(0)
        y.unbind(0)[0].fill_(0)
        y[1:] = x[1:]
        torch.add(x, 1, out=z[0])
        return y * 2, z + torch.zeros_like(torch.empty(3)), torch.cat([x[0], nothing])

    assert found(function, torch.rand(4, 3)) == ()


def test_tensors_are_as_they_were_after_a_trace() -> None:
    names = ("data", "__copy__", "__deepcopy__", "__dlpack__", "untyped_storage", "apply_")
    before = [torch.Tensor.__dict__.get(name) for name in names], torch._C._from_dlpack
    with pytest.raises(UnsupportedOpError):
        trace(lambda x: x.apply_(abs), torch.rand(2))
    after = [torch.Tensor.__dict__.get(name) for name in names], torch._C._from_dlpack
    assert after == before


@pytest.mark.parametrize("duplicate", [copy.copy, copy.deepcopy])
def test_copies_of_parameters_are_parameters_that_follow_the_weights(
    duplicate: Callable[..., Any],
) -> None:
    class Copying(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.linear = nn.Linear(3, 2)
            self.register_buffer("shift", torch.ones(2))

        def forward(self, x):
            weight = duplicate(self.linear.weight)
            assert isinstance(weight, nn.Parameter)
            return x @ weight.t() + duplicate(self.shift) + copy.deepcopy(self.linear)(x)

    net, x = Copying(), torch.rand(4, 3)
    module = GraphModule(net, x)
    assert module.frozen == ()
    with torch.no_grad():
        for value in (net.linear.weight, net.shift):
            value.mul_(2)
        x = torch.rand(4, 3)
        torch.testing.assert_close(module(x), net(x))


def test_another_thread_copies_as_ever_during_a_trace() -> None:
    def copies():
        x = torch.rand(3)
        y = copy.copy(x)
        z = torch.from_dlpack(x)
        return y.data_ptr() == x.data_ptr() == z.data_ptr() != copy.deepcopy(x).data_ptr()

    def function(x):
        thread = ThreadPoolExecutor(1)
        results.append(thread.submit(copies).result())
        thread.shutdown()
        return x + 1

    results: list[bool] = []
    assert found(function, torch.rand(3)) == () and results == [True]


@pytest.mark.xfail(strict=True, reason="a trace is of one thread and knows nothing of others")
def test_what_another_thread_computes_is_found() -> None:
    def function(x):
        with ThreadPoolExecutor(1) as thread:
            return thread.submit(torch.sin, x).result() + 1

    assert found(function, torch.rand(3))


def test_warnings_inside_torch_are_reported_at_the_line_of_the_program() -> None:
    attend = nn.MultiheadAttention(4, 2).eval()

    def function(x):
        return attend(x, x, x)[0]

    frozen = found(function, torch.rand(3, 1, 4))
    assert frozen
    assert {f.source for f in frozen} == {line_of(function, "attend(x")}


def test_numbers_from_data_are_found_in_the_graph() -> None:
    def function(x):
        return torch.full((2,), x.sum()), x[: x.argmax()]

    first, second = found(function, torch.rand(4))
    assert first.message == "aten::ScalarImplicit takes a Python number from tensor values"
    assert second.message == "aten::Int.Tensor takes a Python number from tensor values"
    assert first.source == second.source == line_of(function, "torch.full")


def test_numbers_from_sizes_are_not_frozen() -> None:
    def function(x):
        return x.view(x.shape[0] * 2, -1) + torch.zeros(x.size(1) // 2), torch.zeros_like(x)[
            : x.shape[0] - 1
        ]

    assert found(function, torch.rand(4, 4)) == ()


def test_a_clean_program_has_nothing_frozen() -> None:
    assert (
        found(
            nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU()).eval(),
            torch.rand(1, 3, 8, 8),
        )
        == ()
    )


# ---- other sizes ---------------------------------------------------------------------------------
def checked(function: Callable[..., Any], example: Any, other: Any) -> tuple[Frozen, ...]:
    module = GraphModule(function, example)
    return generalises(function, module.trace, module.graph, other)


def flat(x):
    return x.flatten(1) @ torch.ones(x.shape[1] * x.shape[2], 2)


def attention(x):
    q = x.view(x.size(0), -1, 2, 3).transpose(1, 2)
    weights = (q @ q.transpose(-2, -1) / math.sqrt(3)).softmax(-1)
    return (weights @ q).transpose(1, 2).flatten(2)


def written(x):
    y = torch.zeros(x.shape[0], 4, 6)
    y[:, 1:3] = x[:, :2]
    y[:, 0] += 1
    return y


@pytest.mark.parametrize("function", [flat, attention, written])
@pytest.mark.parametrize("batch", [1, 2, 5])
def test_dynamic_programs_generalise(function: Callable[..., Any], batch: int) -> None:
    assert checked(function, torch.rand(2, 4, 6), torch.rand(batch, 4, 6)) == ()


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
@pytest.mark.parametrize("scale", [1, 1000])
def test_rounding_is_no_other_program(dtype: torch.dtype, scale: int) -> None:
    torch.manual_seed(0)
    layer = nn.TransformerEncoderLayer(32, 4, 64, batch_first=True).eval().to(dtype)
    example, other = torch.randn(2, 7, 32).to(dtype), torch.randn(3, 8, 32).to(dtype)
    assert checked(lambda x: layer(x) * scale, example, other) == ()


def baked_view(x):
    batch = int(x.shape[0])
    return x.reshape(batch, -1) * 2


def baked_zeros(x):
    rows = math.ceil(x.shape[0] / 1)
    return torch.cat([x, torch.zeros(rows, 4, 6)])


def baked_scale(x):
    return x / float(x.shape[0])


def baked_branch(x):
    if x.shape[0] > 3:
        return x.relu()
    return x.sigmoid()


@pytest.mark.parametrize(
    ("function", "text", "was", "now"),
    [
        (baked_view, "x.reshape", "2", "5"),
        (baked_zeros, "torch.zeros", "2", "5"),
        (baked_scale, "x / float", "2.0", "5.0"),
        (baked_branch, "x.sigmoid", "aten::sigmoid", "aten::relu"),
    ],
    ids=lambda v: v.__name__ if callable(v) else "",
)
def test_baked_sizes_are_found(function: Callable[..., Any], text: str, was: str, now: str) -> None:
    frozen = checked(function, torch.rand(2, 4, 6), torch.rand(5, 4, 6))
    assert "traced program" in frozen[0].message
    changed = [f.message for f in frozen if f.source == line_of(function, text)]
    assert any(was in m and m.endswith(f"for the other inputs {now}") for m in changed)


def test_iteration_is_found_where_the_traces_part() -> None:
    frozen = checked(iteration, torch.rand(3, 2), torch.rand(4, 2))
    (parting,) = (f for f in frozen if f.message.startswith("the traces part here"))
    assert "prim::ListUnpack with 3 outputs" in parting.message
    assert parting.message.endswith("for the other inputs prim::ListUnpack with 4 outputs")
    assert parting.source == line_of(iteration, "total + row")


def test_the_inputs_stay_as_they_are() -> None:
    def function(x):
        return x.add_(1) * 2

    other = torch.rand(5)
    before = other.clone()
    with pytest.warns(UserWarning, match="writes to its inputs"):
        module = GraphModule(function, torch.rand(2))
    assert generalises(function, module.trace, module.graph, other) == ()
    assert torch.equal(other, before)


def test_keyword_arguments() -> None:
    def function(x, *, shift):
        return x + shift * int(x.shape[0])

    module = GraphModule(function, torch.rand(2), example_kwargs={"shift": torch.rand(2)})
    again = generalises(
        function, module.trace, module.graph, torch.rand(2), {"shift": torch.rand(2)}
    )
    frozen = generalises(
        function, module.trace, module.graph, torch.rand(3), {"shift": torch.rand(3)}
    )
    assert again == ()
    assert line_of(function, "x + shift") in {f.source for f in frozen}


def test_another_structure_is_refused() -> None:
    def function(x, *others):
        return x + sum(others)

    module = GraphModule(function, [torch.rand(2), torch.rand(2)])
    with pytest.raises(InputMismatchError):
        generalises(function, module.trace, module.graph, [torch.rand(3)])
