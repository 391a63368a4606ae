"""Infinite numbers and NaN in weakly typed networks, simulated with what an H100 showed of
TensorRT 8.6.

There constants of one element are not read as they are, extremes leave NaN out, and powers and
signs are NaN where PyTorch's are not.
"""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from case import assert_same
from op_cases.infinities import CASES, ONE_NAN
from runners import define_tensorrt
from test_tensorrt_types import Weak

from torch2trt.backends import trt_api
from torch2trt.simulate import pointwise, reduction, simulate
from torch2trt.simulate.layers import RULES

if not trt_api.is_rtx():
    pytest.skip("needs a library that knows the types at once", allow_module_level=True)

NOT_EMULATED = ("infinite_padding", "max_pool_of_infinities")  # padding and pooling have no fault


def _constant(layer):
    value = exact["CONSTANT"].evaluate(layer)
    return value.nan_to_num(0, 1e38, -1e38) if _is_number(value) else value


def _is_number(value):
    return value.numel() == 1 and value.dtype == torch.float32


def _power(a, b):
    lost = b.isinf() & ((a < 0) | (a == 1)) | (a == 1) & b.isnan()
    lost |= (a == -torch.inf) & (b != b.floor())
    return torch.pow(a, b).masked_fill(lost, torch.nan)


def _topk(layer, x, *count):
    least = -torch.inf if layer.api.op.name == "MAX" else torch.inf
    kept = torch.where(x.isnan(), least, x) if x.is_floating_point() else x
    return exact["TOPK"].evaluate(layer, kept, *count)


def _extreme(name, least):
    def evaluate(x, dims, keep):
        kept = torch.where(x.isnan(), least, x) if x.is_floating_point() else x
        return reductions[name](kept, dims, keep)

    return evaluate


exact, reductions = dict(RULES), dict(reduction.REDUCTIONS)


@pytest.fixture
def faulty(monkeypatch):
    """Make `simulate` compute as 8.6 does."""

    def install():
        for name, function in (("CONSTANT", _constant), ("TOPK", _topk)):
            monkeypatch.setitem(RULES, name, replace(exact[name], evaluate=function))
        for name, least in (("MAX", -torch.inf), ("MIN", torch.inf)):
            monkeypatch.setitem(reduction.REDUCTIONS, name, _extreme(name, least))
            monkeypatch.setitem(pointwise.ELEMENTWISE, name, getattr(torch, f"f{name.lower()}"))
        monkeypatch.setitem(pointwise.ELEMENTWISE, "POW", _power)
        monkeypatch.setitem(
            pointwise.UNARY, "SIGN", lambda x: torch.where(x.isnan(), x, torch.sign(x))
        )

    return install


def computed(program, inputs, faulty):
    """What the weakly typed network of a program gives on 8.6."""
    with pytest.MonkeyPatch.context() as patch:
        weak = Weak(patch)
        _, network, ctx = define_tensorrt(program, inputs)
        assert not weak.wrong
    faulty()
    return list(simulate(network, list(inputs), weights=ctx.weight_dict).values())


@pytest.mark.parametrize("case", [c for c in CASES if c.name not in NOT_EMULATED], ids=str)
def test_cases_are_as_in_pytorch(case, faulty):
    inputs = case.example()
    assert_same(computed(case.program, inputs, faulty), case.expected(inputs), case.rtol)


def test_the_emulated_faults_show(faulty):
    """In a strongly typed network, which works around none of them."""
    x = ONE_NAN[:1]
    _, network, ctx = define_tensorrt(lambda x: (x.amax(1), x.topk(2)[0], x + torch.inf), [x])
    faulty()
    largest, two, added = simulate(network, [x], weights=ctx.weight_dict).values()
    assert not largest.isnan().any() and not two.isnan().any()
    assert (added[x.isfinite()] == 1e38).all()


@pytest.mark.parametrize("dtype", [torch.int32, torch.float32])
def test_topk_of_as_many_as_a_size(dtype):
    values = torch.tensor([5, 3, 9, 1, 9, 2, 7]).to(dtype)

    def program(x):
        return (values + x[0].to(dtype)).topk(x.size(0))

    with pytest.MonkeyPatch.context() as patch:
        Weak(patch)
        _, network, ctx = define_tensorrt(program, [torch.ones(3)], dynamic=True)
    for rows in (3, 6, 1):
        x = torch.ones(rows)
        got = simulate(network, [x], weights=ctx.weight_dict)
        assert_same(list(got.values()), list(program(x)), 1e-6)
