"""Noticing changed weights."""

import copy
import sys
import threading
import time
import weakref

import numpy as np
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
    "first buffer of a module": lambda m: m[0].register_buffer("more", torch.ones(1)),
    "first submodule of a module": lambda m: m[0].add_module("more", nn.ReLU()),
    "one more in the last group": lambda m: m[1].register_buffer("more", torch.ones(1)),
    "hook of a submodule": lambda m: m[0].register_forward_hook(print),
    "pre-hook of a submodule": lambda m: m[1].register_forward_pre_hook(print),
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


def test_tensors_without_versions_are_known_by_their_memory():
    with torch.inference_mode():
        model = net()
        assert unchanged(model, lambda m: m.state_dict())
        assert not unchanged(model, SEEN["new data"])


@pytest.mark.parametrize(
    ("arranged", "change"),
    [
        (lambda w: w, lambda w: w.t()),
        (lambda w: w.t(), lambda w: w.t()),
        (lambda w: w.t(), lambda w: w.as_strided((3, 3), (0, 1))),
        (lambda w: w, lambda w: w[:, :2]),
        (lambda w: w, lambda w: w[:1].expand(3, 3)),
    ],
    ids=["transposed", "transposed back", "repeated", "narrowed", "expanded"],
)
def test_the_same_memory_in_another_order(arranged, change):
    model = net()
    weight = model[0].weight
    weight.data = arranged(weight.data)
    address = weight.data_ptr()
    assert not unchanged(model, lambda m: setattr(weight, "data", change(weight.data)))
    assert weight.data_ptr() == address


@pytest.mark.xfail(strict=True, reason="shapes are not asked for, it would cost every call")
def test_fewer_rows_of_the_same_memory():
    assert not unchanged(net(), lambda m: setattr(m[0].weight, "data", m[0].weight.data[:2]))


def test_new_data_while_the_old_is_kept():
    kept = []

    def change(model):
        kept.append(model[0].weight.data)
        model[0].weight.data = kept[0].clone()

    assert not unchanged(net(), change)


def test_new_data_at_the_address_of_the_old():
    memory, model = np.zeros((3, 3), "f4"), net()
    model[0].weight.data = torch.from_numpy(memory)

    def change(model):
        memory[...] = 1
        model[0].weight.data = torch.from_numpy(memory)

    assert unchanged(model, lambda m: m.state_dict())
    assert not unchanged(model, change)


def test_a_watch_keeps_no_memory_of_replaced_values():
    model = net()
    watch, storage = Watch(model), weakref.ref(model[0].weight.untyped_storage())
    model.half()
    assert storage() is None and not watch.unchanged()


def test_hooks_of_the_module_itself_and_of_all_modules():
    assert unchanged(net(), lambda m: m.register_forward_hook(print))
    handles = []
    everywhere = nn.modules.module.register_module_forward_hook
    assert not unchanged(net(), lambda m: handles.append(everywhere(lambda *given: None)))
    handles[0].remove()


def test_asking_is_cheap():
    model = nn.Sequential(*[net() for _ in range(50)])
    watch = Watch(model)
    start = time.perf_counter()
    for _ in range(100):
        watch.unchanged()
    assert (time.perf_counter() - start) / 100 < 2e-3


def test_the_mode_of_a_script_is_seen():
    script = torch.jit.script(nn.Sequential(nn.Dropout()))
    assert not unchanged(script, lambda m: m.eval())
    assert not unchanged(nn.Sequential(script), lambda m: script.train())


def test_watches_may_be_made_while_another_thread_trains():
    stop, errors, watches = threading.Event(), [], []
    weight = nn.Parameter(torch.zeros(3))
    weight.grad = torch.ones(3)
    optimiser = torch.optim.SGD([weight], lr=0.1)

    def train():
        try:
            while not stop.is_set():
                optimiser.step()
        except RuntimeError as error:
            errors.append(error)

    trainer, interval = threading.Thread(target=train), sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        trainer.start()
        for _ in range(2000):
            watches = [*watches[-300:], Watch(nn.ReLU())]
    finally:
        stop.set()
        trainer.join()
        sys.setswitchinterval(interval)
    assert not errors
