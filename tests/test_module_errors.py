"""TensorRTModule: the check after a build, errors, what needs no GPU. Engines are simulated."""

import logging

import pytest
import simulated_engine
import torch
from module_case import Lambda, copy_in_place, defines_networks, images, net, plain_net, same
from torch import nn

from torch2trt import container
from torch2trt.backends import trt_api
from torch2trt.errors import (
    BackendUnavailableError,
    ConversionError,
    EngineBuildError,
    InputMismatchError,
    UnsupportedOpError,
)
from torch2trt.module import TensorRTModuleWrapper

pytestmark = defines_networks


# --- the check after the build --------------------------------------------------------------------


def spoil(monkeypatch, change):
    run = simulated_engine.SimulatedEngine.run
    monkeypatch.setattr(
        simulated_engine.SimulatedEngine, "run", lambda e, *x: tuple(map(change, run(e, *x)))
    )


def test_an_engine_that_is_not_finite_is_an_error(machine, monkeypatch):
    spoil(monkeypatch, lambda y: y * float("inf"))
    wrapped = TensorRTModuleWrapper(plain_net(), 2, dtype="float16")
    with pytest.raises(EngineBuildError, match="not finite .*float32"):
        wrapped(images())
    wrapped.train()(images(2)).sum().backward()


def test_an_overflow_names_the_first_layer(machine):
    model = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 4), nn.ReLU(), nn.Linear(4, 2)).eval()
    with torch.no_grad():
        model[1].weight.fill_(1e5)
    wrapped = TensorRTModuleWrapper(model, 2, dtype="float16")
    with pytest.raises(EngineBuildError, match=r"not finite come from aten::linear in net.1 \("):
        wrapped(torch.rand(2, 4) + 1)
    kept = {"1": "float32", "net.3": "float32"}
    wrapped = TensorRTModuleWrapper(model, 2, dtype="float16", precision=kept)
    wrapped(torch.rand(2, 4) + 1)


def test_an_engine_that_differs_is_a_warning_with_the_error(machine, monkeypatch, caplog):
    spoil(monkeypatch, lambda y: y * 1.5)
    with caplog.at_level(logging.WARNING, "torch2trt.module"):
        TensorRTModuleWrapper(net(), 2)(images())
    assert (
        "differs from PyTorch by 0.5 (relative error), more than the expected 0.0001" in caplog.text
    )
    caplog.clear()
    TensorRTModuleWrapper(net(), 2, check=False)(images())
    assert caplog.text == ""


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16], ids=str)
def test_a_module_of_lower_precision_is_held_to_that_precision(machine, caplog, dtype):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(64, 64), nn.GELU(), nn.Linear(64, 8)).to(dtype).eval()
    with caplog.at_level(logging.WARNING, "torch2trt.module"):
        TensorRTModuleWrapper(model, 2)(torch.randn(2, 64, dtype=dtype))
    assert caplog.text == ""


# --- errors ---------------------------------------------------------------------------------------


def works_in_training(wrapped):
    wrapped.train()
    wrapped(images(2)).sum().backward()
    assert wrapped.net[0].weight.grad is not None
    wrapped.eval()


def test_an_operator_without_a_handler(machine):
    model = nn.Sequential(*net(), Lambda(lambda x: torch.linalg.cholesky(x @ x.T)))
    wrapped = TensorRTModuleWrapper(model.eval(), 4)
    with pytest.raises(UnsupportedOpError, match="cholesky"):
        wrapped(images(2))
    model[5].function = lambda x: x + 1
    wrapped.reset()
    x = images(2)
    same(wrapped(x), model(x))


def test_a_forward_that_returns_no_tensor(machine):
    wrapped = TensorRTModuleWrapper(Lambda(lambda x: "text"), 4).eval()
    with pytest.raises(ConversionError, match="expected tensors"):
        wrapped(images(2))


def test_no_tensor_among_the_inputs(machine):
    with pytest.raises(InputMismatchError, match="got no tensor"):
        TensorRTModuleWrapper(net(), 4)(3)


def test_a_tensor_on_another_device_is_named(machine, monkeypatch):
    wrapped = TensorRTModuleWrapper(net(), 4)
    monkeypatch.undo()
    monkeypatch.setattr(trt_api, "can_run", lambda: True)
    with pytest.raises(InputMismatchError, match="'input0': got a tensor on cpu, expected a CUDA"):
        wrapped(images(2))
    works_in_training(wrapped)


def test_a_failed_build_is_tried_again_and_train_works(machine):
    model, x = net(), images(2)
    wrapped = TensorRTModuleWrapper(model, 4)
    machine.fail = EngineBuildError("out of workspace")
    for _ in range(2):
        with pytest.raises(EngineBuildError, match="out of workspace"):
            wrapped(x)
    works_in_training(wrapped)
    machine.fail = None
    same(wrapped(x), model(x))


def test_a_failed_rebuild_never_gives_old_results(machine):
    model, x = net(), images(2)
    wrapped = TensorRTModuleWrapper(model, 4)
    wrapped(x)
    copy_in_place(wrapped, model)
    machine.fail = KeyboardInterrupt()
    for _ in range(2):
        with pytest.raises(KeyboardInterrupt):
            wrapped(x)
    machine.fail = None
    same(wrapped(x), model(x))


@pytest.mark.skipif(trt_api.can_run(), reason="says what happens where engines cannot run")
def test_without_a_gpu_eval_says_what_can_be_done():
    wrapped = TensorRTModuleWrapper(net(), 4)
    with pytest.raises(BackendUnavailableError, match=r"GPU.*simulate.*build"):
        wrapped(images(2))
    works_in_training(wrapped)


def test_without_tensorrt_eval_names_the_package(monkeypatch):
    trt_api.trt.cache_clear()
    monkeypatch.setenv("TORCH2TRT_TENSORRT", "no_such_tensorrt")
    try:
        with pytest.raises(BackendUnavailableError, match="pip install"):
            TensorRTModuleWrapper(net(), 4)(images(2))
    finally:
        trt_api.trt.cache_clear()


# --- without a GPU --------------------------------------------------------------------------------


def test_simulate_gives_the_engines_numbers():
    model, x = net(), images(3)
    same(TensorRTModuleWrapper(model, 4).simulate(x), model(x))


@pytest.mark.skipif(
    not (trt_api.available() and trt_api.is_rtx()),
    reason="builds ahead of time with TensorRT-RTX only",
)
def test_build_writes_a_file_that_says_how_to_call_it(tmp_path):
    path = tmp_path / "net.engine"
    TensorRTModuleWrapper(net(), 4, input_names=["image"]).build(path, images())
    description, plan = container.read(path)
    assert description["library"] == trt_api.version() and len(plan) > 1000
    assert description["inputs"][0]["ranges"] == [[[1, 3, 4, 4], [4, 3, 4, 4], [4, 3, 4, 4]]]
    call = description["extra"]["call"]
    assert call["input_names"] == ["image"] and call["output_leaves"] == [{"tensor": True}]
    assert any("net.0" in scope for scope in description["extra"]["sources"])


@pytest.mark.skipif(
    not trt_api.available() or not trt_api.is_rtx() or torch.cuda.is_available(),
    reason="TensorRT-RTX without a GPU is what refuses",
)
def test_engines_that_can_be_refitted_need_a_gpu(tmp_path):
    wrapped = TensorRTModuleWrapper(net(), 2, refit=True)
    with pytest.raises(BackendUnavailableError, match="leave refit out to build ahead of time"):
        wrapped.build(tmp_path / "x.engine", images())
