"""The TensorRT context around its primitives: names, weights, dtypes, symbolic dimensions, errors,
older releases."""

from __future__ import annotations

import gc
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from tensorrt_case import INF, Case, check, normal
from test_tensorrt_data import case as data_cases
from test_tensorrt_elementwise import case as elementwise_cases
from test_tensorrt_layers import case as layer_cases

from torch2trt.backends import trt_api
from torch2trt.backends.tensorrt import TensorRTContext
from torch2trt.backends.tensorrt_dims import SymInt
from torch2trt.errors import ConversionError, UnsupportedOpError
from torch2trt.simulate import simulate

NODE = SimpleNamespace(
    scope="block.linear", source="net.py(7): forward", where="block.linear net.py(7)"
)


@pytest.fixture
def context() -> TensorRTContext:
    """A context on an empty network, as if one node was being emitted."""
    made = TensorRTContext(trt_api.create_network(trt_api.create_builder()))
    made.node = NODE
    return made


def run(context: TensorRTContext, outputs: list[Any], *inputs: torch.Tensor) -> list[torch.Tensor]:
    """Mark the outputs and simulate."""
    context.finish(outputs)
    return list(simulate(context.network, list(inputs)).values())


# ---- names and weights ---------------------------------------------------------------------------
def test_layers_and_tensors_are_named_after_the_node(context):
    x = context.input("x", (2, 3), torch.float32)
    first, second = context.unary("exp", x), context.unary("log", x)
    assert [first.name, second.name] == ["block.linear", "block.linear.1"]
    layer = context.network.get_layer(0)
    assert layer.name == "block.linear"
    assert layer.metadata == "block.linear | net.py(7): forward"


def test_names_stay_unique_across_contexts_and_user_layers(context):
    x = context.input("block.linear", (2, 3), torch.float32)
    own = context.network.add_identity(x)
    own.get_output(0).name = "block.linear.1"
    again = TensorRTContext(context.network)
    again.node = NODE
    tensors = [
        context.unary("exp", x),
        again.unary("exp", x),
        TensorRTContext(context.network).unary("exp", x),
    ]
    assert len({t.name for t in [*tensors, x, own.get_output(0)]}) == 5


def test_weights_have_stable_names(context):
    x = context.input("x", (1, 3, 4, 4), torch.float32)
    weight, bias = normal(5, 3, 3, 3), normal(5)
    context.conv(x, weight, bias, (1, 1), [(1, 1), (1, 1)], (1, 1), 1)
    context.constant(normal(2), "scale")
    assert list(context.weight_dict) == [
        "block.linear.weight",
        "block.linear.bias",
        "block.linear.scale",
    ]
    assert context.weight_dict["block.linear.weight"] is weight
    assert trt_api.take_errors(context.network) == []


def test_literals_have_no_weight_name(context):
    context.literal(normal(2))
    assert context.weight_dict == {}


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16, torch.int64])
def test_weights_live_as_long_as_the_network(dtype):
    network = trt_api.create_network(trt_api.create_builder())
    context = TensorRTContext(network)
    x = context.input("x", (1,), dtype)
    context.finish([context.binary("add", x, torch.arange(4096).to(dtype).clone())])
    del context, x
    gc.collect()
    rubbish = [torch.full((4096,), 7.0) for _ in range(50)]
    (got,) = simulate(network, [torch.zeros(1, dtype=dtype)]).values()
    assert len(rubbish) == 50
    assert torch.equal(got, torch.arange(4096).to(dtype))


def test_a_transposed_constant_is_stored_in_row_major_order(context):
    x = context.input("x", (2, 3), torch.float32)
    value, weight = normal(2, 3), normal(4, 3)
    (got,) = run(context, [context.matmul(x, weight.t())], value)
    torch.testing.assert_close(got, value @ weight.t())


def test_finish_marks_inputs_and_repeated_tensors(context):
    x = context.input("x", (2,), torch.float32)
    y = context.unary("exp", x)
    got = run(context, [x, y, y], torch.zeros(2))
    assert [value.tolist() for value in got] == [[0, 0], [1, 1], [1, 1]]


# ---- dtypes --------------------------------------------------------------------------------------
def test_uint8_is_kept_between_layers(context):
    x = context.input("x", (3,), torch.uint8)
    y = context.reshape(x, (3, 1))
    assert context.dtype(y) == torch.uint8
    z = context.concat([y, context.binary("add", y, torch.tensor(200, dtype=torch.uint8))], 1)
    (got,) = run(context, [z], torch.tensor([1, 100, 250], dtype=torch.uint8))
    assert got.dtype == torch.uint8
    assert got.tolist() == [[1, 201], [100, 44], [250, 194]]


def test_operands_of_different_dtypes_are_refused(context):
    x = context.input("x", (2,), torch.float32)
    with pytest.raises(
        UnsupportedOpError, match=r"torch.float32, torch.float16, expected one dtype"
    ):
        context.binary("add", x, normal(2).half())


def test_float64_tensors_are_refused(context):
    with pytest.raises(UnsupportedOpError, match="no data type for torch.float64"):
        context.input("x", (2,), torch.float64)
    with pytest.raises(ConversionError, match="no constants of torch.float64"):
        context.constant(normal(2).double())


def test_constants_beyond_int32_are_refused_without_int64(context, monkeypatch):
    monkeypatch.setattr(context, "has", lambda feature: feature != "DataType.INT64")
    with pytest.raises(ConversionError, match=r"no int64, and 4294967296 does not fit int32"):
        context.constant(torch.tensor([1, 1 << 32]))


def test_a_refused_layer_tells_the_reason_of_tensorrt(context):
    x = context.input("x", (1, 3, 4, 4), torch.float32)
    with pytest.raises(UnsupportedOpError, match=r"(?s)block.linear net.py.*addPoolingNd"):
        context.max_pool(x, (0, 0), (1, 1), (0, 0), (1, 1), False)


# ---- symbolic dimensions -------------------------------------------------------------------------
def test_a_dimension_is_one_object(context):
    x = context.input("x", (None, 3, None), torch.float32)
    batch, channels, length = context.shape(x)
    assert channels == 3
    assert isinstance(batch, SymInt)
    assert context.shape(x)[0] is batch
    assert batch is not length
    assert batch * 2 is batch * 2
    assert batch + 0 is batch
    assert batch * 1 is batch
    assert batch // 1 is batch
    assert batch - batch == 0
    assert batch // batch == 1
    assert batch * 0 == 0


@pytest.mark.parametrize(
    "use",
    [lambda d: d < 3, lambda d: d >= 3, bool, int, float, lambda d: range(d)],
    ids=["lt", "ge", "bool", "int", "float", "index"],
)
def test_a_symbolic_dimension_has_no_value(context, use):
    batch = context.shape(context.input("x", (None,), torch.float32))[0]
    with pytest.raises(ConversionError, match="known only when the engine runs"):
        use(batch)


def test_an_unused_dimension_adds_no_layer(context):
    context.shape(context.input("x", (None, None), torch.float32))[0] * 2
    assert context.network.num_layers == 0


def test_equal_numbers_are_one_layer(context):
    x = context.input("x", (2, 3), torch.float32)
    context.binary(
        "add",
        context.binary("mul", x, context.literal(torch.tensor(2.0))),
        context.literal(torch.tensor(2.0)),
    )
    kinds = [context.network.get_layer(i).type for i in range(context.network.num_layers)]
    assert kinds.count(context.trt.LayerType.CONSTANT) == 2  # one as given, one with the rank of x
    assert context.trt.LayerType.SHUFFLE not in kinds


def test_zeros_of_both_signs_are_two_literals(context):
    assert context.literal(torch.tensor(0.0)) is not context.literal(torch.tensor(-0.0))


def test_a_literal_exponent_is_known(context):
    x = context.input("x", (2, 3), torch.float32)
    context.binary("pow", x, context.literal(torch.tensor(2.0)))
    last = context.network.get_layer(context.network.num_layers - 1)
    assert last.get_input(0).name == last.get_input(1).name == "x"


def test_a_static_network_needs_no_shape_layers(context):
    x = context.input("x", (2, 3, 4), torch.float32)
    y = context.reshape(context.binary("add", x, normal(4)), (6, 4))
    context.softmax(y, 1)
    kinds = {context.network.get_layer(i).type for i in range(context.network.num_layers)}
    assert context.trt.LayerType.SHAPE not in kinds


def test_nothing_to_do_adds_no_layer(context):
    x = context.input("x", (2, 3), torch.float32)
    for y in (
        context.cast(x, torch.float32),
        context.reshape(x, (2, 3)),
        context.permute(x, (0, 1)),
        context.expand(x, (2, 3)),
        context.slice(x, (0, 0), (2, 3), (1, 1)),
        context.concat([x], 0),
        context.pad(x, (0, 0), (0, 0), "constant"),
        context.resize(x, (), "nearest", False, ()),
    ):
        assert y is x
    assert context.network.num_layers == 0


# ---- older releases ------------------------------------------------------------------------------
class OlderContext(TensorRTContext):
    """What TensorRT 8.6 lacks is not used, and dimensions are int32."""

    MISSING = ("add_cumulative", "add_normalization_v2", "add_attention", "UnaryOperation.ISNAN")

    def __init__(self, network: Any) -> None:
        super().__init__(network)
        self.index_dtype = torch.int32

    def has(self, feature: str) -> bool:
        return feature not in self.MISSING and super().has(feature)


OLDER = ("cumulative", "group_norm", "layer_norm", "attention", "isnan", "sort", "arg-", "dynamic")
OLDER_CASES = [
    case
    for case in [*elementwise_cases, *data_cases, *layer_cases]
    if any(word in case.name for word in OLDER) and "bfloat16" not in case.name
]


@pytest.mark.parametrize("case", OLDER_CASES, ids=lambda case: case.name)
def test_older_release(case: Case) -> None:
    check(case, OlderContext)


# ---- refusals ------------------------------------------------------------------------------------
REFUSALS = {
    "sort": lambda c: c.sort(c.input("x", (1 << 15,), torch.float32), 0, False),
    "topk": lambda c: c.topk(c.input("x", (1 << 15,), torch.float32), 4000, 0, True),
    "cumulative": lambda c: c.cumulative("max", c.input("x", (None,) * 8, torch.float32), 0),
    "resize": lambda c: c.resize(
        c.input("x", (1, 1, None), torch.float32),
        [c.shape(c.network.get_input(0))[2] * 3 // 2],
        "linear",
        False,
        (1.5,),
    ),
    "resize-mode": lambda c: c.resize(
        c.input("x", (1, 1, 4), torch.float32), (8,), "area", False, (None,)
    ),
    "pad-mode": lambda c: c.pad(c.input("x", (4,), torch.float32), (1,), (1,), "edge"),
    "avg-pool-int": lambda c: c.avg_pool(
        c.input("x", (1, 1, 4), torch.int64), (2,), (1,), (0,), False, True
    ),
    "conv-mixed": lambda c: c.conv(
        c.input("x", (1, 1, 4), torch.int64), torch.ones(1, 1, 1), None, (1,), [(0, 0)], (1,), 1
    ),
    "unary-int": lambda c: c.unary("exp", c.input("x", (4,), torch.int64)),
    "binary-float": lambda c: c.binary(
        "bitwise_and", c.input("x", (4,), torch.float32), torch.ones(4)
    ),
    "nonzero": lambda c: c.nonzero(c.input("x", (), torch.float32)),
    "pool": lambda c: c.max_pool(
        c.input("x", (1, 1, None), torch.float32), (2,), (3,), (1,), (1,), True
    ),
}


@pytest.mark.parametrize("name", REFUSALS)
def test_refusal(context, name):
    with pytest.raises(UnsupportedOpError, match="not available"):
        REFUSALS[name](context)


def test_infinite_padding_of_integers_is_an_error(context):
    x = context.input("x", (4,), torch.int64)
    with pytest.raises((UnsupportedOpError, OverflowError, RuntimeError)):
        context.pad(x, (1,), (0,), "constant", -INF)
