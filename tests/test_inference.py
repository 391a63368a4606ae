"""The contexts without a GPU: input checks, numpy over a fake engine, TVM on the CPU."""

import ctypes
import sys
import types
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
from fake_engine import FakeCudaEngine

import torch2trt
from torch2trt.backends import trt_api
from torch2trt.engine import Engine, TensorSpec, describe, names_in
from torch2trt.errors import BackendUnavailableError, InputMismatchError, Torch2TrtError
from torch2trt.inference import InferenceContext, TVMInference, host
from torch2trt.inference.inputs import as_engine, in_order, profile_of
from torch2trt.inference.memory import memory_for, stream_handle
from torch2trt.inference.profiler import LayerTimes

SPECS = (
    TensorSpec("x", True, torch.float32, (-1, 3), ranges=(((1, 3), (2, 3), (4, 3)),)),
    TensorSpec("y", True, torch.float32, (1, 3), ranges=(((1, 3),) * 3,)),
)


# --- which inputs, in what order -----------------------------------------------------------------


def test_inputs_by_position_and_name():
    assert in_order(SPECS, [1, 2], {}) == [1, 2]
    assert in_order(SPECS, [1], {"y": 2}) == [1, 2]
    assert in_order(SPECS, [], {"y": 2, "x": 1}) == [1, 2]


@pytest.mark.parametrize(
    "args, named, message",
    [
        ([], {}, r"missing \['x', 'y'\]"),
        ([1], {}, r"missing \['y'\]"),
        ([1, 2, 3], {}, "3 positional inputs .* expected 2: x, y"),
        ([1], {"y": 2, "z": 3}, r"unknown \['z'\]"),
        ([1, 2], {"y": 2}, r"given twice \['y'\]"),
    ],
)
def test_wrong_inputs_are_named(args, named, message):
    with pytest.raises(InputMismatchError, match=message):
        in_order(SPECS, args, named)


def test_shapes_choose_the_first_profile_that_fits():
    two = TensorSpec(
        "x", True, torch.float32, (-1,), ranges=(((1,), (1,), (2,)), ((3,), (4,), (9,)))
    )
    assert [profile_of([two], [(n,)]) for n in (1, 2, 3, 9)] == [0, 0, 1, 1]
    with pytest.raises(InputMismatchError, match="dimension 0 between 3 and 9 .*2 profiles"):
        profile_of([two], [(10,)])


@pytest.mark.parametrize(
    "shape, message",
    [
        ((5, 3), "'x': got shape .5, 3., expected dimension 0 between 1 and 4"),
        ((0, 3), "dimension 0 between 1 and 4"),
        ((2, 4), r"expected \(-1, 3\) \(dimension 1\)"),
        ((3,), "expected 2 dimensions"),
    ],
)
def test_wrong_shapes_name_input_dimension_and_range(shape, message):
    with pytest.raises(InputMismatchError, match=message):
        profile_of(SPECS, [shape, (1, 3)])


def test_what_is_no_engine_is_refused():
    with pytest.raises(InputMismatchError, match="expected a TensorRT execution context"):
        as_engine(None, 0)


# --- numpy in and out, over a fake engine and a fake pycuda --------------------------------------


class Stream:
    """Stands in for ``pycuda.driver.Stream``."""

    handle = 77
    waits = 0

    def synchronize(self):
        self.waits += 1


Stream.__module__ = "pycuda._driver"


class Allocation:
    def __init__(self, size):
        self.memory = np.empty(size, np.uint8)

    def __int__(self):
        return self.memory.ctypes.data


class PushedContext:
    depth = pushes = 0

    def push(self):
        self.depth += 1
        self.pushes += 1

    def pop(self):
        self.depth -= 1


@pytest.fixture
def pycuda(monkeypatch):
    driver = types.ModuleType("pycuda.driver")
    driver.Stream = Stream
    driver.pagelocked_empty = np.empty
    driver.mem_alloc = Allocation
    driver.memcpy_htod_async = lambda to, source, stream: ctypes.memmove(
        to, source.ctypes.data, source.nbytes
    )
    driver.memcpy_dtoh_async = lambda to, source, stream: ctypes.memmove(
        to.ctypes.data, source, to.nbytes
    )
    package = types.ModuleType("pycuda")
    package.driver = driver
    monkeypatch.setitem(sys.modules, "pycuda", package)
    monkeypatch.setitem(sys.modules, "pycuda.driver", driver)
    return driver


needs_trt = pytest.mark.skipif(not trt_api.available(), reason="no TensorRT is installed")
X = np.arange(6, dtype="f4").reshape(2, 3)
Y = np.full((1, 3), 10, "f4")


@needs_trt
def test_numpy_by_position_and_name_on_a_pycuda_stream(pycuda):
    stream = Stream()
    context = InferenceContext(FakeCudaEngine(), stream, 0)
    first = context.inference_async(X, Y)
    second = context.inference_async(y=Y, x=X[:1])
    np.testing.assert_array_equal(first["sum"], X + Y)
    np.testing.assert_array_equal(second["sum"], X[:1] + Y)
    assert stream.waits >= 2 and list(first) == ["sum"]


@needs_trt
def test_non_contiguous_and_fortran_arrays_are_right(pycuda):
    context = InferenceContext(FakeCudaEngine(), Stream(), 0)
    x = np.arange(24, dtype="f4").reshape(4, 6)[:, ::2]
    np.testing.assert_array_equal(context.inference_async(x, Y)["sum"], x + Y)
    np.testing.assert_array_equal(context.inference_async(np.asfortranarray(X), Y)["sum"], X + Y)


@needs_trt
def test_a_pycuda_context_is_pushed_and_popped_also_on_errors(pycuda):
    cuda_context = PushedContext()
    engine = FakeCudaEngine()
    context = InferenceContext(engine, None, 0, cuda_context)
    context.inference_async(X, Y)
    engine.broken = True
    with pytest.raises(Torch2TrtError, match="could not launch"):
        context.inference_async(X, Y)
    engine.broken = False
    np.testing.assert_array_equal(context.inference_async(X, Y)["sum"], X + Y)
    assert cuda_context.depth == 0 and cuda_context.pushes >= 4


@needs_trt
def test_shapes_are_set_when_they_change_and_only_then(pycuda):
    engine = FakeCudaEngine()
    context = InferenceContext(engine, Stream(), 0)
    counts = []
    for rows in (2, 2, 2, 1, 1, 2):
        context.inference_async(X[:rows], Y)
        counts.append(engine.contexts[0].shape_calls)
    assert counts == [2, 2, 2, 4, 4, 6] and len(engine.contexts) == 1


@needs_trt
def test_a_given_execution_context_is_the_one_that_runs(pycuda):
    engine = FakeCudaEngine()
    mine = engine.create_execution_context()
    InferenceContext(mine, Stream(), 0).inference_async(X, Y)
    assert mine.shape_calls == 2 and engine.contexts == [mine]


@needs_trt
@pytest.mark.parametrize(
    "inputs, message",
    [
        ((X.astype("f8"), Y), "'x': got ndarray of float64, expected float32"),
        ((X, "no"), "'y': got str"),
        ((np.zeros((5, 3), "f4"), Y), "between 1 and 4"),
        ((X,), "missing"),
    ],
)
def test_wrong_arrays_are_named_and_the_context_works_on(pycuda, inputs, message):
    context = InferenceContext(FakeCudaEngine(), Stream(), 0)
    with pytest.raises(InputMismatchError, match=message):
        context.inference_async(*inputs)
    np.testing.assert_array_equal(context.inference_async(X, Y)["sum"], X + Y)


@needs_trt
def test_threads_take_turns(pycuda):
    context = InferenceContext(FakeCudaEngine(), Stream(), 0)

    def work(seed):
        for i in range(50):
            x = np.full((1 + (seed + i) % 4, 3), seed * 100 + i, "f4")
            np.testing.assert_array_equal(context.inference_async(x, Y)["sum"], x + Y)

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(work, range(8)))


class Backwards(FakeCudaEngine):
    """An engine whose outputs are not in the order of its network."""

    outputs = ("output1", "output0")

    def get_tensor_name(self, index):
        return (*self.outputs, "x")[index]

    def get_tensor_mode(self, name):
        modes = trt_api.trt().TensorIOMode
        return modes.INPUT if name == "x" else modes.OUTPUT


@needs_trt
def test_outputs_are_in_the_order_of_the_network():
    assert [s.name for s in Engine(Backwards(), 0).specs] == ["x", "output0", "output1"]
    named = Backwards()
    named.outputs = "scores", "boxes"
    assert [s.name for s in Engine(named, 0).outputs] == ["scores", "boxes"]
    with pytest.raises(InputMismatchError, match=r"got \['boxes'\], .* \['scores', 'boxes'\]"):
        Engine(named, 0, names=["boxes"])
    engine = Engine(named, 0, names=["x", "boxes", "scores"])
    assert [s.name for s in engine.outputs] == ["boxes", "scores"]
    assert names_in(describe(engine.specs, None, {})) == ["x", "boxes", "scores"]


@needs_trt
def test_inference_times_the_layers(pycuda):
    engine = Engine(FakeCudaEngine(), 0, {"sources": {"block.0.add": "net.py(41)"}})
    context = InferenceContext(engine, Stream(), 0)
    with pytest.raises(Torch2TrtError, match="call inference"):
        context.profile()
    np.testing.assert_array_equal(context.inference(X, Y)["sum"], X + Y)
    times = context.profile()
    assert times.rows == (("block.0.add", 0.25),) and times.total == 0.25
    assert "net.py(41)" in str(times) and engine.cuda_engine.contexts[0].profiler is None


@needs_trt
def test_an_engine_that_tells_no_times_is_an_error(pycuda, monkeypatch):
    cuda_engine = FakeCudaEngine()
    cuda_engine.num_aux_streams = 2
    context = InferenceContext(Engine(cuda_engine, 0), Stream(), 0)
    silent = types.SimpleNamespace(rows=[], report_layer_time=lambda name, milliseconds: None)
    monkeypatch.setattr(host, "create_profiler", lambda: silent)
    context.inference(X, Y)
    with pytest.raises(Torch2TrtError, match="tells no layer times .* 2 streams .*graph=False"):
        context.profile()


def test_layer_times_are_sorted_by_time():
    text = str(LayerTimes((("a", 1.0), ("b", 3.0))))
    assert text.index(" b") < text.index(" a") and "75.0" in text and "4.0000" in text


def test_stream_handles():
    assert stream_handle(Stream()) == 77 and stream_handle(5) == 5
    with pytest.raises(InputMismatchError, match="got str"):
        stream_handle("default")


def test_a_pycuda_stream_means_pycuda_memory(pycuda):
    assert memory_for(0, Stream(), None).handle == 77


# --- TVM -----------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def add_program():
    tvm = pytest.importorskip("tvm", reason="TVM is not installed")
    relax = pytest.importorskip("tvm.relax")
    script = pytest.importorskip("tvm.script").relax
    builder = relax.BlockBuilder()
    x, w = (relax.Var(n, script.Tensor((2, 3), "float32")) for n in ("x", "w"))
    with builder.function("main", [x, w]):
        y = builder.emit(relax.op.add(x, w))
        builder.emit_func_output(relax.Tuple([y, builder.emit(relax.op.multiply(y, w))]))
    return relax.build(builder.get(), tvm.target.Target({"kind": "llvm"}))


W = torch.full((2, 3), 2.0)


def test_tvm_torch_in_torch_out(add_program):
    x = torch.rand(2, 3)
    program = TVMInference(add_program, {"w": W})
    assert program.input_names == ("x",)
    y, z = program.run(x)
    torch.testing.assert_close((y, z), (x + W, (x + W) * W))
    assert program.inference(x=x)["output1"].equal(z)


def test_tvm_numpy_in_numpy_out(add_program):
    x = np.random.rand(2, 3).astype("f4")
    y = TVMInference(add_program, {"w": W.numpy()}).inference(x)["output0"]
    assert isinstance(y, np.ndarray)
    np.testing.assert_array_equal(y, x + 2)


def test_tvm_copies_misaligned_and_strided_inputs(add_program):
    program = TVMInference(add_program, {"w": W})
    for x in (torch.rand(7)[1:].view(2, 3), torch.rand(3, 2).t(), torch.rand(2, 6)[:, ::2]):
        assert program.run(x)[0].equal(x + W)
    x = np.random.rand(7).astype("f4")[1:].reshape(2, 3)
    np.testing.assert_array_equal(program.run(x)[0], x + 2)


def test_tvm_weights_can_be_exchanged(add_program):
    program = TVMInference(add_program, {"w": W})
    program.set_params({"w": W * 5})
    assert program.run(torch.zeros(2, 3))[0].equal(W * 5)
    with pytest.raises(InputMismatchError, match="'v'"):
        program.set_params({"v": W})


@pytest.mark.parametrize(
    "inputs, message",
    [
        ((), "got 0 inputs, expected 1: x"),
        ((torch.zeros(3, 3),), "shape"),
        ((torch.zeros(2, 3, dtype=torch.float64),), "float64"),
        (("no",), "'x': got str"),
        ((torch.zeros(2, 3, device="meta"),), "meta"),
    ],
)
def test_tvm_wrong_inputs(add_program, inputs, message):
    program = TVMInference(add_program, {"w": W})
    with pytest.raises(InputMismatchError, match=message):
        program.run(*inputs)
    assert program.run(torch.zeros(2, 3))[0].equal(W)


def test_tvm_unknown_name_and_function(add_program):
    with pytest.raises(InputMismatchError, match="unknown"):
        TVMInference(add_program, {"w": W}).inference(torch.zeros(2, 3), z=1)
    with pytest.raises(Torch2TrtError, match="no_such"):
        TVMInference(add_program, function="no_such")


@pytest.mark.skipif(torch.cuda.is_available(), reason="says what happens without a GPU")
def test_tvm_on_cuda_without_a_gpu(add_program):
    with pytest.raises(BackendUnavailableError, match="no NVIDIA GPU"):
        TVMInference(add_program, device="cuda")


def test_tvm_threads_take_turns(add_program):
    program = TVMInference(add_program, {"w": W})

    def work(seed):
        x = torch.full((2, 3), float(seed))
        for _ in range(100):
            torch.testing.assert_close(program.run(x)[0], x + W)

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(work, range(8)))


def test_tvm_runs_any_callable():
    program = TVMInference(lambda x, w: x @ w, {"w": torch.eye(3)}, input_names=["x"])
    assert program.run(torch.ones(2, 3))[0].equal(torch.ones(2, 3))


def test_a_compiled_program_names_its_inputs():
    pytest.importorskip("tvm.relax")
    from torch2trt.backends.schedules import compile_cpu

    with torch2trt.tvm_network() as context:
        _, graph = torch2trt.torch2tvm(lambda x, y: x * 2 + y, (torch.ones(3), torch.ones(3)))
        module = context.finish([graph.get_resolved_outputs()])
    program = TVMInference(compile_cpu(module, params=[]))
    assert program.input_names == ("input0", "input1")
    assert program(torch.ones(3), input1=torch.ones(3))["output0"].tolist() == [3.0] * 3


def test_a_callable_without_names_asks_for_them():
    with pytest.raises(InputMismatchError, match="got 1 inputs, expected 0: .* give input_names="):
        TVMInference(lambda x: x)(torch.ones(3))
