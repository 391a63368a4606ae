"""Gathering and scattering."""

from __future__ import annotations

import torch

from .harness import BF16, BOOL, F16, F32, I32, I64, INF, NAN, rand, row

TABLE = rand(7, 4)
for dtype in (F32, I64, BOOL, F16, BF16):
    tag = str(dtype)[6:]
    x, index = rand(3, 7, 2, dtype=dtype), torch.tensor([[0, 6, 3], [5, 5, 1]])
    row("index", f"take_{tag}", lambda c, x, i: c.take(x, i, 1), lambda x, i: x[:, i], x, index)
    row(
        "index",
        f"gather_{tag}",
        lambda c, x, i: c.gather(x, i, 1),
        lambda x, i: x.gather(1, i),
        x,
        torch.tensor([[[0, 6], [5, 1]], [[2, 2], [3, 0]]]),
    )
    row(
        "index",
        f"gather_nd_{tag}",
        lambda c, x, i: c.gather_nd(x, i),
        lambda x, i: x[i[..., 0], i[..., 1]],
        x,
        torch.tensor([[[0, 6], [2, 1], [1, 1]]]),
    )
    row(
        "index",
        f"scatter_{tag}",
        lambda c, x, i, s: c.scatter(x, i, s, 1, None),
        lambda x, i, s: x.scatter(1, i, s),
        x,
        torch.tensor([[[0, 6], [5, 1]]]),
        rand(1, 2, 2, dtype=dtype),
    )
    row(
        "index",
        f"scatter_nd_{tag}",
        lambda c, x, i, s: c.scatter_nd(x, i, s, False),
        lambda x, i, s: x.index_put((i[:, 0], i[:, 1]), s),
        x,
        torch.tensor([[0, 6], [2, 1], [1, 1]]),
        rand(3, 2, dtype=dtype),
    )
row("index", "embedding", lambda c, i: c.take(TABLE, i, 0), lambda i: TABLE[i],
    torch.tensor([[1, 6], [0, 0]]))
row(
    "index",
    "take_i32",
    lambda c, x, i: c.take(x, i, 0),
    lambda x, i: x[i.long()],
    rand(5, 2),
    torch.tensor([4, 0], dtype=I32),
)
row("index", "take_0d", lambda c, x: c.take(x, c.literal(torch.tensor(2)), 1), lambda x: x[:, 2],
    rand(3, 4))
row("index", "take_empty", lambda c, x, i: c.take(x, i, 0), lambda x, i: x[i], rand(5, 2),
    torch.zeros(0, dtype=I64))
row(
    "index",
    "take_dynamic",
    lambda c, i: c.take(TABLE, i, 0),
    lambda i: TABLE[i],
    torch.tensor([[1, 6], [0, 0]]),
    dynamic=True,
)
row(
    "index",
    "gather_0d",
    lambda c, x, i: c.gather(x, i, 0),
    lambda x, i: x.gather(0, i),
    torch.tensor(2.0),
    torch.tensor(0),
)
row(
    "index",
    "scatter_0d",
    lambda c, x, i, s: c.scatter(x, i, s, 0, "add"),
    lambda x, i, s: x + s,
    torch.tensor(2.0),
    torch.tensor(0),
    torch.tensor(3.0),
)
row(
    "index",
    "gather_dynamic",
    lambda c, x, i: c.gather(x, i, 1),
    lambda x, i: x.gather(1, i),
    rand(2, 5),
    torch.tensor([[1, 4], [0, 0]]),
    dynamic=True,
)
SMALL = torch.tensor([[0, 2, 0], [1, 1, 1]])
DUPLICATE = torch.tensor([[0, 0, 2, 0], [1, 1, 1, 0], [2, 0, 2, 2]])
for name, reduce in (("add", "sum"), ("multiply", "prod"), ("maximum", "amax"),
                     ("minimum", "amin")):
    for dtype in (F32, I64, F16):
        row(
            "index",
            f"scatter_{name}_{dtype}",
            lambda c, x, i, s, n=name: c.scatter(x, i, s, 0, n),
            lambda x, i, s, r=reduce: x.float().scatter_reduce(0, i, s.float(), r).to(x.dtype),
            rand(3, 4, dtype=dtype),
            DUPLICATE,
            rand(3, 4, dtype=dtype, scale=2),
        )
    row(
        "index",
        f"scatter_{name}_small",
        lambda c, x, i, s, n=name: c.scatter(x, i, s, 1, n),
        lambda x, i, s, r=reduce: x.scatter_reduce(1, i, s, r),
        rand(5, 4, 1),
        SMALL[..., None],
        rand(2, 3, 1),
    )
    row(
        "index",
        f"scatter_{name}_nan",
        lambda c, x, i, s, n=name: c.scatter(x, i, s, 0, n),
        lambda x, i, s, r=reduce: x.scatter_reduce(0, i, s, r),
        torch.tensor([1.0, NAN, 3.0, -INF]),
        torch.tensor([0, 0, 1, 2, 2, 3]),
        torch.tensor([NAN, 1.0, 2.0, 5.0, 1.0, -INF]),
    )
row(
    "index",
    "scatter_empty",
    lambda c, x, i, s: c.scatter(x, i, s, 0, None),
    lambda x, i, s: x,
    rand(4),
    torch.zeros(0, dtype=I64),
    rand(0),
)
row(
    "index",
    "scatter_nd_add",
    lambda c, x, i, s: c.scatter_nd(x, i, s, True),
    lambda x, i, s: x.index_put((i[:, 0],), s, accumulate=True),
    rand(4, 2),
    torch.tensor([[1], [1], [0]]),
    rand(3, 2),
)
row(
    "index",
    "scatter_nd_full",
    lambda c, x, i, s: c.scatter_nd(x, i, s, False),
    lambda x, i, s: x.index_put((i[..., 0], i[..., 1]), s),
    rand(4, 2),
    torch.tensor([[[1, 1], [0, 1]]]),
    rand(1, 2),
)
row(
    "index",
    "scatter_nd_f16",
    lambda c, x, i, s: c.scatter_nd(x, i, s, True),
    lambda x, i, s: x.float().index_put((i[:, 0],), s.float(), accumulate=True).half(),
    rand(4, dtype=F16),
    torch.tensor([[1], [1], [0]]),
    rand(3, dtype=F16),
)
