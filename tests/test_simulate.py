"""simulate against results that are computed without it, layer by layer."""

from __future__ import annotations

import pytest
import torch
from simulate_networks import CASES, Case, Net, build, define

from torch2trt.backends import trt_api
from torch2trt.errors import InputMismatchError
from torch2trt.simulate import SimulationError, simulate

if not trt_api.available():
    pytest.skip("no TensorRT library is installed", allow_module_level=True)


@pytest.fixture
def net() -> Net:
    builder = trt_api.create_builder()
    net = Net(trt_api.create_network(builder))
    trt_api.record_errors(net.n)
    net.builder = builder
    return net


def skip_if_missing(case: Case) -> None:
    missing = case.missing()
    if missing:
        pytest.skip(f"{trt_api.version()} has no {', '.join(missing)}")


def compare(outputs: list[torch.Tensor], case: Case, factor: float = 1.0) -> None:
    results = case.results()
    assert len(outputs) == len(results)
    for got, want in zip(outputs, results, strict=True):
        assert got.dtype == want.dtype
        torch.testing.assert_close(
            got, want, rtol=case.rtol * factor, atol=case.atol * factor, equal_nan=True
        )


@pytest.mark.parametrize("case", CASES, ids=str)
def test_layer(case: Case, net: Net, caplog) -> None:
    skip_if_missing(case)
    _, outputs = define(net.n, case)
    caplog.clear()
    found = simulate(net.n, list(case.inputs))
    assert not caplog.records and not trt_api.take_errors(net.n)
    assert list(found) == [tensor.name for tensor in outputs]
    compare(list(found.values()), case)


@pytest.mark.parametrize("case", CASES, ids=str)
def test_layer_builds(case: Case, net: Net) -> None:
    skip_if_missing(case)
    if not trt_api.is_rtx():
        pytest.skip("only TensorRT-RTX builds without a GPU; test_simulate_gpu covers the others")
    define(net.n, case)
    plan = build(net.builder, net.n, [("", case)])
    errors = trt_api.take_errors(net.builder) + trt_api.take_errors(net.n)
    assert (plan is None) == bool(case.unbuildable), errors


def test_names_are_unique() -> None:
    names = [case.name for case in CASES]
    assert len(names) == len(set(names))


# --- inputs ---------------------------------------------------------------------------------------


def _sum_of_two(net: Net) -> None:
    float32 = net.trt.float32
    a, b = net.n.add_input("a", float32, (-1, 3)), net.n.add_input("b", float32, (1, 3))
    total = net.binary(a, "SUM", b)
    total.name = "total"
    net.n.mark_output(total)


A, B = torch.ones(2, 3), torch.full((1, 3), 2.0)


@pytest.mark.parametrize("inputs", [{"b": B, "a": A}, [A, B], (A.numpy(), B.numpy())])
def test_inputs_by_name_and_by_position(net: Net, inputs) -> None:
    _sum_of_two(net)
    torch.testing.assert_close(simulate(net.n, inputs)["total"], torch.full((2, 3), 3.0))


@pytest.mark.parametrize(
    "inputs, message",
    [
        ({"a": A}, r"missing: \['b'\]"),
        ({"a": A, "b": B, "c": A}, r"unknown: \['c'\]"),
        ([A], r"2 inputs \(a, b\), got 1"),
        ({"a": A.double(), "b": B}, "'a': expected torch.float32, got torch.float64"),
        ({"a": A, "b": A}, r"'b': expected the shape \(1, 3\), got \(2, 3\)"),
        ({"a": A[0], "b": B}, r"'a': expected the shape \(-1, 3\), got \(3,\)"),
        ({"a": [1.0], "b": B}, "'a': expected a torch tensor or a numpy array, got list"),
    ],
)
def test_wrong_inputs(net: Net, inputs, message) -> None:
    _sum_of_two(net)
    with pytest.raises(InputMismatchError, match=message):
        simulate(net.n, inputs)


def test_results_do_not_share_memory_with_inputs_or_weights(net: Net) -> None:
    weights = torch.ones(3)
    x = torch.zeros(3)
    made = net.n.add_input("x", net.trt.float32, (3,))
    for tensor in (net.n.add_identity(made).get_output(0), net.const(weights)):
        net.n.mark_output(tensor)
    for value in simulate(net.n, [x]).values():
        value.fill_(7.0)
    assert not x.any() and (simulate(net.n, [x])[net.n.get_output(1).name] == 1).all()


# --- refusals -------------------------------------------------------------------------------------


def _refuses(net: Net, inputs, message: str) -> None:
    with pytest.raises(SimulationError, match=message):
        simulate(net.n, inputs)


def test_declared_shape_is_checked(net: Net, monkeypatch) -> None:
    from torch2trt.simulate import layers

    _sum_of_two(net)
    net.n.get_layer(0).name = "adder"
    monkeypatch.setitem(
        layers.RULES,
        "ELEMENTWISE",
        layers.Rule("IElementWiseLayer", lambda layer, a, b: a[0], False, False),
    )
    _refuses(
        net,
        [A, B],
        r"ELEMENTWISE layer 'adder': output 'total' is declared as \(-1, 3\) but .* \(3,\)",
    )


def test_declared_dtype_is_checked(net: Net, monkeypatch) -> None:
    from torch2trt.simulate import layers

    _sum_of_two(net)
    monkeypatch.setitem(
        layers.RULES,
        "ELEMENTWISE",
        layers.Rule("IElementWiseLayer", lambda layer, a, b: a.half(), False, False),
    )
    _refuses(net, [A, B], "declared as torch.float32 but computes as torch.float16")


def test_random_fill_is_refused(net: Net) -> None:
    layer = net.n.add_fill((2,), net.enum("FillOperation", "RANDOM_UNIFORM"))
    layer.name = "noise"
    net.n.mark_output(layer.get_output(0))
    _refuses(net, [], "FILL layer 'noise': operation RANDOM_UNIFORM is random")


def test_slice_outside_strict_bounds(net: Net) -> None:
    x = net.n.add_input("x", net.trt.float32, (-1,))
    net.n.mark_output(net.n.add_slice(x, (2,), (3,), (1,)).get_output(0))
    assert simulate(net.n, [torch.arange(5.0)])[net.n.get_output(0).name].tolist() == [2, 3, 4]
    _refuses(net, [torch.arange(4.0)], r"SLICE layer .* coordinates \[2, 3, 4\] leave the axis")


def test_conflicting_scatter(net: Net) -> None:
    x = net.n.add_input("x", net.trt.float32, (3,))
    updates = net.n.add_input("updates", net.trt.float32, (2,))
    layer = net.n.add_scatter(x, net.index([1, 1]), updates, net.enum("ScatterMode", "ELEMENT"))
    net.n.mark_output(layer.get_output(0))
    same, other = torch.tensor([4.0, 4.0]), torch.tensor([4.0, 5.0])
    found = simulate(net.n, [torch.zeros(3), same])
    assert found[net.n.get_output(0).name].tolist() == [0, 4, 0]
    _refuses(net, [torch.zeros(3), other], "different values go to the same element")


def test_scatter_outside(net: Net) -> None:
    x, indices = (
        net.n.add_input("x", net.trt.float32, (3,)),
        net.n.add_input("i", net.trt.int32, (1,)),
    )
    mode = net.enum("ScatterMode", "ELEMENT")
    net.n.mark_output(net.n.add_scatter(x, indices, net.const([1.0]), mode).get_output(0))
    _refuses(net, [torch.zeros(3), torch.tensor([3], dtype=torch.int32)], "index lies outside")


def test_failing_assertion(net: Net) -> None:
    x = net.n.add_input("x", net.trt.float32, (-1, 2))
    rows = net.n.add_slice(net.n.add_shape(x).get_output(0), (0,), (1,), (1,)).get_output(0)
    three = net.const([3], trt_api.torch_dtype(rows.dtype))
    net.n.add_assertion(net.binary(rows, "EQUAL", three), "three rows, please")
    net.n.mark_output(net.unary(x, "NEG"))
    simulate(net.n, [torch.zeros(3, 2)])
    _refuses(net, [torch.zeros(2, 2)], "ASSERTION layer .* fails: three rows, please")


def test_integer_division_by_zero(net: Net) -> None:
    a, b = (net.n.add_input(name, net.trt.int32, (1,)) for name in "ab")
    net.n.mark_output(net.binary(a, "DIV", b))
    zero = torch.zeros(1, dtype=torch.int32)
    _refuses(
        net, [zero, zero], r"ELEMENTWISE layer .*ZeroDivisionError.*\(inputs: \[\('a', \(1,\)\)"
    )


def test_loop_shorter_than_its_output(net: Net) -> None:
    x = net.n.add_input("x", net.trt.float32, (2, 3))
    loop = net.n.add_loop()
    loop.add_trip_limit(net.index(2), net.enum("TripLimit", "COUNT"))
    row = loop.add_iterator(x).get_output(0)
    output = loop.add_loop_output(net.unary(row, "NEG"), net.enum("LoopOutput", "CONCATENATE"))
    output.set_input(1, net.index(3))
    net.n.mark_output(output.get_output(0))
    _refuses(net, [torch.zeros(2, 3)], "LOOP_OUTPUT layer .* ran 2 times and the length is 3")


def test_long_chain_needs_no_recursion(net: Net) -> None:
    x = tensor = net.n.add_input("x", net.trt.float32, (1,))
    for _ in range(3000):
        tensor = net.binary(tensor, "SUM", x)
    net.n.mark_output(tensor)
    assert simulate(net.n, [torch.ones(1)])[tensor.name].tolist() == [3001.0]


# --- weights that TensorRT does not give back -----------------------------------------------------


def _bfloat16_constant(net: Net, values: torch.Tensor) -> torch.Tensor:
    weights = net.trt.Weights(net.trt.bfloat16, values.data_ptr(), values.numel())
    layer = net.n.add_constant(tuple(values.shape), weights)
    layer.name = "table"
    net.n.mark_output(net.unary(layer.get_output(0), "NEG"))
    return values


@pytest.mark.skipif(not trt_api.supports("DataType.BF16"), reason="no bfloat16 in this TensorRT")
@pytest.mark.parametrize("key", ["table", "table.weights"])
def test_weights_by_name(net: Net, key: str) -> None:
    values = _bfloat16_constant(net, torch.tensor([[1.5, -2.0]], dtype=torch.bfloat16))
    found = simulate(net.n, [], weights={key: values})
    torch.testing.assert_close(found[net.n.get_output(0).name], -values)


@pytest.mark.skipif(not trt_api.supports("DataType.BF16"), reason="no bfloat16 in this TensorRT")
def test_missing_weights(net: Net) -> None:
    values = _bfloat16_constant(net, torch.tensor([[1.5, -2.0]], dtype=torch.bfloat16))
    _refuses(net, [], r"CONSTANT layer 'table': .* 2 weights weights of type .*BF16; pass them")
    with pytest.raises(SimulationError, match="has 1 elements, expected 2"):
        simulate(net.n, [], weights={"table": values[:, :1]})
