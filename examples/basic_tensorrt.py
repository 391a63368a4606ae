"""One TensorRT network from two traced programs and the network's own layers: the engine, and what
runs it.

Without a GPU the engine is built ahead of time (TensorRT-RTX) and the numbers come from
``simulate``.

    python examples/basic_tensorrt.py [--engine engine.bin]
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch

import torch2trt
from torch2trt.backends import trt_api
from torch2trt.benchmark import make_network
from torch2trt.build import BuildOptions, build_engine

trt = trt_api.trt()  # tensorrt, or tensorrt_rtx where that is what is installed


def heads(x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    return torch.softmax(x, 1), torch.sigmoid(x)


def define(builder, net: torch.nn.Module, inputs: torch.Tensor):
    """The network: squeezenet, an own layer, and a second traced function behind it."""
    graph_net = torch2trt.GraphModule(net, inputs)
    logits = graph_net(inputs)  # torch tensors in: PyTorch debug mode, like net(inputs)
    graph_heads = torch2trt.GraphModule(heads, logits)
    network = trt_api.create_network(builder)
    with torch2trt.trt_network(network):  # TensorRT mode: ITensor in, ITensor out
        image = network.add_input("image", trt.float32, tuple(inputs.shape))
        y = graph_net(image)
        y = network.add_activation(y, trt.ActivationType.TANH).get_output(0)  # the user's own layer
        probs, gate = graph_heads(y, verbose=True)
    for tensor, name in ((probs, "probs"), (gate, "gate")):
        tensor.name = name
        network.mark_output(tensor)
    return network


def run(plan: bytes, network, inputs: torch.Tensor) -> dict[str, torch.Tensor]:
    """The outputs by name: of the engine where it can run, else of the network definition."""
    if not trt_api.can_run():
        return torch2trt.simulate(network, {"image": inputs})
    runtime = trt.Runtime(trt_api.logger())
    context = runtime.deserialize_cuda_engine(plan).create_execution_context()
    on_host = torch2trt.InferenceContext(context)  # numpy in, numpy out
    arrays = on_host.inference_async(inputs.numpy())
    arrays = on_host.inference(image=inputs.numpy())  # by name; waits for the result
    on_device = torch2trt.TorchInferenceContext(
        context
    )  # CUDA tensors in and out, on the current stream
    tensors = on_device.inference_async(inputs.cuda())
    torch.testing.assert_close(torch.from_numpy(arrays["probs"]), tensors["probs"].cpu())
    return {name: tensor.cpu() for name, tensor in tensors.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--engine", type=Path, help="write the engine here")
    arguments = parser.parse_args()
    net, example = make_network("squeezenet1_1")
    inputs = example.example()
    builder = trt_api.create_builder()
    network = define(builder, net, inputs)
    plan = build_engine(builder, network, BuildOptions(optimization_level=0))
    if arguments.engine:
        arguments.engine.write_bytes(plan)
    with torch.no_grad():
        expected = heads(torch.tanh(net(inputs)))
    outputs = run(bytes(plan), network, inputs)
    for name, value in zip(("probs", "gate"), expected):
        error = ((outputs[name] - value).norm() / value.norm()).item()
        print(f"{name}: relative error {error:.1e}")
        if error > 1e-5:
            raise SystemExit(f"{name} differs from PyTorch")


if __name__ == "__main__":
    main()
