"""The judge of the model zoo; the whole of it is ``python -m tests.zoo``."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from tests.zoo.models import calibrated, other
from tests.zoo.table import summary
from tests.zoo.worker import relative_error, smallest_response, why_untraceable


def test_relative_error_is_that_of_the_worst_output():
    exact = [torch.ones(4), torch.full((2,), 100.0)]
    assert relative_error(exact, exact) == 0
    off = [torch.ones(4) * 1.5, exact[1]]
    assert relative_error(off, exact) == pytest.approx(0.5)
    assert relative_error([torch.full((4,), float("nan")), exact[1]], exact) == float("inf")
    assert relative_error([torch.ones(5), exact[1]], exact) == float("inf")


def test_an_output_without_response_to_the_inputs_is_seen():
    changing, constant = torch.randn(3), torch.ones(3)
    assert smallest_response([changing, constant], [-changing, constant]) == 0
    assert smallest_response([changing], [-changing]) == pytest.approx(2)


def test_calibrated_networks_respond_to_their_inputs():
    torch.manual_seed(0)
    blocks = [(nn.Conv2d(8, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU()) for _ in range(12)]
    net = nn.Sequential(*(layer for block in blocks for layer in block)).eval()
    inputs = (torch.randn(1, 8, 8, 8),)
    others = other(inputs)
    with torch.no_grad():
        before = smallest_response([net(*others)], [net(*inputs)])
        net = calibrated(net.train(), inputs)
        after = smallest_response([net(*others)], [net(*inputs)])
    assert before < 0.02 and after > 0.1
    assert not net.training and not any(norm._forward_pre_hooks for _, norm, _ in blocks)


def test_only_what_the_tracer_refuses_is_untraceable():
    class Refuses(nn.Module):
        def forward(self, x):
            return [x, "text"]

    assert why_untraceable(nn.ReLU(), (torch.ones(2),)) == ""
    assert "Error" in why_untraceable(Refuses(), (torch.ones(2),))


def test_the_summary_counts_what_traces():
    result = {"group": "timm", "inputs": "[[1]]", "backend": "tvm"}
    results = [
        {**result, "network": "timm/a", "outcome": "equal",
         "error": 2e-6, "response": 1.0, "seconds": 3.0},
        {**result, "network": "timm/b", "outcome": "failed", "detail": "ValueError: no"},
        {**result, "network": "timm/c", "outcome": "untraceable", "detail": "no graph"},
    ]  # fmt: skip
    lines = summary(results, ["tensorrt", "tvm"]).splitlines()
    assert lines[2] == "| timm | tvm | 1 / 2 | 2.0e-06 | 3 | a 3.0 s |"
    assert lines[3] == "timm/b [[1]]: tvm failed (ValueError: no)"
    assert lines[4] == "timm/c [[1]]: tvm untraceable (no graph)"
