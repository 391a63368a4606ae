"""A case: a few layers, their inputs, and what they must compute."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch

from torch2trt.backends import trt_api


@dataclass(frozen=True)
class Case:
    """One small network.

    Attributes:
        name: unique, starts with the layer's name.
        build: ``build(net, *inputs)`` adds layers and returns output tensors, or layers.
        inputs: the values of the network's inputs.
        expected: the values of the outputs, or a function of the inputs that gives them.
        needs: features of the TensorRT library, see ``trt_api.supports``.
        dynamic: shapes of inputs with -1, by position, where they are not static.
        flags: builder flags that a weakly typed TensorRT needs for it, besides those of its inputs.
        unbuildable: why TensorRT-RTX does not build it.
        unlike: why TensorRT 8.6 on a GPU computes something else, or nothing.
        rtol, atol: tolerance for floats.
    """

    name: str
    build: Callable[..., Any]
    inputs: tuple[torch.Tensor, ...]
    expected: Any
    needs: tuple[str, ...] = ()
    dynamic: dict[int, tuple[int, ...]] = field(default_factory=dict)
    flags: tuple[str, ...] = ()
    unbuildable: str = ""
    unlike: str = ""
    rtol: float = 1e-5
    atol: float = 1e-6

    def __str__(self) -> str:
        return self.name

    def results(self) -> list[torch.Tensor]:
        """The expected outputs."""
        value = self.expected(*self.inputs) if callable(self.expected) else self.expected
        return [torch.as_tensor(v) for v in (value if isinstance(value, tuple) else (value,))]

    def builder_flags(self) -> set[str]:
        """The builder flags that a weakly typed TensorRT needs to accept the types of the case."""
        half = any(t.dtype == torch.float16 for t in (*self.inputs, *self.results()))
        return {*self.flags, *(["FP16"] if half else [])}

    def missing(self) -> list[str]:
        """The features that the loaded library lacks."""
        kinds, needs = {t.dtype for t in self.inputs}, [*self.needs]
        needs += ["DataType.INT64"] if torch.int64 in kinds else []
        needs += ["DataType.BF16"] if torch.bfloat16 in kinds else []
        return [feature for feature in needs if not trt_api.supports(feature)]


_HELD: weakref.WeakKeyDictionary[Any, list[Any]] = weakref.WeakKeyDictionary()


class _Holding:
    """A network that keeps what its layers are made of; TensorRT 8.6 reads it when it builds."""

    def __init__(self, network: Any):
        self._network = network
        self._held = _HELD.setdefault(network, [])

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._network, name)
        if not name.startswith("add_"):
            return found

        def add(*args: Any, **options: Any) -> Any:
            everything = (*args, *options.values())
            self._held.extend(a for a in everything if isinstance(a, (np.ndarray, self.weights)))
            return found(*args, **options)

        return add

    @property
    def weights(self) -> type:
        return trt_api.trt().Weights


class Net:
    """Adds layers to a network with few words; ``n`` is the network, ``trt`` the library."""

    def __init__(self, network: Any):
        self.n = network
        self.trt = trt_api.trt()

    def const(self, values: Any, dtype: torch.dtype | None = None) -> Any:
        tensor = torch.as_tensor(values, dtype=dtype)
        array = np.ascontiguousarray(tensor.numpy())
        return self.n.add_constant(tuple(tensor.shape), array).get_output(0)

    def index(self, values: Any) -> Any:
        """An int32 constant."""
        return self.const(values, torch.int32)

    def enum(self, kind: str, name: str) -> Any:
        return getattr(getattr(self.trt, kind), name)

    def binary(self, a: Any, op: str, b: Any) -> Any:
        return self.n.add_elementwise(a, b, self.enum("ElementWiseOperation", op)).get_output(0)

    def unary(self, x: Any, op: str) -> Any:
        return self.n.add_unary(x, self.enum("UnaryOperation", op)).get_output(0)

    def cast(self, x: Any, dtype: torch.dtype) -> Any:
        return self.n.add_cast(x, trt_api.trt_dtype(dtype)).get_output(0)


def define(network: Any, case: Case, prefix: str = "") -> tuple[list[Any], list[Any]]:
    """Adds a case to a network; gives its input and output tensors, named after the prefix."""
    inputs = []
    for i, value in enumerate(case.inputs):
        shape = case.dynamic.get(i, tuple(value.shape))
        inputs.append(network.add_input(f"{prefix}in{i}", trt_api.trt_dtype(value.dtype), shape))
    made = case.build(Net(_Holding(network)), *inputs)
    outputs = []
    for item in made if isinstance(made, Sequence) else [made]:
        found = [item] if hasattr(item, "is_network_output") else _outputs_of(item)
        outputs.extend(found)
    for i, tensor in enumerate(outputs):
        tensor.name = f"{prefix}out{i}"
        network.mark_output(tensor)
    if not trt_api.strongly_typed():
        _declare(outputs, case)
    return inputs, outputs


def _declare(outputs: list[Any], case: Case) -> None:
    """Until the build a weakly typed TensorRT has to be told what comes out."""
    for tensor, result in zip(outputs, case.results(), strict=True):
        kind = trt_api.trt_dtype(result.dtype)
        if tensor.dtype != kind:
            tensor.dtype = kind


def _without_external_libraries(config: Any) -> None:
    """Old releases may call cuBLAS and cuDNN, which need not be there."""
    kinds = trt_api.trt().TacticSource
    external = [getattr(kinds, n) for n in ("CUBLAS", "CUBLAS_LT", "CUDNN") if hasattr(kinds, n)]
    if external:
        mask = sum(1 << int(kind) for kind in external)
        config.set_tactic_sources(config.get_tactic_sources() & ~mask)


def _outputs_of(layer: Any) -> list[Any]:
    return [layer.get_output(i) for i in range(layer.num_outputs)]


def build(builder: Any, network: Any, cases: Sequence[tuple[str, Case]]) -> Any:
    """Builds the cases that were defined in a network; None where TensorRT refuses."""
    config = builder.create_builder_config()
    config.builder_optimization_level = 0
    config.clear_flag(trt_api.trt().BuilderFlag.TF32)
    _without_external_libraries(config)
    if not trt_api.strongly_typed():
        for flag in set().union(*(case.builder_flags() for _, case in cases)):
            config.set_flag(getattr(trt_api.trt().BuilderFlag, flag))
    profile = builder.create_optimization_profile()
    for prefix, case in cases:
        for i in case.dynamic:
            shape = tuple(case.inputs[i].shape)
            profile.set_shape(f"{prefix}in{i}", shape, shape, shape)
    if any(case.dynamic for _, case in cases):
        config.add_optimization_profile(profile)
    return builder.build_serialized_network(network, config)
