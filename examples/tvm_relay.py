"""A network as a Relay function: outputs, weights by name, relay.build, the graph executor.

    python examples/tvm_relay.py

Needs a TVM that has Relay (0.19 or earlier).
"""

from __future__ import annotations

import torch
import torchvision
import tvm
from tvm import relay

import torch2trt
from torch2trt.backends.relay_build import relay_target


def main() -> None:
    torch.manual_seed(0)
    net = torchvision.models.squeezenet1_1().eval()
    inputs = torch.rand(1, 3, 224, 224)
    with torch2trt.core.tvm_network(dialect="relay"):
        trace, graph_pth = torch2trt.core.torch2tvm(
            net, inputs, input_names=["image"], verbose=True
        )
    outputs = graph_pth.get_resolved_outputs()  # a Relay expression, to build on
    params = {k.name_hint: v for k, v in graph_pth.context.tvm_weight_dict.items()}
    func = relay.Function(relay.analysis.free_vars(outputs), outputs)
    with tvm.transform.PassContext(opt_level=3):
        program = relay.build(func, relay_target(), params=params)

    probs = torch2trt.TVMInference(program)(image=inputs)["output0"]
    with torch.no_grad():
        expected = net(inputs)
    error = ((probs - expected).norm() / expected.norm()).item()
    print(f"{len(params)} weights, relative error {error:.1e}")
    if error > 1e-5:
        raise SystemExit("the TVM program differs from PyTorch")


if __name__ == "__main__":
    main()
