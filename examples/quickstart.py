"""ResNet-50, Inception v3 and SqueezeNet 1.1: traced, converted to TVM and TensorRT, checked
against PyTorch, timed.

Without a GPU, TVM runs on the CPU, and TensorRT-RTX builds the engines ahead of time while their
numbers are checked by evaluating the network definition (``torch2trt.simulate``). With a GPU the
engines run. Random weights, fixed seed.

    python examples/quickstart.py [--networks squeezenet1_1 ...] [--seconds 3]
"""

from __future__ import annotations

import argparse
import copy
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn

import torch2trt
from torch2trt.backends import trt_api
from torch2trt.benchmark import interleave, make_network

NETWORKS = ("resnet50", "inception_v3", "squeezenet1_1")
LIMITS = {"float32": 1e-5, "float16": 5e-3}


@dataclass
class Row:
    """One line of the table."""

    network: str
    backend: str
    seconds: float
    error: float
    limit: float
    milliseconds: float | None = None
    pytorch: float | None = None

    def cells(self) -> list[str]:
        times = ["-", "-", "-"]
        if self.milliseconds and self.pytorch:
            times = [
                f"{self.milliseconds:.2f}",
                f"{self.pytorch:.2f}",
                f"{self.milliseconds / self.pytorch:.2f}",
            ]
        state = "ok" if self.error <= self.limit else f"error above {self.limit:.0e}"
        return [
            self.network,
            self.backend,
            f"{self.seconds:.1f}",
            f"{self.error:.1e}",
            *times,
            state,
        ]


HEAD = ["network", "backend", "build s", "rel. error", "ms", "PyTorch ms", "ratio", ""]


def progress(steps: int) -> Callable[[str], None]:
    """A progress bar that is told what comes next; plain lines without tqdm."""
    try:
        from tqdm import tqdm
    except ImportError:
        return lambda text: print(f"... {text}", file=sys.stderr)
    bar = tqdm(total=steps, bar_format="{l_bar}{bar}| {n_fmt}/{total_fmt} [{elapsed}]", leave=False)

    def step(text: str) -> None:
        bar.set_description(text)
        bar.update()

    return step


def relative_error(got: torch.Tensor, expected: torch.Tensor) -> float:
    return float((got.detach().cpu().double() - expected).norm() / expected.norm())


def timed(call: Callable[[], torch.Tensor]) -> tuple[float, torch.Tensor]:
    start = time.perf_counter()
    with torch.no_grad():
        result = call()
    return time.perf_counter() - start, result


def tvm_row(
    name: str, net: nn.Module, x: torch.Tensor, expected: torch.Tensor, seconds: float
) -> Row:
    """TVM on the device of the inputs: the first call in eval mode compiles."""
    module = torch2trt.TVMModuleWrapper(net).eval()
    build, y = timed(lambda: module(x))
    times = pair(module, net, x, seconds)
    return Row(
        name,
        f"TVM ({x.device.type})",
        build,
        relative_error(y, expected),
        LIMITS["float32"],
        *times,
    )


def tensorrt_ahead_row(name: str, net: nn.Module, x: torch.Tensor, expected: torch.Tensor) -> Row:
    """An engine built without a GPU, its numbers checked by evaluating the network definition."""
    module = torch2trt.TensorRTModuleWrapper(net, 1, 1 << 30).eval()
    y = module.simulate(x)
    with tempfile.TemporaryDirectory() as folder:
        build, _ = timed(lambda: module.build(Path(folder) / "net.engine", x))
    return Row(
        name,
        "TensorRT-RTX (built, simulated)",
        build,
        relative_error(y, expected),
        LIMITS["float32"],
    )


def tensorrt_row(
    name: str, net: nn.Module, x: torch.Tensor, expected: torch.Tensor, dtype: str, seconds: float
) -> Row:
    """An engine on the GPU."""
    module = torch2trt.TensorRTModuleWrapper(net, 1, 1 << 30, dtype=dtype, cuda_graph=True).eval()
    build, y = timed(lambda: module(x))
    times = pair(module, net, x, seconds)
    return Row(name, f"TensorRT {dtype}", build, relative_error(y, expected), LIMITS[dtype], *times)


def pair(module: nn.Module, net: nn.Module, x: torch.Tensor, seconds: float) -> tuple[float, float]:
    """Milliseconds of the converted module and of PyTorch, measured in turns."""
    with torch.no_grad():
        times = interleave(
            {"ours": lambda: module(x), "pytorch": lambda: net(x)}, seconds, cuda=x.is_cuda
        )
    return times["ours"].median, times["pytorch"].median


def rows(name: str, device: str, seconds: float, step: Callable[[str], None]) -> Iterator[Row]:
    net, network = make_network(name)
    x = network.example()
    with torch.no_grad():
        expected = copy.deepcopy(net).double()(x.double())
    net, x = net.to(device), x.to(device)
    step(f"{name}: TVM")
    yield tvm_row(name, net, x, expected, seconds)
    if device == "cuda":
        for dtype in LIMITS:
            step(f"{name}: TensorRT {dtype}")
            yield tensorrt_row(name, net, x, expected, dtype, seconds)
    else:
        step(f"{name}: TensorRT")
        yield tensorrt_ahead_row(name, net, x, expected)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--networks", nargs="+", default=NETWORKS)
    parser.add_argument("--seconds", type=float, default=3.0, help="measuring time for each row")
    arguments = parser.parse_args()
    warnings.filterwarnings("ignore", category=FutureWarning)
    warnings.filterwarnings("ignore", category=DeprecationWarning)
    torch.backends.cudnn.allow_tf32 = False
    device = "cuda" if torch.cuda.is_available() and trt_api.can_run() else "cpu"
    step = progress(len(arguments.networks) * (3 if device == "cuda" else 2))
    made = [
        row for name in arguments.networks for row in rows(name, device, arguments.seconds, step)
    ]
    cells = [HEAD] + [row.cells() for row in made]
    widths = [max(len(line[i]) for line in cells) for i in range(len(HEAD))]
    print(
        "\n"
        + "\n".join("  ".join(c.ljust(w) for c, w in zip(line, widths)).rstrip() for line in cells)
    )
    return 0 if all(row.error <= row.limit for row in made) else 1


if __name__ == "__main__":
    sys.exit(main())
