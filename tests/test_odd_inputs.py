"""Inputs that networks seldom see: bfloat16, bytes, empty tensors, half precision that cancels."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from case import tensors
from runners import RUNNERS, tvm_dialect

from torch2trt.backends import trt_api

BF16 = torch.tensor([-0.0, 0.0, 1.5, -2.5, 3.0, 0.25]).bfloat16()
HALF = torch.tensor([-2.5, -3.5, -0.01, -1e-4, 0.3, 7.0]).half()
BYTES = torch.tensor([0, 1, 2, 127, 128, 255], dtype=torch.uint8)
CHARS = torch.tensor([-128, -7, 0, 5, 127], dtype=torch.int8)
NOTHING = torch.zeros(0, 4)

# name -> program, inputs. In bfloat16: what reads float32 from a fused bfloat16 value.
PROGRAMS: dict[str, tuple[Callable[..., Any], tuple[torch.Tensor, ...]]] = {
    "bf16_norm": (lambda x: x.norm(), (BF16,)),
    "bf16_norm_of_order_3": (lambda x: torch.linalg.vector_norm(x, 3), (BF16,)),
    "bf16_count": (lambda x: torch.linalg.vector_norm(x, 0), (BF16,)),
    "bf16_normalize": (lambda x: F.normalize(x, dim=0), (BF16,)),
    "bf16_sum_of_exponentials": (lambda x: x.exp().sum(), (BF16,)),
    "bf16_log_softmax": (lambda x: x.log_softmax(0), (BF16,)),
    "bf16_logsumexp": (lambda x: x.logsumexp(0), (BF16,)),
    "bf16_layer_norm": (lambda x: F.layer_norm(x, [6]), (BF16,)),
    "bf16_sort": (lambda x: x[1:].sort(), (BF16,)),
    "bf16_topk": (lambda x: x.topk(2), (BF16,)),
    "bf16_argmax": (lambda x: (x.argmax(), x.argmin()), (BF16,)),
    "bf16_maximum_of_rows": (lambda x: x.view(2, 3).max(1), (BF16,)),
    "bf16_median": (lambda x: x[1:].median(), (BF16,)),
    "half_gelu": (F.gelu, (HALF,)),
    "half_gelu_tanh": (lambda x: F.gelu(x, approximate="tanh"), (HALF,)),
    "half_elu": (lambda x: (F.elu(x[:4]), F.selu(x[:4]), F.celu(x[:4], 0.7)), (HALF,)),
    "half_softplus": (lambda x: F.softplus(x * 4, beta=2), (HALF,)),
    "half_round_decimals": (lambda x: torch.round(x * 1.2345, decimals=2), (HALF,)),
    "bytes_negated": (lambda x: (-x, x.sign(), x**3, x - 3), (BYTES,)),
    "bytes_any": (lambda x: (x.any(), x.all(), x.view(2, 3).any(1)), (BYTES,)),
    "bytes_and_a_negative_number": (lambda x: (x > -1, x + -6, x * -1, x // -3, x % -3), (BYTES,)),
    "chars_and_a_large_number": (lambda x: (x * 1103515, x + 1000, x % 1000), (CHARS,)),
    "nothing_is_any": (lambda x: (x.any(), x.any(0), x.all(), x.all(1)), (NOTHING,)),
    "nothing_linear": (lambda x: F.linear(x, torch.ones(3, 4)), (NOTHING,)),
    "nothing_convolved": (
        lambda x: F.conv2d(x.view(0, 2, 2, 1), torch.ones(3, 2, 1, 1)), (NOTHING,)
    ),
    "step_at_nan": (
        lambda x: torch.heaviside(x, torch.tensor(0.5)),
        (torch.tensor([float("nan"), -1.0, 0.0, 2.0]),),
    ),
}  # fmt: skip
TOLERANCES = {torch.bfloat16: 2e-2, torch.float16: 2e-3}


def _skip_without_bfloat16(backend: str) -> None:
    if backend == "tvm" and tvm_dialect() == "relay":
        pytest.skip("Relay has no bfloat16")
    if backend == "tensorrt" and not trt_api.supports("DataType.BF16"):
        pytest.skip("no bfloat16 in this TensorRT")


@pytest.mark.parametrize("backend", RUNNERS)
@pytest.mark.parametrize("name", PROGRAMS)
def test_equals_eager(name: str, backend: str) -> None:
    program, inputs = PROGRAMS[name]
    if inputs[0].dtype == torch.bfloat16:
        _skip_without_bfloat16(backend)
    expected = tensors(program(*inputs))
    got = RUNNERS[backend](program, inputs)
    assert len(got) == len(expected)
    for g, e in zip(got, expected):
        torch.testing.assert_close(g, e, rtol=TOLERANCES.get(e.dtype, 1e-5), atol=0)
