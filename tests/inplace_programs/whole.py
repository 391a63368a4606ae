"""Writes to a whole tensor."""

from __future__ import annotations

from torch.nn import functional as F

from .program import ints34, mask34, program


@program()
def relu_then_the_name_before(x):
    y = x + 0
    z = F.relu(y, inplace=True)
    return y * 2 + z


@program()
def residual_after_inplace_relu(x):
    y = x * 2
    z = y.relu_()
    y += x
    return z.sum(), y


@program()
def chain_of_activations(x):
    y = x.clone()
    y.mul_(2).add_(1).sigmoid_().sub_(0.5).clamp_(min=0)
    return y


@program()
def clamp_both(x):
    y = x + 1
    y.clamp_(-0.5, 0.5)
    y.clamp_max_(0.25)
    return y


@program()
def read_before_and_after(x):
    y = x + 1
    before = y * 1
    y.exp_()
    return before, y


@program()
def integer_kept(x):
    y = (x * 10).int()
    y.mul_(3)
    y.floor_divide_(2)
    return y


@program()
def half_keeps_its_dtype(x):
    y = x.half()
    y += x
    return y


@program()
def comparison_in_place_keeps_float(x):
    y = x + 0
    y.gt_(0.1)
    return y


@program(ints34)
def int_scalar_promotes_only_outside(x):
    y = x + 0
    y.fill_(3.7)
    z = x * 1
    z[:, 0] = 2.9
    return y, z


@program((3, 4), mask34)
def bool_in_place_operators(x, m):
    n = x > 0
    n |= m
    k = ~n
    k &= m
    k ^= n
    return n, k


@program((3, 4), mask34)
def masked_fill(x, m):
    y = x + 0
    y.masked_fill_(m, float("-inf"))
    return y.softmax(-1)


@program((3, 4), (4,))
def broadcast_other(x, b):
    y = x * 1
    y.add_(b, alpha=2).div_(b.exp())
    return y


@program()
def zero_and_fill(x):
    y = x + 0
    y[1:].zero_()
    y[:, 3].fill_(7)
    return y


@program()
def zero_of_nan(x):
    y = x / 0
    y.zero_()
    return y


@program()
def tril_and_friends(x):
    y = x + 0
    y.tril_()
    y.cumsum_(1)
    return y.neg_()


@program()
def lerp_and_addcmul(x):
    y = x + 0
    y.lerp_(x * 2, 0.3).addcmul_(x, x, value=0.5)
    return y
