"""The benchmark: timing, rows, the command line, and the comparison with engines of ONNX files."""

import importlib.util
import json
import time

import pytest
import simulated_engine
import torch
from torch import nn

from torch2trt.backends import trt_api
from torch2trt.benchmark import engines, make_network, networks, versus_onnx
from torch2trt.benchmark.__main__ import Row, geometric_means, main, table
from torch2trt.benchmark.setting import Setting
from torch2trt.benchmark.timing import Timing, interleave
from torch2trt.build import build_engine

needs_rtx = pytest.mark.skipif(
    not trt_api.available() or not trt_api.is_rtx(), reason="only TensorRT-RTX builds without a GPU"
)
needs_onnx = pytest.mark.skipif(
    importlib.util.find_spec("onnx") is None, reason="the ONNX exporter needs the package onnx"
)


def test_times_are_of_the_right_contender():
    times = interleave({"slow": lambda: time.sleep(0.02), "fast": lambda: time.sleep(0.005)}, 0.3)
    assert 20 <= times["slow"].median < 40 and 5 <= times["fast"].median < 15
    low, middle, high = times["fast"].ratio(times["slow"])
    assert low <= middle <= high and 0.1 < middle < 0.6
    assert times["slow"].rounds >= 5 and times["slow"].latency is None


def test_a_very_slow_contender_gets_few_turns():
    calls = {"slow": 0}

    def slow():
        calls["slow"] += 1
        time.sleep(0.6)

    times = interleave({"slow": slow, "fast": lambda: None}, 0.1)
    assert times["slow"].rounds == 3 and calls["slow"] <= 6 and times["fast"].rounds >= 5


def test_ratios_are_taken_turn_by_turn():
    assert Timing((2.0, 4.0, 30.0)).ratio(Timing((1.0, 2.0, 15.0))) == (2.0, 2.0, 2.0)


def test_table_and_means():
    rows = [
        Row("a", "PyTorch", 1, "float32", 0.1, 1e-7, 10.0, ratio=1.0),
        Row("a", "TVM", 1, "float32", 2.0, 1e-6, 4.0, ratio=0.4),
        Row("b", "TVM", 1, "float32", 2.0, 1e-6, 9.0, ratio=0.9),
        Row("b", "TensorRT", 1, "float32", note="no GPU"),
        Row("a", "TVM", 8, "float32", 2.0, 1e-6, 9.0, ratio=0.5),
    ]
    means = geometric_means(rows)
    assert means["float32, batch 1"] == {"PyTorch": 1.0, "TVM": pytest.approx(0.6)}
    assert means["float32, batch 8"] == {"TVM": 0.5}
    assert table(rows).splitlines()[4].endswith("no GPU")


def test_command_line(tmp_path, capsys):
    file = tmp_path / "figures.json"
    arguments = [
        "--networks",
        "lstm",
        "--contenders",
        "PyTorch",
        "PyTorch channels_last",
        "--batch",
    ]
    assert (
        main([*arguments, "1", "2", "--seconds", "0.1", "--threads", "1", "--json", str(file)]) == 0
    )
    record = json.loads(file.read_text())
    assert [(r["batch"], r["contender"]) for r in record["rows"]] == [
        (1, "PyTorch"), (1, "PyTorch channels_last"), (2, "PyTorch"), (2, "PyTorch channels_last"),
    ]  # fmt: skip
    assert record["rows"][0]["error"] < 1e-6 and record["rows"][0]["ratio"] == 1
    assert "needs images" in record["rows"][1]["note"]
    assert record["machine"]["threads"] == 1 and "batch 2: PyTorch 1.00" in capsys.readouterr().out


def test_half_precision_of_calibrated_networks_is_finite():
    module, network = make_network("resnet18")
    x = network.example()
    with torch.no_grad():
        expected, got = module(x), module.half()(x.half()).float()
    assert (got - expected).norm() / expected.norm() < 5e-3


def small_network():
    return nn.Sequential(
        nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten()
    )


@pytest.fixture
def small(monkeypatch):
    """A small network of the benchmark, and a GPU that is none."""
    found = networks.Network("small", small_network, (3, 8, 8))
    monkeypatch.setitem(networks.NETWORKS, "small", found)
    monkeypatch.setattr(engines, "require_gpu", lambda setting: None)
    monkeypatch.setattr(engines, "_place", lambda: "simulated")


@needs_rtx
@needs_onnx
@pytest.mark.parametrize("dtype", ["tf32", "float16"])
def test_the_network_of_an_onnx_file_builds(small, dtype):
    module, network = make_network("small")
    setting = Setting(module, network.example(), dtype)
    builder = trt_api.create_builder()
    parsed, parser = engines.parsed(builder, setting)
    kind = torch.float16 if dtype == "float16" else torch.float32
    assert trt_api.torch_dtype(parsed.get_input(0).dtype) == kind
    assert len(build_engine(builder, parsed, engines.onnx_options(setting))) > 1000
    del parser


@needs_rtx
def test_versus_onnx_on_simulated_engines(small, monkeypatch, tmp_path, capsys):
    simulated_engine.install(monkeypatch)
    for name in ("synchronize", "empty_cache"):
        monkeypatch.setattr(torch.cuda, name, lambda: None)
    monkeypatch.setattr(nn.Module, "cuda", lambda self: self)
    monkeypatch.setattr(torch.Tensor, "cuda", lambda self: self)
    monkeypatch.setattr(versus_onnx, "machine", lambda device: {})
    monkeypatch.setattr(versus_onnx, "load", lambda path, cuda_graph: lambda x: x)
    monkeypatch.setattr(
        versus_onnx.TensorRTModuleWrapper, "save", lambda self, path: open(path, "w").close()
    )
    monkeypatch.setattr(versus_onnx, "replayed", lambda engine, x: lambda: engine.run(x)[0])
    monkeypatch.setattr(
        versus_onnx, "layer_times", lambda engine, x: [("conv", 3.0), ("Reformat", 1.0)]
    )

    def onnx_engine(setting):
        twin = engines.own_module(setting)
        twin(setting.example)  # the other road to an engine needs a GPU
        return twin.latest_variant().program.engine

    monkeypatch.setattr(versus_onnx, "onnx_engine", onnx_engine)
    figures, layers = tmp_path / "figures.json", tmp_path / "layers.json"
    arguments = [
        "small:tf32",
        "--cache",
        str(tmp_path / "cache"),
        "--seconds",
        "0.1",
        "--json",
        str(figures),
    ]
    arguments += ["--layers", str(layers), "--load", "small", "--refit", "small:tf32"]
    assert versus_onnx.main(arguments) == 0
    record = json.loads(figures.read_text())["items"]["small:tf32"]
    assert set(record["errors"]) == {"PyTorch", "torch2trt", "ONNX", "module"}
    assert max(record["errors"].values()) < 1e-5 and len(record["ratio_to_onnx"]) == 3
    assert record["layers"]["ONNX"] == {
        "count": 2, "microseconds": 4.0, "reformats": 1, "reformat_microseconds": 1.0,
    }  # fmt: skip
    refit = record["refit"]
    assert refit["changed_output"] and refit["same_engine"] and refit["bit_identical"]
    assert refit["error"] < 1e-5 and len(refit["seconds"]) == 3
    assert json.loads(layers.read_text())["small:tf32"]["torch2trt"] == [
        ["conv", 3.0],
        ["Reformat", 1.0],
    ]
    assert "of the ONNX engine" in capsys.readouterr().out
    assert versus_onnx.main(arguments) == 0 and capsys.readouterr().out == ""


def test_an_item_that_fails_is_noted_and_the_next_one_runs(monkeypatch, tmp_path):
    def run(item, options, record, layers):
        record.update(
            ratio_to_onnx=(1, 1, 1), build_seconds=1, onnx_build_seconds=1, milliseconds={}
        )
        yield
        if item == "a:tf32":
            raise RuntimeError("no")

    monkeypatch.setattr(versus_onnx, "run", run)
    monkeypatch.setattr(versus_onnx, "machine", lambda device: {})
    file = tmp_path / "figures.json"
    assert (
        versus_onnx.main(["a:tf32", "b:tf32", "--cache", str(tmp_path), "--json", str(file)]) == 1
    )
    items = json.loads(file.read_text())["items"]
    assert items["a:tf32"]["note"] == "no" and items["a:tf32"]["ratio_to_onnx"] == [1, 1, 1]
    assert "note" not in items["b:tf32"]


def test_an_unknown_item_is_refused():
    with pytest.raises(ValueError, match="resnet50:tf32"):
        list(versus_onnx.run("resnet50", None, {}, {}))
