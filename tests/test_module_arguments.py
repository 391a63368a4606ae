"""Arguments that are no plain dense tensors: numbers, arrays, objects, views of other kinds."""

from collections import UserDict
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import pytest
import torch
from module_case import Lambda, defines_networks, same
from torch.utils import _pytree as pytree

from torch2trt.core import GraphModule
from torch2trt.errors import ConversionError, InputMismatchError, UnsupportedOpError
from torch2trt.module import TensorRTModuleWrapper, TVMModuleWrapper


@dataclass
class Options:
    scale: Any


@pytest.fixture(params=["tensorrt", "tvm"])
def wrap(request):
    if request.param == "tensorrt":
        defines_networks.args[0] and pytest.skip(defines_networks.kwargs["reason"])
        request.getfixturevalue("machine")
        return lambda function: TensorRTModuleWrapper(Lambda(function), 8).eval()
    pytest.importorskip("tvm")
    return lambda function: TVMModuleWrapper(Lambda(function)).eval()


def long_array(middle: float) -> np.ndarray:
    array = np.ones(2000, np.float32)
    array[1000] = middle
    return array


@pytest.mark.parametrize(
    "function, values",
    [
        (lambda x, a: x * torch.as_tensor(a), (long_array(1), long_array(5), long_array(1))),
        (lambda x, a: x * a.scale, (Options(2.0), Options(3.0), Options(2.0))),
        (lambda x, a: a(x), (lambda x: x * 2, lambda x: x * 3, torch.relu)),
        (lambda x, a: x * float(a), (np.float32(2), np.float32(3), 2.0)),
        (lambda x, a: x[a] + 1, (slice(0, 2), slice(1, 3), slice(2, None))),
        (lambda x, a: x * 0 + (1 if a is True else 2), (True, 1, False)),
    ],
    ids=["array", "dataclass", "function", "numpy_number", "slice", "bool"],
)
def test_a_value_of_its_own_has_a_program_of_its_own(wrap, function, values):
    wrapped = wrap(function)
    for value in values:
        x = torch.randn(4, 2000)
        same(wrapped(x, value), function(x, value))


def test_a_function_that_took_the_place_of_another_is_another(wrap):
    wrapped = wrap(lambda x, a: a(x))
    for factor in range(4):
        x = torch.randn(2, 3)
        same(wrapped(x, lambda x, factor=factor: x * factor), x * factor)


@pytest.mark.parametrize("value", [UserDict(a=torch.ones(3)), Options(torch.ones(3)), object()])
def test_objects_that_may_hold_anything_are_refused(wrap, value):
    wrapped = wrap(lambda x, a: x * 2)
    with pytest.raises(InputMismatchError, match="input 1: got a .* expected tensors and plain"):
        wrapped(torch.randn(2, 3), value)


def test_negated_views_are_read_as_they_are(wrap):
    wrapped = wrap(lambda x: x * 2 + 1)
    z = torch.randn(2, 3, dtype=torch.complex64)
    for x in (torch.randn(2, 3), z.conj().imag, torch._neg_view(torch.randn(2, 3))):
        same(wrapped(x), x * 2 + 1)


def test_weights_that_are_negated_views_are_read_as_they_are(wrap):
    weight = torch.randn(3, dtype=torch.complex64).conj().imag
    assert weight.is_neg()
    wrapped = wrap(lambda x: x)
    wrapped.net.register_buffer("weight", weight)
    wrapped.net.function = lambda x: x * wrapped.net.weight
    x = torch.randn(2, 3)
    same(wrapped(x), x * weight)


@pytest.mark.parametrize(
    "make, message",
    [
        (lambda: torch.eye(3).to_sparse(), "got a sparse_coo tensor, expected a dense one"),
        (lambda: torch.nested.nested_tensor([torch.ones(2)]), "got a nested tensor"),
        (lambda: np.ones(3), r"got no tensor, expected at least one, in \(ndarray\[3\]\)"),
    ],
    ids=["sparse", "nested", "array"],
)
def test_tensors_of_other_kinds_are_refused(wrap, make, message):
    with pytest.raises(InputMismatchError, match=message):
        wrap(lambda x: x * 2)(make())


def test_a_traced_graph_compares_arrays():
    graph = GraphModule(lambda x, a: x * torch.as_tensor(a), (torch.ones(2000), long_array(1)))
    same(graph(torch.ones(2000) * 2, long_array(1)), torch.ones(2000) * 2)
    with pytest.raises(InputMismatchError, match="fixed by the trace"):
        graph(torch.ones(2000), long_array(5))


@pytest.mark.parametrize(
    "function",
    [
        lambda x: (x * 2, x.shape[1], [x.shape[0] * 2 + 1], x.numel()),
        lambda x: {"y": x + 1, "size": tuple(x.shape), "half": x.shape[1] / 2},
        lambda x: (x + x.shape[1], x.shape[1] > 5, -x.shape[0], x.shape[1] * torch.ones(())),
    ],
    ids=["list", "dict", "comparison"],
)
def test_sizes_among_the_outputs_are_numbers(wrap, function):
    wrapped = wrap(function)
    for shape in ((2, 5), (3, 5), (2, 7), (2, 5)):
        x = torch.randn(shape)
        got, expected = wrapped(x), function(x)
        same(got, expected)
        leaves = zip(pytree.tree_leaves(got), pytree.tree_leaves(expected))
        assert all(type(a) is type(b) for a, b in leaves)


@defines_networks
@pytest.mark.parametrize(
    "function",
    [
        lambda x: (x * 2, x.shape[1], x.shape[1] * x.shape[0]),
        lambda x: (x * 2, x.shape[1] / 3, x.shape[0] / 2),
        lambda x: x * (x.shape[1] / 2),
    ],
    ids=["integers", "quotients", "factor"],
)
def test_a_dynamic_size_among_the_outputs(machine, function):
    net = Lambda(function)
    wrapped = TensorRTModuleWrapper(net, 4, dynamic={"input0": {1: (2, 4, 8)}}).eval()
    for shape in ((2, 5), (1, 8), (3, 2)):
        x = torch.randn(shape)
        same(wrapped(x), net(x))
    assert len(machine.builds) == 1


@pytest.mark.parametrize("before", [False, True], ids=["first", "later"])
def test_autocast_around_a_call_changes_nothing(wrap, before):
    linear = torch.nn.Linear(3, 2).eval()
    wrapped = wrap(lambda x: torch.nn.functional.linear(x, wrapped.net.weight, wrapped.net.bias))
    wrapped.net.weight, wrapped.net.bias = linear.weight, linear.bias
    x = torch.randn(2, 3)
    expected = linear(x)
    if before:
        same(wrapped(x), expected)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        linear(x)  # autocast keeps the weight that it has cast
        got = wrapped(x)
    same(got, expected)


def test_a_program_traced_under_autocast_casts_its_weights_itself():
    linear, x = torch.nn.Linear(3, 2), torch.randn(2, 3)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        expected = linear(x)
        graph = GraphModule(linear, x)
    assert graph(x).equal(expected)
    with torch.no_grad():
        linear.weight.mul_(2)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert graph(x).equal(linear(x))


def test_a_tensor_with_gradients_that_is_no_parameter_is_named(wrap):
    weight = torch.randn(3, requires_grad=True)
    with pytest.raises(ConversionError, match="is no parameter of it; make it an nn.Parameter"):
        wrap(lambda x: x * weight)(torch.randn(2, 3))


def test_packed_weights_run_in_debug_mode():
    linear = torch.nn.Sequential(torch.nn.Linear(4, 3)).eval()
    quantized = torch.ao.quantization.quantize_dynamic(linear, {torch.nn.Linear})
    x = torch.randn(2, 4)
    graph = GraphModule(quantized, torch.randn(2, 4))
    assert graph(x).equal(quantized(x))
    with pytest.raises(UnsupportedOpError, match="quantized::linear_dynamic"):
        TVMModuleWrapper(quantized)(x)


def test_partial_functions_are_told_apart_by_what_is_given_by_name(wrap):
    wrapped = wrap(lambda x, f: x * (f.args[0][1] if f.args else f.keywords["a"] + 1.0))
    x = torch.randn(2, 3)
    same(wrapped(x, partial(torch.add, ("a", 5))), x * 5)
    same(wrapped(x, partial(torch.add, a=5)), x * 6)


def test_bound_methods_are_what_they_are_bound_to(wrap):
    linear = torch.nn.Linear(3, 2).requires_grad_(False)
    with pytest.raises(InputMismatchError, match="Linear"):
        wrap(lambda x, f: f(x))(torch.randn(2, 3), linear.forward)
