"""TVMModule."""

import gc
import importlib.util
import weakref

import pytest
import torch
from module_case import (
    Lambda,
    buffer_in_place,
    copy_in_place,
    images,
    net,
    new_submodule,
    optimiser_step,
    same,
)
from torch import nn

from torch2trt.errors import ConversionError
from torch2trt.module import TVMModuleWrapper

pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("tvm") is None, reason="TVM is not installed"
)


def test_tvm_trains_runs_and_follows_the_weights():
    model, x = net(), images(2)
    wrapped = TVMModuleWrapper(model)
    same(wrapped(x), model(x))
    for change in (copy_in_place, buffer_in_place, optimiser_step, new_submodule):
        change(wrapped, model)
        same(wrapped(x), model(x))
    other = images(3)
    same(wrapped(other), model(other))
    wrapped.train()(x).sum().backward()


def test_tvm_nested_outputs_and_names():
    model = Lambda(lambda a, b: {"sum": a + b, "more": (a * 2, None)})
    wrapped = TVMModuleWrapper(model, input_names=["a", "b"]).eval()
    a, b = torch.rand(2, 3), torch.rand(2, 3)
    got = wrapped(a, b)
    same(got["sum"], a + b)
    same(got["more"][0], a * 2)
    assert got["more"][1] is None
    with pytest.raises(ConversionError, match="got 2 names"):
        wrapped(a)


def test_tvm_graph_post_fn_sees_the_module():
    seen = []
    model, x = net(), images()
    same(TVMModuleWrapper(model, graph_post_fn=seen.append)(x), model(x))
    assert "main" in str(seen[0])


@pytest.mark.parametrize(
    "function",
    [
        lambda x, weight: (x * 2, weight),
        lambda x, weight: (x + weight, weight.reshape(3, 1)),
        lambda x, weight: (x * 2, torch.ones(3)),
        lambda x, weight: (x * 2, x),
        lambda x, weight: (x * 2, weight * 2),
    ],
    ids=["weight", "view", "constant", "input", "from_weights"],
)
def test_outputs_are_memory_of_their_own(function):
    weight = nn.Parameter(torch.randn(3), requires_grad=False)
    module = Lambda(lambda x: function(x, module.weight))
    module.weight = weight
    wrapped = TVMModuleWrapper(module).eval()
    x = torch.randn(4, 3)
    expected = [y.clone() for y in function(x, weight)]
    for _ in range(3):
        first, second = wrapped(x)
        same((first, second), tuple(expected))
        second.add_(5)


def test_inputs_are_not_kept():
    wrapped, x = TVMModuleWrapper(nn.Linear(3, 2)).eval(), torch.randn(4, 3)
    wrapped(x)
    reference = weakref.ref(x)
    del x
    gc.collect()
    assert reference() is None
