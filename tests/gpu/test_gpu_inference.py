"""The inference contexts on a GPU: numbers, streams, memory, threads, graphs, cost."""

import gc
import resource
import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
from host_cost import medians, steps, write
from tiny_engine import CHANNELS, LARGEST, SIZE, images, same

from torch2trt.backends import trt_api
from torch2trt.errors import InputMismatchError
from torch2trt.inference import InferenceContext, TorchInferenceContext

GRAPH = pytest.mark.parametrize("cuda_graph", [False, True], ids=["launch", "graph"])


# --- CUDA tensors --------------------------------------------------------------------------------


@GRAPH
def test_numbers_on_the_default_stream_and_on_another(convolution, engine, cuda_graph):
    context = TorchInferenceContext(engine, cuda_graph=cuda_graph)
    for batch in (1, 3, LARGEST, 3):
        x = images(batch)
        same(context(x)["y"], convolution.expected(x))
        stream = torch.cuda.Stream()
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):
            got = context(x=x)["y"]
        stream.synchronize()
        same(got, convolution.expected(x))


@GRAPH
def test_outputs_are_safe_to_keep(convolution, engine, cuda_graph):
    context = TorchInferenceContext(engine, cuda_graph=cuda_graph)
    inputs = [images(2) for _ in range(20)]
    outputs = [context.run(x)[0] for x in inputs]
    assert len({y.data_ptr() for y in outputs}) == 20
    for x, y in zip(inputs, outputs):
        same(y, convolution.expected(x))


@GRAPH
def test_temporary_inputs_live_until_they_are_read(convolution, engine, cuda_graph):
    context = TorchInferenceContext(engine, cuda_graph=cuda_graph)
    base, stream = images(2), torch.cuda.Stream()
    expected = [convolution.expected(base + i) for i in range(30)]
    torch.cuda.synchronize()
    outputs = []
    with torch.cuda.stream(stream):
        torch.cuda._sleep(20_000_000)
        for i in range(30):
            outputs.append(context.run(base + i)[0])
            torch.full_like(base, float("nan"))  # takes the memory of a dropped input, if it may
    stream.synchronize()
    for got, want in zip(outputs, expected):
        same(got, want)


def test_the_results_wait_for_the_callers_stream_and_the_caller_for_them(convolution, engine):
    context, x = TorchInferenceContext(engine), images(2)
    expected = convolution.expected(x * 3) + 1
    context.run(x)
    for stream in (torch.cuda.default_stream(), torch.cuda.Stream()):
        torch.cuda.synchronize()
        with torch.cuda.stream(stream):
            torch.cuda._sleep(20_000_000)
            late = x * 3
            result = context.run(late)[0] + 1
            late.fill_(float("nan"))
        stream.synchronize()
        same(result, expected)


def test_no_other_stream_is_waited_for(engine):
    context, x = TorchInferenceContext(engine), images(2)
    busy, mine = torch.cuda.Stream(), torch.cuda.Stream()
    with torch.cuda.stream(mine):
        context.run(x)
    torch.cuda.synchronize()
    done = torch.cuda.Event()
    with torch.cuda.stream(busy):
        torch.cuda._sleep(2_000_000_000)
        done.record()
    with torch.cuda.stream(mine):
        context.run(x)
    mine.synchronize()
    assert not done.query(), "the other stream was waited for"
    torch.cuda.synchronize()


def test_a_stream_of_its_own(convolution, engine):
    stream = torch.cuda.Stream()
    for given in (stream, stream.cuda_stream):
        context, x = TorchInferenceContext(engine, given), images(2)
        y = context.run(x)[0]
        stream.synchronize()
        same(y, convolution.expected(x))
        same(context.inference(x)["y"], convolution.expected(x))


def test_strided_and_misaligned_inputs_are_copied(convolution, engine):
    context = TorchInferenceContext(engine)
    shape = (2, CHANNELS, SIZE, SIZE)
    flat = torch.randn(1 + 2 * CHANNELS * SIZE * SIZE, device="cuda")
    for x in (
        flat[1:].view(shape),
        images(2).transpose(2, 3),
        images(4)[::2],
        images(2).to(memory_format=torch.channels_last),
    ):
        same(context.run(x)[0], convolution.expected(x))


@GRAPH
@pytest.mark.parametrize(
    "inputs, message",
    [
        (lambda: [images().cpu()], "'x': got a tensor on cpu, expected cuda:0"),
        (lambda: [images().half()], "'x': got torch.float16, expected torch.float32"),
        (lambda: [images().double()], "'x': got torch.float64"),
        (lambda: [images()[0]], "expected 4 dimensions"),
        (lambda: [images(LARGEST + 1)], "dimension 0 between 1 and 8"),
        (lambda: [images()[:, 1:]], "dimension 1"),
        (lambda: [], "missing"),
        (lambda: [images(), images()], "2 positional inputs"),
        (lambda: [images().cpu().numpy()], "got ndarray"),
    ],
)
def test_wrong_inputs_are_named_and_the_context_works_on(
    convolution, engine, cuda_graph, inputs, message
):
    context = TorchInferenceContext(engine, cuda_graph=cuda_graph)
    with pytest.raises(InputMismatchError, match=message):
        context.run(*inputs())
    x = images()
    same(context.run(x)[0], convolution.expected(x))


def test_an_execution_context_of_the_user(convolution, engine):
    context = engine.cuda_engine.create_execution_context()
    x = images()
    same(TorchInferenceContext(context)(x)["y"], convolution.expected(x))
    same(TorchInferenceContext(engine.cuda_engine)(x)["y"], convolution.expected(x))


@GRAPH
def test_threads_on_one_stream_and_on_their_own(convolution, engine, cuda_graph):
    context = TorchInferenceContext(engine, cuda_graph=cuda_graph)
    inputs = [images(1 + n % LARGEST) for n in range(8)]
    expected = [convolution.expected(x) for x in inputs]
    torch.cuda.synchronize()

    def work(index):
        stream = torch.cuda.Stream() if index % 2 else torch.cuda.default_stream()
        with torch.cuda.stream(stream):
            outputs = [context.run(inputs[index])[0] for _ in range(25 if cuda_graph else 200)]
        stream.synchronize()
        for y in outputs[::20]:
            same(y, expected[index])

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(work, range(8)))


def test_a_thousand_random_batches(convolution, engine):
    context, x = TorchInferenceContext(engine), images(LARGEST)
    expected = convolution.expected(x)
    sizes = torch.randint(1, LARGEST + 1, (1000,)).tolist()
    for size in sizes:
        same(context.run(x[:size])[0], expected[:size])


def test_graphs_are_recorded_again_after_a_refit(convolution, engine):
    context, x = TorchInferenceContext(engine, cuda_graph=True), images(2)
    same(context.run(x)[0], convolution.expected(x))
    weight = convolution.weight * -2
    engine.refit({"block.0.conv.weight": weight, "block.0.conv.bias": convolution.bias})
    same(context.run(x)[0], convolution.expected(x, weight))


def test_more_shapes_than_graphs_are_kept(convolution, engine, monkeypatch):
    monkeypatch.setattr("torch2trt.inference.lane.MAX_GRAPHS", 2)
    context = TorchInferenceContext(engine, cuda_graph=True)
    for batch in (1, 2, 3, 4, 1, 3):
        x = images(batch)
        same(context.run(x)[0], convolution.expected(x))


@GRAPH
def test_a_thread_that_has_done_nothing_on_the_gpu(convolution, engine, cuda_graph):
    context, x = TorchInferenceContext(engine, cuda_graph=cuda_graph), images(2)
    expected, found = convolution.expected(x), []
    context.run(x)
    thread = threading.Thread(target=lambda: found.append(context.run(x)[0]))
    thread.start()
    thread.join()
    same(found[0], expected)


def resident():
    """Bytes of host memory that this process holds."""
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * resource.getpagesize()


@GRAPH
def test_no_memory_is_lost_over_many_calls(engine, cuda_graph):
    context, x = TorchInferenceContext(engine, cuda_graph=cuda_graph), images(2)
    for _ in range(5000):
        context.run(x)
    gc.collect()
    torch.cuda.synchronize()
    device, objects, host = torch.cuda.mem_get_info()[0], len(gc.get_objects()), resident()
    for _ in range(100_000):
        context.run(x)
    gc.collect()
    torch.cuda.synchronize()
    assert device - torch.cuda.mem_get_info()[0] <= 4 << 20
    assert len(gc.get_objects()) - objects < 100
    assert resident() - host <= 4 << 20


@GRAPH
def test_the_host_cost_of_a_call(plain_convolution, cuda_graph):
    engine, x = plain_convolution.engine(), images(1)
    context = TorchInferenceContext(engine, cuda_graph=cuda_graph)
    bare, y = engine.cuda_engine.create_execution_context(), images(1)
    bare.set_input_shape("x", tuple(x.shape))
    bare.set_tensor_address("x", x.data_ptr())
    bare.set_tensor_address("y", y.data_ptr())
    stream = torch.cuda.Stream()
    with torch.cuda.stream(stream):
        context.run(x)
        handle = stream.cuda_stream
        functions = {"a call": lambda: context.run(x)}
        functions.update(steps(x, bare, handle, "x", context if cuda_graph else None))
        figures = medians(functions)
    figures["a call on the default stream"] = medians({"run": lambda: context.run(x)})["run"]
    text = write(f"a context ({'graph' if cuda_graph else 'launch'})", figures)
    over = figures["a call"] - figures["execute_async_v3"]
    assert over <= (10 if cuda_graph else 15), text


# --- numpy ---------------------------------------------------------------------------------------


def test_numpy_in_and_out(convolution, engine):
    context = InferenceContext(engine)
    kept = []
    for batch in (2, 5, 1):
        x = images(batch).cpu()
        for got in (context.inference_async(x.numpy()), context.inference(x=x.numpy())):
            assert isinstance(got["y"], np.ndarray)
            same(torch.from_numpy(got["y"]), convolution.expected(x))
            kept.append((got["y"], convolution.expected(x)))
    for got, expected in kept:
        same(torch.from_numpy(got), expected)


def test_numpy_on_a_given_stream_and_execution_context(convolution, engine):
    stream = torch.cuda.Stream()
    context = engine.cuda_engine.create_execution_context()
    x = images().cpu()
    for given in (stream, stream.cuda_stream):
        got = InferenceContext(context, given, cuda_device=0).inference_async(x.numpy())["y"]
        same(torch.from_numpy(got), convolution.expected(x))


def test_layer_times(engine):
    context = InferenceContext(engine)
    context.inference(images().cpu().numpy())
    times = context.profile()
    assert times.total > 0 and any("block.0.conv" in name for name, _ in times.rows)
    context.inference(images().cpu().numpy())
    assert len(context.profile().rows) == len(times.rows)


def test_numpy_errors_leave_the_context_usable(convolution, engine):
    context, x = InferenceContext(engine), images().cpu()
    with pytest.raises(InputMismatchError, match="float64"):
        context.inference_async(x.double().numpy())
    with pytest.raises(InputMismatchError, match="between 1 and 8"):
        context.inference_async(images(LARGEST + 1).cpu().numpy())
    got = context.inference_async(x.numpy())["y"]
    same(torch.from_numpy(got), convolution.expected(x))


def test_numpy_threads(convolution, engine):
    context = InferenceContext(engine)
    inputs = [images(1 + n).cpu() for n in range(8)]
    expected = [convolution.expected(x) for x in inputs]

    def work(index):
        for _ in range(20):
            got = context.inference_async(inputs[index].numpy())["y"]
            same(torch.from_numpy(got), expected[index])

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(work, range(8)))


# --- outputs whose shape depends on values -------------------------------------------------------


@pytest.mark.skipif(trt_api.available() and trt_api.is_rtx(), reason="RTX cannot build NonZero")
def test_outputs_whose_shape_only_running_tells():
    from torch2trt.build import BuildOptions, build_engine
    from torch2trt.engine import Engine

    trt = trt_api.trt()
    builder = trt_api.create_builder()
    network = trt_api.create_network(builder)
    layer = network.add_non_zero(network.add_input("x", trt.float32, (4, 5)))
    layer.get_output(0).name = "where"
    network.mark_output(layer.get_output(0))
    plan = build_engine(builder, network, BuildOptions(optimization_level=0))
    engine = Engine.from_plan(plan)
    context, host = TorchInferenceContext(engine), InferenceContext(engine)
    kept = []
    for threshold in (0.5, 0.9, 0.1):
        x = torch.rand(4, 5, device="cuda")
        x = x * (x > threshold)
        expected = x.nonzero().T
        kept.append((context.run(x)[0], expected))
        got = host.inference_async(x.cpu().numpy())["where"]
        assert torch.from_numpy(got).long().equal(expected.cpu())
    for got, expected in kept:
        assert got.long().equal(expected)
