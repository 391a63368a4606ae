"""Handlers of the user: on all backends, around a built-in one, overloads and in-place names."""

from __future__ import annotations

import pytest
import torch
from runners import RUNNERS, run_tensorrt

import torch2trt
from torch2trt import get_node_handler, register_node_handler
from torch2trt.core import GraphModule
from torch2trt.registry import Op, op, operators, unregister_node_handler


@pytest.fixture
def scopes():
    """The scopes with which a handler of ``aten::sum`` was called."""
    calls = []

    @register_node_handler("aten::sum")
    def aten_sum(inputs, attributes, scope):
        calls.append(scope)
        return get_node_handler("aten::sum.dim_IntList")(inputs, attributes, scope)

    yield calls
    unregister_node_handler("aten::sum")


def program(x):
    return torch.relu(x).sum((1, -1), keepdim=True) * 2


@pytest.mark.parametrize("backend", RUNNERS)
def test_a_handler_is_called_on_every_backend(scopes, backend):
    x = torch.randn(2, 3, 4)
    torch.testing.assert_close(RUNNERS[backend](program, [x])[0], program(x))
    assert scopes == ["sum"]


def test_a_handler_wraps_the_built_in_one():
    seen = []

    @register_node_handler("aten::relu")
    def counted(inputs, attributes, scope):
        seen.append(scope)
        return get_node_handler("aten::relu")(inputs, attributes, scope)

    try:
        x = torch.randn(2, 3)
        torch.testing.assert_close(GraphModule(lambda v: torch.relu_(v * 1), x)(x), x.relu())
        torch.testing.assert_close(run_tensorrt(torch.relu, [x])[0], x.relu())
    finally:
        unregister_node_handler("aten::relu")
    assert len(seen) == 2


def test_an_overload_is_more_specific():
    @register_node_handler("aten::sum.dim_IntList")
    def overload(inputs, attributes, scope):
        return [torch.full((2,), 7.0)]

    try:
        x = torch.randn(2, 3)
        total, rows = GraphModule(lambda v: (v.sum(), v.sum(1)), x)(x)
        torch.testing.assert_close(total, x.sum())
        assert rows.tolist() == [7.0, 7.0]
    finally:
        unregister_node_handler("aten::sum.dim_IntList")


def test_a_second_built_in_handler_is_an_error():
    with pytest.raises(
        torch2trt.ConversionError, match="aten::relu has a built-in handler already"
    ):
        op("aten::relu")(lambda ctx, x: x)


def test_a_second_emitter_is_an_error():
    operator = Op(["aten::test"], lambda ctx, x: x)
    operator.emit("tensorrt")(lambda ctx, x: x)
    with pytest.raises(torch2trt.ConversionError, match="has an emitter for tensorrt already"):
        operator.emit("tensorrt")(lambda ctx, x: x)


def test_get_node_handler_names_what_is_missing():
    with pytest.raises(torch2trt.ConversionError, match="aten::nowhere: no built-in handler"):
        get_node_handler("aten::nowhere")


def test_every_operator_has_a_docstring_with_its_schema():
    undocumented = sorted({
        name for name, operator in operators().items()
        if not operator.__doc__ and operator.function.__name__ != "emit"
    })  # fmt: skip
    assert undocumented == []


@pytest.fixture
def relu():
    """Registers a handler of ``aten::relu`` for one test."""
    yield lambda handler: register_node_handler("aten::relu")(handler)
    unregister_node_handler("aten::relu")


@pytest.mark.parametrize("backend", RUNNERS)
@pytest.mark.parametrize(
    "returned, message",
    [
        (
            lambda x: [torch.ones(6)],
            r"handler gave float32\[6\], the trace recorded float32\[2, 3\]",
        ),
        (lambda x: [torch.ones(2, 3).int()], r"handler gave int32\[2, 3\], the trace recorded"),
        (lambda x: [None], r"returned None as output 0, expected a tensor like .* float32\[2, 3\]"),
        (lambda x: [x, x], "returned 2 values, expected a list of 1"),
        (lambda x: x, "the handler returned .*Tensor|Var.*, expected a list of 1"),
    ],
    ids=["shape", "dtype", "none", "two", "no_list"],
)
def test_what_a_handler_returns_is_checked_on_every_backend(relu, backend, returned, message):
    relu(lambda inputs, attributes, scope: returned(inputs[0]))
    with pytest.raises(torch2trt.ConversionError, match=message):
        RUNNERS[backend](lambda x: torch.relu(x) * 2, [torch.randn(2, 3)])


def test_a_handler_serves_other_sizes_than_those_of_the_trace(relu):
    relu(lambda inputs, attributes, scope: [inputs[0].clamp_min(0)])
    graph = GraphModule(lambda x: torch.relu(x) * 2, torch.randn(2, 3))
    x = torch.randn(5, 4)
    torch.testing.assert_close(graph(x), x.relu() * 2)


@pytest.mark.parametrize("kinds", [(), ("relu",), (lambda inputs, attributes, scope: inputs,)])
def test_a_handler_needs_a_node_kind(kinds):
    with pytest.raises(torch2trt.ConversionError, match="expected node kinds such as"):
        register_node_handler(*kinds)


def test_a_handler_can_be_called():
    with pytest.raises(torch2trt.ConversionError, match="aten::relu: got 3, expected a handler"):
        register_node_handler("aten::relu")(3)


def test_pytorch_failing_in_debug_mode_says_where():
    graph = GraphModule(lambda x: torch.relu(x) @ torch.ones(3, 2), torch.randn(2, 3))
    with pytest.raises(torch2trt.ConversionError, match=r"matmul in .*test_handlers.*\[2, 4\]"):
        graph(torch.randn(2, 4))
