"""Host time of a call, taken apart: what each step costs on this machine."""

import ctypes
import itertools
import json
import os
import statistics
import time
from pathlib import Path

import torch

from torch2trt.backends import driver
from torch2trt.inference import lane


def medians(functions, rounds=15, calls=200):
    """Median microseconds of host time per call of each function, measured in turns."""
    times = {name: [] for name in functions}
    for function in functions.values():
        function()
    for _ in range(rounds):
        for name, function in functions.items():
            torch.cuda.synchronize()
            start = time.perf_counter()
            for _ in range(calls):
                function()
            times[name].append((time.perf_counter() - start) / calls * 1e6)
    torch.cuda.synchronize()
    return {name: round(statistics.median(values), 2) for name, values in times.items()}


def steps(x, bare, handle, names, graph_context=None):
    """Functions for the steps of a call and for what else they could be.

    Args:
        x: an input of the engine; its output has the same shape.
        bare: an execution context with its addresses set.
        handle: the stream's handle, which is torch's current stream too.
        names: the tensor name to set addresses for.
        graph_context: a context that has run with `cuda_graph`.
    """
    stream, template, y = torch.cuda.current_stream(), x.clone(), x.clone()
    size, stride = tuple(x.shape), x.stride()
    cuda = driver.driver()
    cuda.cuMemcpyDtoDAsync_v2.argtypes = (
        ctypes.c_ulonglong, ctypes.c_ulonglong, ctypes.c_size_t, ctypes.c_void_p,
    )  # fmt: skip
    graph = torch.cuda.CUDAGraph()
    torch.cuda.synchronize()
    with torch.cuda.graph(graph, stream=torch.cuda.Stream()):
        template.add_(1)
    addresses = itertools.cycle([x.data_ptr(), y.data_ptr()])
    found = {
        "execute_async_v3": lambda: bare.execute_async_v3(handle),
        "set_tensor_address": lambda: bare.set_tensor_address(names, x.data_ptr()),
        "current raw stream": lambda: torch._C._cuda_getCurrentRawStream(0),
        "torch.empty": lambda: torch.empty(size, dtype=torch.float32, device="cuda"),
        "torch.empty_like": lambda: torch.empty_like(template),
        "empty_strided": lambda: lane.empty_strided(size, stride, torch.float32),
        "record_stream": lambda: x.record_stream(stream),
        "copy_": lambda: y.copy_(x),
        "_foreach_copy_": lambda: torch._foreach_copy_([y], [x]),
        "clone": lambda: x.clone(),
        "driver memcpy": lambda: cuda.cuMemcpyDtoDAsync_v2(
            y.data_ptr(), x.data_ptr(), x.nbytes, handle
        ),
        "torch graph.replay": graph.replay,
    }
    for captured in _graphs_of(graph_context):
        copy = captured.uploads[0]

        def relaunch(graph=captured, copy=copy):
            copy.read_from(next(addresses))
            graph.launch(handle)

        found["change of one address"] = lambda copy=copy: copy.read_from(next(addresses))
        found["graph launch"] = lambda graph=captured: graph.launch(handle)
        found["change and launch"] = relaunch
    return found


def _graphs_of(context):
    if context is None:
        return []
    lanes = context._lanes.values()
    return [graph._graph for lane in lanes for graph in lane._graphs.values()][:1]


def write(name, figures):
    """Add figures to the file named by the variable HOST_COST_JSON; a text of them."""
    path = os.environ.get("HOST_COST_JSON")
    if path:
        file = Path(path)
        known = json.loads(file.read_text()) if file.exists() else {}
        file.write_text(json.dumps({**known, name: figures}, indent=1))
    lines = [f"  {value:8.2f} us  {step}" for step, value in figures.items()]
    return "\n".join([f"host cost of {name}:", *lines])
