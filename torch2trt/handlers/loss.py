"""Loss functions. Their `reduction` is 0 for none, 1 for mean, 2 for sum."""

from __future__ import annotations

import math
from typing import Any

import torch

from ..registry import op
from .activation import log_softmax
from .common import dtype, full, rank, shape, tensor
from .distance import pairwise_distance
from .elementwise import (
    abs_,
    add,
    clamp_min,
    div,
    eq,
    exp,
    gt,
    log,
    log1p,
    logical_and,
    logical_not,
    lt,
    minimum,
    mul,
    ne,
    neg,
    pow_,
    sqrt,
    sub,
    where,
)
from .indexing import gather
from .reduction import any_, mean_all, sum_, sum_all
from .scan import cumprod
from .shape import reshape, squeeze, unsqueeze
from .special import xlogy


def reduced(ctx: Any, loss: Any, reduction: int) -> Any:
    """The elementwise `loss`, its mean or its sum."""
    return loss if reduction == 0 else mean_all(ctx, loss) if reduction == 1 else sum_all(ctx, loss)


# ---- regression ----------------------------------------------------------------------------------
@op("aten::mse_loss")
def mse_loss(ctx, x, target, reduction=1):
    """mse_loss(Tensor self, Tensor target, int reduction=Mean) -> Tensor"""
    distance = sub(ctx, x, target)
    return reduced(ctx, mul(ctx, distance, distance), reduction)


@op("aten::l1_loss")
def l1_loss(ctx, x, target, reduction=1):
    """l1_loss(Tensor self, Tensor target, int reduction=Mean) -> Tensor"""
    return reduced(ctx, abs_(ctx, sub(ctx, x, target)), reduction)


@op("aten::smooth_l1_loss")
def smooth_l1_loss(ctx, x, target, reduction=1, beta=1.0):
    """smooth_l1_loss(Tensor self, Tensor target, int reduction=Mean, float beta=1.0) -> Tensor"""
    if beta == 0:
        return l1_loss(ctx, x, target, reduction)
    size = abs_(ctx, sub(ctx, x, target))
    near = div(ctx, mul(ctx, mul(ctx, size, size), 0.5), beta)
    loss = where(ctx, lt(ctx, size, beta), near, sub(ctx, size, 0.5 * beta))
    return reduced(ctx, loss, reduction)


@op("aten::huber_loss")
def huber_loss(ctx, x, target, reduction=1, delta=1.0):
    """huber_loss(Tensor self, Tensor target, int reduction=Mean, float delta=1.0) -> Tensor"""
    size = abs_(ctx, sub(ctx, x, target))
    far = mul(ctx, sub(ctx, size, 0.5 * delta), delta)
    loss = where(ctx, gt(ctx, size, delta), far, mul(ctx, mul(ctx, size, size), 0.5))
    return reduced(ctx, loss, reduction)


@op("aten::poisson_nll_loss")
def poisson_nll_loss(ctx, x, target, log_input, full_, eps, reduction=1):
    """poisson_nll_loss(Tensor input, Tensor target, bool log_input, bool full, float eps,
    int reduction) -> Tensor"""
    if log_input:
        loss = sub(ctx, exp(ctx, x), mul(ctx, target, x))
    else:
        loss = sub(ctx, x, mul(ctx, target, log(ctx, add(ctx, x, eps))))
    if full_:
        entropy = sub(ctx, mul(ctx, target, log(ctx, target)), target)
        stirling = add(ctx, entropy, mul(ctx, log(ctx, mul(ctx, target, 2 * math.pi)), 0.5))
        extra = where(ctx, gt(ctx, target, 1), stirling, tensor(ctx, 0, dtype(ctx, stirling)))
        loss = add(ctx, loss, extra)
    return reduced(ctx, loss, reduction)


# ---- probabilities -------------------------------------------------------------------------------
@op("aten::binary_cross_entropy")
def binary_cross_entropy(ctx, x, target, weight=None, reduction=1):
    """binary_cross_entropy(Tensor self, Tensor target, Tensor? weight=None, int reduction=Mean)
    -> Tensor"""
    hit = clamp_min(ctx, log(ctx, x), -100)
    miss = clamp_min(ctx, log1p(ctx, neg(ctx, x)), -100)
    loss = sub(ctx, mul(ctx, sub(ctx, target, 1), miss), mul(ctx, target, hit))
    return reduced(ctx, loss if weight is None else mul(ctx, loss, weight), reduction)


@op("aten::binary_cross_entropy_with_logits")
def binary_cross_entropy_with_logits(ctx, x, target, weight=None, pos_weight=None, reduction=1):
    """binary_cross_entropy_with_logits(Tensor self, Tensor target, Tensor? weight=None,
    Tensor? pos_weight=None, int reduction=Mean) -> Tensor"""
    soft = log1p(ctx, exp(ctx, neg(ctx, abs_(ctx, x))))
    log_miss = add(ctx, soft, clamp_min(ctx, neg(ctx, x), 0))
    if pos_weight is not None:
        log_miss = mul(ctx, log_miss, add(ctx, mul(ctx, sub(ctx, pos_weight, 1), target), 1))
    loss = add(ctx, mul(ctx, sub(ctx, 1, target), x), log_miss)
    return reduced(ctx, loss if weight is None else mul(ctx, loss, weight), reduction)


@op("aten::kl_div")
def kl_div(ctx, x, target, reduction=1, log_target=False):
    """kl_div(Tensor self, Tensor target, int reduction=Mean, *, bool log_target=False) -> Tensor"""
    if log_target:
        loss = mul(ctx, exp(ctx, target), sub(ctx, target, x))
    else:
        loss = sub(ctx, xlogy(ctx, target, target), mul(ctx, target, x))
    return reduced(ctx, loss, reduction)


def _nll(
    ctx: Any, x: Any, target: Any, weight: Any, reduction: int, ignore_index: int
) -> tuple[Any, Any]:
    """The loss and the total weight; classes are dimension 1, or 0 of a 1-d input."""
    at = 0 if rank(ctx, x) == 1 else 1
    counted = ne(ctx, target, ignore_index)
    zero = tensor(ctx, 0, dtype(ctx, x))
    chosen = where(ctx, counted, target, tensor(ctx, 0, torch.int64))
    place = unsqueeze(ctx, chosen, at) if rank(ctx, x) > 1 else reshape(ctx, chosen, [1])
    picked = reshape(ctx, gather(ctx, x, at, place), list(shape(ctx, target)))
    if weight is None:
        weights = full(ctx, shape(ctx, target), 1, dtype(ctx, x))
    else:
        weights = ctx.take(weight, chosen, 0)
    weights = where(ctx, counted, weights, zero)
    loss = where(ctx, counted, neg(ctx, mul(ctx, picked, weights)), zero)
    total = sum_all(ctx, weights)
    if reduction == 0:
        return loss, total
    loss = sum_all(ctx, loss)
    return (div(ctx, loss, total) if reduction == 1 else loss), total


@op("aten::nll_loss", "aten::nll_loss2d", "aten::nll_loss_nd")
def nll_loss(ctx, x, target, weight=None, reduction=1, ignore_index=-100):
    """nll_loss(Tensor self, Tensor target, Tensor? weight=None, int reduction=Mean,
    SymInt ignore_index=-100)"""
    return _nll(ctx, x, target, weight, reduction, ignore_index)[0]


@op("aten::nll_loss_forward", "aten::nll_loss2d_forward")
def nll_loss_forward(ctx, x, target, weight, reduction, ignore_index):
    """nll_loss_forward(Tensor self, Tensor target, Tensor? weight, int reduction,
    SymInt ignore_index) -> (Tensor output, Tensor total_weight)"""
    return _nll(ctx, x, target, weight, reduction, ignore_index)


@op("aten::cross_entropy_loss")
def cross_entropy_loss(
    ctx, x, target, weight=None, reduction=1, ignore_index=-100, label_smoothing=0.0
):
    """cross_entropy_loss(Tensor self, Tensor target, Tensor? weight=None, int reduction=Mean,
    SymInt ignore_index=-100, float label_smoothing=0.0) -> Tensor"""
    at = 0 if rank(ctx, x) == 1 else 1
    log_p = log_softmax(ctx, x, at)
    spread = [-1 if a == at else 1 for a in range(rank(ctx, x))]
    weighted = log_p if weight is None else mul(ctx, log_p, reshape(ctx, weight, spread))
    per_class = label_smoothing / shape(ctx, x)[at] if label_smoothing else 0
    if dtype(ctx, target).is_floating_point:
        if label_smoothing:
            target = add(ctx, mul(ctx, target, 1 - label_smoothing), per_class)
        return reduced(ctx, neg(ctx, sum_(ctx, mul(ctx, weighted, target), [at])), reduction)
    loss, total = _nll(ctx, log_p, target, weight, reduction, ignore_index)
    if not label_smoothing:
        return loss
    smooth = neg(ctx, sum_(ctx, weighted, [at]))
    smooth = where(ctx, ne(ctx, target, ignore_index), smooth, tensor(ctx, 0, dtype(ctx, x)))
    if reduction:
        smooth = sum_all(ctx, smooth) if reduction == 2 else div(ctx, sum_all(ctx, smooth), total)
    return add(ctx, mul(ctx, loss, 1 - label_smoothing), mul(ctx, smooth, per_class))


# ---- margins -------------------------------------------------------------------------------------
@op("aten::hinge_embedding_loss")
def hinge_embedding_loss(ctx, x, target, margin=1.0, reduction=1):
    """hinge_embedding_loss(Tensor self, Tensor target, float margin=1.0, int reduction=Mean)
    -> Tensor"""
    zero = tensor(ctx, 0, dtype(ctx, x))
    far = where(ctx, ne(ctx, target, 1), clamp_min(ctx, sub(ctx, margin, x), 0), zero)
    near = where(ctx, ne(ctx, target, -1), x, zero)
    return reduced(ctx, add(ctx, far, near), reduction)


@op("aten::margin_ranking_loss")
def margin_ranking_loss(ctx, input1, input2, target, margin=0.0, reduction=1):
    """margin_ranking_loss(Tensor input1, Tensor input2, Tensor target, float margin=0.0,
    int reduction=Mean)"""
    gap = mul(ctx, neg(ctx, target), sub(ctx, input1, input2))
    return reduced(ctx, clamp_min(ctx, add(ctx, gap, margin), 0), reduction)


@op("aten::soft_margin_loss")
def soft_margin_loss(ctx, x, target, reduction=1):
    """soft_margin_loss(Tensor self, Tensor target, int reduction=Mean) -> Tensor"""
    return reduced(ctx, log1p(ctx, exp(ctx, neg(ctx, mul(ctx, target, x)))), reduction)


@op("aten::cosine_embedding_loss")
def cosine_embedding_loss(ctx, input1, input2, target, margin=0.0, reduction=1):
    """cosine_embedding_loss(Tensor input1, Tensor input2, Tensor target, float margin=0.0,
    int reduction=Mean)"""
    at = rank(ctx, target)
    product = sum_(ctx, mul(ctx, input1, input2), [at])
    sizes = [add(ctx, sum_(ctx, mul(ctx, v, v), [at]), 1e-12) for v in (input1, input2)]
    cosine = div(ctx, product, sqrt(ctx, mul(ctx, *sizes)))
    zero = tensor(ctx, 0, dtype(ctx, cosine))
    near = where(ctx, eq(ctx, target, 1), sub(ctx, 1, cosine), zero)
    far = where(ctx, eq(ctx, target, -1), clamp_min(ctx, sub(ctx, cosine, margin), 0), zero)
    return reduced(ctx, add(ctx, near, far), reduction)


@op("aten::triplet_margin_loss")
def triplet_margin_loss(
    ctx, anchor, positive, negative, margin=1.0, p=2.0, eps=1e-6, swap=False, reduction=1
):
    """triplet_margin_loss(Tensor anchor, Tensor positive, Tensor negative, float margin=1.0,
    float p=2, ...)"""

    near = pairwise_distance(ctx, anchor, positive, p, eps)
    far = pairwise_distance(ctx, anchor, negative, p, eps)
    if swap:
        far = minimum(ctx, far, pairwise_distance(ctx, positive, negative, p, eps))
    return reduced(ctx, clamp_min(ctx, add(ctx, sub(ctx, near, far), margin), 0), reduction)


@op("aten::multi_margin_loss")
def multi_margin_loss(ctx, x, target, p=1, margin=1, weight=None, reduction=1):
    """multi_margin_loss(Tensor self, Tensor target, Scalar p=1, Scalar margin=1,
    Tensor? weight=None, int reduction)"""
    single = rank(ctx, x) < 2
    x = reshape(ctx, x, [1, -1]) if single else x
    column = reshape(ctx, target, [-1, 1])
    classes = shape(ctx, x)[1]
    cost = clamp_min(ctx, add(ctx, sub(ctx, x, gather(ctx, x, 1, column)), margin), 0)
    cost = cost if p == 1 else pow_(ctx, cost, p)
    if weight is not None:
        cost = mul(ctx, cost, ctx.take(weight, column, 0))
    others = ne(ctx, torch.arange(classes), column)
    cost = where(ctx, others, cost, tensor(ctx, 0, dtype(ctx, x)))
    loss = div(ctx, sum_(ctx, cost, [1]), classes)
    return reduced(ctx, squeeze(ctx, loss, 0) if single else loss, reduction)


@op("aten::multilabel_margin_loss")
def multilabel_margin_loss(ctx, x, target, reduction=1):
    """multilabel_margin_loss(Tensor self, Tensor target, int reduction=Mean) -> Tensor:
    targets up to the first -1"""
    if not rank(ctx, x):
        x, target = reshape(ctx, x, [1]), reshape(ctx, target, [1])
    classes = shape(ctx, x)[-1]
    zero = tensor(ctx, 0, dtype(ctx, x))
    listed = eq(ctx, cumprod(ctx, tensor(ctx, gt(ctx, target, -1), torch.int64), -1), 1)
    chosen = where(ctx, listed, target, tensor(ctx, 0, torch.int64))
    same = eq(ctx, unsqueeze(ctx, chosen, -1), torch.arange(classes))
    is_target = any_(ctx, logical_and(ctx, same, unsqueeze(ctx, listed, -1)), [-2])
    gaps = sub(ctx, unsqueeze(ctx, x, -2), unsqueeze(ctx, gather(ctx, x, -1, chosen), -1))
    cost = clamp_min(ctx, add(ctx, gaps, 1), 0)
    rows, others = unsqueeze(ctx, listed, -1), logical_not(ctx, unsqueeze(ctx, is_target, -2))
    counted = logical_and(ctx, rows, others)
    loss = div(ctx, sum_(ctx, where(ctx, counted, cost, zero), [-2, -1]), classes)
    return reduced(ctx, loss, reduction)


@op("aten::ctc_loss", "aten::_ctc_loss")
def ctc_loss(ctx, *_):
    """ctc_loss.Tensor(Tensor log_probs, Tensor targets, Tensor input_lengths,
    Tensor target_lengths, ...) -> Tensor"""
    raise ctx.refuse("the recursion over time steps of ctc_loss")
