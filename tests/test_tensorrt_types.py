"""Weakly typed networks, as TensorRT 8.6 has: what the context says about types before the build,
on TensorRT-RTX.

TensorRT-RTX knows the type of every tensor when its layer is added. Here it is made to forget, as
8.6 does, the context works with what it infers itself, and in the end both are compared.
"""

from __future__ import annotations

import gc

import pytest
import torch
from case import assert_same
from runners import define_tensorrt
from simulate_networks import CASES as NETWORKS
from simulate_networks import define as define_network
from tensorrt_case import as_tuple
from tensorrt_case import define as define_primitive
from test_ops import CASES as PROGRAMS
from test_tensorrt_data import case as data_cases
from test_tensorrt_elementwise import case as elementwise_cases
from test_tensorrt_indexing import case as index_cases
from test_tensorrt_layers import case as layer_cases
from test_tensorrt_norm import case as norm_cases

from torch2trt.backends import tensorrt_base, trt_api
from torch2trt.backends.tensorrt import TensorRTContext
from torch2trt.backends.tensorrt_types import TypeTable, output_types
from torch2trt.errors import ConversionError, UnsupportedOpError
from torch2trt.simulate import simulate

if not trt_api.is_rtx():
    pytest.skip("needs a library that knows the types at once", allow_module_level=True)

trt = trt_api.trt()
PRIMITIVES = [*data_cases, *elementwise_cases, *index_cases, *layer_cases, *norm_cases]


class Weak:
    """TensorRT-RTX with the forgetful tensors and the type constraints of 8.6."""

    def __init__(self, monkeypatch):
        self.wrong: list[str] = []
        self.constrained = 0
        self.precisions: list[object] = []
        self._honest, self._constants = trt.ITensor.dtype, []
        add_constant = trt.INetworkDefinition.add_constant

        def remembering(network, *args):
            layer = add_constant(network, *args)
            if layer is not None:
                self._constants.append(layer.get_output(0))
            return layer

        for owner, name, value in [
            (
                trt.ITensor,
                "dtype",
                property(self._guess, lambda tensor, kind: self._expect(tensor, kind)),
            ),
            (trt.INetworkDefinition, "add_constant", remembering),
            (
                trt.ILayer,
                "set_output_type",
                lambda layer, i, kind: self._expect(layer.get_output(i), kind),
            ),
            (trt.ILayer, "precision", property(None, self._precision)),
            (tensorrt_base, "is_weakly_typed", lambda network: True),
        ]:
            monkeypatch.setattr(owner, name, value, raising=False)

    def _guess(self, tensor):
        known = tensor.is_network_input or any(tensor is constant for constant in self._constants)
        return self._honest.fget(tensor) if known else trt.DataType.FLOAT

    def _expect(self, tensor, kind) -> None:
        self.constrained += 1
        if self._honest.fget(tensor) != kind:
            self.wrong.append(f"{tensor.name} is {self._honest.fget(tensor)}, declared as {kind}")

    def _precision(self, layer, kind) -> None:
        self.precisions.append(kind)
        if kind not in (trt.DataType.FLOAT, trt.DataType.HALF):
            self.wrong.append(f"{layer.name} computes in {kind}")


@pytest.fixture
def weak(monkeypatch):
    found = Weak(monkeypatch)
    yield found
    found._constants.clear()


def check_types(network, table: TypeTable) -> None:
    """What the table knows and what it infers from nothing are what TensorRT says."""
    fresh = TypeTable()
    for layer in (network.get_layer(i) for i in range(network.num_layers)):
        for i in range(layer.num_outputs):
            tensor = layer.get_output(i)
            assert table.of(network, tensor) == tensor.dtype, (layer.name, tensor.name)
            assert fresh.of(network, tensor) == tensor.dtype, (layer.name, tensor.name)


@pytest.mark.parametrize("case", PROGRAMS, ids=str)
def test_programs(case, weak, monkeypatch):
    inputs = case.example()
    try:
        _, network, ctx = define_tensorrt(case.program, inputs)
    except UnsupportedOpError as error:
        assert "tensorrt" in case.refused or "8.6 has a layer for floats" in str(error)
        return
    monkeypatch.undo()
    assert not weak.wrong
    check_types(network, ctx._state.types)
    if "tensorrt" not in case.wrong:
        outputs = simulate(network, list(inputs), weights=ctx.weight_dict)
        assert_same(list(outputs.values()), case.expected(inputs), case.rtol)


@pytest.mark.parametrize("case", PRIMITIVES, ids=lambda case: case.name)
def test_primitives(case, weak, monkeypatch):
    if case.name.startswith(
        "sort-dynamic"
    ):  # its top-k takes no integers, and comparing all pairs needs sizes
        with pytest.raises(ConversionError, match="known only when the engine runs"):
            define_primitive(case, TensorRTContext)
        return
    if case.name == "binary-pow-int":
        with pytest.raises(UnsupportedOpError, match="8.6 has a layer for floats"):
            define_primitive(case, TensorRTContext)
        return
    _, network = define_primitive(case, TensorRTContext)
    monkeypatch.undo()
    assert not weak.wrong
    check_types(network, tensorrt_base._STATES[network].types)
    got = simulate(network, [value.clone() for value in case.inputs])
    for actual, wanted in zip(got.values(), as_tuple(case.reference(*case.inputs)), strict=True):
        torch.testing.assert_close(
            actual, wanted, rtol=case.rtol, atol=case.atol, equal_nan=True, check_stride=False
        )


@pytest.mark.parametrize("case", NETWORKS, ids=str)
def test_every_kind_of_layer(case):
    if case.missing():
        pytest.skip(f"{trt_api.version()} has no {', '.join(case.missing())}")
    network = trt_api.create_network(trt_api.create_builder())
    define_network(network, case)
    table = TypeTable()
    check_types(network, table)


def test_a_user_layer_is_learned_and_outputs_are_declared(weak, monkeypatch):
    network = trt_api.create_network(trt_api.create_builder())
    context = TensorRTContext(network)
    x = context.input("x", (2, 3), torch.float32)
    own = network.add_elementwise(x, x, trt.ElementWiseOperation.EQUAL).get_output(0)
    assert own.dtype == trt.DataType.FLOAT
    assert context.dtype(own) == torch.bool
    own.name = "renamed"
    assert context.dtype(own) == torch.bool
    declared = weak.constrained
    context.finish([own], ["same"])
    assert weak.constrained == declared + 1
    assert not weak.wrong


def test_halves_stay_halves(weak):
    context = TensorRTContext(trt_api.create_network(trt_api.create_builder()))
    x = context.cast(context.input("x", (2, 3), torch.float32), torch.float16)
    y = context.binary("lt", context.unary("exp", x), torch.ones(2, 3).half())
    assert [context.dtype(x), context.dtype(y)] == [torch.float16, torch.bool]
    assert weak.precisions == [trt.DataType.HALF] * 3
    assert not weak.wrong


def test_the_table_does_not_keep_the_network_alive(weak):
    network = trt_api.create_network(trt_api.create_builder())
    context = TensorRTContext(network)
    context.finish([context.unary("exp", context.input("x", (2,), torch.float32))])
    before = len(tensorrt_base._STATES)
    del context, network
    weak._constants.clear()
    gc.collect()
    assert len(tensorrt_base._STATES) < before


def test_types_that_are_set_are_what_counts():
    class Layer:
        num_outputs = 1

        def output_type_is_set(self, index):
            return True

        def get_output_type(self, index):
            return trt.DataType.INT32

    from torch2trt.backends import tensorrt_types

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tensorrt_types, "layer_kind", lambda layer: "IDENTITY")
        assert output_types(Layer(), lambda tensor: trt.DataType.FLOAT) == [trt.DataType.INT32]


def _kinds(network):
    layers = (network.get_layer(i) for i in range(network.num_layers))
    return [trt.ILayer.type.__get__(layer).name for layer in layers]


def test_a_cast_to_half_and_back_computes_something_between(weak):
    network = trt_api.create_network(trt_api.create_builder())
    context = TensorRTContext(network)
    half = context.cast(context.input("x", (2, 3), torch.float32), torch.float16)
    context.cast(context.permute(half, (1, 0)), torch.float32)
    assert _kinds(network) == ["CAST", "SHUFFLE", "CONSTANT", "ELEMENTWISE", "CAST"]
    context.cast(context.unary("exp", half), torch.float32)
    assert _kinds(network)[5:] == ["UNARY", "CAST"]


@pytest.mark.parametrize("infinity", [torch.inf, -torch.inf])
@pytest.mark.parametrize("name", ["eq", "ne", "lt", "gt", "le", "ge"])
def test_comparisons_with_infinity_take_finite_numbers_only(name, infinity, weak, monkeypatch):
    network = trt_api.create_network(trt_api.create_builder())
    context = TensorRTContext(network)
    x = torch.tensor([1.0, torch.inf, -torch.inf, torch.nan, 3.4028234663852886e38, -3.4e38])
    number = torch.tensor(infinity)
    symbolic = context.input("x", tuple(x.shape), torch.float32)
    pairs = [(symbolic, context.literal(number)), (context.literal(number), symbolic)]
    context.finish([context.binary(name, a, b) for a, b in pairs], ["after", "before"])
    monkeypatch.undo()
    got = simulate(network, [x])
    compare = getattr(torch, name)
    assert torch.equal(got["after"], compare(x, number))
    assert torch.equal(got["before"], compare(number, x))
    assert _kinds(network).count("ELEMENTWISE") >= 2


def test_float32_results_beside_float16_are_warned_of(weak, caplog):
    network = trt_api.create_network(trt_api.create_builder())
    context = TensorRTContext(network)
    x = context.input("x", (2, 3), torch.float32)
    half = context.unary("exp", context.cast(x, torch.float16))
    with caplog.at_level("WARNING", "torch2trt"):
        context.finish([context.cast(half, torch.float32)], ["lowered"])
        assert not caplog.messages
        context.finish([context.unary("exp", x)], ["precise"])
    assert ["'precise'" in message for message in caplog.messages] == [True]


def test_the_maximum_of_infinite_values_is_no_pooling_layer(weak, monkeypatch):
    network = trt_api.create_network(trt_api.create_builder())
    context = TensorRTContext(network)
    x = torch.tensor([-3.0, 1.0, -torch.inf, -torch.inf, -3e38, -2e38]).reshape(1, 1, 1, 6)
    filled = context.where(
        context.literal(torch.ones(1, 1, 1, 6, dtype=torch.bool)),
        context.input("x", tuple(x.shape), torch.float32),
        context.literal(torch.tensor(-torch.inf)),
    )
    pooled = context.max_pool(filled, (1, 2), (1, 2), (0, 0), (1, 1), False)
    context.finish([pooled], ["y"])
    assert "POOLING" not in _kinds(network)
    monkeypatch.undo()
    expected = torch.tensor([1.0, -torch.inf, -2e38])
    assert torch.equal(simulate(network, [x])["y"].flatten(), expected)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
@pytest.mark.parametrize("infinity", [torch.inf, -torch.inf])
@pytest.mark.parametrize("first", [True, False])
def test_infinite_numbers_are_selected_without_infinite_constants(
    first, infinity, dtype, weak, monkeypatch
):
    network = trt_api.create_network(trt_api.create_builder())
    context = TensorRTContext(network)
    x = torch.tensor([1.5, -0.0, torch.nan, torch.inf, -torch.inf, 6e4]).to(dtype)
    mask = torch.tensor([True, False, True, False, False, True])
    number = context.literal(torch.tensor(infinity, dtype=dtype))
    tensors = [context.input("x", (6,), dtype), number]
    condition = context.input("mask", (6,), torch.bool)
    chosen = context.where(condition, *(tensors if first else tensors[::-1]))
    context.finish([chosen], ["y"])
    monkeypatch.undo()
    kept = mask if first else ~mask
    expected = torch.where(kept, x, torch.tensor(infinity, dtype=dtype))
    assert_same([simulate(network, [x, mask])["y"]], [expected], 0)
    used = {
        network.get_layer(i).get_input(k).name
        for i in range(network.num_layers)
        for k in range(network.get_layer(i).num_inputs)
        if network.get_layer(i).get_input(k)
    }
    assert number.name not in used
