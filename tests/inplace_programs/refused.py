"""What is refused, and what is close to it and is not."""

from __future__ import annotations

import torch

from .program import program


@program(refused="several elements at one address")
def expanded_write(x):
    y = x[:1].expand(3, 4)
    y.index_put_((torch.arange(2),), torch.zeros(2, 4))
    return y


@program((6,), refused="sees memory that was written")
def as_strided_after_write(x):
    y = x + 0
    v = y.as_strided((2, 2), (2, 1))
    y.add_(1)
    return v


@program((6,), refused="writes through a view")
def write_through_unfold(x):
    y = x + 0
    y.unfold(0, 2, 2).add_(1)
    return y


@program((6,))
def unfold_reads_and_forgets(x):
    y = x + 0
    v = y.unfold(0, 3, 1)
    y[2:] = 4
    w = (x * 2).unfold(0, 2, 2)
    w.add_(1)
    return v, w


@program((3,), refused="a constant of the trace")
def constant_written(x):
    t = torch.tensor([1.0, 2.0, 3.0])
    t += x
    return t


@program((3,), refused="has no functional form")
def random_fill(x):
    y = x + 0
    y.normal_()
    return y


@program((1, 4), refused="may write to the same memory")
def copy_only_for_larger_batches(x):
    y = x + 0
    z = y.t().contiguous()
    z.add_(1)
    return y


@program((3, 4), refused="resizes its out= argument")
def out_resized(x):
    y = torch.zeros(1)
    torch.add(x, 1, out=y)
    return y


@program((3, 2))
def complex_views(x):
    y = torch.view_as_complex(x + 0)
    c, r, real = y.conj(), y.real, x.real
    y.mul_(2)
    return torch.view_as_real(c.resolve_conj()), r, torch.view_as_real(y), real


@program((8,))
def as_strided_in_place(x):
    y = x + 0
    y.as_strided_((2, 3), (3, 1))
    return y * 2


@program((2, 3))
def einsum_returns_a_view(x):
    y = x + 0
    z = torch.einsum("ij->ji", y)
    z = z * 2
    z += 1
    return y, z


@program((2, 3), (3,))
def broadcast_tensors(x, b):
    y, c = torch.broadcast_tensors(x + 0, b)
    return y * c, y.add(1).mul_(2)


@program((2, 3), refused="may write to the same memory")
def write_through_einsum(x):
    y = x + 0
    z = torch.einsum("ij->ji", y)
    z.add_(1)
    return y, z


@program((2, 3), refused="writes to the result of aten::einsum, which may be a view")
def write_through_einsum_that_nobody_reads(x):
    y = x + 0
    torch.einsum("ij->ji", y)[0].add_(1)
    return y


@program((2, 3), refused="writes to the result of aten::atleast_3d, which may be a view")
def write_through_atleast_3d(x):
    y = x + 0
    z = torch.atleast_3d(y)
    z[0] = 1
    return y


@program((2, 3), refused="tensor.data is assigned to")
def data_assigned(x):
    y = x + 0
    y.data = x * 2
    return y + 1


@program((2, 3), (2, 1), refused="may write to the same memory")
def write_through_meshgrid(x, b):
    y = x[0] + 0
    z, _ = torch.meshgrid(y[:1], y[:1], indexing="xy")
    z.add_(1)
    return y, z


@program((2, 3), (3,))
def write_through_broadcast_tensors(x, b):
    y = x + 0
    z, _ = torch.broadcast_tensors(y, b)
    z.add_(1)
    return y, z
