"""torchvision's classification models.

All of them define a network on both backends; a choice of them is run.
"""

from __future__ import annotations

import contextlib
import importlib.util
from collections.abc import Callable, Iterator
from unittest import mock

import pytest
import torch
from case import Case, assert_same
from runners import define_tensorrt, run_tensorrt, run_tvm
from torch import nn

from torch2trt.backends import trt_api, tvm_context_class
from torch2trt.backends.base import Context
from torch2trt.context import use_context
from torch2trt.core import GraphModule

torchvision = pytest.importorskip("torchvision", reason="torchvision is not installed")
models = torchvision.models


def with_statistics(module: nn.Module) -> nn.Module:
    """The module in eval mode with seeded statistics, scales and biases.

    None of these may be left out unnoticed.
    """
    generator = torch.Generator().manual_seed(0)
    for owner in module.modules():
        norm = isinstance(owner, (nn.BatchNorm2d, nn.LayerNorm))
        parameters = owner.named_parameters(recurse=False)
        for name, value in [*parameters, *owner.named_buffers(recurse=False)]:
            scale = name == "layer_scale"
            if value.is_floating_point() and (norm or scale or not bool(value.any())):
                positive = name == "running_var" or (norm and name == "weight") or scale
                noise = torch.rand(value.shape, generator=generator) * 0.4
                value.data.copy_(noise + 0.8 if positive else noise - 0.2)
    return module.eval()


def swin(version: str) -> nn.Module:
    """A small Swin transformer whose windows are shifted and padded."""
    v2 = {
        "block": models.swin_transformer.SwinTransformerBlockV2,
        "downsample_layer": models.swin_transformer.PatchMergingV2,
    }
    blocks = {"v1": {}, "v2": v2}[version]
    return models.SwinTransformer([4, 4], 24, [2, 2], [2, 4], [5, 5], num_classes=10, **blocks)


def convnext() -> nn.Module:
    """A small ConvNeXt."""
    setting = models.convnext.CNBlockConfig
    return models.ConvNeXt([setting(24, 48, 1), setting(48, None, 2)], num_classes=10)


def maxvit() -> nn.Module:
    """A small MaxViT."""
    return models.MaxVit((64, 64), 16, 4, [16, 32], [1, 1], 8, 0.0, num_classes=10)


def vision_transformer() -> nn.Module:
    """A small vision transformer."""
    return models.VisionTransformer(64, 16, 2, 4, 48, 96, num_classes=10)


def vgg() -> nn.Module:
    """VGG with a small classifier: its average pooling has uneven windows here."""
    model = models.vgg11_bn(num_classes=10, init_weights=False)
    model.classifier = nn.Linear(512 * 49, 10)
    return model


SMALL: dict[str, tuple[Callable[[], nn.Module], int]] = {
    "resnet18": (models.resnet18, 64),
    "mobilenet_v3_small": (models.mobilenet_v3_small, 64),
    "shufflenet_v2_x0_5": (models.shufflenet_v2_x0_5, 64),
    "squeezenet1_1": (models.squeezenet1_1, 64),
    "mnasnet0_5": (models.mnasnet0_5, 64),
    "regnet_y_400mf": (models.regnet_y_400mf, 64),
    "efficientnet_b0": (models.efficientnet_b0, 64),
    "googlenet": (lambda: models.googlenet(init_weights=False), 64),
    "vgg": (vgg, 70),
    "vision_transformer": (vision_transformer, 64),
    "swin": (lambda: swin("v1"), 64),
    "swin_v2": (lambda: swin("v2"), 64),
    "convnext": (convnext, 64),
    "maxvit": (maxvit, 64),
}


def small(name: str) -> Case:
    make, size = SMALL[name]
    torch.manual_seed(0)
    return Case(name, with_statistics(make()), ((1, 3, size, size),))


@pytest.mark.parametrize("name", SMALL)
@pytest.mark.parametrize("run", [run_tvm, run_tensorrt], ids=["tvm", "tensorrt"])
def test_numbers(name: str, run: Callable):
    case = small(name)
    inputs = case.example()
    expected = case.expected(inputs)
    assert float(expected[0].abs().max()) > 1e-2
    assert_same(run(case.program, inputs), expected, rtol=1e-5)


# ---- all models ----------------------------------------------------------------------------------
INPUT_SIZES = {"inception_v3": 75, "maxvit_t": 224}
ALL = models.list_models(module=models)


@contextlib.contextmanager
def without_initialisation() -> Iterator[None]:
    """Weights stay what the memory holds: for networks that are only defined."""
    with contextlib.ExitStack() as stack:
        for name in (n for n in dir(nn.init) if n.endswith("_") and not n.startswith("_")):
            stack.enter_context(mock.patch.object(nn.init, name, lambda tensor, *_, **__: tensor))
        yield


def full_size(name: str) -> tuple[nn.Module, tuple[torch.Tensor, ...]]:
    options = {"init_weights": False} if name in ("googlenet", "inception_v3") else {}
    with without_initialisation():
        module = models.get_model(name, weights=None, **options).eval()
    size = INPUT_SIZES.get(name, 224 if name.startswith("vit") else 64)
    return module, (torch.zeros(1, 3, size, size),)


def contexts() -> Iterator[Context]:
    """A context of each installed backend; the builder of TensorRT lives as long as the loop."""
    if trt_api.available():
        from torch2trt.backends.tensorrt import TensorRTContext

        builder = trt_api.create_builder()
        yield TensorRTContext(trt_api.create_network(builder))
    if importlib.util.find_spec("tvm"):
        yield tvm_context_class()()


@pytest.mark.slow
@pytest.mark.parametrize("name", ALL)
def test_defines(name: str):
    """Every model becomes a TensorRT network and a Relax function from one trace."""
    module, inputs = full_size(name)
    graph = GraphModule(module, inputs)
    for ctx in contexts():
        with use_context(ctx):
            (output,) = graph.run([ctx.input("input0", inputs[0].shape, torch.float32)])
            assert tuple(ctx.shape(output)) == (1, 1000) and ctx.dtype(output) == torch.float32
            ctx.finish([output])


@pytest.mark.slow
@pytest.mark.parametrize(
    "name", ["resnet18", "mobilenet_v3_small", "shufflenet_v2_x0_5", "swin", "vision_transformer"]
)
def test_builds(name: str):
    """TensorRT accepts the network and builds an engine."""
    from torch2trt.build import build_engine

    case = small(name)
    builder, network, _ = define_tensorrt(case.program, case.example())
    assert len(build_engine(builder, network)) > 10_000
