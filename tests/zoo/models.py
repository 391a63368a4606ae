"""The networks of the zoo, with random weights and at reduced sizes.

Fully convolutional networks and those that end in an adaptive pooling take images of 64 by 64; 96
where strides and windows ask for more, 224 (or ``image_size=64``) where the network is made for one
size; videos have 8 or 16 frames.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import nn

from .language import TRANSFORMERS

_SIZES = {
    "inception_v3": 96, "googlenet": 96, "maxvit_t": 224, "alexnet": 96, "s3d": 224, "mc3_18": 48,
    "r3d_18": 48, "r2plus1d_18": 48,
}  # fmt: skip
_CALIBRATION = 8  # inputs
_FRAMES = {"s3d": 16, "mvit_v1_b": 16, "mvit_v2_s": 16}

_TIMM_BY_SIZE = {
    64: """
        convmixer_768_32 convnext_atto convnextv2_atto cspresnet50 davit_tiny densenet121 dla34
        edgenext_xx_small efficientnet_b0 efficientvit_b0 fastvit_t8 focalnet_tiny_srf ghostnet_100
        hardcorenas_a hrnet_w18_small lcnet_050 mobilenetv4_conv_small mobilevit_xxs nf_regnet_b0
        poolformer_s12 pvt_v2_b0 regnetx_002 repvgg_a0 res2net50_14w_8s rexnet_100 seresnet18
        twins_svt_small vgg11_bn
    """,
    96: """
        inception_v4 xception41
    """,
    224: """
        cait_xxs24_224 convit_tiny deit_tiny_patch16_224 efficientformer_l1 eva02_tiny_patch14_224
        levit_128s mixer_s32_224 pit_ti_224 swin_tiny_patch4_window7_224 visformer_tiny
        vit_tiny_patch16_224 xcit_nano_12_p16_224
    """,
}  # fmt: skip
TIMM = {name: size for size, names in _TIMM_BY_SIZE.items() for name in names.split()}


@dataclass(frozen=True)
class Network:
    """One network.

    Attributes:
        name: unique in the zoo, "torchvision/resnet18".
        group: classification, segmentation, video, timm or transformers.
        make: gives the module, in eval mode, and its inputs.
    """

    name: str
    group: str
    make: Callable[[], tuple[nn.Module, tuple[torch.Tensor, ...]]]


class _First(nn.Module):
    """A module whose output is a dictionary, reduced to its values."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, ...]:
        return tuple(self.net(x).values())


def _vision(name: str, group: str) -> tuple[nn.Module, tuple[torch.Tensor, ...]]:
    import torchvision

    options: dict[str, Any] = {"weights": None}
    size = _SIZES.get(name, 64)
    if name in ("googlenet", "inception_v3"):
        options["init_weights"] = False
    if name.startswith("vit_"):
        size = options["image_size"] = 56 if "14" in name else 64
    if group == "segmentation":
        options["weights_backbone"] = None
    net = torchvision.models.get_model(name, **options)
    shape: tuple[int, ...] = (1, 3, size, size)
    if group == "video":
        spatial = 224 if name.startswith(("mvit", "swin3d")) else size
        shape = (1, 3, _FRAMES.get(name, 8), spatial, spatial)
    return _First(net) if group == "segmentation" else net, (torch.randn(shape),)


def _timm(name: str, size: int) -> tuple[nn.Module, tuple[torch.Tensor, ...]]:
    import timm

    return timm.create_model(name, pretrained=False), (torch.randn(1, 3, size, size),)


def other(inputs: tuple[torch.Tensor, ...]) -> tuple[torch.Tensor, ...]:
    """Inputs unlike those of the trace: what the trace froze shows."""
    return tuple(torch.randn_like(x) if x.is_floating_point() else x.flip(-1) for x in inputs)


def calibrated(net: nn.Module, inputs: tuple[torch.Tensor, ...]) -> nn.Module:
    """The network in eval mode, such that its outputs depend on its inputs and on every parameter.

    Batch statistics come from random inputs: with others the activations of a deep network die away
    and its outputs are those of the last bias. The means are spread by two standard deviations:
    around their own means a deep network of random weights is chaotic, and float32 differs from
    float64. Parameters at one value (zeros, 1e-6) get noise.
    """
    generator = torch.Generator().manual_seed(0)
    for parameter in net.parameters():
        if parameter.numel() > 1 and bool((parameter == parameter.flatten()[0]).all()):
            noise = torch.randn(parameter.shape, generator=generator)
            parameter.data.add_(noise, alpha=0.05)
    norms = [
        m
        for m in net.modules()
        if isinstance(m, nn.modules.batchnorm._BatchNorm) and m.running_mean is not None
    ]
    hooks = [norm.register_forward_pre_hook(partial(_take_statistics, generator)) for norm in norms]
    if hooks:
        with torch.no_grad():
            net.eval()(
                *(torch.randn(_CALIBRATION, *x.shape[1:], generator=generator) for x in inputs)
            )
    for hook in hooks:
        hook.remove()
    return net.eval()


def _take_statistics(
    generator: torch.Generator, norm: nn.Module, given: tuple[torch.Tensor, ...]
) -> None:
    variance, mean = torch.var_mean(given[0].transpose(0, 1).flatten(1), 1)
    variance = variance.clamp_min(0.3 * float(variance.mean()))
    norm.running_mean.copy_(
        mean + 2 * variance.sqrt() * torch.randn(mean.shape, generator=generator)
    )
    norm.running_var.copy_(variance * (1 + torch.rand(mean.shape, generator=generator)))


def networks() -> dict[str, Network]:
    """All networks by name."""
    import timm
    import torchvision

    found = []
    groups = {
        "classification": torchvision.models, "segmentation": torchvision.models.segmentation,
        "video": torchvision.models.video,
    }  # fmt: skip
    for group, module in groups.items():
        for name in torchvision.models.list_models(module=module):
            found.append(Network(f"torchvision/{name}", group, partial(_vision, name, group)))
    known = set(timm.list_models())
    found += [
        Network(f"timm/{n}", "timm", partial(_timm, n, size))
        for n, size in TIMM.items()
        if n in known
    ]
    found += [
        Network(f"transformers/{n}", "transformers", make) for n, make in TRANSFORMERS.items()
    ]
    return {network.name: network for network in found}
