"""How a program runs on each backend in the tests: debug mode, TVM, TensorRT through ``simulate``
or an engine.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import pytest
import torch
from case import tensors

from torch2trt.context import use_context
from torch2trt.core import GraphModule

Program = Callable[[Sequence[torch.Tensor]], list[torch.Tensor]]


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


def tensorrt_program(
    program: Callable[..., Any], inputs: Sequence[torch.Tensor], dynamic: bool = False
) -> Program:
    """The TensorRT network, evaluated from its definition on the CPU."""
    from torch2trt.simulate import simulate

    builder, network, ctx = define_tensorrt(program, inputs, dynamic)

    def run(inputs: Sequence[torch.Tensor], builder: Any = builder) -> list[torch.Tensor]:
        outputs = simulate(network, list(inputs), weights=getattr(ctx, "weight_dict", None))
        return [outputs[f"output{i}"] for i in range(len(outputs))]

    return run


def run_tensorrt(
    program: Callable[..., Any], inputs: Sequence[torch.Tensor], dynamic: bool = False
) -> list[torch.Tensor]:
    """`tensorrt_program` on the inputs that it was made for."""
    return tensorrt_program(program, inputs, dynamic)(inputs)


def tvm_dialect() -> str:
    """The dialect that the installed TVM gives: "relax" or "relay"."""
    pytest.importorskip("tvm", reason="TVM is not installed")
    from torch2trt.backends import tvm_context_class

    return tvm_context_class().name


def tvm_program(
    program: Callable[..., Any], inputs: Sequence[torch.Tensor], dynamic: bool = False
) -> Program:
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
    return (_relay if ctx.name == "relay" else _relax)(module, ctx.tvm_weight_dict)


def run_tvm(
    program: Callable[..., Any], inputs: Sequence[torch.Tensor], dynamic: bool = False
) -> list[torch.Tensor]:
    """`tvm_program` on the inputs that it was made for."""
    return tvm_program(program, inputs, dynamic)(inputs)


def _relax(module: Any, weights: Mapping[Any, torch.Tensor]) -> Program:
    from torch2trt.backends.schedules import compile_cpu

    compiled = compile_cpu(module, None, list(weights.values()))

    def run(inputs: Sequence[torch.Tensor]) -> list[torch.Tensor]:
        found = _flat(compiled(*[x.contiguous() for x in inputs]))
        return [torch.from_dlpack(r) if not isinstance(r, torch.Tensor) else r for r in found]

    return run


def _relay(module: Any, weights: Mapping[Any, torch.Tensor]) -> Program:
    from torch2trt.backends.relay_build import GraphExecutor, build_relay

    named = {var.name_hint: value for var, value in weights.items()}
    executor = GraphExecutor(build_relay(module, named, opt_level=2), torch.device("cpu"))
    return lambda inputs: executor(*inputs)


def _flat(result: Any) -> list[Any]:
    if isinstance(result, torch.Tensor) or hasattr(result, "__dlpack__"):
        return [result]
    return [leaf for element in result for leaf in _flat(element)]


RUNNERS = {"torch": run_torch, "tensorrt": run_tensorrt, "tvm": run_tvm}
