"""A handler of your own for one node kind, on every backend.

Here ``aten::sum`` over dimensions, which torch2trt has built in; yours replaces it until it is
unregistered.

    python examples/custom_handler.py
"""

from __future__ import annotations

import torch

import torch2trt
from torch2trt import current_context, has_trt_tensor, has_tvm_tensor, register_node_handler
from torch2trt.backends import trt_api


@register_node_handler("aten::sum")
def aten_sum(inputs, attributes, scope):
    x, dim, keepdim = inputs[:3]
    ctx = current_context()
    if ctx.is_tensorrt and has_trt_tensor(inputs):
        trt = trt_api.trt()
        axes = sum(1 << (d % len(x.shape)) for d in dim)
        layer = ctx.network.add_reduce(x, trt.ReduceOperation.SUM, axes, bool(keepdim))
        layer.name = scope
        output = layer.get_output(0)
        output.name = scope
        return [output]
    if ctx.is_tvm and has_tvm_tensor(inputs):
        return [ctx.op("sum")(x, dim, keepdims=bool(keepdim))]
    return [torch.sum(x, dim, keepdim=bool(keepdim))]


def program(x: torch.Tensor) -> torch.Tensor:
    return torch.relu(x).sum((1, -1), keepdim=True)


def main() -> None:
    x = torch.randn(2, 3, 4)
    graph = torch2trt.GraphModule(program, x)
    results = {"debug mode": graph(x)}

    network = trt_api.create_network(trt_api.create_builder())
    with torch2trt.trt_network(network):
        y = graph(network.add_input("x", trt_api.trt().float32, tuple(x.shape)))
    network.mark_output(y)
    results["TensorRT"] = torch2trt.simulate(network, {"x": x})[y.name]

    class Module(torch.nn.Module):
        def forward(self, x):
            return program(x)

    results["TVM"] = torch2trt.TVMModuleWrapper(Module()).eval()(x)
    for name, value in results.items():
        torch.testing.assert_close(value, program(x))
        print(f"{name}: {value.flatten().tolist()}")


if __name__ == "__main__":
    main()
