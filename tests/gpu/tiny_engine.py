"""A tiny engine and what PyTorch makes of it."""

import torch

from torch2trt.backends import trt_api
from torch2trt.build import BuildOptions, build_engine
from torch2trt.engine import Engine

CHANNELS, SIZE, LARGEST = 8, 6, 8


def define_convolution(weight, bias):
    """relu(conv(x)) with a dynamic batch and named weights."""
    trt = trt_api.trt()
    builder = trt_api.create_builder()
    network = trt_api.create_network(builder)
    x = network.add_input("x", trt.float32, (-1, CHANNELS, SIZE, SIZE))
    arrays = [t.numpy().reshape(-1).copy() for t in (weight, bias)]
    kernel, shift = map(trt.Weights, arrays)
    layer = network.add_convolution_nd(x, CHANNELS, (3, 3), kernel, shift)
    layer.padding_nd = (1, 1)
    layer.name = "block.0.conv"
    network.set_weights_name(kernel, "block.0.conv.weight")
    network.set_weights_name(shift, "block.0.conv.bias")
    relu = network.add_activation(layer.get_output(0), trt.ActivationType.RELU)
    relu.name = "block.1.relu"
    relu.get_output(0).name = "y"
    network.mark_output(relu.get_output(0))
    return builder, network, (kernel, shift, arrays)


def build_convolution(weight, bias, **options):
    """The plan of relu(conv(x))."""
    builder, network, held = define_convolution(weight, bias)
    shapes = [(n, CHANNELS, SIZE, SIZE) for n in (1, 4, LARGEST)]
    options = BuildOptions(profiles={"x": shapes}, optimization_level=0, **options)
    plan = bytes(build_engine(builder, network, options))
    del held
    return plan


class Convolution:
    """An engine and PyTorch's answer to it."""

    def __init__(self, **options):
        generator = torch.Generator().manual_seed(0)
        self.weight = torch.randn(CHANNELS, CHANNELS, 3, 3, generator=generator)
        self.bias = torch.randn(CHANNELS, generator=generator)
        self.plan = build_convolution(self.weight, self.bias, **options)

    def engine(self):
        """A new engine."""
        return Engine.from_plan(self.plan)

    def expected(self, x, weight=None, bias=None):
        """PyTorch's result, computed in float64."""
        weight = self.weight if weight is None else weight
        bias = self.bias if bias is None else bias
        arguments = [t.double().to(x.device) for t in (x, weight, bias)]
        return torch.conv2d(*arguments, padding=1).relu().float()


def images(batch=2):
    """A batch for the convolution."""
    return torch.randn(batch, CHANNELS, SIZE, SIZE, device="cuda")


def same(got, expected, tolerance=1e-5):
    """Relative error in the 2-norm."""
    assert got.shape == expected.shape and got.dtype == expected.dtype
    error = (got.double() - expected.double()).norm() / expected.double().norm()
    assert error <= tolerance, f"relative error {error:.2g}"
