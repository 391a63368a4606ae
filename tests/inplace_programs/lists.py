"""Lists of views, and results written to ``out=``."""

from __future__ import annotations

import torch

from .program import ints34, program


@program((3, 6))
def chunks(x):
    y = x + 0
    a, b, c = y.chunk(3, 1)
    a += 1
    b.mul_(2)
    return y, a, c


@program((5, 2))
def split_sizes(x):
    y = x + 0
    a, b = y.split([2, 3])
    b.zero_()
    y.add_(1)
    return a, b, y


@program((3, 4))
def unbind(x):
    y = x + 0
    rows = y.unbind(0)
    rows[1].neg_()
    rows[2][:2].add_(1)
    return y, torch.stack(rows)


@program((3, 7))
def tensor_split(x):
    y = x + 0
    a, b, c = y.tensor_split(3, dim=1)
    b[:, 0] = c[:, 0]
    return y


@program()
def list_reads_late(x):
    parts = [x + 1, x + 2]
    both = torch.cat(parts)
    parts[0].mul_(5)
    return torch.cat(parts), both


@program((3, 4))
def mapped_rows(x):
    y = x + 0
    for row in y:
        row /= row.sum()
    return y


@program()
def out_argument(x):
    out = torch.empty_like(x)
    torch.add(x, 1, out=out)
    return out


@program()
def out_is_a_view(x):
    y = x + 0
    torch.mul(x[:, 0], 2, out=y[:, 3])
    return y


@program()
def out_grows_from_empty(x):
    out = torch.empty(0)
    torch.mul(x, 2, out=out)
    return out + 1


@program()
def out_of_two_results(x):
    values, indices = torch.empty(3), torch.empty(3, dtype=torch.int64)
    torch.max(x, 1, out=(values, indices))
    return values, indices


@program(ints34)
def out_casts(x):
    out = torch.zeros(3, 4)
    torch.add(x, 1, out=out)
    return out
