"""TensorRTModule with dynamic dimensions besides the batch. Engines are simulated."""

import pytest
import torch
from module_case import defines_networks, same
from torch import nn

from torch2trt.module import TensorRTModuleWrapper

pytestmark = defines_networks
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
