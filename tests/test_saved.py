"""What an engine file says about calling it, and modules loaded from it."""

import json
from types import SimpleNamespace

import pytest
import torch
from torch import nn

from torch2trt import saved
from torch2trt.core import GraphModule
from torch2trt.errors import InputMismatchError, Torch2TrtError
from torch2trt.program import Input
from torch2trt.saved import LoadedModule, describe_call


def loaded(monkeypatch, program, args, kwargs=None):
    """The module from a file, with the traced graph in place of the engine."""
    graph = GraphModule(program, args, example_kwargs=kwargs)
    inputs = [Input(f"input{i}", v.shape, v.dtype) for i, v in enumerate(graph.graph.inputs)]
    extra = json.loads(json.dumps(describe_call(graph, inputs)))
    run = SimpleNamespace(run=lambda *tensors: tuple(graph.run(list(tensors))))
    monkeypatch.setattr(saved, "TorchInferenceContext", lambda engine, cuda_graph: run)
    return LoadedModule(SimpleNamespace(extra=extra))


def test_nested_inputs_and_outputs_survive_the_file(monkeypatch):
    def program(pair, options, scale=None):
        a, b = pair
        return {"sum": a + b, "more": [a * options["factor"], (None, "text", 3)]}

    a, b = torch.rand(2, 3), torch.rand(2, 3)
    module = loaded(monkeypatch, program, ((a, b), {"factor": 2}), {"scale": None})
    got = module((a, b), {"factor": 2}, scale=None)
    expected = program((a, b), {"factor": 2})
    assert got["sum"].equal(expected["sum"]) and got["more"][0].equal(expected["more"][0])
    assert got["more"][1] == (None, "text", 3)
    assert not module.training


def test_a_single_tensor(monkeypatch):
    x = torch.rand(3)
    assert loaded(monkeypatch, nn.ReLU(), x)(x).equal(x)


def test_outputs_get_their_type_back(monkeypatch):
    x = torch.rand(2, 6)
    module = loaded(monkeypatch, lambda x: x.argmax(1), x)
    module._run = lambda x: (x.argmax(1).int(),)
    assert module(x).dtype == torch.int64 and module(x).equal(x.argmax(1))


class Constants(nn.Module):
    """TorchScript records no dtype of attributes and of what scripts return."""

    def __init__(self):
        super().__init__()
        self.register_buffer("index", torch.arange(3))
        self.positive = torch.jit.script(positive_ones)

    def forward(self, x):
        return self.index, x, self.positive(x)


def positive_ones(x):
    return (x > 0).long()


def test_constants_and_results_of_scripts_get_their_type_back(monkeypatch):
    x = torch.tensor([0.5, -1.0, 2.0])
    assert [v.dtype for v in GraphModule(Constants(), x).graph.outputs] == [
        torch.int64,
        torch.float32,
        torch.int64,
    ]
    module = loaded(monkeypatch, Constants(), x)
    module._run = lambda x: (torch.arange(3).int(), x, (x > 0).int())
    index, same, positive = module(x)
    assert index.dtype == positive.dtype == torch.int64 and same.equal(x)
    assert positive.tolist() == [1, 0, 1]


def test_another_structure_or_fixed_value_is_refused(monkeypatch):
    x = torch.rand(2)
    module = loaded(monkeypatch, lambda x, n: x * n, (x, 3))
    assert module(x, 3).equal(x * 3)
    with pytest.raises(InputMismatchError, match="got 4, expected 3"):
        module(x, 4)
    with pytest.raises(InputMismatchError, match="inputs: got"):
        module(x)


def test_types_of_the_users_own_cannot_be_saved(monkeypatch):
    class Own:
        def __init__(self, x):
            self.x = x

    torch.utils._pytree.register_pytree_node(Own, lambda o: ([o.x], None), lambda v, _: Own(*v))
    with pytest.raises(Torch2TrtError, match="tuples, lists and dicts"):
        loaded(monkeypatch, lambda own: own.x + 1, (Own(torch.rand(2)),))


def test_an_engine_file_without_a_call_says_what_to_use():
    with pytest.raises(Torch2TrtError, match="Engine.load"):
        LoadedModule(SimpleNamespace(extra={}))


def test_sizes_among_the_outputs_are_numbers(monkeypatch):
    x = torch.rand(2, 3)
    module = loaded(monkeypatch, lambda x: (x, x.shape[1]), x)
    module._run = lambda x: (x, torch.tensor(x.shape[1], dtype=torch.int32))
    assert module(x)[1] == 3 and type(module(x)[1]) is int
