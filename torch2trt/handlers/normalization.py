"""Normalisation by statistics: batch, instance, group, layer and RMS norm, weight norm."""

from __future__ import annotations

import torch

from ..registry import op
from .common import axis, dtype, is_static, rank, shape, tensor, widened
from .elementwise import add, div, mul, rsqrt, square, sub
from .reduction import mean, sqrt, sum_, variance


def per_channel(ctx, value, dims):
    """A [C] vector as [C, 1, ...], to meet axis 1 of a tensor of `dims` dimensions."""
    trailing = [1] * (dims - 2)
    if not ctx.is_tensor(value):
        return value.reshape(-1, *trailing)
    return ctx.reshape(value, [*shape(ctx, value), *trailing])


def _affine(ctx, x, weight, bias):
    x = x if weight is None else mul(ctx, x, weight)
    return x if bias is None else add(ctx, x, bias)


def _standardize(ctx, x, over, eps):
    """(x - mean) / sqrt(var + eps) over some axes, mean and 1 / sqrt(var + eps); keeps dims."""
    spread, center = variance(ctx, x, list(over), 0, True)
    scale = rsqrt(ctx, add(ctx, spread, eps))
    return mul(ctx, sub(ctx, x, center), scale), center, scale


@op("aten::batch_norm")
def batch_norm(
    ctx, x, weight, bias, running_mean, running_var, training, momentum, eps, cudnn_enabled=False
):
    """batch_norm(Tensor input, Tensor? weight, Tensor? bias, Tensor? running_mean,
    Tensor? running_var, bool training, float momentum, float eps, bool cudnn_enabled) -> Tensor"""
    if training:
        return _training_batch_norm(ctx, x, weight, bias, running_mean, eps)[0]
    parameters = weight, bias, running_mean, running_var
    if any(map(ctx.is_tensor, parameters)) or not ctx.is_tensor(x):
        return _affine_by_tensors(ctx, x, *parameters, eps)
    scale = torch.rsqrt(running_var.double() + eps)
    scale = scale if weight is None else scale * weight.double()
    shift = -running_mean.double() * scale
    shift = shift if bias is None else shift + bias.double()
    kind = ctx.dtype(x)
    return ctx.channel_affine(x, scale.to(kind), shift.to(kind))


def _affine_by_tensors(ctx, x, weight, bias, mean, var, eps):
    dims, kind = rank(ctx, x), dtype(ctx, x)
    scale = rsqrt(ctx, add(ctx, per_channel(ctx, var, dims), eps))
    result = mul(ctx, sub(ctx, x, per_channel(ctx, mean, dims)), scale)
    weight, bias = (None if v is None else per_channel(ctx, v, dims) for v in (weight, bias))
    return tensor(ctx, _affine(ctx, result, weight, bias), kind)


def _training_batch_norm(ctx, x, weight, bias, running_mean, eps):
    if running_mean is not None:
        raise ctx.refuse(
            "batch_norm in training mode updates its statistics; call module.eval() first"
        )
    dims = rank(ctx, x)
    over = [a for a in range(dims) if a != 1]
    result, center, scale = _standardize(ctx, widened(ctx, x), over, eps)
    weight, bias = (None if v is None else per_channel(ctx, v, dims) for v in (weight, bias))
    result = tensor(ctx, _affine(ctx, result, weight, bias), dtype(ctx, x))
    channels = [shape(ctx, x)[1]]
    return result, ctx.reshape(center, channels), ctx.reshape(scale, channels)


@op("aten::native_batch_norm", "aten::_native_batch_norm_legit", "aten::_batch_norm_no_update")
def native_batch_norm(ctx, x, weight, bias, running_mean, running_var, training, momentum, eps):
    """native_batch_norm(Tensor input, Tensor? weight, Tensor? bias, Tensor? running_mean,
    Tensor? running_var, bool training, float momentum, float eps)
    -> (Tensor, Tensor save_mean, Tensor save_invstd)"""
    if training:
        return _training_batch_norm(ctx, x, weight, bias, running_mean, eps)
    result = batch_norm(ctx, x, weight, bias, running_mean, running_var, False, momentum, eps)
    nothing = torch.empty(0, dtype=dtype(ctx, running_mean))
    return result, nothing, nothing


@op("aten::_native_batch_norm_legit.no_stats")
def native_batch_norm_no_stats(ctx, x, weight, bias, training, momentum, eps):
    """_native_batch_norm_legit.no_stats(Tensor input, Tensor? weight, Tensor? bias,
    bool training, ...)"""
    return _training_batch_norm(ctx, x, weight, bias, None, eps)


@op("aten::_native_batch_norm_legit_functional")
def native_batch_norm_functional(
    ctx, x, weight, bias, running_mean, running_var, training, momentum, eps
):
    """_native_batch_norm_legit_functional(Tensor input, Tensor? weight, Tensor? bias,
    Tensor running_mean, Tensor running_var, bool training, float momentum, float eps)
    -> (Tensor, Tensor, Tensor, Tensor running_mean_out, Tensor running_var_out)"""
    if not training:
        arguments = x, weight, bias, running_mean, running_var, False, momentum, eps
        return *native_batch_norm(ctx, *arguments), running_mean, running_var
    over = [a for a in range(rank(ctx, x)) if a != 1]
    spread, center = variance(ctx, widened(ctx, x), over, 1, False)
    moved = [
        add(ctx, mul(ctx, old, 1 - momentum), mul(ctx, ctx.reshape(new, shape(ctx, old)), momentum))
        for old, new in ((running_mean, center), (running_var, spread))
    ]
    return *_training_batch_norm(ctx, x, weight, bias, None, eps), *moved


@op("aten::_native_batch_norm_legit_no_training")
def native_batch_norm_no_training(ctx, x, weight, bias, running_mean, running_var, momentum, eps):
    """_native_batch_norm_legit_no_training(Tensor input, Tensor? weight, Tensor? bias,
    Tensor running_mean, ...)"""
    return native_batch_norm(ctx, x, weight, bias, running_mean, running_var, False, momentum, eps)


@op("aten::cudnn_batch_norm")
def cudnn_batch_norm(ctx, x, weight, bias, running_mean, running_var, training, momentum, eps):
    """cudnn_batch_norm(Tensor input, Tensor weight, Tensor? bias, Tensor? running_mean,
    Tensor? running_var, ...) -> (Tensor, Tensor, Tensor, Tensor)"""
    arguments = x, weight, bias, running_mean, running_var, training, momentum, eps
    return *native_batch_norm(ctx, *arguments), torch.empty(0, dtype=torch.uint8)


@op("aten::_batch_norm_impl_index")
def batch_norm_impl_index(
    ctx, x, weight, bias, running_mean, running_var, training, momentum, eps, *_
):
    """_batch_norm_impl_index(Tensor input, Tensor? weight, ...)
    -> (Tensor, Tensor, Tensor, Tensor, int)"""
    arguments = x, weight, bias, running_mean, running_var, training, momentum, eps
    return *cudnn_batch_norm(ctx, *arguments), 0


@op("aten::instance_norm")
def instance_norm(
    ctx, x, weight, bias, running_mean, running_var, use_input_stats, momentum, eps, *_
):
    """instance_norm(Tensor input, Tensor? weight, Tensor? bias, Tensor? running_mean,
    Tensor? running_var, bool use_input_stats, float momentum, float eps, bool cudnn_enabled)
    -> Tensor"""
    if not use_input_stats:
        return batch_norm(ctx, x, weight, bias, running_mean, running_var, False, momentum, eps)
    if running_mean is not None:
        raise ctx.refuse(
            "instance_norm in training mode updates its statistics; call module.eval() first"
        )
    return group_norm(ctx, x, shape(ctx, x)[1], weight, bias, eps)


@op("aten::group_norm")
def group_norm(ctx, x, num_groups, weight=None, bias=None, eps=1e-5, *_):
    """group_norm(Tensor input, int num_groups, Tensor? weight=None, Tensor? bias=None,
    float eps=1e-05, ...)"""
    kind = dtype(ctx, x)
    x, weight, bias = _one_dtype(ctx, tensor(ctx, x), weight, bias)
    return tensor(ctx, ctx.group_norm(ctx.operand(x), num_groups, weight, bias, eps), kind)


def _one_dtype(ctx, x, weight, bias):
    """Half precision inputs may meet float32 weights; then the norm is computed in float32."""
    mixed = any(v is not None and dtype(ctx, v) != dtype(ctx, x) for v in (weight, bias))
    kind = torch.float32 if mixed else None
    return [None if v is None else tensor(ctx, v, kind) for v in (x, weight, bias)]


@op("aten::native_group_norm")
def native_group_norm(ctx, x, weight, bias, batch, channels, size, groups, eps):
    """native_group_norm(Tensor input, Tensor? weight, Tensor? bias, SymInt N, SymInt C, SymInt HxW,
    int group, ...) -> (Tensor, Tensor mean, Tensor rstd)"""
    rows = ctx.reshape(widened(ctx, x), [batch, groups, channels // groups * size])
    spread, center = variance(ctx, rows, [2], 0, False)
    scale, center = rsqrt(ctx, add(ctx, spread, eps)), ctx.reshape(center, [batch, groups])
    kind = dtype(ctx, x)
    result = group_norm(ctx, x, groups, weight, bias, eps)
    return result, tensor(ctx, center, kind), tensor(ctx, scale, kind)


def _trailing(ctx, x, normalized_shape):
    dims = rank(ctx, x)
    return list(range(dims - len(normalized_shape), dims))


@op("aten::layer_norm")
def layer_norm(ctx, x, normalized_shape, weight=None, bias=None, eps=1e-5, *_):
    """layer_norm(Tensor input, SymInt[] normalized_shape, Tensor? weight=None,
    Tensor? bias=None, ...) -> Tensor"""
    kind, over = dtype(ctx, x), _trailing(ctx, x, normalized_shape)
    if not is_static(shape(ctx, x)[a] for a in over):
        result = _standardize(ctx, widened(ctx, x), over, eps)[0]
        return tensor(ctx, _affine(ctx, result, weight, bias), kind)
    x, weight, bias = _one_dtype(ctx, x, weight, bias)
    return tensor(ctx, ctx.layer_norm(ctx.operand(x), over, weight, bias, eps), kind)


@op("aten::native_layer_norm")
def native_layer_norm(ctx, x, normalized_shape, weight, bias, eps):
    """native_layer_norm(Tensor input, SymInt[] normalized_shape, Tensor? weight, Tensor? bias,
    float eps) -> (Tensor, Tensor mean, Tensor rstd)"""
    wide = widened(ctx, x)
    _, center, scale = _standardize(ctx, wide, _trailing(ctx, x, normalized_shape), eps)
    kind = dtype(ctx, x) if weight is None else dtype(ctx, weight)
    result = layer_norm(ctx, x, normalized_shape, weight, bias, eps)
    return result, tensor(ctx, center, kind), tensor(ctx, scale, kind)


@op("aten::_fused_rms_norm")
def fused_rms_norm(ctx, x, normalized_shape, weight=None, eps=None):
    """_fused_rms_norm(Tensor input, int[] normalized_shape, Tensor? weight, float? eps)
    -> (Tensor, Tensor rstd)"""
    wide, kind = widened(ctx, x), dtype(ctx, x)
    eps = torch.finfo(dtype(ctx, wide)).eps if eps is None else eps
    power = mean(ctx, square(ctx, wide), _trailing(ctx, x, normalized_shape), True)
    scale = rsqrt(ctx, add(ctx, power, eps))
    result = mul(ctx, wide, scale)
    result = result if weight is None else mul(ctx, result, weight)
    return tensor(ctx, result, kind), scale


@op("aten::rms_norm")
def rms_norm(ctx, x, normalized_shape, weight=None, eps=None):
    """rms_norm(Tensor input, SymInt[] normalized_shape, Tensor? weight=None, float? eps=None)
    -> Tensor"""
    return fused_rms_norm(ctx, x, normalized_shape, weight, eps)[0]


def _norm_except(ctx, v, dim):
    over = [a for a in range(rank(ctx, v)) if dim == -1 or a != axis(ctx, v, dim)]
    power = square(ctx, v)
    return sqrt(ctx, sum_(ctx, power, over, True) if over else power)


@op("aten::_weight_norm_interface")
def weight_norm_interface(ctx, v, g, dim=0):
    """_weight_norm_interface(Tensor v, Tensor g, int dim=0) -> (Tensor, Tensor norms)"""
    norms = _norm_except(ctx, v, dim)
    return mul(ctx, v, div(ctx, g, norms)), norms


@op("aten::_weight_norm")
def weight_norm(ctx, v, g, dim=0):
    """_weight_norm(Tensor v, Tensor g, int dim=0) -> Tensor:
    v * g / |v|, norms over all dimensions but `dim`"""
    return weight_norm_interface(ctx, v, g, dim)[0]
