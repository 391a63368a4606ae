"""GraphModule: tracing, nested inputs and outputs, the walk, and what it refuses."""

from __future__ import annotations

import io
import threading

import pytest
import torch
from case import assert_same, tensors
from torch import nn
from torch.nn import functional as F

import torch2trt
from torch2trt.context import use_context
from torch2trt.core import GraphModule
from torch2trt.graph import Graph
from torch2trt.sizes import check_sizes


class Block(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3)
        self.norm = nn.BatchNorm2d(4)
        self.head = nn.Linear(4, 5)

    def forward(self, x):
        return self.head(self.norm(self.conv(x)).relu_().mean((2, 3)))


@pytest.fixture
def block() -> Block:
    module = Block()
    nn.init.uniform_(module.norm.running_var, 0.5, 2)
    nn.init.normal_(module.norm.running_mean)
    return module.eval()


def test_debug_mode_equals_eager(block):
    graph = GraphModule(block, torch.randn(2, 3, 8, 8))
    x = torch.randn(2, 3, 8, 8)
    torch.testing.assert_close(graph(x), block(x), rtol=0, atol=0)


def test_weights_are_looked_up_at_each_call(block):
    x = torch.randn(1, 3, 8, 8)
    graph = GraphModule(block, x)
    before = graph(x)
    with torch.no_grad():
        block.head.weight.mul_(2)
    block.head.bias = nn.Parameter(torch.ones(5))
    torch.testing.assert_close(graph(x), block(x))
    assert not torch.allclose(graph(x), before)


def test_graph_is_readable(block):
    graph = GraphModule(block, torch.randn(1, 3, 8, 8)).graph
    assert isinstance(graph, Graph)
    scopes = [n.scope for n in graph.nodes]
    assert len(set(scopes)) == len(scopes)
    conv = next(n for n in graph.nodes if n.kind == "aten::_convolution")
    assert conv.scope == "conv._convolution" and conv.module == "conv"
    assert conv.source.startswith("test_core.py(") and conv.source.endswith("forward")
    assert conv.outputs[0].shape == (1, 4, 6, 6) and conv.outputs[0].dtype == torch.float32
    assert "conv._convolution" in str(graph)


def test_dead_nodes_are_dropped():
    graph = GraphModule(lambda x: (x.exp(), x.sin())[1], torch.randn(3)).graph
    assert "aten::exp" not in [n.kind for n in graph.nodes]


def nested(x, pair, *, extra=None, scale=2):
    a, b = pair
    total = x + a * scale + b["b"]
    total = total if extra is None else total + extra
    return {"total": total, "rest": (a, [b["b"], None]), "scale": scale}


def test_nested_inputs_and_outputs():
    def make():
        args = torch.randn(2, 3), (torch.randn(2, 3), {"b": torch.randn(3)})
        return args, {"extra": torch.randn(2, 3), "scale": 3}

    args, kwargs = make()
    graph = GraphModule(nested, args, example_kwargs=kwargs)
    args, kwargs = make()
    kwargs["scale"] = 3
    got, expected = graph(*args, **kwargs), nested(*args, **kwargs)
    assert_same(tensors(got), tensors(expected), 1e-6)
    assert got["scale"] == 3 and got["rest"][1][1] is None


def test_none_input():
    x = torch.randn(2, 3)
    graph = GraphModule(nested, (x, (x, {"b": x})), example_kwargs={"extra": None})
    torch.testing.assert_close(graph(x, (x, {"b": x}), extra=None)["total"], x + 2 * x + x)


def test_functions_keep_the_parameters_of_modules_they_use(block):
    x = torch.randn(1, 3, 8, 8)
    graph = GraphModule(lambda y: block(y) * 2, x)
    with torch.no_grad():
        block.head.bias.add_(1)
    torch.testing.assert_close(graph(x), block(x) * 2)


def test_traced_and_loaded_script_modules(block):
    x = torch.randn(1, 3, 8, 8)
    traced = torch.jit.trace(block, x)
    buffer = io.BytesIO()
    torch.jit.save(traced, buffer)
    buffer.seek(0)
    for module in (traced, torch.jit.load(buffer)):
        y = torch.randn(1, 3, 8, 8)
        torch.testing.assert_close(GraphModule(module, x)(y), block(y))


def test_nothing_of_the_users_model_changes():
    module = nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4)).train()
    before = {k: v.clone() for k, v in module.state_dict().items()}
    x = torch.randn(2, 3, 4, 4)
    kept = x.clone()
    with pytest.raises(torch2trt.UnsupportedOpError, match="running_mean"):
        GraphModule(module, x)
    assert module.training
    torch.testing.assert_close(x, kept, rtol=0, atol=0)
    for name, value in module.state_dict().items():
        torch.testing.assert_close(value, before[name], rtol=0, atol=0)


def test_verbose_names_scopes_and_shapes(block, capsys):
    x = torch.randn(1, 3, 8, 8)
    GraphModule(block, x)(x, verbose=True)
    printed = capsys.readouterr().out
    start = "conv._convolution: aten::_convolution(float32[1, 3, 8, 8], float32[4, 3, 3, 3]"
    assert start in printed
    assert "==>> float32[1, 4, 6, 6]" in printed


def test_threads_share_a_graph(block):
    x = torch.randn(1, 3, 8, 8)
    graph = GraphModule(block, x)
    inputs = [torch.randn(1, 3, 8, 8) for _ in range(8)]
    results: list = [None] * 8

    def work(i: int) -> None:
        for _ in range(20):
            results[i] = graph(inputs[i])

    threads = [threading.Thread(target=work, args=(i,)) for i in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for x, y in zip(inputs, results):
        torch.testing.assert_close(y, block(x))


def test_selected_outputs(block):
    x = torch.randn(1, 3, 8, 8)
    graph = GraphModule(block, x)
    graph.select(["conv._convolution"])
    torch.testing.assert_close(graph.run([x])[0], block.conv(x))
    with pytest.raises(torch2trt.ConversionError, match="got \\['nowhere'\\]"):
        graph.select(["nowhere"])


# ---- refusals ------------------------------------------------------------------------------------


def test_wrong_number_of_inputs(block):
    graph = GraphModule(block, torch.randn(1, 3, 8, 8))
    message = "expected the structure of the example inputs"
    with pytest.raises(torch2trt.InputMismatchError, match=message):
        graph(torch.randn(1, 3, 8, 8), torch.randn(1))


def test_wrong_rank_and_dtype(block):
    graph = GraphModule(block, torch.randn(1, 3, 8, 8))
    for wrong in (torch.randn(3, 8, 8), torch.ones(1, 3, 8, 8, dtype=torch.int64)):
        message = "input 0.*expected torch.float32 with 4 dimensions"
        with pytest.raises(torch2trt.InputMismatchError, match=message):
            graph(wrong)


def test_changed_fixed_value():
    x = torch.randn(2, 3)
    graph = GraphModule(nested, (x, (x, {"b": x})), example_kwargs={"scale": 2})
    with pytest.raises(torch2trt.InputMismatchError, match="got 5, expected 2.*fixed by the trace"):
        graph(x, (x, {"b": x}), scale=5)


class Opaque:
    pass


@pytest.mark.parametrize("result", [Opaque(), "text"], ids=["object", "no tensor at all"])
def test_forward_that_returns_no_tensor(result):
    with pytest.raises(torch2trt.ConversionError, match="returned .*expected tensors"):
        GraphModule(lambda x: result, torch.randn(2))


def test_no_example_tensor():
    with pytest.raises(torch2trt.InputMismatchError, match="got no tensor"):
        GraphModule(lambda x: x, [None])


def test_parameters_ruled_out(block):
    x = torch.randn(1, 3, 8, 8)
    GraphModule(block, x, param_exclude=".*unused.*")
    with pytest.raises(torch2trt.ConversionError, match="head.weight"):
        GraphModule(block, x, param_exclude="head.*")
    with pytest.raises(torch2trt.ConversionError, match="conv.weight"):
        GraphModule(block, x, param_include="head.*")


def test_scripted_control_flow_is_named():
    @torch.jit.script
    def branch(x):
        if x.sum() > 0:
            return x + 1
        return x - 1

    with pytest.raises(torch2trt.UnsupportedOpError, match="prim::If.*control flow"):
        GraphModule(branch, torch.randn(3))


@torch.jit.script
def branch(x):
    return x * 2 if x.size(0) == 3 else x - 1


def test_scripted_branches_on_sizes_hold_for_those_of_the_example():
    x = torch.randn(3, 2)
    module = GraphModule(branch, x)
    assert torch.equal(module(x), x * 2)
    assert torch.equal(GraphModule(branch, x[:2])(x[:2]), x[:2] - 1)
    with pytest.raises(torch2trt.ConversionError, match="dynamic sizes.*mul.*sub"):
        check_sizes(branch, module.trace, module.graph, ((x,), {}), ((0,),))


def test_scripted_branches_do_not_follow_the_sizes_of_an_older_trace():
    def computed(x):
        return branch(x.exp())

    old = torch.jit.trace(computed, torch.randn(3, 2), check_trace=False)
    x = torch.randn(4, 2)
    assert torch.equal(GraphModule(computed, x)(x), computed(x))
    with pytest.raises(torch2trt.UnsupportedOpError, match="prim::If.*control flow"):
        GraphModule(old, x)


class Recording(torch2trt.backends.base.SymbolicContext):
    """A backend that has no primitive at all."""

    name = "recording"
    lineage = ("recording",)

    class Symbol:
        shape = (2, 3)
        dtype = torch.float32

    def is_tensor(self, value):
        return isinstance(value, Recording.Symbol)


def test_unknown_nodes_are_reported_all_at_once():
    torch.library.define("torch2trt_test::unknown", "(Tensor x) -> Tensor")
    torch.library.impl("torch2trt_test::unknown", "CPU", lambda x: x + 1)
    unknown = torch.ops.torch2trt_test.unknown

    class Twice(nn.Module):
        def forward(self, x):
            return unknown(unknown(x).relu())

    graph = GraphModule(nn.Sequential(Twice()), torch.randn(2, 3))
    torch.testing.assert_close(graph(torch.zeros(2, 3)), torch.full((2, 3), 2.0))
    with use_context(Recording()), pytest.raises(torch2trt.UnsupportedOpError) as caught:
        graph(Recording.Symbol())
    assert len(caught.value.reasons) == 2
    where = "torch2trt_test::unknown in 0 (test_core.py("
    assert all(where in reason for reason in caught.value.reasons)
    assert torch2trt.current_context().is_torch


def test_mixed_inputs_are_refused():
    graph = GraphModule(lambda x, y: x + y, (torch.randn(2, 3), torch.randn(2, 3)))
    with use_context(Recording()), pytest.raises(torch2trt.ConversionError, match="mixed"):
        graph(Recording.Symbol(), torch.randn(2, 3))


def test_handler_errors_name_the_node():
    @torch2trt.register_node_handler("aten::digamma")
    def broken(inputs, attributes, scope):
        raise ValueError("no luck")

    try:
        graph = GraphModule(torch.digamma, torch.rand(3))
        message = "aten::digamma in the top module.*ValueError: no luck"
        with pytest.raises(torch2trt.ConversionError, match=message):
            graph(torch.rand(3))
    finally:
        torch2trt.registry.unregister_node_handler("aten::digamma")


def test_random_constants_are_refused_by_a_backend():
    graph = GraphModule(lambda x: x + torch.rand(3), torch.randn(2, 3))
    assert not torch.equal(graph(torch.zeros(2, 3)), graph(torch.zeros(2, 3)))
    refused = pytest.raises(torch2trt.UnsupportedOpError, match="aten::rand.*random numbers")
    with use_context(Recording()), refused:
        graph(Recording.Symbol())


@pytest.mark.parametrize("p", [0.0, 0.5])
def test_attention_and_dropout_on_constants_are_random_only_with_a_probability(p):
    w = torch.randn(2, 3)
    functions = {
        "attention": lambda x: (x, F.scaled_dot_product_attention(w, w, w, dropout_p=p)),
        "dropout": lambda x: (x, F.dropout(w, 0.5, training=p > 0)),
    }
    for name, function in functions.items():
        graph = GraphModule(function, torch.randn(2, 3))
        with use_context(Recording()):
            if p:
                with pytest.raises(torch2trt.UnsupportedOpError, match=f"{name}.*random numbers"):
                    graph(Recording.Symbol())
            else:
                torch.testing.assert_close(graph(Recording.Symbol())[1], function(w)[1])
