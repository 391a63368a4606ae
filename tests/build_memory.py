"""Peak host memory of a build, as a program of its own: python build_memory.py WHAT KIND DEVICE.

WHAT is `module`, a build through TensorRTModuleWrapper, or `bare`, one of the same network by hand
with nothing but TensorRT. Prints JSON: `weights` of the network and by how much the peak of the
resident memory `grew` over the loaded module, both in bytes. Where the module is on the CPU its own
weights are not counted; where it is on a GPU nothing is left out.
"""

import json
import resource
import sys
import tempfile

import torch
from torch import nn

from torch2trt import TensorRTModuleWrapper
from torch2trt.backends import trt_api

LAYERS, WIDTH, CHANNELS = 4, 4096, 1024


def network(kind):
    """About 265 MB of weights; an example input."""
    if kind == "linear":
        layers = [nn.Linear(WIDTH, WIDTH) for _ in range(LAYERS)]
        x = torch.randn(2, WIDTH)
    else:
        layers = [nn.Conv2d(CHANNELS, CHANNELS, 3, padding=1) for _ in range(2 * LAYERS - 1)]
        x = torch.randn(2, CHANNELS, 4, 4)
    return nn.Sequential(*[m for layer in layers for m in (layer, nn.ReLU())]).eval(), x


def build(net, x):
    """Through the module: with a GPU up to its first result, without one to a file."""
    wrapped = TensorRTModuleWrapper(net, x.shape[0], check=False, optimization_level=0)
    if x.is_cuda:
        wrapped(x)
        return
    with tempfile.NamedTemporaryFile() as file:
        wrapped.build(file.name, x)


def build_bare(net, x):
    """With TensorRT alone."""
    trt = trt_api.trt()
    builder = trt_api.create_builder()
    network = trt_api.create_network(builder)
    y, held = network.add_input("x", trt.float32, tuple(x.shape)), []
    for layer in net:
        if isinstance(layer, nn.ReLU):
            y = network.add_activation(y, trt.ActivationType.RELU).get_output(0)
            continue
        weight, bias = (p.detach().cpu().numpy() for p in (layer.weight, layer.bias))
        held += [weight, bias]
        if isinstance(layer, nn.Conv2d):
            y = network.add_convolution_nd(y, CHANNELS, (3, 3), weight.reshape(-1), bias)
            y.padding_nd = (1, 1)
            y = y.get_output(0)
            continue
        weight = network.add_constant(weight.shape, weight.reshape(-1)).get_output(0)
        bias = network.add_constant((1, WIDTH), bias).get_output(0)
        none, transpose = trt.MatrixOperation.NONE, trt.MatrixOperation.TRANSPOSE
        y = network.add_matrix_multiply(y, none, weight, transpose).get_output(0)
        y = network.add_elementwise(y, bias, trt.ElementWiseOperation.SUM).get_output(0)
    network.mark_output(y)
    config = builder.create_builder_config()
    config.builder_optimization_level = 0
    plan = builder.build_serialized_network(network, config)
    if x.is_cuda:
        engine = trt.Runtime(trt_api.logger()).deserialize_cuda_engine(plan)
        engine.create_execution_context()


def resident():
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * resource.getpagesize()


def main(what, kind, device):
    torch.manual_seed(0)
    function = {"module": build, "bare": build_bare}[what]
    with torch.no_grad():
        warm, x = (nn.Sequential(nn.Linear(8, 8), nn.ReLU()).eval(), torch.randn(2, 8))
        warm(x), build(warm.to(device), x.to(device))  # libraries load, and keep what they allocate
        net, x = network(kind)
        net, x = net.to(device), x.to(device)
        weights = sum(p.nbytes for p in net.parameters())
        before = resident()
        function(net, x)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    print(json.dumps({"weights": weights, "grew": peak - before, "times": (peak - before) / weights}))


if __name__ == "__main__":
    main(*sys.argv[1:])
