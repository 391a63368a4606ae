"""What a TensorRT network definition is, as a short text: equal for networks that build alike."""

from __future__ import annotations

import enum
import functools
import hashlib
from collections.abc import Iterable
from typing import Any

import numpy as np
import torch

from .backends import trt_api

_PLAIN = (bool, int, float, str, type(None))


def definition_digest(network: Any, literals: bytes = b"") -> str:
    """A digest of layers, attributes, connections, inputs and outputs, without the weights.

    Args:
        network: an ``INetworkDefinition``.
        literals: a digest of the constants that are not weights.
    """
    digest = hashlib.sha256(literals)
    for index in range(network.num_inputs):
        digest.update(_tensor(network.get_input(index)).encode())
    with trt_api.muted():  # it warns of attributes that are dynamic
        for index in range(network.num_layers):
            digest.update(_layer(network.get_layer(index)).encode())
    for index in range(network.num_outputs):
        digest.update(_tensor(network.get_output(index)).encode())
    return digest.hexdigest()


def tensor_bytes(tensor: torch.Tensor) -> memoryview:
    """The values of a tensor in host memory."""
    host = tensor.detach().cpu().contiguous().reshape(-1)
    return memoryview(host.view(torch.uint8).numpy()) if host.numel() else memoryview(b"")


def _tensor(tensor: Any) -> str:
    if tensor is None:
        return "none;"
    return f"{tensor.name} {tensor.dtype} {trt_api.known_dims(tensor.shape)};"


@functools.cache
def _interfaces() -> dict[str, Any]:
    """The class of each layer type, by the type's name in lower case without underscores."""
    trt = trt_api.trt()
    found = {}
    for name in dir(trt):
        value = getattr(trt, name)
        if isinstance(value, type) and issubclass(value, trt.ILayer) and name.endswith("Layer"):
            found[name[1:-5].lower()] = value
    return found


def _layer(layer: Any) -> str:
    trt = trt_api.trt()
    kind = trt.ILayer.type.__get__(layer)
    parts = [f"\n{kind.name} {layer.name}:"]
    parts += [_tensor(layer.get_input(i)) for i in range(layer.num_inputs)]
    parts += [_tensor(layer.get_output(i)) for i in range(layer.num_outputs)]
    parts += _attributes(layer, _interfaces().get(kind.name.replace("_", "").lower()))
    return " ".join(parts)


def _attributes(layer: Any, interface: Any) -> Iterable[str]:
    if interface is None:
        return
    own = layer.__class__
    layer.__class__ = interface  # TensorRT hands out plain ILayer; the subclass has the attributes
    try:
        for name, member in sorted(vars(interface).items()):
            if isinstance(member, property):
                try:
                    value = getattr(layer, name)
                except (RuntimeError, TypeError, ValueError, IndexError):  # not set
                    continue
                yield f"{name}={_text(value)}"
    finally:
        layer.__class__ = own


def _text(value: Any) -> str:
    if isinstance(value, _PLAIN):
        return repr(value)
    if isinstance(value, np.ndarray):
        return f"{value.dtype}{value.shape}"
    if isinstance(value, enum.Enum) or hasattr(value, "name"):
        return f"{type(value).__name__}.{value.name}"
    try:
        return str(tuple(value))
    except TypeError:
        return type(value).__name__
