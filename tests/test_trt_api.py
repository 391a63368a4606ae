"""The TensorRT version layer, with whatever TensorRT is installed."""

import gc
import logging
import subprocess
import sys
import threading
import weakref

import pytest
import torch

from torch2trt.backends import trt_api
from torch2trt.errors import BackendUnavailableError, ConversionError

needs_trt = pytest.mark.skipif(not trt_api.available(), reason="no TensorRT is installed")
needs_builder = pytest.mark.skipif(
    not trt_api.available() or not (trt_api.is_rtx() or torch.cuda.is_available()),
    reason="no TensorRT that builds on this machine",
)


@pytest.fixture
def fresh_loader():
    trt_api.trt.cache_clear()
    yield
    trt_api.trt.cache_clear()


@needs_trt
def test_dtypes_round_trip():
    for dtype in (torch.float32, torch.float16, torch.int32, torch.bool, torch.int8, torch.uint8):
        assert trt_api.torch_dtype(trt_api.trt_dtype(dtype)) is dtype


@needs_trt
def test_int64_follows_the_library():
    expected = torch.int64 if trt_api.supports("DataType.INT64") else torch.int32
    assert trt_api.torch_dtype(trt_api.trt_dtype(torch.int64)) is expected


@needs_trt
@pytest.mark.parametrize("dtype", [torch.float64, torch.complex64, torch.int16])
def test_dtype_that_tensorrt_lacks_is_refused(dtype):
    with pytest.raises(ConversionError, match=str(dtype)):
        trt_api.trt_dtype(dtype)


@needs_trt
def test_supports_dotted_names_and_network_methods():
    assert trt_api.supports("add_slice") and trt_api.supports("IBuilderConfig.set_flag")
    assert not trt_api.supports("add_nothing") and not trt_api.supports("DataType.FLOAT128")


def test_override_names_the_module(monkeypatch, fresh_loader):
    monkeypatch.setenv("TORCH2TRT_TENSORRT", "no_such_tensorrt")
    with pytest.raises(BackendUnavailableError, match="no_such_tensorrt.*|pip install"):
        trt_api.trt()
    assert not trt_api.available()
    assert trt_api.can_run.__wrapped__() is False
    assert "no TensorRT" in trt_api.why_not_run()


def test_a_module_without_a_builder_is_no_tensorrt(monkeypatch, fresh_loader):
    monkeypatch.setenv("TORCH2TRT_TENSORRT", "json")
    with pytest.raises(BackendUnavailableError, match="has no Builder"):
        trt_api.trt()


def test_importing_the_layer_loads_no_tensorrt():
    code = (
        "import sys, torch2trt.backends.trt_api;"
        "print([m for m in sys.modules if m.startswith('tensorrt')])"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "[]"


@needs_builder
def test_network_is_explicit_batch_and_typed():
    builder = trt_api.create_builder()
    network = trt_api.create_network(builder)
    if trt_api.strongly_typed():
        flag = trt_api.trt().NetworkDefinitionCreationFlag.STRONGLY_TYPED
        assert network.get_flag(flag)
    tensor = network.add_input("x", trt_api.trt().float32, (2, 3))
    assert tuple(tensor.shape) == (2, 3)


@needs_builder
def test_errors_are_collected_once_and_in_order():
    builder = trt_api.create_builder()
    network = trt_api.create_network(builder)
    trt = trt_api.trt()
    trt_api.record_errors(network)
    x = network.add_input("x", trt.float32, (2, 3))
    assert trt_api.take_errors(network) == []
    layer = network.add_convolution_nd(x, 4, (3, 3, 3, 3), trt.Weights(), trt.Weights())
    errors = trt_api.take_errors(network)
    assert layer is None and errors and not any(map(trt_api.is_no_driver, errors))
    assert trt_api.take_errors(network) == []


def test_the_missing_driver_is_no_error():
    line = "Error Code 1: Cuda Runtime (cudaError 35: CUDA driver version is insufficient)"
    assert trt_api.is_no_driver(line)
    assert not trt_api.is_no_driver("Error Code 1: Cuda Runtime (cudaError 2: out of memory)")


@needs_trt
def test_log_lines_arrive_in_python_with_their_level(caplog):
    severity = trt_api.trt().ILogger.Severity
    with caplog.at_level(1, logger="torch2trt.tensorrt"):
        for name in ("INTERNAL_ERROR", "ERROR", "WARNING", "INFO", "VERBOSE"):
            trt_api.logger().log(getattr(severity, name), f"line {name}")
        trt_api.logger().log(severity.ERROR, "cudaError 35")
    levels = {r.getMessage(): r.levelno for r in caplog.records}
    assert levels == {
        "line INTERNAL_ERROR": logging.ERROR,
        "line ERROR": logging.ERROR,
        "line WARNING": logging.WARNING,
        "line INFO": logging.DEBUG,
        "line VERBOSE": 5,
        "cudaError 35": logging.DEBUG,
    }


@needs_trt
def test_one_logger_for_the_process():
    assert trt_api.logger() is trt_api.logger()


@pytest.mark.skipif(torch.cuda.is_available(), reason="says what happens without a GPU")
def test_without_a_gpu_nothing_runs_and_it_says_so():
    assert not trt_api.can_run()
    if trt_api.available():
        assert "GPU" in trt_api.why_not_run()


@pytest.mark.skipif(
    not trt_api.available() or trt_api.is_rtx() or torch.cuda.is_available(),
    reason="says what regular TensorRT does without a GPU",
)
def test_regular_tensorrt_without_a_gpu_points_to_rtx():
    with pytest.raises(BackendUnavailableError, match="needs an NVIDIA GPU.*tensorrt_rtx"):
        trt_api.create_builder()


@needs_trt
def test_muted_is_for_one_thread_and_one_block(caplog):
    severity = trt_api.trt().ILogger.Severity
    with caplog.at_level(1, logger="torch2trt.tensorrt"):
        with trt_api.muted():
            trt_api.logger().log(severity.WARNING, "unheard")
            other = threading.Thread(
                target=trt_api.logger().log, args=(severity.WARNING, "other thread")
            )
            other.start()
            other.join()
        trt_api.logger().log(severity.WARNING, "heard")
    assert [r.getMessage() for r in caplog.records] == ["other thread", "heard"]


def test_recorders_live_as_long_as_what_reports_to_them():
    builder = trt_api.create_builder()
    network = trt_api.create_network(builder)
    recorders = [weakref.ref(builder.error_recorder), weakref.ref(trt_api.record_errors(network))]
    trt_api._MADE.clear()
    del builder
    gc.collect()
    assert None not in [recorder() for recorder in recorders]
    del network
    gc.collect()
    assert [recorder() for recorder in recorders] == [None, None]
