"""Matrix products, einsum, convolutions and transposed convolutions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F

from .harness import BF16, F16, F32, F64, I64, in_float32, rand, row

for name, left, right in (
    ("2d", (5, 7), (7, 3)),
    ("batch", (2, 5, 7), (2, 7, 3)),
    ("broadcast", (2, 1, 5, 7), (3, 7, 4)),
    ("rank", (7, 3), (4, 3, 2)),
    ("one", (1, 1), (1, 1)),
    ("no_k", (3, 0), (0, 2)),
    ("no_rows", (0, 3), (3, 2)),
):
    row("product", f"matmul_{name}", lambda c, a, b: c.matmul(a, b), torch.matmul, rand(*left),
        rand(*right))
for dtype in (F64, F16, BF16, I64):
    row(
        "product",
        f"matmul_{dtype}",
        lambda c, a, b: c.matmul(a, b),
        in_float32(torch.matmul),
        rand(2, 5, 64, dtype=dtype),
        rand(64, 3, dtype=dtype),
    )
LINEAR = rand(7, 4)
row("product", "matmul_constant", lambda c, a: c.matmul(a, LINEAR), lambda a: a @ LINEAR,
    rand(5, 7))
row("product", "matmul_dynamic", lambda c, a: c.matmul(a, LINEAR), lambda a: a @ LINEAR,
    rand(5, 3, 7), dynamic=True)
row(
    "product",
    "matmul_dynamic_batch",
    lambda c, a, b: c.matmul(a, b),
    torch.matmul,
    rand(5, 3, 7),
    rand(5, 7, 2),
    dynamic=True,
)
for equation, shapes in {
    "ij,jk->ik": [(2, 3), (3, 4)],
    "bhid,bhjd->bhij": [(2, 3, 4, 5), (2, 3, 6, 5)],
    "bij,bjk->kbi": [(2, 3, 4), (2, 4, 5)],
    "i,j->ij": [(3,), (4,)],
    "ij,ij->": [(3, 4), (3, 4)],
    "ii->i": [(4, 4)],
    "ij->": [(3, 4)],
    "ij->ji": [(3, 4)],
    "ij,jk,kl->il": [(2, 3), (3, 4), (4, 2)],
    "ij,kl->k": [(2, 3), (4, 5)],
    "bi,bi->b": [(3, 4), (3, 4)],
    "nctw,cd->ndtw": [(2, 3, 4, 5), (3, 6)],
}.items():
    row(
        "product",
        f"einsum_{equation}",
        lambda c, *xs, e=equation: c.einsum(e, xs),
        lambda *xs, e=equation: torch.einsum(e, *xs),
        *[rand(*s) for s in shapes],
    )
row(
    "product",
    "einsum_f16",
    lambda c, *xs: c.einsum("ij,jk->ik", xs),
    in_float32(torch.matmul),
    rand(3, 64, dtype=F16),
    rand(64, 2, dtype=F16),
)
row(
    "product",
    "einsum_dynamic",
    lambda c, x: c.einsum("bij,jk->bik", [x, LINEAR]),
    lambda x: x @ LINEAR,
    rand(2, 3, 7),
    dynamic=True,
)


def conv_row(
    name: str,
    x: Sequence[int],
    w: Sequence[int],
    stride: Any,
    padding: Any,
    dilation: Any,
    groups: int,
    dtype: torch.dtype = F32,
    bias: bool = True,
    **options: Any,
) -> None:
    rank = len(x) - 2
    weight, shift = rand(*w, dtype=dtype), rand(w[0], dtype=dtype) if bias else None
    wide = [v.float() if v is not None and dtype in (F16, BF16) else v for v in (weight, shift)]
    flat = [amount for pair in reversed(padding) for amount in pair]

    def oracle(x: torch.Tensor) -> torch.Tensor:
        y = x.float() if dtype in (F16, BF16) else x
        function = {1: F.conv1d, 2: F.conv2d, 3: F.conv3d}[rank]
        return function(F.pad(y, flat), *wide, stride=stride, dilation=dilation,
                        groups=groups).to(dtype)

    row(
        "conv",
        name,
        lambda c, v: c.conv(v, weight, shift, stride, padding, dilation, groups),
        oracle,
        rand(*x, dtype=dtype),
        **options,
    )


conv_row("1d", (2, 3, 11), (4, 3, 3), [2], [(1, 1)], [1], 1)
conv_row("1d_same", (1, 3, 11), (4, 3, 4), [1], [(1, 2)], [1], 1)
conv_row("1d_groups", (1, 4, 11), (6, 2, 3), [1], [(2, 2)], [2], 2)
conv_row("2d", (2, 3, 11, 7), (5, 3, 3, 3), [2, 1], [(1, 1), (0, 0)], [1, 1], 1)
conv_row("2d_no_bias", (1, 3, 9, 7), (5, 3, 3, 1), [1, 1], [(1, 1), (0, 0)], [1, 1], 1, bias=False)
conv_row("2d_uneven", (1, 3, 9, 7), (5, 3, 3, 3), [2, 2], [(0, 1), (2, 1)], [1, 1], 1)
conv_row("2d_dilated", (1, 3, 13, 11), (5, 3, 3, 3), [1, 2], [(2, 2), (3, 3)], [2, 3], 1)
conv_row("2d_depthwise", (1, 6, 9, 7), (6, 1, 3, 3), [1, 1], [(1, 1), (1, 1)], [1, 1], 6)
conv_row("2d_multiplier", (1, 3, 9, 7), (6, 1, 3, 3), [1, 1], [(1, 1), (1, 1)], [1, 1], 3)
conv_row("2d_groups", (1, 6, 9, 7), (4, 3, 3, 3), [1, 1], [(1, 1), (1, 1)], [1, 1], 2)
conv_row("2d_pointwise", (1, 6, 5, 7), (4, 6, 1, 1), [1, 1], [(0, 0), (0, 0)], [1, 1], 1)
conv_row("2d_dynamic", (2, 3, 9, 7), (5, 3, 3, 3), [1, 1], [(1, 1), (1, 1)], [1, 1], 1,
         dynamic=True)
conv_row("2d_f64", (1, 3, 9, 7), (5, 3, 3, 3), [1, 1], [(1, 1), (1, 1)], [1, 1], 1, dtype=F64)
conv_row("2d_f16", (1, 16, 9, 7), (5, 16, 3, 3), [1, 1], [(1, 1), (1, 1)], [1, 1], 1, dtype=F16)
conv_row("2d_bf16", (1, 16, 9, 7), (5, 16, 3, 3), [1, 1], [(1, 1), (1, 1)], [1, 1], 1, dtype=BF16)
conv_row("3d", (1, 3, 5, 7, 6), (4, 3, 3, 2, 3), [1, 2, 1], [(1, 1), (0, 0), (1, 1)], [1, 1, 2], 1)
conv_row("3d_uneven", (1, 2, 5, 7, 6), (4, 2, 3, 2, 3), [1, 1, 1], [(1, 0), (0, 2), (1, 1)],
         [1, 1, 1], 1)
conv_row("3d_groups", (1, 4, 5, 7, 6), (4, 2, 3, 2, 3), [1, 2, 1], [(1, 1), (0, 0), (1, 1)],
         [1, 1, 1], 2)


def transposed_row(
    name: str,
    x: Sequence[int],
    w: Sequence[int],
    stride: Any,
    padding: Any,
    extra: Any,
    dilation: Any,
    groups: int,
    dtype: torch.dtype = F32,
    **options: Any,
) -> None:
    function = {1: F.conv_transpose1d, 2: F.conv_transpose2d, 3: F.conv_transpose3d}[len(x) - 2]
    weight, shift = rand(*w, dtype=dtype), rand(w[1] * groups, dtype=dtype)
    row(
        "conv",
        f"transpose_{name}",
        lambda c, v: c.conv_transpose(v, weight, shift, stride, padding, extra, dilation, groups),
        in_float32(
            lambda x: function(x, weight.to(x.dtype), shift.to(x.dtype), stride, padding, extra,
                               groups, dilation)
        ),
        rand(*x, dtype=dtype),
        **options,
    )


transposed_row("1d", (2, 3, 7), (3, 4, 3), [2], [1], [1], [1], 1)
transposed_row("1d_dilated", (2, 4, 7), (4, 2, 3), [2], [1], [1], [2], 2)
transposed_row("2d", (1, 3, 5, 7), (3, 4, 3, 3), [2, 2], [1, 1], [1, 0], [1, 1], 1)
transposed_row("2d_no_padding", (1, 3, 5, 7), (3, 4, 2, 2), [2, 2], [0, 0], [0, 0], [1, 1], 1)
transposed_row("2d_much_padding", (1, 3, 5, 7), (3, 4, 2, 3), [2, 1], [2, 3], [0, 0], [1, 1], 1)
transposed_row("2d_groups", (1, 4, 5, 7), (4, 3, 3, 3), [2, 1], [1, 0], [1, 0], [1, 1], 2)
transposed_row("2d_dilated", (1, 4, 5, 7), (4, 3, 3, 3), [2, 1], [1, 0], [1, 1], [2, 3], 2)
transposed_row("2d_wide_padding", (1, 4, 5, 7), (4, 3, 3, 3), [1, 1], [0, 1], [1, 2], [2, 3], 2)
transposed_row("2d_depthwise", (1, 4, 5, 7), (4, 1, 4, 4), [2, 2], [1, 1], [0, 0], [1, 1], 4)
transposed_row("2d_dynamic", (2, 3, 5, 7), (3, 4, 3, 3), [2, 2], [1, 1], [1, 0], [1, 1], 1,
               dynamic=True)
transposed_row("2d_f16", (1, 16, 5, 7), (16, 4, 3, 3), [2, 2], [1, 1], [1, 0], [1, 1], 1, dtype=F16)
transposed_row("3d", (1, 3, 3, 4, 5), (3, 2, 3, 2, 3), [2, 1, 2], [1, 0, 1], [1, 0, 0], [1, 1, 1],
               1)
transposed_row("3d_groups", (1, 4, 3, 4, 5), (4, 2, 3, 2, 3), [2, 1, 2], [1, 0, 1], [1, 1, 0],
               [1, 2, 1], 2)
