"""Modules to compile, and ways to change their weights."""

import pytest
import torch
from torch import nn

from torch2trt.backends import trt_api

defines_networks = pytest.mark.skipif(
    not trt_api.available() or not (trt_api.is_rtx() or torch.cuda.is_available()),
    reason="no TensorRT that defines networks on this machine",
)


class Net(nn.Module):
    """A function of submodules and one input as a module."""

    def __init__(self, function, *parts):
        super().__init__()
        self.parts, self.function = nn.ModuleList(parts), function

    def forward(self, x):
        return self.function(self.parts, x)


def net():
    torch.manual_seed(0)
    layers = nn.Sequential(
        nn.Conv2d(3, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(64, 5)
    )
    with torch.no_grad():
        layers[1].running_mean.uniform_(-1, 1)
        layers[1].running_var.uniform_(0.5, 2)
    return layers.eval()


def plain_net():
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(16, 5)).eval()


def images(batch=1):
    return torch.rand(batch, 3, 4, 4)


def same(got, expected):
    torch.testing.assert_close(got, expected, rtol=1e-4, atol=1e-5)


class Lambda(nn.Module):
    def __init__(self, function):
        super().__init__()
        self.function = function

    def forward(self, *args):
        return self.function(*args)


# --- changes of weights ---------------------------------------------------------------------------


def optimiser_step(wrapped, model):
    wrapped.train()
    optimiser = torch.optim.SGD(model.parameters(), 0.01)
    wrapped(images(4)).square().sum().backward()
    optimiser.step()
    wrapped.eval()


def load_state(wrapped, model):
    state = {k: v + 1 if v.is_floating_point() else v for k, v in model.state_dict().items()}
    model.load_state_dict(state)


def assign_state(wrapped, model):
    state = {k: v + 1 if v.is_floating_point() else v for k, v in model.state_dict().items()}
    model.load_state_dict(state, assign=True)


def copy_in_place(wrapped, model):
    with torch.no_grad():
        model[4].weight.copy_(torch.rand(5, 64))


def new_parameter(wrapped, model):
    model[4].bias = nn.Parameter(torch.rand(5))


def new_data(wrapped, model):
    model[4].bias.data = torch.rand(5)


def buffer_in_place(wrapped, model):
    model[1].running_mean.add_(1)


def low_rank_merge(wrapped, model):
    with torch.no_grad():
        model[4].weight += torch.rand(5, 2) @ torch.rand(2, 64)


def new_submodule(wrapped, model):
    model[2] = nn.Tanh()


def double_and_back(wrapped, model):
    with torch.no_grad():
        model[4].weight.mul_(1.5)
    model.half().float()


CHANGES = [
    optimiser_step, load_state, assign_state, copy_in_place, new_parameter, new_data,
    buffer_in_place, low_rank_merge, new_submodule, double_and_back,
]  # fmt: skip


def amplifying():
    """Four layers, of which the second amplifies what was rounded in the first."""
    torch.manual_seed(0)
    layers = [nn.Linear(64, 64) for _ in range(4)]
    with torch.no_grad():
        layers[0].bias += 200.0
        layers[1].bias -= layers[1].weight @ layers[0].bias
    return nn.Sequential(*layers).eval()
