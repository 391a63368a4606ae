"""What the CPU schedules make of several operators together: numbers, and who is merged."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import pytest
import torch
import torch.nn.functional as F

pytest.importorskip("tvm", reason="apache-tvm is not installed")
relax = pytest.importorskip("tvm.relax", reason="this TVM has no Relax")

from test_schedules import module, relative_error, run, tensors  # noqa: E402

from torch2trt.backends.schedules import compile_cpu  # noqa: E402
from torch2trt.backends.schedules.target import CodeTarget, host_target  # noqa: E402

R = relax.op


def dense_layer(*parts: Any) -> Any:
    """Concatenation, scale, shift, ReLU and a pointwise convolution, as in a DenseNet."""
    *images, scale, shift, weight = parts
    y = R.concat([R.nn.max_pool2d(x, (3, 3), (1, 1), (1, 1)) for x in images], 1)
    return R.nn.conv2d(R.nn.relu(R.add(R.multiply(y, scale), shift)), weight)


def dense_layer_reference(*parts: torch.Tensor) -> torch.Tensor:
    *images, scale, shift, weight = parts
    y = torch.cat([F.max_pool2d(x, 3, 1, 1) for x in images], 1)
    return F.conv2d(F.relu(y * scale + shift), weight)


def gated(x: Any, squeeze: Any, excite: Any, weight: Any) -> Any:
    """Squeeze and excitation before a pointwise convolution, with a residual."""
    y = R.nn.max_pool2d(x, (3, 3), (1, 1), (1, 1))
    gate = R.nn.relu(R.nn.conv2d(R.nn.adaptive_avg_pool2d(y, (1, 1)), squeeze))
    y = R.multiply(y, R.sigmoid(R.nn.conv2d(gate, excite)))
    return R.add(R.nn.conv2d(y, weight), x)


def gated_reference(x: torch.Tensor, *weights: torch.Tensor) -> torch.Tensor:
    squeeze, excite, weight = weights
    y = F.max_pool2d(x, 3, 1, 1)
    gate = torch.sigmoid(F.conv2d(F.relu(F.conv2d(y.mean((2, 3), keepdim=True), squeeze)), excite))
    return F.conv2d(y * gate, weight) + x


def two_feeders(x: Any, weight: Any) -> Any:
    """Two products of the same shapes that are fed in different ways."""
    one = R.matmul(R.reshape(R.permute_dims(R.negative(x), [0, 2, 1, 3]), (2, 98, 48)), weight)
    other = R.matmul(
        R.reshape(R.permute_dims(R.exp(R.negative(x)), [0, 2, 1, 3]), (2, 98, 48)), weight
    )
    return R.concat([one, other], 1)


def two_feeders_reference(x: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    one, other = ((y.permute(0, 2, 1, 3).reshape(2, 98, 48) @ weight) for y in (-x, torch.exp(-x)))
    return torch.cat([one, other], 1)


def rows(x: Any) -> Any:
    """What moves rows about and then computes, in several stages."""
    y = R.reshape(R.permute_dims(x, [0, 2, 1, 3]), (2, 98, 48))
    return R.multiply(y, R.add(R.erf(y), relax.const(1.0, "float32")))


def rows_reference(x: torch.Tensor) -> torch.Tensor:
    y = x.permute(0, 2, 1, 3).reshape(2, 98, 48)
    return y * (torch.erf(y) + 1.0)


def stages(x: Any, weight: Any) -> Any:
    """A product fed by a function of several stages."""
    return R.matmul(rows(x), weight)


def stages_reference(x: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    return rows_reference(x) @ weight


def one_feeder_twice(x: Any, z: Any, weight: Any) -> Any:
    """A product and what is added to it come from one function."""
    return R.add(R.matmul(rows(x), weight), rows(z))


def one_feeder_twice_reference(
    x: torch.Tensor, z: torch.Tensor, weight: torch.Tensor
) -> torch.Tensor:
    return rows_reference(x) @ weight + rows_reference(z)


@dataclass(frozen=True)
class Case:
    """Operators in Relax and in PyTorch, shapes, a part of the name of the merged function."""

    name: str
    build: Callable[..., Any]
    torch: Callable[..., torch.Tensor]
    inputs: Sequence[tuple[int, ...]]
    weights: Sequence[tuple[int, ...]]
    function: str


CASES = [
    Case("dense layer", dense_layer, dense_layer_reference,
         [(1, 40, 20, 20), (1, 24, 20, 20)], [(1, 64, 1, 1), (1, 64, 1, 1), (48, 64, 1, 1)],
         "relu_pointwise"),
    Case("dense layer, odd", dense_layer, dense_layer_reference,
         [(3, 5, 13, 11), (3, 19, 13, 11)], [(1, 24, 1, 1), (1, 24, 1, 1), (17, 24, 1, 1)],
         "relu_pointwise"),
    Case("dense layer, wide", dense_layer, dense_layer_reference,
         [(1, 640, 7, 7), (1, 200, 7, 7)], [(1, 840, 1, 1), (1, 840, 1, 1), (32, 840, 1, 1)],
         "relu"),
    Case("gate", gated, gated_reference,
         [(2, 33, 14, 14)], [(8, 33, 1, 1), (33, 8, 1, 1), (33, 33, 1, 1)], "gate_fused_pointwise"),
    Case("two feeders", two_feeders, two_feeders_reference,
         [(2, 3, 98, 16)], [(48, 40)], "reshape_dense"),
    Case("stages", stages, stages_reference, [(2, 3, 98, 16)], [(48, 40)], "_dense"),
    Case("one feeder twice", one_feeder_twice, one_feeder_twice_reference,
         [(2, 3, 98, 16), (2, 3, 98, 16)], [(48, 48)], "_dense"),
]  # fmt: skip


@pytest.mark.parametrize("mcpu", [None, "core-avx2"])
@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_numbers(case: Case, mcpu: str | None) -> None:
    target = host_target(mcpu)
    if CodeTarget.of(target).missing():
        pytest.skip(f"this CPU cannot run code for {mcpu}")
    inputs, weights = tensors(case.inputs), tensors(case.weights, 0.3)
    compiled = compile_cpu(module(case.build, inputs, weights), target, weights)
    want = case.torch(*(t.double() for t in (*inputs, *weights)))
    assert relative_error(run(compiled, inputs), want) <= 1e-5
    assert any(case.function in name for name in compiled.rules), list(compiled.rules)
    assert "none" not in compiled.rules.values()
