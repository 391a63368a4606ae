"""A TVM program by hand: expressions, weights by name, a module, a virtual machine.

python examples/tvm_program.py
"""

from __future__ import annotations

import torch

import torch2trt
from torch2trt.benchmark import make_network


def main() -> None:
    net, example = make_network("squeezenet1_1")
    inputs = example.example()
    with torch2trt.tvm_network(dialect="relax") as context:
        _, graph_pth = torch2trt.torch2tvm(net, inputs, input_names=["image"])
        outputs = graph_pth.get_resolved_outputs()  # Relax expressions, to build on
        outputs = context.emit(context.op("nn.softmax")(outputs))
        module = context.finish([outputs])  # an IRModule: main(image, weights...)
    weights = {var.name: value for var, value in graph_pth.context.tvm_weight_dict.items()}
    print(f"{len(weights)} weights, the first ones {list(weights)[:3]}")

    from torch2trt.backends.schedules import compile_cpu

    program = compile_cpu(module, params=list(weights.values()))
    run = torch2trt.TVMInference(program, input_names=["image"])
    probs = run(image=inputs)
    probs = probs if isinstance(probs, torch.Tensor) else next(iter(probs.values()))
    with torch.no_grad():
        expected = net(inputs).softmax(1)
    error = ((probs - expected).norm() / expected.norm()).item()
    print(f"relative error {error:.1e}")
    if error > 1e-5:
        raise SystemExit("the TVM program differs from PyTorch")


if __name__ == "__main__":
    main()
