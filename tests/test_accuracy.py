"""``accuracy=``: an engine of 16 bits that keeps an error, and the graph pass behind it."""

import logging

import pytest
import torch
from module_case import amplifying, defines_networks
from torch import nn

from torch2trt import TensorRTModuleWrapper
from torch2trt.check import relative_error
from torch2trt.core import GraphModule
from torch2trt.errors import ConversionError
from torch2trt.precision import lower_precision, products


def errors(model, x, **options):
    """The error of the engine, and how many products it has in float32."""
    module = TensorRTModuleWrapper(model, dtype="float16", **options).eval()
    with torch.no_grad():
        error = relative_error(module(x), model(x))
    return error, module.latest_variant().program.settings.exact


@defines_networks
def test_the_first_products_stay_in_float32_until_the_accuracy_is_kept(machine):
    model, x = amplifying(), torch.randn(1, 64)
    error, exact = errors(model, x, check=False)
    assert error > 5e-3 and exact == 0 and len(machine.builds) == 1
    kept, exact = errors(model, x, accuracy=2e-3)
    assert kept <= 2e-3 and exact == 2 and len(machine.builds) == 1 + 3  # with 0, 1 and 2


@defines_networks
def test_an_engine_that_keeps_the_accuracy_is_built_once(machine):
    _, exact = errors(amplifying(), torch.randn(1, 64), accuracy=0.5)
    assert exact == 0 and len(machine.builds) == 1


@defines_networks
def test_what_cannot_be_kept_is_said(machine, caplog):
    model = nn.Sequential(nn.Linear(64, 64), nn.LayerNorm(64)).eval()
    with caplog.at_level(logging.WARNING, "torch2trt.module"):
        error, exact = errors(model, torch.randn(1, 64), accuracy=1e-12)
    assert 1e-12 < error < 1e-6 and exact == 1
    assert [r.message for r in caplog.records if "not the accuracy of 1e-12" in r.message]


@defines_networks
def test_new_weights_keep_the_products_in_float32(machine):
    model, x = amplifying(), torch.randn(1, 64)
    module = TensorRTModuleWrapper(model, dtype="float16", accuracy=2e-3).eval()
    module(x)
    with torch.no_grad():
        model[3].weight.mul_(2)
        assert relative_error(module(x), model(x)) <= 2e-3
    assert module.latest_variant().program.settings.exact == 2


@pytest.mark.parametrize(
    "options, message",
    [
        (dict(accuracy=0), "accuracy: got 0, expected a relative error"),
        (dict(accuracy=True), "accuracy: got True, expected a relative error"),
        (dict(accuracy="high"), "accuracy: got 'high', expected a relative error"),
        (dict(accuracy=1e-3, dtype="float32"), "got dtype='float32', check=True, expected a type"),
        (dict(accuracy=1e-3, net_post_fn=print), "accuracy: got a net_post_fn too"),
        (dict(accuracy=1e-3, check=False), "got dtype='float16', check=False, expected a type"),
    ],
)
def test_an_accuracy_that_means_nothing_is_refused(options, message):
    with pytest.raises(ConversionError, match=message.replace("(", r"\(")):
        TensorRTModuleWrapper(amplifying(), **{"dtype": "float16", **options})


def test_an_engine_that_does_not_run_keeps_no_accuracy(tmp_path):
    module = TensorRTModuleWrapper(amplifying(), dtype="float16", accuracy=1e-3)
    with pytest.raises(ConversionError, match="build.. does not run its engine"):
        module.build(tmp_path / "x.engine", torch.randn(1, 64))


def test_exact_counts_products_in_the_order_they_run():
    graph = GraphModule(amplifying(), (torch.randn(1, 64),))
    attribute = graph.trace.attribute
    assert products(graph.graph) == 4
    lowered = lower_precision(graph.graph, torch.float16, attribute, exact=3)
    types = [n.outputs[0].dtype for n in lowered.nodes if n.kind == "aten::linear"]
    assert types == [torch.float32] * 3 + [torch.float16]
