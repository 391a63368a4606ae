"""The network primitives of TensorRT: products, convolutions, pooling, resizing."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from tensorrt_case import Case, Table, check, normal, whole

case = Table()

# ---- products, convolutions, pooling -------------------------------------------------------------
case("matmul", lambda c, a, b: c.matmul(a, b), torch.matmul, normal(2, 1, 3, 4), normal(5, 4, 6))
case(
    "matmul-constant",
    lambda c, a: c.matmul(a, normal(4, 6)),
    lambda a: a @ normal(4, 6),
    normal(2, 3, 4),
)
case(
    "matmul-int",
    lambda c, a, b: c.matmul(a, b),
    torch.matmul,
    whole(-3, 3, 2, 3, 4),
    whole(-3, 3, 4, 5),
)
case(
    "matmul-half",
    lambda c, a: c.matmul(a, normal(4, 6).half()),
    lambda a: a @ normal(4, 6).half(),
    normal(3, 4).half(),
    rtol=1e-3,
    atol=1e-3,
)
case(
    "matmul-bfloat16",
    lambda c, a: c.matmul(a, normal(4, 6).bfloat16()),
    lambda a: a @ normal(4, 6).bfloat16(),
    normal(3, 4).bfloat16(),
    rtol=1e-2,
    atol=1e-2,
)
case(
    "matmul-dynamic",
    lambda c, a: c.matmul(a, normal(4, 6)),
    lambda a: a @ normal(4, 6),
    normal(2, 3, 4),
    dynamic={0: [0, 1]},
)
case(
    "einsum",
    lambda c, a, b: c.einsum("bij,bjk->bik", [a, b]),
    lambda a, b: a @ b,
    normal(2, 3, 4),
    normal(2, 4, 5),
)
case(
    "einsum-three",
    lambda c, *xs: c.einsum("ij,jk,kl->il", xs),
    lambda *xs: torch.einsum("ij,jk,kl->il", *xs),
    normal(2, 3),
    normal(3, 4),
    normal(4, 5),
    atol=1e-5,
)
case("softmax", lambda c, x: c.softmax(x, 1), lambda x: x.softmax(1), normal(2, 3, 4))
CONVOLUTIONS = {
    "plain": (2, (4, 3, 3, 3), (1, 1), ((1, 1), (1, 1)), (1, 1), 1),
    "stride": (2, (4, 3, 3, 2), (2, 1), ((1, 1), (0, 0)), (1, 1), 1),
    "asymmetric": (2, (4, 3, 3, 3), (1, 1), ((0, 2), (1, 0)), (1, 1), 1),
    "dilation": (2, (4, 3, 3, 3), (1, 1), ((2, 2), (1, 1)), (2, 1), 1),
    "groups": (2, (6, 1, 3, 3), (1, 1), ((1, 1), (1, 1)), (1, 1), 3),
    "1d": (1, (4, 3, 3), (2,), ((1, 1),), (2,), 1),
    "3d": (3, (4, 3, 3, 2, 1), (1, 2, 1), ((1, 1), (0, 0), (0, 0)), (1, 1, 1), 1),
}
CONV = {1: F.conv1d, 2: F.conv2d, 3: F.conv3d}


def constant_and_symbolic(name, emit, reference, x, w, b):
    """Two cases: weight and bias as constants, and as inputs of the network."""
    case(name, lambda c, x: emit(c, x, w, b), lambda x: reference(x, w, b), x, atol=1e-5)
    case(f"{name}-symbolic", emit, reference, x, w, b, atol=1e-5)


for name, (rank, shape, *rest) in CONVOLUTIONS.items():
    stride, padding, dilation, groups = rest

    def torch_conv(
        x, w, b, rank=rank, stride=stride, padding=padding, dilation=dilation, groups=groups
    ):
        """torch's convolution with asymmetric padding."""
        amounts = [amount for pair in reversed(padding) for amount in pair]
        return CONV[rank](F.pad(x, amounts), w, b, stride, 0, dilation, groups)

    x, w, b = normal(2, 3, *(7, 6, 5)[:rank]), normal(*shape, seed=1), normal(shape[0], seed=2)
    emit = lambda c, x, w, b, r=rest: c.conv(x, w, b, *r)  # noqa: E731
    constant_and_symbolic(f"conv-{name}", emit, torch_conv, x, w, b)
    if name in ("plain", "1d"):
        for dtype, tolerance in ((torch.float16, 2e-3), (torch.bfloat16, 2e-2)):
            case(
                f"conv-{name}-{dtype}".replace("torch.", ""),
                lambda c, x, w=w.to(dtype), b=b.to(dtype), r=rest: c.conv(x, w, b, *r),
                lambda x, w=w.to(dtype), b=b.to(dtype), f=torch_conv: f(x, w, b),
                x.to(dtype),
                atol=4 * tolerance,
                rtol=tolerance,
            )
case(
    "conv-dynamic",
    lambda c, x: c.conv(x, normal(4, 3, 3), None, (1,), [(1, 1)], (1,), 1),
    lambda x: F.conv1d(x, normal(4, 3, 3), None, 1, 1),
    normal(2, 3, 8),
    dynamic={0: [0, 2]},
    atol=1e-5,
)
DECONVOLUTIONS = {
    "plain": (2, (3, 4, 3, 3), (1, 1), (1, 1), (0, 0), (1, 1), 1),
    "stride": (2, (3, 4, 3, 2), (2, 3), (1, 0), (1, 0), (1, 1), 1),
    "beyond": (2, (3, 4, 3, 2), (2, 3), (0, 1), (1, 2), (1, 1), 1),
    "dilation": (2, (3, 4, 3, 3), (1, 1), (1, 1), (0, 0), (2, 1), 1),
    "groups": (2, (3, 2, 3, 3), (2, 2), (1, 1), (1, 1), (1, 1), 3),
    "1d": (1, (3, 4, 3), (2,), (1,), (1,), (1,), 1),
    "3d": (3, (3, 4, 3, 2, 1), (1, 2, 1), (1, 0, 0), (0, 1, 0), (1, 1, 1), 1),
}
DECONV = {1: F.conv_transpose1d, 2: F.conv_transpose2d, 3: F.conv_transpose3d}
for name, (rank, shape, *rest) in DECONVOLUTIONS.items():
    stride, padding, extra, dilation, groups = rest
    options = stride, padding, extra, groups, dilation
    x, w = normal(2, 3, *(5, 4, 3)[:rank]), normal(*shape, seed=1)
    constant_and_symbolic(
        f"deconv-{name}",
        lambda c, x, w, b, r=rest: c.conv_transpose(x, w, b, *r),
        lambda x, w, b, f=DECONV[rank], r=options: f(x, w, b, *r),
        x,
        w,
        normal(shape[1] * groups, seed=2),
    )
POOLS = [
    (kernel, stride, padding, ceil_mode)
    for kernel, stride, padding in [
        ((3, 3), (2, 2), (1, 1)),
        ((2, 3), (1, 2), (0, 1)),
        ((2, 2), (3, 3), (1, 1)),
        ((3, 2), (3, 2), (0, 0)),
    ]
    for ceil_mode in (False, True)
]
MAXPOOL = {1: F.max_pool1d, 2: F.max_pool2d, 3: F.max_pool3d}
AVGPOOL = {1: F.avg_pool1d, 2: F.avg_pool2d, 3: F.avg_pool3d}
for i, (kernel, stride, padding, ceil_mode) in enumerate(POOLS):
    for rank in (1, 2):
        k, s, p = kernel[:rank], stride[:rank], padding[:rank]
        x = normal(2, 3, *(8, 9)[:rank])
        case(
            f"max_pool-{i}-{rank}d",
            lambda c, x, a=(k, s, p), r=rank, m=ceil_mode: c.max_pool(x, *a, (1,) * r, m),
            lambda x, a=(k, s, p), r=rank, m=ceil_mode: MAXPOOL[r](x, *a, ceil_mode=m),
            x,
        )
        for counted in (False, True):
            case(
                f"avg_pool-{i}-{rank}d-{counted}",
                lambda c, x, a=(k, s, p, ceil_mode, counted): c.avg_pool(x, *a),
                lambda x, a=(k, s, p, ceil_mode, counted), r=rank: AVGPOOL[r](x, *a),
                x,
            )
for ceil_mode in (False, True):
    case(
        f"max_pool-dilation-{ceil_mode}",
        lambda c, x, m=ceil_mode: c.max_pool(x, (3, 2), (2, 1), (1, 1), (2, 3), m),
        lambda x, m=ceil_mode: F.max_pool2d(x, (3, 2), (2, 1), (1, 1), (2, 3), m),
        normal(2, 3, 9, 8),
    )
    case(
        f"max_pool-dynamic-{ceil_mode}",
        lambda c, x, m=ceil_mode: c.max_pool(x, (3, 3), (2, 2), (1, 1), (1, 1), m),
        lambda x, m=ceil_mode: F.max_pool2d(x, 3, 2, 1, 1, m),
        normal(2, 3, 9, 8),
        dynamic={0: [0, 2, 3]},
    )
    for counted in (False, True):
        case(
            f"avg_pool-dynamic-{ceil_mode}-{counted}",
            lambda c, x, a=(ceil_mode, counted): c.avg_pool(x, (3, 3), (2, 2), (1, 1), *a),
            lambda x, a=(ceil_mode, counted): F.avg_pool2d(x, 3, 2, 1, *a),
            normal(2, 3, 9, 8),
            dynamic={0: [0, 2, 3]},
        )
case(
    "max_pool-int",
    lambda c, x: c.max_pool(x, (2, 2), (2, 2), (1, 1), (1, 1), False),
    lambda x: F.max_pool2d(x.float(), 2, 2, 1).long(),
    whole(-9, 9, 1, 2, 6, 6),
)
case(
    "max_pool-3d",
    lambda c, x: c.max_pool(x, (2, 2, 2), (2, 1, 2), (1, 0, 1), (1, 1, 1), True),
    lambda x: F.max_pool3d(x, 2, (2, 1, 2), (1, 0, 1), 1, True),
    normal(2, 3, 5, 4, 6),
)
case(
    "avg_pool-3d",
    lambda c, x: c.avg_pool(x, (2, 2, 2), (2, 1, 2), (1, 0, 1), True, True),
    lambda x: F.avg_pool3d(x, 2, (2, 1, 2), (1, 0, 1), True, True),
    normal(2, 3, 5, 4, 6),
)

# ---- resizing ------------------------------------------------------------------------------------
TORCH_MODE = {
    ("linear", 1): "linear",
    ("linear", 2): "bilinear",
    ("linear", 3): "trilinear",
    ("cubic", 2): "bicubic",
}
for mode in ("nearest", "nearest-exact", "linear", "cubic"):
    for rank in (1, 2, 3):
        if mode == "cubic" and rank != 2:
            continue
        for old, new in ((6, 12), (6, 9), (7, 3), (5, 13), (8, 2)):
            for aligned in (False, True) if mode in ("linear", "cubic") else (False,):
                flags = {"align_corners": aligned} if mode in ("linear", "cubic") else {}
                case(
                    f"resize-{mode}-{rank}d-{old}-{new}-{aligned}",
                    lambda c, x, m=mode, n=new, a=aligned, r=rank: c.resize(
                        x, (n,) * r, m, a, (None,) * r
                    ),
                    lambda x, m=TORCH_MODE.get((mode, rank), mode), n=new, f=flags: F.interpolate(
                        x, n, mode=m, **f
                    ),
                    normal(2, 3, *(old, old, old)[:rank]),
                    atol=1e-5,
                )
    for scale in (2.0, 1.3, 0.6):
        flags = {"align_corners": False} if mode in ("linear", "cubic") else {}
        case(
            f"resize-{mode}-scale-{scale}",
            lambda c, x, m=mode, s=scale: c.resize(x, (int(7 * s), int(9 * s)), m, False, (s, s)),
            lambda x, m=TORCH_MODE.get((mode, 2), mode), s=scale, f=flags: F.interpolate(
                x, scale_factor=s, mode=m, **f
            ),
            normal(2, 3, 7, 9),
            atol=1e-5,
        )
    case(
        f"resize-{mode}-dynamic",
        lambda c, x, m=mode: c.resize(x, [d * 2 for d in c.shape(x)[2:]], m, False, (2.0, 2.0)),
        lambda x, m=TORCH_MODE.get((mode, 2), mode): F.interpolate(x, scale_factor=2, mode=m),
        normal(2, 3, 5, 4),
        dynamic={0: [0, 2, 3]},
        atol=1e-5,
    )
case(
    "resize-uint8",
    lambda c, x: c.resize(x, (6, 4), "nearest", False, (None, None)),
    lambda x: F.interpolate(x, (6, 4)),
    whole(0, 255, 1, 2, 3, 2).byte(),
)
GRID = normal(2, 4, 5, 2, seed=1)
for mode in ("bilinear", "nearest", "bicubic"):
    for padding in ("zeros", "border", "reflection"):
        for aligned in (False, True):
            case(
                f"grid_sample-{mode}-{padding}-{aligned}",
                lambda c, x, g, a=(mode, padding, aligned): c.grid_sample(x, g, *a),
                lambda x, g, a=(mode, padding, aligned): F.grid_sample(x, g, *a),
                normal(2, 3, 6, 7),
                GRID,
                atol=1e-5,
            )
case(
    "grid_sample-3d",
    lambda c, x, g: c.grid_sample(x, g, "bilinear", "zeros", False),
    lambda x, g: F.grid_sample(x, g, align_corners=False),
    normal(2, 3, 4, 5, 6),
    normal(2, 3, 2, 2, 3, seed=1),
    atol=1e-5,
)


@pytest.mark.parametrize("case", case, ids=lambda case: case.name)
def test_primitive(case: Case) -> None:
    check(case)
