"""Programs that write in place: each gives what eager gives on inputs it was not traced with, or is
refused.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import pytest
import torch
from inplace_programs import PROGRAMS, Program
from inplace_programs.lists import chunks
from inplace_programs.models import writes_to_its_input
from inplace_programs.random_program import random_program
from inplace_programs.views import column_plus_one
from torch import nn
from torch.nn import functional as F

from torch2trt.backends.pytorch import TORCH_CONTEXT
from torch2trt.core import GraphModule
from torch2trt.errors import UnsupportedOpError
from torch2trt.functional import functionalize
from torch2trt.trace import trace
from torch2trt.walk import run_node


def compare(got: Any, expected: Any) -> None:
    torch.testing.assert_close(got, expected, rtol=0, atol=0, equal_nan=True)


def converted(case: Program) -> GraphModule:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return GraphModule(case.function, case.make())


@pytest.mark.parametrize("case", [p for p in PROGRAMS if not p.refused], ids=lambda p: p.name)
def test_equals_eager(case: Program) -> None:
    module = converted(case)
    assert not [node for node in module.graph.nodes if node.mutates]
    for _ in range(2):
        inputs = case.make(case.fresh or None)
        expected = case.function(*(x.clone() for x in inputs))
        compare(module(*(x.clone() for x in inputs)), expected)


@pytest.mark.parametrize("case", [p for p in PROGRAMS if p.refused], ids=lambda p: p.name)
def test_refused(case: Program) -> None:
    with pytest.raises(UnsupportedOpError) as caught:
        converted(case)
    assert case.refused in str(caught.value)
    assert all(f": {case.name})" in reason for reason in caught.value.reasons)


def test_the_table_is_large_enough() -> None:
    assert len(PROGRAMS) >= 40


def kinds(function: Callable[..., Any], *inputs: torch.Tensor) -> list[str]:
    nodes = functionalize(trace(function, inputs).graph).nodes
    return [node.kind.split("::")[1] for node in nodes if node.kind != "prim::Constant"]


def test_a_copy_to_itself_costs_nothing() -> None:
    assert kinds(column_plus_one, torch.randn(3, 4)) == [
        "add", "select", "add", "select_scatter", "ListConstruct", "sum",
    ]  # fmt: skip


def test_inplace_activations_cost_nothing() -> None:
    def function(x):
        return F.relu(F.relu6(x * 2, inplace=True), inplace=True) + 1

    assert kinds(function, torch.randn(3)) == ["mul", "relu6", "relu", "add"]


def test_elements_of_a_list_are_joined_once_per_write() -> None:
    assert kinds(chunks, torch.randn(3, 6)) == [
        "add", "chunk", "ListUnpack", "add", "mul", "ListConstruct", "cat",
    ]  # fmt: skip


def test_a_graph_that_writes_to_nothing_is_returned_as_it_is() -> None:
    graph = trace(lambda x: (x[:, 0] + 1).relu(), torch.randn(3, 4)).graph
    assert functionalize(graph) is graph


@pytest.mark.parametrize(
    "case", [p for p in PROGRAMS if not p.refused and not p.data_sized], ids=lambda p: p.name
)
def test_names_scopes_and_recorded_values(case: Program) -> None:
    graph = converted(case).graph
    names = [v.name for v in (*graph.inputs, *(v for n in graph.nodes for v in n.outputs))]
    scopes = [n.scope for n in graph.nodes]
    assert len(set(names)) == len(names)
    assert len(set(scopes)) == len(scopes)
    operators = [n for n in graph.nodes if n.kind.startswith("aten::") and n.kind != "aten::Int"]
    assert all(n.source.endswith(f": {case.name}") for n in operators)
    env: dict[str, Any] = dict(zip((v.name for v in graph.inputs), case.make()))
    for node in graph.nodes:
        check_recorded(node, env)


def check_recorded(node: Any, env: dict[str, Any]) -> None:
    """Run one node and compare shape and dtype of its outputs with what the graph says."""
    arguments = [env[v.name] for v in node.inputs]
    outputs = run_node(node, arguments, lambda path: None, TORCH_CONTEXT, False)
    for value, output in zip(node.outputs, outputs):
        env[value.name] = output
        if value.type == "Tensor" and isinstance(output, torch.Tensor) and value.shape is not None:
            assert tuple(output.shape) == value.shape, node
            assert output.dtype == value.dtype, node


def test_writes_to_an_input_warn_once() -> None:
    with pytest.warns(UserWarning, match="writes to its inputs") as caught:
        module = GraphModule(writes_to_its_input, torch.randn(3, 4))
    assert (
        len(caught.list) == 1
        or sum("writes to its inputs" in str(w.message) for w in caught.list) == 1
    )
    x = torch.randn(3, 4)
    before = x.clone()
    module(x)
    compare(x, before)


class Counting(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(4))
        self.register_buffer("calls", torch.zeros(2))

    def forward(self, x):
        self.calls[0] += 1
        self.scale.mul_(x.mean())
        return x * self.scale


def test_state_is_refused_all_at_once() -> None:
    with pytest.raises(UnsupportedOpError) as caught:
        GraphModule(Counting(), torch.randn(3, 4))
    assert len(caught.value.reasons) == 2
    assert "calls: a parameter or buffer" in str(caught.value)
    assert "forward" in caught.value.reasons[0]


def test_batch_norm_in_training_mode_is_refused() -> None:
    with pytest.raises(UnsupportedOpError, match="num_batches_tracked: a parameter or buffer"):
        GraphModule(nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4)), torch.randn(2, 3, 4, 4))


def test_batch_statistics_without_state_are_converted() -> None:
    norm = nn.BatchNorm2d(3, track_running_stats=False)
    norm.train()
    x = torch.randn(2, 3, 4, 4)
    compare(GraphModule(nn.Sequential(norm, nn.ReLU(inplace=True)), x)(x * 2), norm(x * 2).relu())


def test_running_statistics_passed_as_inputs() -> None:
    def normalised(x, mean, var):
        return F.batch_norm(x, mean, var, training=True)

    def and_reads_them(x, mean, var):
        return F.batch_norm(x, mean, var, training=True) + mean.sum()

    inputs = [torch.randn(4, 3), torch.zeros(3), torch.ones(3)]
    with pytest.warns(UserWarning, match="writes to its inputs"):
        module = GraphModule(normalised, inputs)
    fresh = [torch.randn(4, 3), torch.randn(3), torch.rand(3)]
    compare(module(*(v.clone() for v in fresh)), normalised(*(v.clone() for v in fresh)))
    with pytest.raises(UnsupportedOpError, match="updates running statistics"):
        GraphModule(and_reads_them, inputs)


@pytest.mark.parametrize("seed", range(60))
def test_random_program(seed: int) -> None:
    function = random_program(seed)
    try:
        module = GraphModule(function, torch.randn(2, 4, 6))
    except UnsupportedOpError as error:
        assert "may write to the same memory" in str(error)
        return
    x = torch.randn(2, 4, 6)
    compare(module(x.clone()), function(x.clone()))


def quantized(observer):
    layers = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU())
    layers.train().qconfig = torch.ao.quantization.get_default_qat_qconfig("fbgemm")
    layers = torch.ao.quantization.prepare_qat(layers)
    layers(torch.randn(2, 3, 8, 8))
    return (
        layers.eval() if observer else layers.eval().apply(torch.ao.quantization.disable_observer)
    )


def test_quantisation_aware_layers_convert_without_observers() -> None:
    layers, x = quantized(observer=False), torch.randn(2, 3, 8, 8)
    expected = layers(x)
    graph = GraphModule(layers, x)
    torch.testing.assert_close(graph(x), expected.detach())
    assert all(not node.mutates for node in graph.graph.nodes)


def test_observers_are_refused() -> None:
    with pytest.raises(UnsupportedOpError, match="weight_fake_quant .*disable_observer"):
        GraphModule(quantized(observer=True), torch.randn(2, 3, 8, 8))
