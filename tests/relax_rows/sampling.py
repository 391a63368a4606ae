"""Resizing and grid sampling."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F

from .harness import F16, F64, U8, rand, row


def resize_row(
    name: str, x: torch.Tensor, mode: str, size: Any, align: bool = False, factors: Any = None,
    **options: Any
) -> None:
    rank = x.dim() - 2
    torch_mode = {"linear": {1: "linear", 2: "bilinear", 3: "trilinear"}[rank],
                  "cubic": "bicubic"}.get(mode, mode)
    keywords = {} if mode.startswith("nearest") else {"align_corners": align}
    scaling = {"scale_factor": factors} if factors else {"size": size}
    row(
        "resize",
        f"{mode}_{name}",
        lambda c, v: c.resize(v, size, mode, align, factors or [None] * rank),
        lambda v: F.interpolate(v, mode=torch_mode, **scaling, **keywords),
        x,
        **options,
    )


for mode in ("nearest", "nearest-exact", "linear"):
    resize_row("1d", rand(2, 3, 7), mode, [17])
    resize_row("2d_up", rand(2, 3, 5, 7), mode, [11, 14])
    resize_row("2d_down", rand(2, 3, 11, 13), mode, [4, 6])
    resize_row("3d", rand(1, 2, 3, 4, 5), mode, [5, 3, 11])
    resize_row("factor", rand(1, 2, 7, 5), mode, [16, 8], factors=[2.3, 1.7])
    resize_row("f64", rand(1, 2, 7, 5, dtype=F64), mode, [9, 13])
    resize_row("dynamic", rand(2, 2, 7, 5), mode, [9, 13], dynamic=True)
for mode in ("linear", "cubic"):
    resize_row("align", rand(1, 2, 5, 7), mode, [11, 1], align=True)
    resize_row("align_down", rand(1, 2, 11, 7), mode, [4, 7], align=True)
resize_row("align_3d", rand(1, 2, 3, 4, 5), "linear", [5, 3, 11], align=True)
resize_row("2d_up", rand(2, 3, 5, 7), "cubic", [11, 14], atol=1e-5)
resize_row("2d_down", rand(2, 3, 11, 13), "cubic", [4, 6], atol=1e-5)
resize_row("factor", rand(1, 2, 7, 5), "cubic", [16, 8], factors=[2.3, 1.7], atol=1e-5)
resize_row("u8", rand(1, 2, 7, 5, dtype=U8), "nearest", [9, 13])
resize_row("f16", rand(1, 2, 7, 5, dtype=F16), "nearest", [9, 13])
resize_row("f16", rand(1, 2, 7, 5, dtype=F16), "linear", [9, 13])
for mode in ("nearest", "linear"):
    row(
        "resize",
        f"{mode}_by_shape",
        lambda c, x, m=mode: c.resize(x, [c.shape(x)[0] * 3, 5], m, False, [None, None]),
        lambda x, m=mode: F.interpolate(x, (6, 5), mode={"linear": "bilinear"}.get(m, m)),
        rand(2, 3, 4, 5),
        dynamic=True,
    )
    row(
        "resize",
        f"{mode}_of_shape",
        lambda c, x, m=mode: c.resize(c.permute(x, [1, 2, 0, 3]), [4, 6], m, False, [None, None]),
        lambda x, m=mode: F.interpolate(x.permute(1, 2, 0, 3), (4, 6),
                                        mode={"linear": "bilinear"}.get(m, m)),
        rand(7, 2, 1, 5),
        dynamic=True,
    )
row(
    "resize",
    "align_of_shape",
    lambda c, x: c.resize(c.permute(x, [1, 2, 0, 3]), [4, 6], "linear", True, [None, None]),
    lambda x: F.interpolate(x.permute(1, 2, 0, 3), (4, 6), mode="bilinear", align_corners=True),
    rand(7, 2, 1, 5),
    dynamic=True,
)
GRID = torch.cat(
    [
        rand(2, 4, 5, 2, scale=0.8),
        torch.tensor([-1.0, 1.0, 0.0, -1.5, 3.0, -2.7, 1.01, -0.99, 5.3,
                      100.0]).reshape(1, 1, 5, 2).expand(2, 1, 5, 2),
    ],
    1,
)
for align in (False, True):
    for padding in ("zeros", "border", "reflection"):
        for mode in ("bilinear", "nearest", "bicubic"):
            row(
                "resize",
                f"grid_{mode}_{padding}_{align}",
                lambda c, x, g, a=(mode, padding, align): c.grid_sample(x, g, *a),
                lambda x, g, a=(mode, padding, align): F.grid_sample(x, g, *a),
                rand(2, 3, 6, 7),
                GRID,
                atol=2e-5,
            )
        row(
            "resize",
            f"grid_3d_{padding}_{align}",
            lambda c, x, g, a=("bilinear", padding, align): c.grid_sample(x, g, *a),
            lambda x, g, a=("bilinear", padding, align): F.grid_sample(x, g, *a),
            rand(1, 2, 3, 4, 5),
            rand(1, 2, 3, 4, 3, scale=0.9),
            atol=1e-5,
        )
