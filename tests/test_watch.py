"""Noticing changed weights."""

import copy
import time

import pytest
import torch
from torch import nn

from torch2trt.watch import Watch


def net():
    return nn.Sequential(nn.Linear(3, 3), nn.BatchNorm1d(3))


def unchanged(model, change):
    watch = Watch(model)
    if not watch.unchanged():
        raise AssertionError("changed before the change")
    change(model)
    return watch.unchanged()


SEEN = {
    "in place": lambda m: m[0].weight.detach().add_(1),
    "copy": lambda m: m[0].weight.detach().copy_(torch.rand(3, 3)),
    "new data": lambda m: setattr(m[0].weight, "data", torch.rand(3, 3)),
    "new parameter": lambda m: setattr(m[0], "weight", nn.Parameter(torch.rand(3, 3))),
    "no bias": lambda m: setattr(m[0], "bias", None),
    "buffer": lambda m: m[1].running_mean.add_(1),
    "running statistics": lambda m: m(torch.rand(4, 3)),
    "half": lambda m: m.half(),
    "load": lambda m: m.load_state_dict(copy.deepcopy(m.state_dict())),
    "assign": lambda m: m.load_state_dict(copy.deepcopy(m.state_dict()), assign=True),
    "submodule": lambda m: m.__setitem__(0, nn.Linear(3, 3)),
    "removed": lambda m: m.__delitem__(1),
    "added": lambda m: m.append(nn.ReLU()),
    "mode": lambda m: m.eval(),
    "initialised": lambda m: nn.init.zeros_(m[0].weight),
    "optimiser": lambda m: step(m),
}


def step(model):
    optimiser = torch.optim.AdamW(model.parameters(), foreach=True)
    model(torch.rand(4, 3)).sum().backward()
    optimiser.step()


@pytest.mark.parametrize("name", SEEN)
def test_seen(name):
    assert not unchanged(net(), SEEN[name])


@pytest.mark.parametrize(
    "look",
    [
        lambda m: m.state_dict(),
        lambda m: copy.deepcopy(m),
        lambda m: m.eval().train(),
        lambda m: m.requires_grad_(False),
        lambda m: m.zero_grad(),
        lambda m: [p.data_ptr() for p in m.parameters()],
        lambda m: m[0](torch.rand(2, 3)).sum().backward(),
    ],
)
def test_looking_is_no_change(look):
    assert unchanged(net(), look)


def test_tensor_attributes_that_are_no_buffers():
    model = net()
    model.table = torch.zeros(3)
    assert not unchanged(model, lambda m: m.table.add_(1))
    assert not unchanged(model, lambda m: setattr(m, "table", torch.zeros(3)))
    assert not unchanged(model, lambda m: delattr(m, "table"))


def test_tensors_without_versions_do_not_break_it():
    with torch.inference_mode():
        model = net()
    assert unchanged(model, lambda m: m.state_dict())


def test_asking_is_cheap():
    model = nn.Sequential(*[net() for _ in range(50)])
    watch = Watch(model)
    start = time.perf_counter()
    for _ in range(100):
        watch.unchanged()
    assert (time.perf_counter() - start) / 100 < 2e-3
