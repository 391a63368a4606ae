"""How a program runs on each backend in the tests: debug mode, TVM, TensorRT through ``simulate``
or an engine.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import pytest
import torch
from case import tensors

from torch2trt.context import use_context
from torch2trt.core import GraphModule


def run_torch(program: Callable[..., Any], inputs: Sequence[torch.Tensor]) -> list[torch.Tensor]:
    """Debug mode: the traced graph in PyTorch."""
    return tensors(GraphModule(program, tuple(inputs))(*inputs))


def define_tensorrt(
    program: Callable[..., Any], inputs: Sequence[torch.Tensor], dynamic: bool = False
):
    """The TensorRT network of a program: (builder, network, context)."""
    pytest.importorskip("torch2trt.backends.tensorrt")
    from torch2trt.backends import trt_api
    from torch2trt.backends.tensorrt import TensorRTContext

    if not trt_api.available():
        pytest.skip("no tensorrt or tensorrt_rtx installed")
    graph = GraphModule(program, tuple(inputs))
    builder = trt_api.create_builder()
    network = trt_api.create_network(builder)
    ctx = TensorRTContext(network)
    with use_context(ctx):
        symbolic = [
            ctx.input(
                f"input{i}",
                [None if dynamic and d == 0 else s for d, s in enumerate(x.shape)],
                x.dtype,
            )
            for i, x in enumerate(inputs)
        ]
        outputs = [ctx.operand(x, "output") for x in graph.run(symbolic)]
        ctx.finish(outputs, [f"output{i}" for i in range(len(outputs))])
    return builder, network, ctx


def run_tensorrt(
    program: Callable[..., Any], inputs: Sequence[torch.Tensor], dynamic: bool = False
) -> list[torch.Tensor]:
    """The TensorRT network, evaluated from its definition on the CPU."""
    from torch2trt.simulate import simulate

    _, network, ctx = define_tensorrt(program, inputs, dynamic)
    outputs = simulate(network, list(inputs), weights=getattr(ctx, "weight_dict", None))
    return [outputs[f"output{i}"] for i in range(len(outputs))]


def tvm_dialect() -> str:
    """The dialect that the installed TVM gives: "relax" or "relay"."""
    pytest.importorskip("tvm", reason="TVM is not installed")
    from torch2trt.backends import tvm_context_class

    return tvm_context_class().name


def run_tvm(
    program: Callable[..., Any], inputs: Sequence[torch.Tensor], dynamic: bool = False
) -> list[torch.Tensor]:
    """The Relax or Relay function, compiled for this CPU."""
    pytest.importorskip("tvm", reason="TVM is not installed")
    from torch2trt.backends import tvm_context_class

    graph = GraphModule(program, tuple(inputs))
    ctx = tvm_context_class()()
    with use_context(ctx):
        symbolic = [
            ctx.input(
                f"input{i}",
                ["batch" if dynamic and d == 0 else s for d, s in enumerate(x.shape)],
                x.dtype,
            )
            for i, x in enumerate(inputs)
        ]
        module = ctx.finish(graph.run(symbolic))
    if ctx.name == "relay":
        return run_relay_module(
            module, inputs, {var.name_hint: value for var, value in ctx.tvm_weight_dict.items()}
        )
    return run_relax_module(module, inputs, list(ctx.tvm_weight_dict.values()))


def run_relax_module(
    module: Any, inputs: Sequence[torch.Tensor], weights: Sequence[torch.Tensor]
) -> list[torch.Tensor]:
    """Compile and run a Relax module on the CPU."""
    from torch2trt.backends.schedules import compile_cpu

    compiled = compile_cpu(module, None, list(weights))
    result = compiled(*[x.contiguous() for x in inputs])
    return [torch.from_dlpack(r) if not isinstance(r, torch.Tensor) else r for r in _flat(result)]


def run_relay_module(
    module: Any, inputs: Sequence[torch.Tensor], weights: dict[str, Any]
) -> list[torch.Tensor]:
    """Compile and run a Relay module on the CPU."""
    from torch2trt.backends.relay_build import GraphExecutor, build_relay

    return GraphExecutor(build_relay(module, weights, opt_level=2), torch.device("cpu"))(*inputs)


def _flat(result: Any) -> list[Any]:
    if isinstance(result, torch.Tensor) or hasattr(result, "__dlpack__"):
        return [result]
    return [leaf for element in result for leaf in _flat(element)]


RUNNERS = {"torch": run_torch, "tensorrt": run_tensorrt, "tvm": run_tvm}
