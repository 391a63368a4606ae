"""simulate of networks that the ONNX parser of TensorRT made, and the parser beside ours."""

from __future__ import annotations

import io
import subprocess
import sys
import warnings

import pytest
import torch
from torch import nn

from torch2trt.backends import trt_api
from torch2trt.simulate import simulate

needs_parser = pytest.mark.skipif(
    not trt_api.available() or not trt_api.supports("OnnxParser"),
    reason="this TensorRT has no ONNX parser",
)
needs_builder = pytest.mark.skipif(
    not trt_api.available() or not (trt_api.is_rtx() or torch.cuda.is_available()),
    reason="no TensorRT that builds on this machine",
)


class Fire(nn.Module):
    """As in SqueezeNet: two convolutions of one input, side by side."""

    def __init__(self) -> None:
        super().__init__()
        self.squeeze = nn.Conv2d(3, 4, 1)
        self.expand1x1, self.expand3x3 = nn.Conv2d(4, 5, 1), nn.Conv2d(4, 5, 3, padding=1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.squeeze(x).relu()
        return torch.cat([self.expand1x1(x).relu(), self.expand3x3(x).relu()], 1)


class Residual(nn.Module):
    """As in ResNet: batch norm, a sum, a linear layer."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.norm = (
            nn.Conv2d(3, 6, 3, stride=2, padding=1, bias=False),
            nn.BatchNorm2d(6),
        )
        self.body = nn.Sequential(nn.Conv2d(6, 6, 3, padding=1, groups=2), nn.BatchNorm2d(6))
        self.last = nn.Linear(6, 4)
        for norm in (self.norm, self.body[1]):
            nn.init.uniform_(norm.running_mean, -1, 1)
            nn.init.uniform_(norm.running_var, 0.5, 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.norm(self.stem(x)).relu()
        x = (x + self.body(x)).relu()
        return self.last(x.mean((2, 3)))


class Branches(nn.Module):
    """As in Inception: kernels that are not square, pools that count padding, several ends."""

    def __init__(self) -> None:
        super().__init__()
        self.wide, self.tall = (
            nn.Conv2d(3, 4, (1, 7), padding=(0, 3)),
            nn.Conv2d(3, 4, (7, 1), padding=(3, 0)),
        )
        self.pooled = nn.Conv2d(3, 2, 1)

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        pool = nn.functional.avg_pool2d(x, 3, 1, 1)
        joined = torch.cat([self.wide(x), self.tall(x), self.pooled(pool)], 1)
        return joined.softmax(1), nn.functional.max_pool2d(joined, 3, 2, ceil_mode=True)


class Transposed(nn.Sequential):
    """Upsampling by a transposed convolution."""

    def __init__(self) -> None:
        super().__init__(
            nn.ConvTranspose2d(3, 5, 4, stride=2, padding=1), nn.Sigmoid(), nn.Conv2d(5, 2, 3)
        )


def onnx_bytes(module: nn.Module, x: torch.Tensor) -> bytes:
    file = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(module, (x,), file, dynamo=False)
    return file.getvalue()


@needs_parser
@needs_builder
@pytest.mark.parametrize("kind", [Fire, Residual, Branches, Transposed])
def test_parsed_networks(kind: type[nn.Module]) -> None:
    pytest.importorskip("onnx", reason="torch.onnx.export needs it")
    module, x = kind().eval(), torch.randn(2, 3, 11, 10)
    network = trt_api.create_network(trt_api.create_builder())
    parser = trt_api.trt().OnnxParser(network, trt_api.logger())
    assert parser.parse(onnx_bytes(module, x)), parser.get_error(0)
    found = simulate(network, [x]).values()
    with torch.no_grad():
        expected = module(x)
    expected = expected if isinstance(expected, tuple) else (expected,)
    for got, want in zip(found, expected, strict=True):
        assert got.shape == want.shape
        assert (got - want).norm() <= 1e-5 * want.norm()


LIFE = """
import gc
import torch
import torch2trt
from torch2trt.backends import trt_api

def convert(network):
    with torch2trt.trt_network(network):
        x = network.add_input("x", trt_api.trt().float32, (2, 3))
        assert network.error_recorder is not None
        torch2trt.GraphModule(torch.nn.ReLU(), torch.randn(2, 3))(x)
    assert network.error_recorder is None

def parser_of(network):
    return trt_api.trt().OnnxParser(network, trt_api.logger())

def fresh(builder):
    return trt_api.create_network(builder)

def converted_before(builder):
    network = fresh(builder)
    convert(network)
    return network

def of_the_user(builder):
    flags = trt_api.trt().NetworkDefinitionCreationFlag
    builder.error_recorder = None
    network = builder.create_network(1 << int(getattr(flags, "STRONGLY_TYPED", 0)))
    convert(network)
    return network

for make in (fresh, converted_before, of_the_user):
    for first in ("network", "parser", "builder"):
        held = {"builder": trt_api.create_builder()}
        held["network"] = make(held["builder"])
        held["parser"] = parser_of(held["network"])
        del held[first]
        gc.collect()
        held.clear()
        gc.collect()

network = fresh(trt_api.create_builder())
parser = parser_of(network)
with torch2trt.trt_network(network):
    torch2trt.GraphModule(torch.nn.ReLU(), torch.randn(1))(
        network.add_input("x", trt_api.trt().float32, (1,))
    )
del network, parser
gc.collect()
print("alive")
"""


@needs_parser
@needs_builder
def test_a_parser_and_its_network_may_go_in_any_order() -> None:
    done = subprocess.run([sys.executable, "-c", LIFE], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, f"exit {done.returncode}: {done.stderr[-2000:]}"
    assert done.stdout == "alive\n"
