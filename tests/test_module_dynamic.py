"""TensorRTModule with dynamic dimensions besides the batch. Engines are simulated."""

import pytest
import torch
from module_case import Lambda, defines_networks, same
from torch import nn

from torch2trt.module import TensorRTModuleWrapper

pytestmark = defines_networks
TABLE = torch.linspace(-2, 3, 27).reshape(9, 3)
LENGTHS = {"input0": {1: (2, 8, 16)}}


class Positions(nn.Module):
    """A table of positions, of which a function takes what it needs."""

    def __init__(self, function):
        super().__init__()
        self.table = nn.Parameter(torch.randn(1, 16, 3))
        self.function = function

    def forward(self, x):
        return self.function(x, self.table, x.shape[1])


@pytest.mark.parametrize(
    "function",
    [
        lambda x, table, length: x + table[:, :length],
        lambda x, table, length: x + table[:, 16 - length :],
        lambda x, table, length: x + table[:, -length:],
        lambda x, table, length: x + table.narrow(1, -length, length),
        lambda x, table, length: x[:, -(length // 2) :].sum(1) + x[:, 1 - length],
        lambda x, table, length: x[:, : -(length // 2)].sum(1) + table[:, length - 1],
    ],
    ids=["first", "last", "negative", "narrow", "half", "all_but_half"],
)
def test_one_engine_cuts_by_a_dynamic_length(machine, function):
    torch.manual_seed(0)
    model = Positions(function).eval()
    wrapped = TensorRTModuleWrapper(model, 4, dynamic=LENGTHS)
    for batch, length in ((2, 8), (1, 2), (4, 16), (3, 5), (2, 15)):
        x = torch.randn(batch, length, 3)
        same(wrapped(x), model(x))
    assert len(machine.builds) == 1


def test_weights_that_are_cut_by_a_dynamic_length_are_exchanged(machine):
    model = Positions(lambda x, table, length: x * table[:, :length]).eval()
    wrapped = TensorRTModuleWrapper(model, 4, dynamic=LENGTHS, refit=True)
    x = torch.randn(3, 5, 3)
    same(wrapped(x), model(x))
    with torch.no_grad():
        model.table.mul_(3)
    same(wrapped(x), model(x))
    assert len(machine.builds) == len(machine.refits) == 1


@pytest.mark.parametrize(
    "function",
    [
        lambda x: x[:, :6].sum(1),
        lambda x: x[:, -6:].sum(1),
        lambda x: torch.zeros_like(x).slice_scatter(x[:, :6], 1, 0, 6),
        lambda x: TABLE[: 2 * x.size(1)].sum() + x,
    ],
    ids=["first", "last", "written", "table"],
)
def test_a_slice_that_small_inputs_do_not_fill_has_engines_of_one_size(machine, caplog, function):
    wrapped = TensorRTModuleWrapper(Lambda(function), 4, dynamic=LENGTHS).eval()
    for length in (8, 3, 6, 16):
        x = torch.randn(2, length, 3)
        same(wrapped(x), function(x))
    assert len(machine.builds) == 4 and "a bound of" in caplog.text


def test_a_slice_that_all_inputs_fill_has_one_engine(machine):
    net = Lambda(lambda x: x[:, 1:2] + x[:, -2:].sum(1, True))
    wrapped = TensorRTModuleWrapper(net, 4, dynamic=LENGTHS).eval()
    for length in (8, 2, 16):
        x = torch.randn(2, length, 3)
        same(wrapped(x), wrapped.net(x))
    assert len(machine.builds) == 1


def test_a_slice_of_the_batch_that_one_image_does_not_fill(machine):
    wrapped = TensorRTModuleWrapper(Lambda(lambda x: x + x[:2].sum(0)), 4).eval()
    for batch in (3, 1, 2):
        x = torch.randn(batch, 3)
        same(wrapped(x), wrapped.net(x))


def test_ranges_that_the_module_does_not_take_are_named(machine, caplog):
    model = nn.Conv1d(3, 4, 5).eval()
    wrapped = TensorRTModuleWrapper(model, 4, dynamic={"input0": {2: (2, 8, 16)}})
    x = torch.randn(2, 3, 9)
    same(wrapped(x), model(x))
    assert "fails in PyTorch on inputs of the shapes [(3, 3, 2)]" in caplog.text


@torch.jit.script
def first_six(x: torch.Tensor) -> torch.Tensor:
    return (x * 2)[:, :6].sum(1)


def test_a_slice_in_a_script_that_small_inputs_do_not_fill(machine):
    wrapped = TensorRTModuleWrapper(Lambda(first_six), 4, dynamic=LENGTHS).eval()
    for length in (8, 3):
        x = torch.randn(2, length, 3)
        same(wrapped(x), wrapped.net(x))


@pytest.mark.parametrize("bound", [slice(None, 1), slice(-1, None)], ids=["first", "last"])
def test_a_slice_of_one_where_there_may_be_none(machine, bound):
    net = Lambda(lambda x: x[:, bound] * 2)
    wrapped = TensorRTModuleWrapper(net, 4, dynamic={"input0": {1: (0, 4, 8)}}).eval()
    for size in (5, 0, 8):
        x = torch.randn(2, size)
        same(wrapped(x), net(x))


@pytest.mark.parametrize(
    "function",
    [
        lambda x: x * (1 if x.shape[0] > 4 else 2),
        lambda x: x.roll(x.shape[0] // 2, 0),
        lambda x: x * (1 if x.shape[1] > 14 else 2),
        lambda x: x.squeeze(0),
        lambda x: x[:, :, :1].squeeze(),
    ],
    ids=["condition", "half", "long", "squeeze", "squeeze_all"],
)
def test_what_differs_at_some_sizes_has_engines_of_one_size(machine, function):
    wrapped = TensorRTModuleWrapper(Lambda(function), 8, dynamic=LENGTHS).eval()
    for batch, length in ((2, 8), (5, 8), (1, 8), (6, 16), (2, 2)):
        x = torch.randn(batch, length, 3)
        same(wrapped(x), function(x))
