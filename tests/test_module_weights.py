"""Compiled modules follow their weights. Engines are simulated."""

import copy
import gc
import pickle
import weakref
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from module_case import (
    CHANGES,
    Lambda,
    copy_in_place,
    defines_networks,
    images,
    net,
    optimiser_step,
    plain_net,
    same,
)
from torch import nn

from torch2trt import program
from torch2trt.backends import trt_api
from torch2trt.module import TensorRTModuleWrapper
from torch2trt.watch import Watch

pytestmark = defines_networks


@pytest.mark.parametrize("change", CHANGES, ids=lambda f: f.__name__)
def test_the_next_call_uses_the_new_weights(machine, change):
    model, x = net(), images(2)
    wrapped = TensorRTModuleWrapper(model, 4)
    before = wrapped(x)
    change(wrapped, model)
    expected = model(x)
    assert not torch.allclose(before, expected, rtol=1e-3)
    same(wrapped(x), expected)
    same(wrapped(x), expected)


def test_a_change_is_a_rebuild_once_and_refits_afterwards(machine):
    model, x = net(), images(2)
    wrapped = TensorRTModuleWrapper(model, 4)
    wrapped(x)
    for _ in range(4):
        copy_in_place(wrapped, model)
        same(wrapped(x), model(x))
    assert [b.refit for b in machine.builds] == [False, True]
    assert machine.refits == [{"net.4.linear.weight"}] * 3 or len(machine.refits) == 3


def test_refit_true_never_builds_again_and_false_never_refits(machine):
    for refit, builds, refits in ((True, 1, 2), (False, 3, 0)):
        machine.builds.clear()
        machine.refits.clear()
        model, x = net(), images(2)
        wrapped = TensorRTModuleWrapper(model, 4, refit=refit)
        wrapped(x)
        for _ in range(2):
            copy_in_place(wrapped, model)
            same(wrapped(x), model(x))
        assert (len(machine.builds), len(machine.refits)) == (builds, refits)


def test_a_changed_definition_is_built_again(machine):
    model, x = net(), images(2)
    wrapped = TensorRTModuleWrapper(model, 4, refit=True)
    wrapped(x)
    model[2] = nn.Tanh()
    same(wrapped(x), model(x))
    assert len(machine.builds) == 2 and machine.refits == []


def test_a_constant_that_tracing_froze_is_followed(machine):
    model = Lambda(lambda x: x * float(model.scale.sum()))
    model.scale = nn.Parameter(torch.ones(3))
    wrapped, x = TensorRTModuleWrapper(model, 1, refit=True).eval(), torch.rand(1, 3)
    same(wrapped(x), x * 3)
    with torch.no_grad():
        model.scale.mul_(2)
    same(wrapped(x), x * 6)


def test_a_tensor_attribute_is_followed(machine):
    model = Lambda(lambda x: x + model.offset)
    model.offset = torch.ones(3)
    wrapped, x = TensorRTModuleWrapper(model, 2).eval(), torch.rand(2, 3)
    same(wrapped(x), x + 1)
    model.offset = torch.full((3,), 5.0)
    same(wrapped(x), x + 5)
    model.offset.mul_(2)
    same(wrapped(x), x + 10)


def test_flipping_between_train_and_eval(machine):
    model, x = net(), images(3)
    wrapped = TensorRTModuleWrapper(model, 4)
    for step in range(10):
        if step % 2:
            optimiser_step(wrapped, model)
        else:
            wrapped.train().eval()
        same(wrapped(x), model(x))
    assert len(machine.builds) == 2


def test_a_submodule_that_changes_its_mode_is_noticed(machine):
    class Scaled(nn.Module):
        def forward(self, x):
            return x * 3 if self.training else x

    model, x = nn.Sequential(Scaled(), nn.ReLU()), images(3)
    wrapped = TensorRTModuleWrapper(model, 4).eval()
    same(wrapped(x), x)
    model[0].train()
    same(wrapped(x), x * 3)


def test_all_variants_follow(machine):
    model = net()
    wrapped = TensorRTModuleWrapper(model, 1)
    small, large = images(), torch.rand(1, 3, 4, 4).double().float()
    wide = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU()).eval()
    twice = TensorRTModuleWrapper(wide, 1)
    xs = [torch.rand(1, 3, n, n) for n in (5, 7)]
    for x in xs:
        same(twice(x), wide(x))
    with torch.no_grad():
        wide[0].weight.mul_(3)
    for x in xs:
        same(twice(x), wide(x))
    same(wrapped(small), model(small))
    same(wrapped(large), model(large))


def test_what_the_watch_cannot_see_is_seen_after_refit(machine):
    model, x = net(), images()
    wrapped = TensorRTModuleWrapper(model, 2)
    wrapped(x)
    model[4].bias.data.add_(7)
    wrapped.refit()
    same(wrapped(x), model(x))
    wrapped.reset()
    same(wrapped(x), model(x))
    assert len(machine.builds) == 3


@pytest.mark.parametrize("refit", [True, False])
def test_weights_written_while_they_are_read_are_not_lost(machine, monkeypatch, refit):
    model, x = net(), images()
    wrapped = TensorRTModuleWrapper(model, 2, refit=refit, check=False)
    wrapped(x)
    copy_in_place(wrapped, model)
    read, values = program.tensor_bytes, iter([torch.full((5, 64), 0.25)])

    def read_after_a_change(tensor):
        with torch.no_grad():
            for value in values:
                model[4].weight.copy_(value)
        return read(tensor)

    monkeypatch.setattr(program, "tensor_bytes", read_after_a_change)
    wrapped(x)
    same(wrapped(x), model(x))


def test_threads_with_changing_weights_get_old_or_new_never_a_mixture(machine):
    model = nn.Linear(4, 4, bias=False)
    with torch.no_grad():
        model.weight.copy_(torch.eye(4))
    wrapped, x = TensorRTModuleWrapper(model, 2, refit=True, check=False).eval(), torch.ones(1, 4)
    wrapped(x)

    def call(_):
        row = wrapped(x)[0]
        return row.unique().tolist()

    def change(factor):
        with torch.no_grad():
            model.weight.copy_(torch.eye(4) * factor)

    with ThreadPoolExecutor(4) as pool:
        calls = []
        for factor in range(2, 8):
            calls += [pool.submit(call, None) for _ in range(4)]
            change(factor)
    allowed = {float(f) for f in range(1, 8)}
    results = [c.result() for c in calls]
    assert all(len(values) == 1 and values[0] in allowed for values in results)
    same(wrapped(x), x * 7)


def test_copies_and_pickles_carry_no_engine(machine):
    model, x = net(), images()
    wrapped = TensorRTModuleWrapper(model, 2)
    expected = wrapped(x)
    for other in (copy.deepcopy(wrapped), pickle.loads(pickle.dumps(wrapped))):
        same(other(x), expected)
        with torch.no_grad():
            other.net[4].bias.add_(1)
        same(other(x), expected + 1)
    same(wrapped(x), expected)
    assert set(wrapped.state_dict()) == {f"net.{k}" for k in model.state_dict()}


def test_a_network_does_not_outlive_its_build(monkeypatch):
    alive = weakref.WeakSet()
    create = trt_api.create_network

    def created(builder):
        alive.add(network := create(builder))
        return network

    monkeypatch.setattr(trt_api, "create_network", created)
    wrapped = TensorRTModuleWrapper(net(), 4)
    graph, inputs, definition = wrapped._defined((images(),), {})
    assert len(alive) == 1
    del definition
    gc.collect()
    assert len(alive) == 0 and graph.graph.nodes


@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_nothing_of_the_users_module_is_written(machine, dtype):
    model, x = net() if dtype == "float32" else plain_net(), images()
    attributes = {name: dict(m.__dict__) for name, m in model.named_modules()}
    watch, state = Watch(model), copy.deepcopy(model.state_dict())
    TensorRTModuleWrapper(model, 2, dtype=dtype, check=False)(x)
    assert watch.unchanged()
    assert attributes == {name: dict(m.__dict__) for name, m in model.named_modules()}
    assert all(torch.equal(v, state[k]) for k, v in model.state_dict().items())
