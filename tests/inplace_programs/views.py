"""Writes through views, and views read after writes."""

from __future__ import annotations

import torch
from torch.nn import functional as F

from .program import program


@program()
def column_plus_one(x):
    y = x + 0
    y[:, 0] += 1
    return y.sum(1)


@program()
def two_level_view(x):
    y = x + 0
    y[1:][:, 2].mul_(10)
    return y


@program((2, 3, 4, 5))
def three_level_view(x):
    y = x + 0
    y[1].transpose(0, 2)[2:4].select(1, 1).add_(100)
    return y, y[1].sum()


@program()
def old_view_reads_new_base(x):
    y = x + 0
    view = y[:, 1:3]
    y.mul_(3)
    return view, view.sum()


@program()
def old_view_of_old_view(x):
    y = x + 0
    v = y.t()
    w = v[1:]
    y[0] = 5
    v[:, 1] = 6
    return w, y


@program()
def overlapping_views(x):
    y = x + 0
    a, b = y[:, :3], y[:, 1:]
    before = b.clone()
    a.add_(1)
    b.mul_(2)
    return a, b, y, before


@program((6,))
def shifted_sums(x):
    y = x + 0
    for i in range(1, 6):
        y[i] += y[i - 1]
    return y


@program((4, 5))
def loop_over_rows(x):
    out = torch.zeros_like(x)
    for i in range(4):
        out[i] = x[i] * i
        out[i, 0] += 1
    return out


@program()
def transposed_add(x):
    y = x + 0
    y.t().add_(1)
    return y


@program()
def flat_slice_zero(x):
    y = x + 0
    y.view(-1)[3:5].zero_()
    return y


@program()
def flatten_shares(x):
    y = x + 0
    y.flatten().add_(1)
    return y


@program()
def flatten_copies(x):
    y = x + 0
    z = y.t().flatten()
    z.add_(1)
    return y, z


@program()
def reshape_copies_of_slice(x):
    y = x + 0
    z = y[:, 1:3].reshape(-1)
    z += 1
    return y, z


@program()
def reshape_shares_of_whole(x):
    y = x + 0
    z = y.reshape(2, 6)
    z[0] = -1
    return y, z


@program()
def contiguous_is_the_same(x):
    y = x + 0
    y.contiguous().mul_(2)
    return y


@program()
def contiguous_is_a_copy(x):
    y = x + 0
    y.t().contiguous().mul_(2)
    return y


@program()
def to_is_the_same(x):
    y = x + 0
    y.to(torch.float32).mul_(2)
    y.double().mul_(100)
    return y


@program()
def dropout_in_eval_is_the_same(x):
    y = x + 0
    z = F.dropout(y, 0.5, False)
    z += 1
    return y


@program()
def type_as_is_the_same(x):
    y = x + 0
    y.type_as(x).add_(1)
    return y.detach().mul_(2), y


@program((2, 3, 4))
def permute_movedim_squeeze(x):
    y = x + 0
    y.permute(2, 0, 1)[0].mul_(2)
    y.movedim(0, -1)[1].add_(1)
    y.unsqueeze(1).squeeze(1)[0].sub_(3)
    y.swapaxes(0, 2)[3].neg_()
    y.permute(-1, 0, 1)[1] = 0
    return y


@program((2, 3, 4))
def narrow_and_unflatten(x):
    y = x + 0
    y.narrow(2, 1, 2).mul_(2)
    y.narrow(2, -2, 2).add_(1)
    y.unflatten(2, (2, 2))[..., 1] = 9
    return y


@program((4, 4))
def diagonal(x):
    y = x + 0
    y.diagonal().zero_()
    y.diagonal(1).add_(5)
    return y


@program()
def view_after_strided_write(x):
    y = x + 0
    y.t().copy_(x.t().contiguous())
    return y.view(-1)


@program()
def data_is_no_constant(x):
    y = x + 0
    z = y.data * 2
    y.data[1] = z[0]
    x.data.mul_(2)
    return y, z, x


@program((2, 3, 4))
def transpose_in_place(x):
    y = x + 0
    z = y[:, 0]
    y.transpose_(0, 2)
    y[1] = 3
    return y.swapaxes_(0, 1), z


@program()
def t_in_place(x):
    y = x + 0
    z = y[0]
    y.t_()
    y[1] = 3
    return y, z


@program((1, 3, 1, 4))
def squeeze_in_place(x):
    y = x + 0
    y.squeeze_(2).unsqueeze_(0)
    y[0, 0, 1] = 3
    return y


@program((5, 6))
def negative_index_and_step(x):
    y = x + 0
    y[-2:, ::2] = 1
    y[-1, -1] = 2
    y[..., 1::3] *= 4
    return y


@program((5, 6))
def clamped_slice(x):
    y = x + 0
    y[3:100] = 1
    y[:, -100:1] += 2
    return y
