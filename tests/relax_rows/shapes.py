"""Shapes and padding, with static and with symbolic sizes."""

from __future__ import annotations

import torch
import torch.nn.functional as F

from .harness import BF16, BOOL, F16, F32, I32, I64, INF, WEIGHT, rand, row

X = rand(2, 3, 5)
for dtype in (F32, I64, BOOL, F16, BF16):
    x = rand(2, 3, 5, dtype=dtype)
    tag = str(dtype)[6:]
    row("shape", f"reshape_{tag}", lambda c, x: c.reshape(x, [5, 6]), lambda x: x.reshape(5, 6), x)
    row("shape", f"permute_{tag}", lambda c, x: c.permute(x, [2, 0, 1]),
        lambda x: x.permute(2, 0, 1), x)
    row("shape", f"expand_{tag}", lambda c, x: c.expand(x, [4, 2, 3, 5]),
        lambda x: x.expand(4, 2, 3, 5), x)
    row("shape", f"concat_{tag}", lambda c, x: c.concat([x, x], 1), lambda x: torch.cat([x, x], 1),
        x)
    row(
        "shape",
        f"slice_{tag}",
        lambda c, x: c.slice(x, [0, 1, 4], [2, 2, 3], [1, 1, -2]),
        lambda x: x.flip(2)[:, 1:3, ::2],
        x,
    )
    if dtype != BOOL:
        row(
            "shape",
            f"pad_{tag}",
            lambda c, x: c.pad(x, [0, 1, 2], [1, 0, 0], "constant", 3),
            lambda x: F.pad(x, (2, 0, 1, 0, 0, 1), value=3),
            x,
        )
row(
    "shape",
    "pad_bool",
    lambda c, x: c.pad(x, [0, 1], [1, 0], "constant", True),
    lambda x: F.pad(x, (1, 0, 0, 1), value=True),
    rand(2, 3, dtype=BOOL),
)
row(
    "shape",
    "pad_inf",
    lambda c, x: c.pad(x, [0, 1, 2], [1, 0, 0], "constant", -INF),
    lambda x: F.pad(x, (2, 0, 1, 0, 0, 1), value=-INF),
    X,
)
row(
    "shape",
    "pad_big_int",
    lambda c, x: c.pad(x, [0, 1], [1, 0], "constant", 2**52 + 1),
    lambda x: F.pad(x, (1, 0, 0, 1), value=2**52 + 1),
    rand(2, 3, dtype=I64),
)
row(
    "shape",
    "pad_empty",
    lambda c, x: c.pad(x, [1, 0], [2, 0], "constant", 1),
    lambda x: torch.ones(3, 4),
    torch.zeros(0, 4),
)
for mode in ("reflect", "replicate", "circular"):
    y = rand(2, 3, 4, 7)
    row(
        "shape",
        f"pad_{mode}",
        lambda c, x, m=mode: c.pad(x, [0, 0, 2, 3], [0, 0, 1, 4], mode=m),
        lambda x, m=mode: F.pad(x, (3, 4, 2, 1), mode=m),
        y,
    )
    row(
        "shape",
        f"pad_{mode}_dynamic",
        lambda c, x, m=mode: c.pad(x, [0, 0, 2, 3], [0, 0, 1, 4], mode=m),
        lambda x, m=mode: F.pad(x, (3, 4, 2, 1), mode=m),
        y,
        dynamic=True,
    )
row("shape", "reshape_0d", lambda c, x: c.reshape(x, [1, 1]), lambda x: x.reshape(1, 1),
    torch.tensor(2.0))
row("shape", "reshape_to_0d", lambda c, x: c.reshape(x, []), lambda x: x.reshape([]),
    torch.ones(1, 1))
row("shape", "permute_0d", lambda c, x: c.permute(x, []), lambda x: x, torch.tensor(2.0))
row("shape", "reshape_empty", lambda c, x: c.reshape(x, [4, 0]), lambda x: x.reshape(4, 0),
    torch.zeros(2, 0, 3))
row("shape", "slice_empty", lambda c, x: c.slice(x, [0, 3], [2, 0], [1, 1]), lambda x: x[:, 3:3],
    rand(2, 5))
row("shape", "slice_whole", lambda c, x: c.slice(x, [0, 0], [2, 5], [1, 1]), lambda x: x,
    rand(2, 5))
row("shape", "slice_strided", lambda c, x: c.slice(x, [1, 0], [2, 3], [3, 2]),
    lambda x: x[1:7:3, ::2], rand(7, 5))
row("shape", "slice_one", lambda c, x: c.slice(x, [6, 4], [1, 1], [1, -1]), lambda x: x[6:, 4:],
    rand(7, 5))
row("shape", "expand_0d", lambda c, x: c.expand(x, [2, 3]), lambda x: x.expand(2, 3),
    torch.tensor(2.0))
row("shape", "expand_ones", lambda c, x: c.expand(x, [2, 3, 5]), lambda x: x.expand(2, 3, 5),
    rand(3, 1))
row(
    "shape",
    "concat_constant",
    lambda c, x: c.concat([x, WEIGHT, x], 1),
    lambda x: torch.cat([x, WEIGHT, x], 1),
    rand(3, 4),
)
row(
    "shape",
    "concat_empty",
    lambda c, x, y: c.concat([x, y], 0),
    lambda x, y: torch.cat([x, y]),
    rand(3, 4),
    torch.zeros(0, 4),
)
row(
    "shape",
    "reshape_dynamic",
    lambda c, x: c.reshape(x, [c.shape(x)[0], 15]),
    lambda x: x.reshape(2, 15),
    X,
    dynamic=True,
)
row(
    "shape",
    "reshape_merge",
    lambda c, x: c.reshape(x, [c.shape(x)[0] * 3, 5]),
    lambda x: x.reshape(6, 5),
    X,
    dynamic=True,
)
row(
    "shape",
    "reshape_split",
    lambda c, x: c.reshape(x, [c.shape(x)[0] // 2, 2, 3, 5]),
    lambda x: x.reshape(1, 2, 3, 5),
    X,
    dynamic=True,
)
row("shape", "permute_dynamic", lambda c, x: c.permute(x, [2, 0, 1]), lambda x: x.permute(2, 0, 1),
    X, dynamic=True)
row(
    "shape",
    "expand_dynamic",
    lambda c, x: c.expand(x, [4, *c.shape(x)]),
    lambda x: x.expand(4, 2, 3, 5),
    X,
    dynamic=True,
)
row(
    "shape",
    "expand_literal_dynamic",
    lambda c, x: c.expand(c.literal(torch.ones(1, 2)), [c.shape(x)[0], 2]),
    lambda x: torch.ones(2, 2),
    X,
    dynamic=True,
)
row("shape", "concat_dynamic", lambda c, x: c.concat([x, x], 0), lambda x: torch.cat([x, x]), X,
    dynamic=True)
row(
    "shape",
    "slice_dynamic",
    lambda c, x: c.slice(x, [0, 1, 0], [c.shape(x)[0], 2, 5], [1, 1, 1]),
    lambda x: x[:, 1:],
    X,
    dynamic=True,
)
row(
    "shape",
    "slice_dynamic_end",
    lambda c, x: c.slice(x, [1, 0, 0], [c.shape(x)[0] - 1, 3, 5], [1, 1, 1]),
    lambda x: x[1:],
    X,
    dynamic=True,
)
row(
    "shape",
    "slice_dynamic_flip",
    lambda c, x: c.slice(x, [c.shape(x)[0] - 1, 0, 0], c.shape(x), [-1, 1, 1]),
    lambda x: x.flip(0),
    X,
    dynamic=True,
)
row(
    "shape",
    "pad_dynamic",
    lambda c, x: c.pad(x, [0, 0, 1], [0, 0, 1], "constant", 0),
    lambda x: F.pad(x, (1, 1)),
    X,
    dynamic=True,
)
row(
    "shape",
    "pad_by_dynamic",
    lambda c, x: c.pad(x, [c.shape(x)[0], 0, 0], [0, 0, 0], "constant", 2),
    lambda x: F.pad(x, (0, 0, 0, 0, 2, 0), value=2),
    X,
    dynamic=True,
)
row(
    "shape",
    "size_tensor",
    lambda c, x: c.size_tensor([c.shape(x)[0], 7, c.shape(x)[0] * 3]),
    lambda x: torch.tensor([2, 7, 6]),
    X,
    dynamic=True,
)
row(
    "shape",
    "size_tensor_i32",
    lambda c, x: c.size_tensor([c.shape(x)[0]], I32),
    lambda x: torch.tensor([2], dtype=I32),
    X,
    dynamic=True,
)
row(
    "shape",
    "arange_dynamic",
    lambda c, x: c.arange(1, c.shape(x)[0], 3),
    lambda x: torch.tensor([1, 4]),
    X,
    dynamic=True,
)
row(
    "shape",
    "arange_start",
    lambda c, x: c.arange(c.shape(x)[0], 4, -1),
    lambda x: torch.tensor([2, 1, 0, -1]),
    X,
    dynamic=True,
)
row("shape", "arange_static", lambda c, x: c.reshape(c.arange(2, 3, 2), [3]),
    lambda x: torch.tensor([2, 4, 6]), X)
