"""The benchmarked networks: seeded random weights, batch statistics of random inputs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import nn

from ..errors import BackendUnavailableError, InputMismatchError


@dataclass(frozen=True)
class Network:
    """A network of the benchmark.

    Attributes:
        make: gives the module.
        shape: of one input, without the batch dimension.
        tokens: inputs are numbers below this; None: they are floats.
    """

    name: str
    make: Callable[[], nn.Module]
    shape: tuple[int, ...] = (3, 224, 224)
    tokens: int | None = None

    def example(self, batch: int = 1) -> torch.Tensor:
        """A seeded input batch."""
        generator = torch.Generator().manual_seed(1)
        if self.tokens is not None:
            return torch.randint(self.tokens, (batch, *self.shape), generator=generator)
        return torch.randn((batch, *self.shape), generator=generator)


def _torchvision(name: str, **options: object) -> Callable[[], nn.Module]:
    def make() -> nn.Module:
        try:
            from torchvision.models import get_model
        except ImportError as error:
            raise BackendUnavailableError(
                f"{name} needs torchvision: pip install torch2trt[vision]"
            ) from error
        return get_model(name, weights=None, **options)

    return make


class _Last(nn.Module):
    """A recurrent network that returns its outputs only."""

    def __init__(self, network: nn.Module):
        super().__init__()
        self.network = network

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.network(x)[0]


def _bert() -> nn.Module:
    try:
        from transformers import BertConfig, BertModel
    except ImportError as error:
        raise BackendUnavailableError(
            "bert_base needs transformers: pip install transformers"
        ) from error
    return BertModel(BertConfig(attn_implementation="eager"), add_pooling_layer=False)


class _Bert(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.bert = _bert()

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        return self.bert(tokens, return_dict=False)[0]


_PLAIN = (
    "resnet18", "resnet50", "squeezenet1_1", "mobilenet_v2", "efficientnet_b0", "densenet121",
    "convnext_tiny", "vit_b_16", "swin_t",
)  # fmt: skip

NETWORKS = {
    **{name: Network(name, _torchvision(name)) for name in _PLAIN},
    "inception_v3": Network(
        "inception_v3", _torchvision("inception_v3", init_weights=False), (3, 299, 299)
    ),
    "bert_base": Network("bert_base", _Bert, (128,), tokens=30522),
    "lstm": Network(
        "lstm", lambda: _Last(nn.LSTM(256, 256, num_layers=2, batch_first=True)), (32, 256)
    ),
}


def make_network(name: str) -> tuple[nn.Module, Network]:
    """A network in eval mode with seeded weights and the batch norm statistics of random inputs.

    Raises:
        InputMismatchError: no such network.
        BackendUnavailableError: the package it comes from is not installed.
    """
    if name not in NETWORKS:
        raise InputMismatchError(f"network: got {name!r}, expected one of {', '.join(NETWORKS)}")
    network = NETWORKS[name]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        module = network.make()
        _fill_heads(module)
        calibrate(module, network.example(4) if network.tokens is None else None)
    return module.eval(), network


def _fill_heads(module: nn.Module) -> None:
    """Random weights for heads of zeros, as vit_b_16 has, whose output would always be 0."""
    for part in module.modules():
        if isinstance(part, nn.Linear) and not part.weight.any():
            nn.init.normal_(part.weight, std=0.02)


def calibrate(module: nn.Module, batch: torch.Tensor | None) -> None:
    """Give every batch norm weights that are not one and zero, and the statistics of `batch`.

    Shifts as large as the values keep a random network well conditioned: float32 PyTorch itself is
    then within 2e-6 of float64, so that an error of 1e-5 means something.
    """
    norms = [m for m in module.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm)]
    if not norms or batch is None:
        return
    for norm in norms:
        nn.init.uniform_(norm.weight, 0.5, 1.0)
        nn.init.normal_(norm.bias, std=1.0)
        norm.momentum = None
        norm.reset_running_stats()
    module.train()
    with torch.no_grad():
        module(batch)
    module.eval()
