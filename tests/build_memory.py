"""Peak host memory of a build, as a program of its own: python build_memory.py KIND DEVICE.

Prints JSON: the `weights` of the network and by how much the peak of the resident memory `grew`
over the loaded module, both in bytes. Where the module is on the CPU its own weights are not
counted; where it is on a GPU nothing is left out. TensorRT alone needs twice the weights.
"""

import json
import resource
import sys
import tempfile
import time

import torch
from torch import nn

from torch2trt import TensorRTModuleWrapper

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


def resident():
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * resource.getpagesize()


def peak():
    """The largest since the program began; ``ru_maxrss`` counts what its parent had, too."""
    with open("/proc/self/status") as file:
        line = next(line for line in file if line.startswith("VmHWM:"))
    return int(line.split()[1]) * 1024


def main(kind, device):
    torch.manual_seed(0)
    with torch.no_grad():
        warm, x = (nn.Sequential(nn.Linear(8, 8), nn.ReLU()).eval(), torch.randn(2, 8))
        warm(x), build(warm.to(device), x.to(device))  # libraries load, and keep what they allocate
        net, x = network(kind)
        net, x = net.to(device), x.to(device)
        weights = sum(p.nbytes for p in net.parameters())
        before = resident()
        start = time.perf_counter()
        build(net, x)
        seconds = time.perf_counter() - start
    grew = peak() - before
    figures = {"weights": weights, "grew": grew, "times": grew / weights, "seconds": seconds}
    print(json.dumps(figures))


if __name__ == "__main__":
    main(*sys.argv[1:])
