"""Fake quantisation; tensors of quantised dtypes are refused."""

from __future__ import annotations

import torch

from ..registry import op
from .common import dtype, rank, tensor, widened
from .elementwise import add, clamp, ge, le, logical_and, mul, reciprocal, round_, sub
from .shape import reshape


def _fake_quantize(ctx, x, scale, zero_point, quant_min, quant_max):
    """Rounded to multiples of `scale` inside the quantised range, and where `x` was inside."""
    kind = dtype(ctx, x)
    wide = widened(ctx, x)
    scaled = mul(ctx, wide, _inverse(ctx, scale, dtype(ctx, wide)))
    steps = add(ctx, round_(ctx, scaled), zero_point)
    result = mul(ctx, sub(ctx, clamp(ctx, steps, quant_min, quant_max), zero_point), scale)
    result = tensor(ctx, result, kind)
    return result, logical_and(ctx, ge(ctx, steps, quant_min), le(ctx, steps, quant_max))


def _inverse(ctx, scale, kind):
    if isinstance(scale, float):
        return float(1 / torch.tensor(scale, dtype=kind))
    return reciprocal(ctx, tensor(ctx, scale, kind))


@op("aten::fake_quantize_per_tensor_affine")
def fake_quantize(ctx, x, scale, zero_point, quant_min, quant_max):
    """fake_quantize_per_tensor_affine(Tensor self, float scale, int zero_point, int quant_min,
    int quant_max)"""
    return fake_quantize_cachemask(ctx, x, scale, zero_point, quant_min, quant_max)[0]


@op("aten::fake_quantize_per_tensor_affine_cachemask")
def fake_quantize_cachemask(ctx, x, scale, zero_point, quant_min, quant_max):
    """fake_quantize_per_tensor_affine_cachemask(Tensor self, float scale, int zero_point,
    int quant_min, int quant_max) -> (Tensor output, Tensor mask)"""
    scale, zero_point = (
        v.reshape(()) if isinstance(v, torch.Tensor) else v for v in (scale, zero_point)
    )
    return _fake_quantize(ctx, x, scale, zero_point, quant_min, quant_max)


@op("aten::_fake_quantize_per_tensor_affine_cachemask_tensor_qparams")
def fake_quantize_by_tensors(ctx, x, scale, zero_point, fake_quant_enabled, quant_min, quant_max):
    """_fake_quantize_per_tensor_affine_cachemask_tensor_qparams(Tensor self, Tensor scale,
    Tensor zero_point, Tensor fake_quant_enabled, int quant_min, int quant_max)
    -> (Tensor output, Tensor mask)"""
    if ctx.is_tensor(fake_quant_enabled):
        raise ctx.refuse("fake quantisation that is switched on and off in the network")
    result, mask = fake_quantize_cachemask(ctx, x, scale, zero_point, quant_min, quant_max)
    return (result if bool(fake_quant_enabled) else x), mask


@op("aten::fake_quantize_per_channel_affine_cachemask")
def fake_quantize_per_channel_cachemask(ctx, x, scale, zero_point, axis, quant_min, quant_max):
    """fake_quantize_per_channel_affine_cachemask(Tensor self, Tensor scale, Tensor zero_point,
    int axis, int quant_min, int quant_max) -> (Tensor output, Tensor mask)"""
    view = [1] * rank(ctx, x)
    view[axis] = -1
    scale, zero_point = (reshape(ctx, tensor(ctx, v), view) for v in (scale, zero_point))
    return _fake_quantize(ctx, x, scale, zero_point, quant_min, quant_max)


@op("aten::fake_quantize_per_channel_affine")
def fake_quantize_per_channel(ctx, x, scale, zero_point, axis, quant_min, quant_max):
    """fake_quantize_per_channel_affine(Tensor self, Tensor scale, Tensor zero_point, int axis,
    int quant_min, ...)"""
    arguments = x, scale, zero_point, axis, quant_min, quant_max
    return fake_quantize_per_channel_cachemask(ctx, *arguments)[0]


@op("aten::fused_moving_avg_obs_fake_quant")
def observed_fake_quantize(
    ctx, x, observer_on, fake_quant_on, running_min, running_max, scale, zero_point, averaging,
    quant_min, quant_max, ch_axis, per_row=False, symmetric=False,
):  # fmt: skip
    """fused_moving_avg_obs_fake_quant(Tensor self, Tensor observer_on, Tensor fake_quant_on,
    Tensor running_min, Tensor running_max, Tensor scale, Tensor zero_point,
    float averaging_const, int quant_min, int quant_max, int ch_axis,
    bool per_row_fake_quant=False, bool symmetric_quant=False) -> Tensor"""
    if ctx.is_tensor(observer_on) or ctx.is_tensor(fake_quant_on):
        raise ctx.refuse("fake quantisation that is switched on and off in the network")
    if bool(observer_on):
        raise ctx.refuse("an observer; call model.apply(torch.ao.quantization.disable_observer)")
    if not bool(fake_quant_on):
        return x
    ranges = running_min, running_max, averaging, quant_min, quant_max, ch_axis, per_row, symmetric
    if not _follow(scale, zero_point, ranges):
        raise ctx.refuse("a scale that the ranges do not give: CPU and GPU take another one each")
    if per_row:
        arguments = x, scale, zero_point, ch_axis, quant_min, quant_max
        return fake_quantize_per_channel_cachemask(ctx, *arguments)[0]
    return fake_quantize_cachemask(ctx, x, scale, zero_point, quant_min, quant_max)[0]


def _follow(scale, zero_point, ranges):
    """Whether a scale and zero point are what PyTorch computes from the ranges again on a CPU."""
    low, high, averaging, quant_min, quant_max, ch_axis, *kind = ranges
    low, high, again, zeros = (t.detach().cpu().clone() for t in (low, high, scale, zero_point))
    example = torch.zeros([len(again) if a == ch_axis else 1 for a in range(max(ch_axis, 0) + 1)])
    switches = torch.tensor([0]), torch.tensor([1])
    torch.fused_moving_avg_obs_fake_quant(
        example, *switches, low, high, again, zeros, averaging, quant_min, quant_max, ch_axis, *kind
    )
    return again.allclose(scale.cpu()) and zeros.equal(zero_point.cpu())


@op(
    "aten::quantize_per_tensor", "aten::quantize_per_channel",
    "aten::quantize_per_tensor_dynamic", "aten::dequantize", "aten::q_scale",
    "aten::q_zero_point", "aten::int_repr",
)  # fmt: skip
def quantize(ctx, x, *_):
    """quantize_per_tensor(Tensor self, float scale, int zero_point, ScalarType dtype) -> Tensor"""
    raise ctx.refuse(
        "a tensor of a quantised dtype; use fake quantisation, which keeps float tensors"
    )
