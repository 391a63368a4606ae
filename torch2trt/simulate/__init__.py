"""Evaluates a TensorRT network definition on the CPU, for machines without a GPU.

Everything is read back from the ``INetworkDefinition``: its layers, their attributes and weights.
Each layer is computed with PyTorch as NVIDIA's operator reference defines it. The rules are grouped
by family, one decorated function per type of layer.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch

from ..backends.trt_api import torch_dtype
from ..errors import InputMismatchError
from . import (  # noqa: F401  (each module registers its rules)
    attention,
    control,
    convolution,
    indexing,
    linear,
    pointwise,
    pooling,
    reduction,
    sampling,
    shapes,
)
from .evaluator import Definition, Scope
from .layers import SimulationError, fits

__all__ = ["SimulationError", "simulate"]

Array = torch.Tensor | np.ndarray


@torch.no_grad()
@torch.autocast("cpu", enabled=False)
def simulate(
    network: Any,
    inputs: Mapping[str, Array] | Sequence[Array],
    *,
    weights: Mapping[str, torch.Tensor] | None = None,
) -> dict[str, torch.Tensor]:
    """Runs a TensorRT network definition on the CPU, without building an engine.

    Use it to check a network on a machine without a GPU. The definition alone is evaluated: float32
    in float32, 16-bit floats in float32 with each layer's result rounded, integers exactly. The
    shape and dtype of every layer's result are compared with what the network declares. Assertions
    are checked, except inside an if-conditional.

    Args:
        network: an ``INetworkDefinition`` with explicit batch, of TensorRT 8.6 or later or of
            TensorRT-RTX.
        inputs: the network's inputs, by name or in the network's order, with the dtypes that it
            declares.
        weights: weights of types that TensorRT does not give back (bfloat16, float8), by
            ``<layer name>.<attribute>`` (``conv1.kernel``) or by the name of the layer alone.

    Returns:
        The network's outputs by name, on the CPU, with the dtypes that the network declares.

    Raises:
        InputMismatchError: an input is missing, unknown, or has another shape or dtype than
            declared.
        SimulationError: a layer has no deterministic definition, is used outside of it, or computes
            another shape or dtype than the network declares.

    Example:
        image = network.add_input("image", trt.float32, tuple(x.shape))
        y = network.add_activation(image, trt.ActivationType.RELU).get_output(0)
        network.mark_output(y)
        torch2trt.simulate(network, {"image": x})[y.name]
    """
    definition = Definition(network, weights or {})
    scope = Scope(definition, _bind(definition.inputs, inputs))
    control.check_assertions(scope)
    return {tensor.name: scope.value(tensor).clone() for tensor in definition.outputs}


def _bind(
    declared: list[Any], given: Mapping[str, Array] | Sequence[Array]
) -> dict[Any, torch.Tensor]:
    names = [tensor.name for tensor in declared]
    if not isinstance(given, Mapping):
        if len(given) != len(names):
            raise InputMismatchError(
                f"the network has {len(names)} inputs ({', '.join(names)}), got {len(given)}"
            )
        given = dict(zip(names, given, strict=True))
    missing = [name for name in names if name not in given]
    unknown = [name for name in given if name not in names]
    if missing or unknown:
        raise InputMismatchError(
            f"the network has the inputs {names}; missing: {missing}, unknown: {unknown}"
        )
    return {tensor: _input(tensor, given[tensor.name]) for tensor in declared}


def _input(declared: Any, value: Array) -> torch.Tensor:
    if isinstance(value, np.ndarray | np.generic):
        value = torch.from_numpy(np.array(value))
    if not isinstance(value, torch.Tensor):
        raise InputMismatchError(
            f"input '{declared.name}': expected a torch tensor or a numpy array, "
            f"got {type(value).__name__}"
        )
    shape, dtype = tuple(declared.shape), torch_dtype(declared.dtype)
    if value.dtype != dtype:
        raise InputMismatchError(f"input '{declared.name}': expected {dtype}, got {value.dtype}")
    if not fits(shape, value):
        raise InputMismatchError(
            f"input '{declared.name}': expected the shape {shape}, got {tuple(value.shape)}"
        )
    return value.detach().cpu()
