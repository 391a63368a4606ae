"""Copies, index assignment and scatters."""

from __future__ import annotations

import torch

from .program import index2, ints34, mask34, program


@program((3, 4), (3, 2))
def strided_assignment(x, y):
    z = x + 0
    z[..., ::2] = y
    return z


@program((3, 4), (4,))
def assignment_broadcasts(x, row):
    y = x + 0
    y[1:] = row
    y[0] = row.sum()
    return y


@program(ints34, (3,))
def assignment_casts(x, column):
    y = x + 0
    y[:, 1] = column * 10
    return y


@program()
def zeros_filled_by_slices(x):
    out = torch.zeros_like(x)
    out[:, :2] = x[:, 2:]
    out[:, 2:] = x[:, :2] * 2
    return out


@program()
def new_zeros_filled(x):
    out = x.new_zeros(3, 8)
    out[:, ::2] = x
    out[:, 1::2] = -x
    return out


@program((2, 3, 4))
def rotary_halves(x):
    out = torch.empty_like(x)
    out[..., 0::2] = x[..., 0::2] - x[..., 1::2]
    out[..., 1::2] = x[..., 0::2] + x[..., 1::2]
    return out


@program((3, 4), index2, (2, 4))
def assignment_by_index(x, i, v):
    y = x + 0
    y[i] = v
    y[:, i] += 1
    return y


@program((3, 4), mask34, data_sized=True)
def assignment_by_mask(x, m):
    y = x + 0
    y[m] = 0
    y[~m] += 2
    return y


@program((3, 4), mask34)
def index_put_on_a_view(x, m):
    y = x + 0
    y[1:][m[1:]] = 4
    return y


@program((3, 4), index2, (2, 4))
def index_family(x, i, v):
    y = x + 0
    y.index_add_(0, i, v)
    y.index_copy_(0, i, v * 2)
    y[:, 1:].index_fill_(0, i, 3)
    return y


@program((3, 4), lambda: torch.randint(0, 3, (2, 4)), (2, 4))
def scatter_family(x, i, v):
    y = x + 0
    y.scatter_(0, i, 1.5)
    y.scatter_add_(0, i, v)
    y.scatter_reduce_(0, i, v, "amax")
    return y


@program((3, 4), mask34, (12,))
def masked_scatter(x, m, v):
    y = x + 0
    y.masked_scatter_(m, v)
    return y


@program()
def copy_between_views(x):
    y = x + 0
    y[0].copy_(y[2])
    y[:, 0].copy_(y[:, 3] * 2)
    return y


@program()
def swap_columns(x):
    y = x + 0
    keep = y[:, 0].clone()
    y[:, 0] = y[:, 1]
    y[:, 1] = keep
    return y


@program()
def swap_without_clone(x):
    y = x + 0
    keep = y[:, 0]
    y[:, 0] = y[:, 1]
    y[:, 1] = keep
    return y
