"""Operators of torchvision: regions of interest, deformable convolution, box suppression.

Pooling over regions is separable: a matrix [regions, bins, size] per spatial dimension says how
much each row and column of the image counts in each bin, and two matrix products apply them.
"""

from __future__ import annotations

import torch

from ..registry import op
from .common import dtype, is_static, shape, tensor
from .elementwise import abs_, add, ceil, clamp, div, floor, ge, le, lt, mul, relu, sign, sub, where
from .linear import matmul
from .logic import logical_and
from .reduction import amax, mean, sum_
from .shape import cat, narrow_to, reshape, select, transpose, unsqueeze


def _static(ctx, x, what):
    sizes = shape(ctx, x)[-2:]
    if not is_static(sizes):
        raise ctx.refuse(f"{what} over an image of dynamic size")
    return sizes


def _columns(ctx, rois):
    """The columns of `rois`: image number, x1, y1, x2, y2, each [regions]."""
    return [select(ctx, rois, 1, i) for i in range(5)]


def _images(ctx, x, rois):
    """The image of each region; where there is only one image it broadcasts."""
    if shape(ctx, x)[0] == 1:
        return x
    return ctx.take(x, tensor(ctx, select(ctx, rois, 1, 0), torch.int64), 0)


# ---- averages of samples -------------------------------------------------------------------------
def _sample_weights(ctx, start, length, bins, ratio, size):
    """The weights [regions, bins, size] of a mean over `ratio` bilinear samples per bin."""
    steps = (torch.arange(bins * ratio, dtype=torch.float32) + 0.5) / ratio
    offsets = mul(ctx, unsqueeze(ctx, div(ctx, length, bins), 1), steps.to(dtype(ctx, start)))
    at = add(ctx, unsqueeze(ctx, start, 1), offsets)
    inside = logical_and(ctx, ge(ctx, at, -1), le(ctx, at, size))
    pixel = torch.arange(size).to(dtype(ctx, at))
    distance = abs_(ctx, sub(ctx, unsqueeze(ctx, clamp(ctx, at, 0, size - 1), 2), pixel))
    near = relu(ctx, sub(ctx, 1, distance))
    weights = mul(ctx, near, tensor(ctx, unsqueeze(ctx, inside, 2), dtype(ctx, at)))
    return mean(ctx, reshape(ctx, weights, [shape(ctx, start)[0], bins, ratio, size]), [2])


def _aligned_weights(ctx, x, rois, spatial_scale, bins, ratio, offset, least):
    """The weight matrices of both dimensions for roi_align and ps_roi_align."""
    if ratio <= 0:
        raise ctx.refuse(
            "roi_align whose number of samples depends on the regions; give a sampling_ratio "
            "above 0"
        )
    _, x1, y1, x2, y2 = _columns(ctx, rois)
    matrices = []
    for first, last, count, size in zip((y1, x1), (y2, x2), bins, shape(ctx, x)[-2:]):
        start = sub(ctx, mul(ctx, first, spatial_scale), offset)
        length = sub(ctx, sub(ctx, mul(ctx, last, spatial_scale), offset), start)
        length = length if least is None else clamp(ctx, length, least, None)
        matrices.append(_sample_weights(ctx, start, length, count, ratio, size))
    return matrices


@op("torchvision::roi_align")
def roi_align(ctx, x, rois, spatial_scale, pooled_height, pooled_width, sampling_ratio, aligned):
    """roi_align(Tensor input, Tensor rois, float spatial_scale, SymInt pooled_height,
    SymInt pooled_width, int sampling_ratio, bool aligned) -> Tensor"""
    _static(ctx, x, "roi_align")
    offset, least = (0.5, None) if aligned else (0.0, 1.0)
    bins = pooled_height, pooled_width
    options = spatial_scale, bins, sampling_ratio, offset, least
    rows, columns = _aligned_weights(ctx, x, rois, *options)
    lines = matmul(ctx, unsqueeze(ctx, rows, 1), _images(ctx, x, rois))
    return matmul(ctx, lines, unsqueeze(ctx, transpose(ctx, columns, 1, 2), 1))


def _position_sensitive(ctx, x, rois, rows, columns):
    """Bins with channels of their own: [N, channels * bins, H, W] to [regions, channels, *bins]."""
    bins = shape(ctx, rows)[1], shape(ctx, columns)[1]
    batch, channels, *sizes = shape(ctx, x)
    own = channels // (bins[0] * bins[1])
    maps = _images(ctx, reshape(ctx, x, [batch, own, *bins, *sizes]), rois)
    across = matmul(ctx, maps, reshape(ctx, columns, [-1, 1, 1, bins[1], sizes[1], 1]))
    result = matmul(ctx, reshape(ctx, rows, [-1, 1, bins[0], 1, 1, sizes[0]]), across)
    return ctx.reshape(result, shape(ctx, result)[:4])


@op("torchvision::ps_roi_align")
def ps_roi_align(ctx, x, rois, spatial_scale, pooled_height, pooled_width, sampling_ratio):
    """ps_roi_align(Tensor input, Tensor rois, float spatial_scale, SymInt pooled_height,
    SymInt pooled_width, int sampling_ratio) -> (Tensor, and 1 for training)"""
    _static(ctx, x, "ps_roi_align")
    bins = pooled_height, pooled_width
    matrices = _aligned_weights(ctx, x, rois, spatial_scale, bins, sampling_ratio, 0.5, None)
    return _position_sensitive(ctx, x, rois, *matrices), None


# ---- whole pixels --------------------------------------------------------------------------------
def _rounded(ctx, x):
    """To the nearest integer, halves away from zero."""
    return mul(ctx, sign(ctx, x), floor(ctx, add(ctx, abs_(ctx, x), 0.5)))


def _bin_members(ctx, first, last, spatial_scale, bins, size, inclusive):
    """Which pixels [regions, bins, size] belong to which bin along one dimension."""
    start = _rounded(ctx, mul(ctx, first, spatial_scale))
    end = _rounded(ctx, mul(ctx, last, spatial_scale))
    length = clamp(ctx, add(ctx, sub(ctx, end, start), 1 if inclusive else 0), 1, None)
    step = unsqueeze(ctx, div(ctx, length, bins), 1)
    number = torch.arange(bins + 1).to(dtype(ctx, start))
    limit = size if inclusive else size - 1
    lower = floor(ctx, mul(ctx, step, number[:-1]))
    upper = ceil(ctx, mul(ctx, step, number[1:]))
    lower, upper = (
        unsqueeze(ctx, clamp(ctx, add(ctx, edge, unsqueeze(ctx, start, 1)), 0, limit), 2)
        for edge in (lower, upper)
    )
    pixel = torch.arange(size).to(dtype(ctx, start))
    return logical_and(ctx, ge(ctx, pixel, lower), lt(ctx, pixel, upper))


def _members(ctx, x, rois, spatial_scale, bins, inclusive):
    _, x1, y1, x2, y2 = _columns(ctx, rois)
    height, width = _static(ctx, x, "pooling of regions")
    rows = _bin_members(ctx, y1, y2, spatial_scale, bins[0], height, inclusive)
    return rows, _bin_members(ctx, x1, x2, spatial_scale, bins[1], width, inclusive)


@op("torchvision::roi_pool")
def roi_pool(ctx, x, rois, spatial_scale, pooled_height, pooled_width):
    """roi_pool(Tensor input, Tensor rois, float spatial_scale, SymInt pooled_height,
    SymInt pooled_width) -> (Tensor, and 1 for training)"""
    rows, columns = _members(ctx, x, rois, spatial_scale, (pooled_height, pooled_width), True)
    lines = _masked_max(ctx, _images(ctx, x, rois), columns, 3, pooled_width)
    result = _masked_max(ctx, lines, rows, 2, pooled_height)
    lowest = torch.tensor(float("-inf"), dtype=dtype(ctx, x))
    return where(ctx, le(ctx, result, lowest), torch.zeros((), dtype=dtype(ctx, x)), result), None


def _masked_max(ctx, x, members, at, bins):
    """The maximum along axis `at` over the members of each bin, -inf for an empty bin."""
    lowest = torch.tensor(float("-inf"), dtype=dtype(ctx, x))
    size = shape(ctx, members)[2]
    view = [-1, 1, 1, size] if at == 3 else [-1, 1, size, 1]
    masks = [reshape(ctx, narrow_to(ctx, members, 1, i, 1), view) for i in range(bins)]
    return cat(ctx, [amax(ctx, where(ctx, mask, x, lowest), [at], True) for mask in masks], at)


@op("torchvision::ps_roi_pool")
def ps_roi_pool(ctx, x, rois, spatial_scale, pooled_height, pooled_width):
    """ps_roi_pool(Tensor input, Tensor rois, float spatial_scale, SymInt pooled_height,
    SymInt pooled_width) -> (Tensor, and 1 for training)"""
    members = _members(ctx, x, rois, spatial_scale, (pooled_height, pooled_width), False)
    counts = [tensor(ctx, m, dtype(ctx, x)) for m in members]
    weights = [div(ctx, c, clamp(ctx, sum_(ctx, c, [2], True), 1, None)) for c in counts]
    return _position_sensitive(ctx, x, rois, *weights), None


# ---- deformable convolution ----------------------------------------------------------------------
def _tap_positions(kernel, count, stride, padding, dilation):
    """Where each tap of each window reads along one dimension: [kernel, windows]."""
    return torch.arange(kernel)[:, None] * dilation + torch.arange(count) * stride - padding


def _sampling_grid(ctx, x, offset, kernel, out, *window):
    """The grid [N * offset groups, taps, pixels, 2] for grid_sample, from the offsets
    [N, groups * taps * 2, *out]."""
    sizes = _static(ctx, x, "deform_conv2d")
    rows, columns = (_tap_positions(*row) for row in zip(kernel, out, *window))
    places = rows[:, None, :, None], columns[None, :, None, :]
    base = torch.stack([place.expand(*kernel, *out) for place in places], 2)
    base = base.reshape(kernel[0] * kernel[1], 2, out[0] * out[1]).to(dtype(ctx, x))
    points = add(ctx, reshape(ctx, offset, [-1, *base.shape]), base)
    points = clamp(ctx, points, -2.0, max(sizes) + 1.0)  # grid_sample makes NaN of infinity
    scale = torch.tensor([[2 / s] for s in sizes], dtype=base.dtype)
    shift = torch.tensor([[1 / s - 1] for s in sizes], dtype=base.dtype)
    grid = transpose(ctx, add(ctx, mul(ctx, points, scale), shift), 2, 3)
    return cat(ctx, [narrow_to(ctx, grid, 3, i, 1) for i in (1, 0)], 3)


@op("torchvision::deform_conv2d")
def deform_conv2d(
    ctx, x, weight, offset, mask, bias, stride_h, stride_w, pad_h, pad_w, dilation_h, dilation_w,
    groups, offset_groups, use_mask,
):  # fmt: skip
    """deform_conv2d(Tensor input, Tensor weight, Tensor offset, Tensor mask, Tensor bias,
    SymInt stride_h, ..., SymInt groups, SymInt offset_groups, bool use_mask) -> Tensor"""
    out_channels, per_group, *kernel = shape(ctx, weight)
    batch, channels, *sizes = shape(ctx, x)
    out = _static(ctx, offset, "deform_conv2d")
    window = (stride_h, stride_w), (pad_h, pad_w), (dilation_h, dilation_w)
    grid = _sampling_grid(ctx, x, offset, kernel, out, *window)
    shared = channels // offset_groups
    maps = ctx.operand(reshape(ctx, x, [-1, shared, *sizes]), "input")
    samples = ctx.grid_sample(maps, grid, "bilinear", "zeros", False)
    taps, pixels = kernel[0] * kernel[1], out[0] * out[1]
    if use_mask:
        samples = reshape(ctx, samples, [batch, offset_groups, shared, taps, pixels])
        samples = mul(ctx, samples, reshape(ctx, mask, [batch, offset_groups, 1, taps, pixels]))
    columns = reshape(ctx, samples, [batch, groups, per_group * taps, pixels])
    kernels = reshape(ctx, weight, [groups, out_channels // groups, per_group * taps])
    result = ctx.reshape(matmul(ctx, kernels, columns), [batch, out_channels, *out])
    return add(ctx, result, reshape(ctx, bias, [-1, 1, 1]))


# ---- boxes ---------------------------------------------------------------------------------------
@op("torchvision::nms")
def nms(ctx, dets, scores, iou_threshold):
    """nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor"""
    raise ctx.refuse("nms, whose output shape depends on the data")


@nms.emit("tensorrt")
def _(ctx, dets, scores, iou_threshold):
    count = shape(ctx, dets)[0]
    if not isinstance(count, int) or count > 5000:
        raise ctx.refuse(f"nms of {count} boxes; TensorRT takes a fixed number, 5000 at most")
    if count == 0:
        return ctx.literal(torch.empty(0, dtype=torch.int64))
    boxes, scores = (tensor(ctx, v, torch.float32) for v in (dets, scores))
    boxes, scores = (ctx.operand(reshape(ctx, v, [1, count, -1])) for v in (boxes, scores))
    most = ctx.literal(torch.tensor(count, dtype=torch.int32))
    layer = ctx.check(ctx.network.add_nms(boxes, scores, most))
    layer.topk_box_limit = count
    layer.set_input(3, ctx.literal(torch.tensor(float(iou_threshold))))
    layer.set_input(4, ctx.literal(torch.tensor(float("-inf"))))
    return ctx.cast(ctx.take(ctx.out(layer), torch.tensor(2), 1), torch.int64)
