"""Engine files: what loading says of damaged and foreign ones, and that none is a pickle."""

import _pickle
import ast
import json
import pickle
from pathlib import Path

import pytest
import torch
from torch import nn

import torch2trt
from torch2trt import TensorRTModuleWrapper, container, engine, saved
from torch2trt.__main__ import main
from torch2trt.backends import trt_api
from torch2trt.engine import Engine, EngineFileError
from torch2trt.errors import BackendUnavailableError, Torch2TrtError
from torch2trt.files import write_atomic

needs_rtx = pytest.mark.skipif(
    not trt_api.available() or not trt_api.is_rtx(),
    reason="only TensorRT-RTX builds engines without a GPU",
)


@pytest.fixture(scope="module")
def good(tmp_path_factory):
    """The bytes of an engine file that was built here."""
    path = tmp_path_factory.mktemp("engine") / "good.engine"
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(3, 4), nn.ReLU()).eval()
    TensorRTModuleWrapper(net, 1, optimization_level=0).build(path, torch.randn(1, 3))
    return path.read_bytes()


def _flipped(data, position):
    return data[:position] + bytes([data[position] ^ 4]) + data[position + 1 :]


DAMAGE = {
    "cut in the plan": lambda data: data[: len(data) // 2],
    "cut in the description": lambda data: data[:100],
    "cut in the head": lambda data: data[:11],
    "one byte too many": lambda data: data + b"x",
    "flipped in the plan": lambda data: _flipped(data, len(data) - 1000),
    "flipped in the description": lambda data: _flipped(data, 200),
    "flipped in the checksum": lambda data: _flipped(data, len(data) - 1),
    "flipped in a length": lambda data: _flipped(data, 19),
    "of another format": lambda data: _flipped(data, 8),
    "zeros": lambda data: bytes(len(data)),
    "empty": lambda data: b"",
    "text": lambda data: b"#!/bin/sh\n" * 100,
    "a bare plan": lambda data: bytes(data[2000:-32]),
    "a pickle": lambda data: pickle.dumps({"library": "x"}),
}


@needs_rtx
@pytest.mark.parametrize("load", [torch2trt.load, Engine.load], ids=["load", "Engine.load"])
@pytest.mark.parametrize("damage", DAMAGE)
def test_a_damaged_file_is_refused_by_name(good, tmp_path, capsys, damage, load):
    path = tmp_path / "damaged.engine"
    path.write_bytes(DAMAGE[damage](good))
    with pytest.raises(EngineFileError) as caught:
        load(path)
    text = str(caught.value)
    assert text.startswith(str(path))
    assert any(reason in text for reason in ("is damaged", "is not a torch2trt engine", "format"))
    assert main(["run", str(path)]) == main(["inspect", str(path)]) == 1
    assert capsys.readouterr().err.count(text) == 2


@pytest.mark.parametrize("load", [torch2trt.load, Engine.load], ids=["load", "Engine.load"])
@pytest.mark.parametrize("description", [{}, {"extra": {}}, [], None])
def test_a_file_that_describes_no_engine_is_refused(tmp_path, load, description):
    path = tmp_path / "other.engine"
    container.write(path, description, b"plan")
    with pytest.raises(EngineFileError, match=f"{path} describes no engine"):
        load(path)


@pytest.mark.parametrize("load", [torch2trt.load, Engine.load], ids=["load", "Engine.load"])
def test_what_cannot_be_opened_is_named(tmp_path, load):
    with pytest.raises(FileNotFoundError, match="nothing.engine"):
        load(tmp_path / "nothing.engine")
    with pytest.raises(IsADirectoryError, match=str(tmp_path)):
        load(tmp_path)


@needs_rtx
@pytest.mark.skipif(trt_api.can_run(), reason="says what happens where engines cannot run")
def test_a_good_file_says_what_is_missing_to_run_it(good, tmp_path):
    path = tmp_path / "good.engine"
    path.write_bytes(good)
    with pytest.raises(BackendUnavailableError, match="cannot be loaded here: no NVIDIA GPU"):
        torch2trt.load(path)


@needs_rtx
@pytest.mark.parametrize(
    "field, value, message",
    [
        ("library", "tensorrt 1.2.3", "was built by tensorrt 1.2.3, and here is tensorrt_rtx"),
        ("gpu", {"name": "old", "compute_capability": "7.0"}, "built for .*old.*and here is .*new"),
    ],
)
def test_another_version_or_gpu_is_refused(good, tmp_path, monkeypatch, field, value, message):
    monkeypatch.setattr(trt_api, "can_run", lambda: True)
    here = {"name": "new", "compute_capability": "9.0"}
    monkeypatch.setattr(engine, "_gpu", lambda device: here)
    path = tmp_path / "good.engine"
    path.write_bytes(good)
    description, plan = container.read(path)
    container.write(path, {**description, field: value}, plan)
    with pytest.raises(EngineFileError, match=message):
        torch2trt.load(path, device="cuda:0")


def test_an_engine_file_that_says_nothing_of_calls_is_refused(tmp_path, monkeypatch):
    class Loaded:
        extra = {"hashes": {}}

    monkeypatch.setattr(Engine, "load", lambda path, device: Loaded())
    with pytest.raises(Torch2TrtError, match="does not say how to call it"):
        torch2trt.load(tmp_path / "a.engine")


# --- no pickle -----------------------------------------------------------------------------------

SOURCES = Path(torch2trt.__file__).parent
# The code of a TVM program in PyTorch's own format, read with weights_only=True.
PYTORCH_FORMAT = {"backends/schedules/compiled.py"}
PICKLING = {"load", "loads", "dump", "dumps", "Unpickler", "Pickler"}


def _calls(path):
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
            owner = node.func.value
            yield getattr(owner, "id", ""), node.func.attr, {k.arg: k.value for k in node.keywords}


def _imports(path):
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom):
            yield (node.module or "").split(".")[0], {alias.name for alias in node.names}
        elif isinstance(node, ast.Import):
            yield from ((alias.name.split(".")[0], set()) for alias in node.names)


@pytest.mark.parametrize("path", sorted(SOURCES.rglob("*.py")), ids=lambda p: p.stem)
def test_no_code_here_pickles(path):
    name = path.relative_to(SOURCES).as_posix()
    modules = {"pickle", "_pickle", "cPickle", "cloudpickle", "dill", "joblib", "marshal", "shelve"}
    for module, names in _imports(path):
        assert module not in modules - {"pickle"}, module
        assert module != "pickle" or not names, names
    for owner, function, options in _calls(path):
        call = f"{owner}.{function}"
        assert owner != "pickle" or function not in PICKLING, call
        if call == "torch.load":
            assert getattr(options.get("weights_only"), "value", None) is True, call
        if call in ("torch.save", "torch.load"):
            assert name in PYTORCH_FORMAT, call
        allowed = options.get("allow_pickle")
        assert getattr(allowed, "value", False) is False, call


@pytest.fixture
def no_pickle(monkeypatch):
    def refuse(*args, **options):
        raise AssertionError("a pickle is read or written")

    for module in (pickle, _pickle):
        for name in PICKLING:
            monkeypatch.setattr(module, name, refuse)
    for name in ("save", "load"):
        monkeypatch.setattr(torch, name, refuse)


@needs_rtx
def test_an_engine_file_is_json_and_a_plan(good, tmp_path, no_pickle):
    size = int.from_bytes(good[12:20], "little")
    description = json.loads(good[20 : 20 + size])
    assert set(description) >= {"library", "gpu", "inputs", "outputs", "extra"}
    plan = int.from_bytes(good[20 + size : 28 + size], "little")
    assert len(good) == 28 + size + plan + 32
    with pytest.raises(AssertionError, match="a pickle is read"):
        pickle.loads(good)


@needs_rtx
def test_building_caching_and_loading_never_pickle(tmp_path, no_pickle, monkeypatch):
    net, x = nn.Sequential(nn.Linear(3, 4), nn.ReLU()).eval(), torch.randn(1, 3)
    for _ in range(2):
        wrapped = TensorRTModuleWrapper(net, 1, optimization_level=0, cache=tmp_path / "cache")
        wrapped.build(tmp_path / "a.engine", x)
    description, _ = container.read(tmp_path / "a.engine")

    class Loaded:
        extra = description["extra"]

    class Context:
        def __init__(self, engine, cuda_graph):
            self.run = lambda x: (net(x),)

    monkeypatch.setattr(Engine, "load", lambda path, device: Loaded())
    monkeypatch.setattr(saved, "TorchInferenceContext", Context)
    assert torch2trt.load(tmp_path / "a.engine")(x).equal(net(x))


def test_a_folder_that_is_missing_is_named(tmp_path):
    path = tmp_path / "none" / "x.engine"
    with pytest.raises(FileNotFoundError) as caught:
        write_atomic(path, [b"plan"])
    assert str(caught.value) == f"[Errno 2] No such file or directory: '{path}'"
