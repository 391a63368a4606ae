"""What every layer rule is written with: the table of rules, the view of a layer, the error."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, NoReturn

import numpy as np
import torch

from ..backends.trt_api import torch_dtype, trt
from ..errors import Torch2TrtError


class SimulationError(Torch2TrtError):
    """A network definition cannot be evaluated, or does not compute what it declares.

    The message names the layer, its type, what was expected and what was found.
    """


@dataclass(frozen=True)
class Rule:
    """How one type of layer is evaluated.

    Attributes:
        interface: the TensorRT class that gives access to the attributes of the layer.
        evaluate: ``evaluate(layer, *inputs)``, or ``evaluate(layer, scope)`` when lazy.
        widen: compute 16-bit floats in float32 and round the result, as TensorRT accumulates.
        lazy: the function asks the scope for the inputs it wants, and gives ``{tensor: value}``.
    """

    interface: str
    evaluate: Callable[..., Any]
    widen: bool
    lazy: bool


RULES: dict[str, Rule] = {}


def rule(kind: str, interface: str, *, widen: bool = False, lazy: bool = False) -> Callable:
    """Registers a function as the rule of a ``LayerType``, given by name."""

    def register(function: Callable) -> Callable:
        if kind in RULES:
            raise ValueError(f"{kind} already has a rule: {RULES[kind].evaluate.__qualname__}")
        RULES[kind] = Rule(interface, function, widen, lazy)
        return function

    return register


class Layer:
    """One layer of a network definition, read back through the TensorRT API.

    Attributes:
        kind: the name of its ``LayerType``.
        api: the layer as its own TensorRT class, so that its attributes can be read.
        inputs: its input tensors; None where an optional one is absent.
        outputs: its output tensors.
    """

    def __init__(
        self, api: Any, weights: Mapping[str, torch.Tensor], type_of: Callable[[Any], Any]
    ):
        self.kind: str = trt().ILayer.type.__get__(api).name
        self.name: str = api.name
        self.inputs = tuple(api.get_input(i) for i in range(api.num_inputs))
        self.outputs = tuple(api.get_output(i) for i in range(api.num_outputs))
        if self.kind in RULES:
            api.__class__ = getattr(trt(), RULES[self.kind].interface)
        self.api = api
        self._weights = weights
        self._type_of = type_of

    def __repr__(self) -> str:
        return f"{self.kind} layer '{self.name}'"

    @property
    def rule(self) -> Rule:
        """The rule that evaluates this layer."""
        if self.kind not in RULES:
            self.fail(
                f"simulate has no rule for this type of layer; it has {', '.join(sorted(RULES))}"
            )
        return RULES[self.kind]

    def dtype(self, index: int = 0) -> torch.dtype:
        """The dtype of an output."""
        return self.dtype_of(self.outputs[index])

    def dtype_of(self, tensor: Any) -> torch.dtype:
        """The dtype of any tensor of the network."""
        return torch_dtype(self._type_of(tensor))

    def fail(self, problem: str) -> NoReturn:
        """Raises a SimulationError about this layer."""
        raise SimulationError(f"{self}: {problem}")

    def check(self, condition: bool, problem: str) -> None:
        """Raises a SimulationError about this layer unless the condition holds."""
        if not condition:
            self.fail(problem)

    def axis(self, mask: int, rank: int) -> int:
        """The one axis of a bit mask."""
        axes = self.axes(mask, rank)
        self.check(len(axes) == 1, f"expected exactly one axis, got {axes}")
        return axes[0]

    def axes(self, mask: int, rank: int) -> tuple[int, ...]:
        """The axes of a bit mask, each checked against the rank of the input."""
        axes = tuple(i for i in range(int(mask).bit_length()) if int(mask) >> i & 1)
        self.check(all(i < rank for i in axes), f"axes {axes} exceed the rank {rank} of the input")
        return axes

    def parameter(self, given: torch.Tensor | None, attribute: str) -> tuple[int, ...]:
        """A list of integers that is an optional input, or else an attribute."""
        if given is not None:
            return integers(given)
        dims = self.dimensions(attribute)
        self.check(dims is not None, f"'{attribute}' is neither an attribute nor an input")
        return dims

    def dimensions(self, attribute: str) -> tuple[int, ...] | None:
        """An attribute of type ``Dims``; None where it is not set, rank -1 in some versions."""
        dims = getattr(self.api, attribute, None)
        try:
            return None if dims is None else tuple(dims)
        except ValueError:
            return None

    def weight(self, role: str) -> torch.Tensor | None:
        """A weights attribute as a flat tensor, or None where it is empty.

        Weights of a type that TensorRT does not give back are looked up among the caller's, as
        ``<layer name>.<role>`` or ``<layer name>``.
        """
        found = getattr(self.api, role)
        if found.size == 0:
            return None
        for key in (f"{self.name}.{role}", self.name):
            if not isinstance(found, np.ndarray) and key in self._weights:
                return self._supplied(key, found)
        if not isinstance(found, np.ndarray):
            self.fail(
                f"TensorRT does not give back its {found.size} {role} weights of type "
                f"{found.dtype}; pass them to simulate as weights={{'{self.name}.{role}': tensor}}"
            )
        # Bindings made for numpy 1 (TensorRT 8.6) give strides of zero under numpy 2.
        dense = np.lib.stride_tricks.as_strided(found, (found.size,), (found.itemsize,))
        return torch.from_numpy(dense)

    def _supplied(self, key: str, declared: Any) -> torch.Tensor:
        tensor = self._weights[key].detach().cpu().flatten()
        self.check(
            tensor.numel() == declared.size,
            f"weights['{key}'] has {tensor.numel()} elements, expected {declared.size}",
        )
        return tensor


def fits(declared: tuple[int, ...], value: torch.Tensor) -> bool:
    """Whether a value has a declared shape, where -1 stands for any length."""
    return len(declared) == value.ndim and all(
        want in (-1, got) for want, got in zip(declared, value.shape, strict=True)
    )


def integers(values: torch.Tensor | Iterable[int]) -> tuple[int, ...]:
    """A shape tensor as a tuple of integers."""
    flat = values.flatten().tolist() if isinstance(values, torch.Tensor) else values
    return tuple(int(value) for value in flat)
