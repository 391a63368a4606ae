"""Normalisation and attention of TensorRT."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F
from tensorrt_case import Case, Table, check, normal

case = Table()

for dtype, tolerance in ((torch.float32, 1e-5), (torch.float16, 4e-3), (torch.bfloat16, 3e-2)):
    for shape in ((2, 3), (2, 3, 4), (2, 3, 4, 5), (2, 3, 2, 3, 2)):
        factor, term = normal(3).to(dtype), normal(3, seed=1).to(dtype)
        view = (3,) + (1,) * (len(shape) - 2)
        case(
            f"channel_affine-{len(shape)}-{dtype}".replace("torch.", ""),
            lambda c, x, a=(factor, term): c.channel_affine(x, *a),
            lambda x, a=factor.view(view), b=term.view(view): x * a + b,
            normal(*shape).to(dtype),
            rtol=tolerance,
            atol=tolerance,
        )
    case(
        f"conv-no-bias-{dtype}".replace("torch.", ""),
        lambda c, x, w=normal(4, 3, 3, 3).to(dtype): c.conv(
            x, w, None, (1, 1), [(1, 1)] * 2, (1, 1), 1
        ),
        lambda x, w=normal(4, 3, 3, 3).to(dtype): F.conv2d(x, w, None, 1, 1),
        normal(2, 3, 5, 5).to(dtype),
        rtol=tolerance,
        atol=4 * tolerance,
    )
for dtype in (torch.float32, torch.float16, torch.bfloat16):
    label, tolerance = (
        str(dtype).removeprefix("torch."),
        {torch.float32: 1e-5, torch.float16: 4e-3, torch.bfloat16: 4e-2}[dtype],
    )
    for rank in (1, 2, 3, 4):
        for trailing in range(1, rank + 1):
            shape = (2, 3, 4, 5)[:rank]
            sizes = shape[rank - trailing :]
            axes = list(range(rank - trailing, rank))
            w, b = normal(*sizes, seed=1).to(dtype), normal(*sizes, seed=2).to(dtype)
            case(
                f"layer_norm-{label}-{rank}-{trailing}",
                lambda c, x, a=axes, w=w, b=b: c.layer_norm(x, a, w, b, 1e-5),
                lambda x, s=sizes, w=w, b=b: F.layer_norm(x, s, w, b, 1e-5),
                normal(*shape).to(dtype),
                atol=tolerance,
                rtol=tolerance,
            )
    for groups in (1, 2, 6):
        for shape in ((2, 6), (2, 6, 4), (2, 6, 4, 5), (2, 6, 2, 3, 2)):
            if groups == 6 and len(shape) == 2:
                continue
            w, b = normal(6, seed=1).to(dtype), normal(6, seed=2).to(dtype)
            case(
                f"group_norm-{label}-{groups}-{len(shape)}",
                lambda c, x, g=groups, w=w, b=b: c.group_norm(x, g, w, b, 1e-5),
                lambda x, g=groups, w=w, b=b: F.group_norm(x, g, w, b, 1e-5),
                normal(*shape).to(dtype),
                atol=tolerance,
                rtol=tolerance,
            )
    for kind in ("plain", "causal", "bool", "float", "wide"):
        q, k, v = (normal(2, 3, 4 if i == 0 else 6, 16, seed=i).to(dtype) for i in range(3))
        mask = {
            "bool": normal(2, 1, 4, 6, seed=4) > -1,
            "float": normal(4, 6, seed=4).to(dtype),
            "wide": normal(2, 3, 4, 6, seed=4).to(dtype),
        }.get(kind)
        extra = [] if mask is None else [mask]
        case(
            f"attention-{label}-{kind}",
            lambda c, q, k, v, m=None, s=kind == "causal": c.attention(q, k, v, m, s, 0.25),
            lambda q, k, v, m=None, s=kind == "causal": F.scaled_dot_product_attention(
                q, k, v, m, 0.0, s, scale=0.25
            ),
            q,
            k,
            v,
            *extra,
            atol=tolerance,
            rtol=tolerance,
        )
BLIND = torch.tensor([[True, False, True], [False, False, False]])
for label, mask in (("bool", BLIND), ("float", torch.where(BLIND, 0.5, -math.inf))):
    case(
        f"attention-blind-{label}",
        lambda c, q, k, m: c.attention(q, k, k, m, False, -0.25),
        lambda q, k, m: F.scaled_dot_product_attention(q, k, k, m, scale=-0.25),
        normal(2, 3, 2, 8),
        normal(2, 3, 3, 8),
        mask,
    )
    case(
        f"attention-blind-{label}-constant",
        lambda c, q, k, m=mask: c.attention(q, k, k, m, False, 0.25),
        lambda q, k, m=mask: F.scaled_dot_product_attention(q, k, k, m, scale=0.25),
        normal(2, 3, 2, 8),
        normal(2, 3, 3, 8),
    )
case(
    "layer_norm-plain",
    lambda c, x: c.layer_norm(x, [2], None, None, 1e-3),
    lambda x: F.layer_norm(x, (4,), eps=1e-3),
    normal(2, 3, 4),
    atol=1e-5,
)
case(
    "layer_norm-dynamic",
    lambda c, x: c.layer_norm(x, [2], normal(4), normal(4), 1e-5),
    lambda x: F.layer_norm(x, (4,), normal(4), normal(4)),
    normal(2, 3, 4),
    dynamic={0: [0, 1]},
    atol=1e-5,
)
case(
    "group_norm-dynamic",
    lambda c, x: c.group_norm(x, 2, normal(6), normal(6), 1e-5),
    lambda x: F.group_norm(x, 2, normal(6), normal(6)),
    normal(2, 6, 4, 5),
    dynamic={0: [0, 2, 3]},
    atol=1e-5,
)
case(
    "group_norm-dynamic-3",
    lambda c, x: c.group_norm(x, 2, normal(6), normal(6), 1e-5),
    lambda x: F.group_norm(x, 2, normal(6), normal(6)),
    normal(2, 6, 4),
    dynamic={0: [0, 2]},
    atol=1e-5,
)
case(
    "attention-dynamic",
    lambda c, q, k: c.attention(q, k, k, None, True, 0.25),
    lambda q, k: F.scaled_dot_product_attention(q, k, k, None, 0.0, True, scale=0.25),
    normal(2, 3, 4, 8),
    normal(2, 3, 6, 8),
    dynamic={0: [0, 2], 1: [0, 2]},
    atol=1e-5,
)


@pytest.mark.parametrize("case", case, ids=lambda case: case.name)
def test_primitive(case: Case) -> None:
    check(case)
