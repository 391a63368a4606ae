"""Outputs of which TensorRT 8.6 tells not even the number of dimensions before they have run."""

import json
from types import SimpleNamespace

import pytest
import torch
from fake_engine import FakeCudaEngine

from torch2trt import container
from torch2trt.backends import trt_api
from torch2trt.definition import definition_digest
from torch2trt.engine import Engine, describe, network_specs

pytestmark = pytest.mark.skipif(not trt_api.available(), reason="no TensorRT is installed")


class Unknown:
    """Dimensions as the bindings of 8.6 give them when their number is -1."""

    def __len__(self):
        return -1

    def __iter__(self):
        return iter(())


def network(*shapes):
    """A network with the input x and outputs of these shapes."""
    kind = trt_api.trt().float32
    x = SimpleNamespace(name="x", dtype=kind, shape=(-1, 3), is_network_input=True)
    outputs = [
        SimpleNamespace(name=f"y{i}", dtype=kind, shape=shape, is_network_input=False)
        for i, shape in enumerate(shapes)
    ]
    return SimpleNamespace(
        num_inputs=1, get_input=[x].__getitem__, num_layers=0,
        num_outputs=len(outputs), get_output=outputs.__getitem__,
    )  # fmt: skip


class OfUnknownRank(FakeCudaEngine):
    def get_tensor_shape(self, name):
        return Unknown() if name == "sum" else super().get_tensor_shape(name)

    def serialize(self):
        return b"plan"


def test_dimensions():
    assert trt_api.known_dims(Unknown()) is None
    assert trt_api.known_dims([2, -1]) == (2, -1) and trt_api.known_dims(()) == ()


def test_a_network_is_described_and_has_a_digest():
    specs = network_specs(network(Unknown(), (2,)))
    assert [s.shape for s in specs] == [(-1, 3), None, (2,)]
    description = describe(specs, None, {})
    assert json.loads(json.dumps(description))["outputs"][0]["shape"] is None
    digests = [definition_digest(network(*s)) for s in ([Unknown()], [()], [(2,)], [Unknown()])]
    assert len(set(digests)) == 3 and digests[0] == digests[3]


def test_an_engine_is_saved_and_says_so(tmp_path, monkeypatch):
    made = Engine(OfUnknownRank(), 0)
    (y,) = made.outputs
    assert y.shape is None and y.dtype == torch.float32
    assert [s.shape for s in made.inputs] == [(-1, 3), (1, 3)]
    monkeypatch.setattr("torch2trt.engine._gpu", lambda device: {"name": "a GPU"})
    made.save(tmp_path / "a.engine", {"note": 1})
    description, plan = container.read(tmp_path / "a.engine")
    assert description["outputs"] == [{**y.as_json(), "ranges": []}]
    assert bytes(plan) == b"plan"
