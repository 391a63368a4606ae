"""Evaluates a network definition on demand: from an output back to the inputs, each layer once."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any

import torch

from ..backends.tensorrt_types import TypeTable, is_weakly_typed
from ..backends.trt_api import torch_dtype
from ..errors import Torch2TrtError
from .layers import Layer, SimulationError, fits

_NARROW = (torch.float16, torch.bfloat16)


class Definition:
    """The layers of a network, who produces each tensor, and how often each is read.

    It holds on to the TensorRT objects: as long as they live, a tensor is one Python object, which
    is what makes it a dictionary key.
    """

    def __init__(self, network: Any, weights: Mapping[str, torch.Tensor]):
        self.inputs = [network.get_input(i) for i in range(network.num_inputs)]
        self.outputs = [network.get_output(i) for i in range(network.num_outputs)]
        self.weakly_typed = is_weakly_typed(network)
        types = TypeTable()

        def type_of(tensor: Any) -> Any:
            return types.of(network, tensor) if self.weakly_typed else tensor.dtype

        layers = (network.get_layer(i) for i in range(network.num_layers))
        self.layers = [Layer(layer, weights, type_of) for layer in layers]
        self.producer = {tensor: layer for layer in self.layers for tensor in layer.outputs}
        self.readers: dict[Any, list[Layer]] = {}
        for layer in self.layers:
            for tensor in filter(None, layer.inputs):
                self.readers.setdefault(tensor, []).append(layer)

    def uses(self) -> Counter:
        """How many layers and network outputs read each tensor."""
        counts = Counter({tensor: len(readers) for tensor, readers in self.readers.items()})
        counts.update(self.outputs)
        return counts


class Scope:
    """The values computed so far: of the whole network, or of one iteration of a loop.

    A scope computes the layers that belong to it and asks its parent for all other values, so
    whatever does not change within a loop is computed once.

    Attributes:
        definition: the network.
        parent: the scope around it, None for the whole network.
        iteration: the number of this iteration, from 0.
        trips: the trip count of the loop, None where only a condition ends it.
    """

    def __init__(
        self,
        definition: Definition,
        values: dict[Any, torch.Tensor],
        *,
        parent: Scope | None = None,
        body: frozenset[Layer] = frozenset(),
        iteration: int = 0,
        trips: int | None = None,
    ):
        self.definition = definition
        self.parent = parent
        self.iteration = iteration
        self.trips = trips
        self._values = values
        self._body = body
        self._unread = definition.uses() if parent is None else None

    def value(self, tensor: Any) -> torch.Tensor:
        """The value of a tensor, computed now if it has not been computed yet."""
        path = [] if self._has(tensor) else [self._producer(tensor)]
        while path:
            layer = path[-1]
            wanted = next((t for t in self._needs(layer) if not self._has(t)), None)
            if wanted is None:
                self._run(path.pop())
                continue
            path.append(self._producer(wanted))
            if path[-1] in path[:-1]:
                layer.fail(f"it depends on its own output, through tensor '{wanted.name}'")
        return self._find(tensor)

    def _needs(self, layer: Layer) -> list[Any]:
        return [] if layer.rule.lazy else [tensor for tensor in layer.inputs if tensor is not None]

    def _producer(self, tensor: Any) -> Layer:
        if tensor not in self.definition.producer:
            raise SimulationError(
                f"tensor '{tensor.name}' is neither a network input nor made by a layer"
            )
        return self.definition.producer[tensor]

    def _owns(self, tensor: Any) -> bool:
        return self.parent is None or self.definition.producer.get(tensor) in self._body

    def _has(self, tensor: Any) -> bool:
        """Whether the value is there; one that belongs to an outer scope is computed there."""
        if self._owns(tensor):
            return tensor in self._values
        self.parent.value(tensor)
        return True

    def _find(self, tensor: Any) -> torch.Tensor:
        return self._values[tensor] if self._owns(tensor) else self.parent._find(tensor)

    def _run(self, layer: Layer) -> None:
        for tensor, value in self._evaluate(layer).items():
            value = _checked(layer, tensor, value)
            if self.definition.weakly_typed and tensor.is_network_output:
                value = _as_declared(tensor, value)
            self._values[tensor] = value
        if self._unread is not None and not layer.rule.lazy:
            self._release(layer)

    def _release(self, layer: Layer) -> None:
        for tensor in filter(None, layer.inputs):
            self._unread[tensor] -= 1
            if not self._unread[tensor]:
                self._values.pop(tensor, None)

    def _evaluate(self, layer: Layer) -> dict[Any, torch.Tensor]:
        try:
            if layer.rule.lazy:
                return layer.rule.evaluate(layer, self)
            values = [None if tensor is None else self._find(tensor) for tensor in layer.inputs]
            result = _apply(layer, values)
        except Torch2TrtError:
            raise
        except (RuntimeError, ValueError, IndexError, TypeError, ArithmeticError) as error:
            shapes = [
                (tensor.name, tuple(self._find(tensor).shape)) for tensor in self._needs(layer)
            ]
            raise SimulationError(f"{layer}: {error} (inputs: {shapes})") from error
        return dict(zip(layer.outputs, result, strict=True))


def _apply(layer: Layer, values: list[torch.Tensor | None]) -> tuple[torch.Tensor, ...]:
    """Evaluates a layer; where its rule says so, 16-bit floats in float32, the result rounded."""
    narrow = next((v.dtype for v in values if v is not None and v.dtype in _NARROW), None)
    if narrow is None or not layer.rule.widen:
        result = layer.rule.evaluate(layer, *values)
        return result if isinstance(result, tuple) else (result,)
    wide = [v.float() if v is not None and v.dtype in _NARROW else v for v in values]
    result = layer.rule.evaluate(layer, *wide)
    results = result if isinstance(result, tuple) else (result,)
    return tuple(v.to(narrow) if v.dtype == torch.float32 else v for v in results)


def _checked(layer: Layer, tensor: Any, value: torch.Tensor) -> torch.Tensor:
    """The value, if it is what the tensor declares."""
    try:
        declared = tuple(tensor.shape)
    except (RuntimeError, ValueError) as error:
        raise SimulationError(
            f"{layer}: TensorRT cannot infer the shape of '{tensor.name}': {error}"
        ) from error
    layer.check(
        fits(declared, value),
        f"output '{tensor.name}' is declared as {declared} but computes as {tuple(value.shape)}",
    )
    dtype = layer.dtype_of(tensor)
    layer.check(
        value.dtype == dtype,
        f"output '{tensor.name}' is declared as {dtype} but computes as {value.dtype}",
    )
    return value


def _as_declared(output: Any, value: torch.Tensor) -> torch.Tensor:
    """Weakly typed networks convert floats to the float type that an output declares."""
    declared = torch_dtype(output.dtype)
    return value.to(declared) if value.is_floating_point() and declared.is_floating_point else value
