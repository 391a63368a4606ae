"""Folding batch normalisation into convolutions."""

import pytest
import torch
from op_cases.networks import seeded
from torch import nn

from torch2trt import GraphModule
from torch2trt.fold import fold_batch_norm


def folded(module, x):
    graph = GraphModule(module, x)
    graph.graph = fold_batch_norm(graph.graph)
    return graph


def kinds(graph):
    return [n.kind for n in graph.graph.nodes]


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("affine", [True, False])
@pytest.mark.parametrize("dims", [1, 2, 3])
def test_same_numbers_without_the_norm(dims, affine, bias):
    conv = getattr(nn, f"Conv{dims}d")(4, 6, 3, groups=2, bias=bias)
    norm = getattr(nn, f"BatchNorm{dims}d")(6, affine=affine)
    module = seeded(nn.Sequential(conv, norm, nn.ReLU()))
    x = torch.randn(2, 4, *[5] * dims)
    graph = folded(module, x)
    assert "aten::batch_norm" not in kinds(graph)
    torch.testing.assert_close(graph(x), module(x), rtol=1e-5, atol=1e-5)


def test_weights_are_followed():
    module = seeded(nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4)))
    x = torch.randn(1, 3, 6, 6)
    graph = folded(module, x)
    with torch.no_grad():
        module[0].weight.add_(0.5)
        module[1].running_var.mul_(3)
    torch.testing.assert_close(graph(x), module(x), rtol=1e-5, atol=1e-5)


class ReadTwice(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv, self.norm = nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4)

    def forward(self, x):
        y = self.conv(x)
        return self.norm(y) + y


@pytest.mark.parametrize(
    "module",
    [
        ReadTwice(),
        nn.Sequential(nn.ConvTranspose2d(3, 4, 3), nn.BatchNorm2d(4)),
        nn.Sequential(nn.ReLU(), nn.BatchNorm2d(3)),
    ],
    ids=["read twice", "transposed", "no convolution"],
)
def test_left_alone(module):
    x = torch.randn(1, 3, 6, 6)
    graph = folded(seeded(module), x)
    assert "aten::batch_norm" in kinds(graph)
    torch.testing.assert_close(graph(x), module(x))
