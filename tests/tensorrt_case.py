"""Cases of the TensorRT primitives: a network is defined, simulated, compared with PyTorch and
built ahead of time."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import pytest
import torch

from torch2trt.backends import trt_api

if not trt_api.available():
    pytest.skip("no TensorRT library is installed", allow_module_level=True)

from torch2trt.backends.tensorrt import TensorRTContext
from torch2trt.simulate import simulate

NAN, INF = math.nan, math.inf


@dataclass(frozen=True)
class Case:
    """A primitive as the context emits it, the same in PyTorch, and the inputs of both.

    `dynamic` gives, per input, the axes that are unknown when the network is defined. `unbuilt`
    names why TensorRT-RTX cannot build the network.
    """

    name: str
    emit: Callable[..., Any]
    reference: Callable[..., Any]
    inputs: Sequence[torch.Tensor]
    dynamic: dict[int, Sequence[int]] = field(default_factory=dict)
    unbuilt: str | None = None
    rtol: float = 1e-5
    atol: float = 1e-6


class Table(list[Case]):
    """The cases of one test module."""

    def __call__(
        self,
        name: str,
        emit: Callable[..., Any],
        reference: Callable[..., Any],
        *inputs: Any,
        **options: Any,
    ):
        """Add a case."""
        self.append(Case(name, emit, reference, inputs, **options))


def as_tuple(value: Any) -> tuple[Any, ...]:
    """One result as a tuple of results."""
    return tuple(value) if isinstance(value, (tuple, list)) else (value,)


def define(case: Case, kind: type[TensorRTContext]) -> tuple[Any, Any]:
    """The builder and network of a case; the outputs are marked."""
    builder = trt_api.create_builder()
    network = trt_api.create_network(builder)
    context = kind(network)
    tensors = []
    for i, value in enumerate(case.inputs):
        unknown = case.dynamic.get(i, ())
        shape = [None if axis in unknown else size for axis, size in enumerate(value.shape)]
        tensors.append(context.input(f"input{i}", shape, value.dtype))
    outputs = as_tuple(case.emit(context, *tensors))
    context.finish(outputs, [f"output{i}" for i in range(len(outputs))])
    return builder, network


def build(builder: Any, network: Any, case: Case) -> None:
    """Build the engine ahead of time, with a profile around the sizes of the inputs."""
    config = builder.create_builder_config()
    if case.dynamic:
        profile = builder.create_optimization_profile()
        for i, value in enumerate(case.inputs):
            unknown = case.dynamic.get(i, ())
            low = [1 if axis in unknown else size for axis, size in enumerate(value.shape)]
            profile.set_shape(f"input{i}", low, tuple(value.shape), tuple(value.shape))
        config.add_optimization_profile(profile)
    plan = builder.build_serialized_network(network, config)
    assert plan is not None, trt_api.take_errors(builder)


def check(case: Case, kind: type[TensorRTContext] = TensorRTContext) -> None:
    """Simulate, compare, build."""
    builder, network = define(case, kind)
    got = simulate(network, [value.clone() for value in case.inputs])
    expected = as_tuple(case.reference(*case.inputs))
    assert len(got) == len(expected)
    for actual, wanted in zip(got.values(), expected, strict=True):
        torch.testing.assert_close(
            actual, wanted, rtol=case.rtol, atol=case.atol, equal_nan=True, check_stride=False
        )
    if not trt_api.is_rtx():
        return
    if case.unbuilt is None:
        build(builder, network, case)
    else:
        config = builder.create_builder_config()
        assert builder.build_serialized_network(network, config) is None, "it builds now"


def normal(*shape: int, seed: int = 0) -> torch.Tensor:
    """Normally distributed values, the same in every run."""
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def whole(
    low: int, high: int, *shape: int, dtype: torch.dtype = torch.int64, seed: int = 0
) -> torch.Tensor:
    """Integers from `low` to `high`, the same in every run."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(low, high + 1, shape, generator=generator).to(dtype)


SPECIAL = torch.tensor([[0.0, -0.0, 0.5, -0.7, 1.5, 2.5, -2.5, 3.0, INF, -INF, NAN]])
FINITE = SPECIAL[:, :8].contiguous()
INTS = whole(-5, 5, 3, 4)
