"""Lowered graphs: which nodes compute in which type, and what that does to the numbers."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from torch2trt.core import GraphModule
from torch2trt.errors import ConversionError
from torch2trt.precision import lower_precision


def lowered(program, *inputs, dtype=torch.float16, overrides=None):
    graph = GraphModule(program, inputs)
    graph.graph = lower_precision(graph.graph, dtype, graph.trace.attribute, overrides)
    return graph


def types(graph):
    """The type of each node's output by kind, casts aside."""
    return {n.kind: n.outputs[0].dtype for n in graph.graph.nodes if n.outputs[0].dtype}


def number_of_casts(graph):
    return sum(n.kind == "aten::to" for n in graph.graph.nodes)


HALF, FLOAT = torch.float16, torch.float32


def test_products_are_lowered_and_what_overflows_is_not():
    linear = nn.Linear(4, 4)
    graph = lowered(lambda x: torch.relu(linear(x)).softmax(-1).sum(-1), torch.rand(2, 4))
    found = types(graph)
    assert found["aten::linear"] == found["aten::relu"] == HALF
    assert found["aten::softmax"] == found["aten::sum"] == FLOAT


def test_inputs_and_outputs_keep_their_types():
    linear = nn.Linear(4, 4)
    graph = lowered(lambda x, i: (linear(x), i + 1), torch.rand(2, 4), torch.arange(3))
    assert [v.dtype for v in graph.graph.inputs] == [FLOAT, torch.int64]
    assert [v.dtype for v in graph.graph.outputs] == [FLOAT, torch.int64]
    y, i = graph(torch.rand(2, 4), torch.arange(3))
    assert y.dtype == FLOAT and i.dtype == torch.int64


def test_a_program_without_products_stays_as_it_is():
    graph = lowered(lambda x: (x.exp() + x).reshape(-1), torch.rand(2, 4))
    assert number_of_casts(graph) == 0 and HALF not in types(graph).values()


def test_values_are_cast_once_for_all_their_readers():
    a, b = nn.Linear(4, 4, bias=False), nn.Linear(4, 4, bias=False)
    graph = lowered(lambda x: a(x) + b(x), torch.rand(2, 4))
    assert number_of_casts(graph) == 4  # the input, two weights, the output


@pytest.mark.parametrize("dtype, tolerance", [(torch.float16, 2e-3), (torch.bfloat16, 2e-2)])
def test_numbers(dtype, tolerance):
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(),
        nn.LayerNorm(72), nn.Linear(72, 5), nn.Softmax(-1),
    ).eval()  # fmt: skip
    x = torch.rand(2, 3, 8, 8)
    with torch.no_grad():
        expected, got = model(x), lowered(model, x, dtype=dtype)(x)
    error = ((got - expected).norm() / expected.norm()).item()
    assert got.dtype == FLOAT and 0 < error <= tolerance


def test_lists_of_tensors_are_cast_together():
    linear = nn.Linear(4, 4)
    graph = lowered(lambda x: torch.cat([linear(x), x.exp()], 1).sum(1), torch.rand(2, 4))
    x = torch.rand(2, 4)
    assert types(graph)["aten::cat"] == FLOAT
    torch.testing.assert_close(
        graph(x), torch.cat([linear(x), x.exp()], 1).sum(1), rtol=1e-2, atol=1e-2
    )


def test_what_the_program_computes_in_another_type_stays():
    def program(x):
        return (x.double() @ x.double().T).float() + x.long().sum()

    graph, x = lowered(program, torch.rand(3, 3)), torch.rand(3, 3)
    assert types(graph)["aten::matmul"] == torch.float64
    torch.testing.assert_close(graph(x), program(x), rtol=1e-3, atol=1e-3)


def test_large_values_survive_where_float16_would_overflow():
    linear = nn.Linear(4, 4)

    def program(x):
        return (linear(x).float() * 300).pow(2).mean(-1)

    x = torch.rand(2, 4) + 1
    assert lowered(program, x)(x).isfinite().all()


def test_overrides_by_module_and_kind():
    model = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 4), nn.Softmax(-1))
    x = torch.rand(2, 4)
    graph = lowered(model, x, overrides={"1": torch.float32, "aten::softmax": torch.float16})
    found = {n.scope: n.outputs[0].dtype for n in graph.graph.nodes}
    assert found["0.linear"] == HALF and found["1.linear"] == FLOAT
    assert found["2.softmax"] == HALF
    only = lowered(model, x, dtype=torch.float32, overrides={"0": torch.float16})
    found = {n.scope: n.outputs[0].dtype for n in only.graph.nodes}
    assert found["0.linear"] == HALF and found["1.linear"] == FLOAT


def test_the_longest_module_path_counts():
    inner = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 4))
    model = nn.Sequential(inner, nn.Linear(4, 4))
    overrides = {"0": torch.float32, "0.1": torch.bfloat16}
    graph = lowered(model, torch.rand(2, 4), overrides=overrides)
    found = {n.scope: n.outputs[0].dtype for n in graph.graph.nodes}
    assert found["0.0.linear"] == FLOAT and found["0.1.linear"] == torch.bfloat16
    assert found["1.linear"] == HALF


def test_weights_follow_after_lowering():
    linear = nn.Linear(4, 4, bias=False)
    graph, x = lowered(lambda x: F.relu(linear(x)), torch.rand(2, 4)), torch.rand(2, 4)
    with torch.no_grad():
        linear.weight.fill_(0.5)
    torch.testing.assert_close(graph(x), F.relu(linear(x)), rtol=1e-2, atol=1e-2)


@pytest.mark.parametrize("dtype", [torch.float64, torch.int8])
def test_other_types_are_refused(dtype):
    with pytest.raises(ConversionError, match=str(dtype)):
        lowered(lambda x: x + 1, torch.rand(2), dtype=dtype)


def conv_and_norm():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8)).eval()
    nn.init.uniform_(model[1].running_var, 0.5, 2.0)
    nn.init.normal_(model[1].running_mean)
    return model


def test_batch_norms_are_folded_before_weights_are_rounded():
    model, x = conv_and_norm(), torch.rand(1, 3, 8, 8)
    graph = lowered(model, x)
    assert "aten::batch_norm" not in types(graph)
    with torch.no_grad():
        scale = model[1].weight / torch.sqrt(model[1].running_var + model[1].eps)
        weight = (model[0].weight * scale[:, None, None, None]).half()
        bias = ((model[0].bias - model[1].running_mean) * scale + model[1].bias).half()
        expected = F.conv2d(x.half(), weight, bias).float()
    torch.testing.assert_close(graph(x), expected, rtol=0, atol=0)


@pytest.mark.parametrize("overrides", [{"aten::batch_norm": FLOAT}, {"1": FLOAT}, {"0": FLOAT}])
def test_a_batch_norm_with_a_type_of_its_own_is_not_folded(overrides):
    graph = lowered(conv_and_norm(), torch.rand(1, 3, 8, 8), overrides=overrides)
    assert "aten::batch_norm" in types(graph)
