"""What a user can pass wrongly, in one table: the error says it, and all works on afterwards."""

import copy

import pytest
import torch
from module_case import Lambda, defines_networks, images, net, same
from torch import nn

import torch2trt
from torch2trt.backends import trt_api
from torch2trt.errors import ConversionError, InputMismatchError, UnsupportedOpError


def tensorrt_module(model, machine):
    pytest.importorskip("tensorrt_rtx", reason="no TensorRT that defines networks")
    return torch2trt.TensorRTModuleWrapper(model, 4)


def tvm_module(model, machine):
    pytest.importorskip("tvm", reason="TVM is not installed")
    return torch2trt.TVMModuleWrapper(model)


MODULES = [pytest.param(tensorrt_module, marks=defines_networks), tvm_module]

CALLS = {
    "too many": (
        lambda: (images(2), images(2)),
        r"inputs \(float32\[2, 3, 4, 4\] on cpu, float32\[2, 3, 4, 4\] on cpu\).*positional",
    ),
    "none": (lambda: (), "got no tensor, expected at least one"),
    "no tensor": (lambda: ("text",), "got no tensor, expected at least one"),
    "size": (
        lambda: (torch.rand(2, 3, 5, 5),), r"float32\[2, 3, 5, 5\].*cannot be multiplied",
    ),
    "rank": (
        lambda: (torch.rand(3, 4),), r"float32\[[23], 4\].*Expected 3D.*got",
    ),
    "dtype": (lambda: (images(2).double(),), r"float64\[2, 3, 4, 4\].*should be the same"),
}  # fmt: skip


def works_on(wrapped, model, state):
    """The context is reset, eval and train mode work, and the model is as it was."""
    assert torch2trt.current_context().is_torch
    x = images(2)
    same(wrapped(x), model(x))
    wrapped.train()
    wrapped(x).sum().backward()
    assert model[0].weight.grad is not None
    wrapped.eval()
    unchanged = {k: v for k, v in model.state_dict().items() if "running" not in k}
    assert all(torch.equal(v, state[k]) for k, v in unchanged.items() if "num_batches" not in k)
    assert type(model) is nn.Sequential


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize("make", MODULES)
@pytest.mark.parametrize("before", [False, True], ids=["first", "later"])
def test_wrong_inputs_of_a_module(make, call, before, machine):
    model = net()
    state = copy.deepcopy(model.state_dict())
    wrapped = make(model, machine).eval()
    if before:
        wrapped(images(2))
    inputs, message = CALLS[call]
    with pytest.raises(InputMismatchError, match=message):
        wrapped(*inputs())
    works_on(wrapped, model, state)


@defines_networks
def test_a_batch_above_the_limit(machine):
    model = net()
    state = copy.deepcopy(model.state_dict())
    wrapped = torch2trt.TensorRTModuleWrapper(model, 4)
    expected = r"'input0': got shape \(5, 3, 4, 4\), a batch of 5, expected 1 to 4"
    with pytest.raises(InputMismatchError, match=expected):
        wrapped(images(5))
    works_on(wrapped, model, state)


@pytest.mark.parametrize("make", MODULES)
@pytest.mark.parametrize(
    ("last", "error", "message"),
    [
        (Lambda(lambda x: torch.linalg.cholesky(x @ x.T)), UnsupportedOpError, "cholesky.*in net"),
        (Lambda(lambda x: "text"), ConversionError, "returned str; expected tensors"),
    ],
    ids=["operator", "output"],
)
def test_a_program_that_cannot_be_converted(make, last, error, message, machine):
    model = nn.Sequential(*net(), last)
    state = copy.deepcopy(model.state_dict())
    wrapped = make(model, machine).eval()
    with pytest.raises(error, match=message):
        wrapped(images(2))
    model[5] = Lambda(lambda x: x + 1)
    wrapped.reset()
    works_on(wrapped, model, state)


def itensors():
    network = trt_api.create_network(trt_api.create_builder())
    trt = trt_api.trt()
    made = {"network": network, "x": network.add_input("x", trt.float32, (2, 3))}
    made["rank"] = network.add_input("rank", trt.float32, (2, 3, 4))
    made["dtype"] = network.add_input("dtype", trt.int32, (2, 3))
    return made


@defines_networks
@pytest.mark.parametrize(
    ("inputs", "active", "error", "message"),
    [
        (("x", "x"), None, ConversionError, "got a TensorRT ITensor.*inside `with torch2trt.trt_"),
        (("x", "x"), "tvm", ConversionError, "got a TensorRT ITensor.*active context is 'rel"),
        (("x", "torch"), "trt", ConversionError, "torch tensors and symbolic tensors are mixed"),
        (("x", "rank"), "trt", InputMismatchError, r"input 1 \(b\).*4.*expected.*2 dimensions"),
        (("x", "dtype"), "trt", InputMismatchError, r"input 1 \(b\): got torch.int32.*float32"),
        (("x",), "trt", InputMismatchError, "expected the structure of the example.*2 tensors"),
    ],
)
def test_mixed_contexts(inputs, active, error, message):
    def add(a, b):
        return a + b

    example = torch.rand(2, 3)
    graph = torch2trt.GraphModule(add, (example, example))
    made = {**itensors(), "torch": example}
    contexts = {
        None: torch2trt.torch_network,
        "trt": lambda: torch2trt.trt_network(made["network"]),
        "tvm": torch2trt.tvm_network,
    }
    if active == "tvm":
        pytest.importorskip("tvm", reason="TVM is not installed")
    with contexts[active](), pytest.raises(error, match=message):
        graph(*(made[name] for name in inputs))
    assert torch2trt.current_context().is_torch
    same(graph(example, example), example + example)
    with torch2trt.trt_network(made["network"]):
        assert torch2trt.has_trt_tensor(graph(made["x"], made["x"]))


def test_a_program_that_fails_by_itself_says_on_what():
    with pytest.raises(InputMismatchError, match=r"matmul fails in PyTorch.*int64\[2\] on cpu"):
        torch2trt.GraphModule(torch.matmul, (torch.rand(2), torch.tensor([1, 2])))
