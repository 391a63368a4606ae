"""Pooling, normalisation and attention."""

from __future__ import annotations

import torch.nn.functional as F

from .harness import BAD, BF16, BOOL, F16, INF, NAN, in_float32, rand, row

HOLED = rand(1, 2, 9, 7).masked_fill(rand(1, 2, 9, 7) > 1.2, NAN)
HOLED = HOLED.masked_fill(rand(1, 2, 9, 7) < 0.3, -INF)
MAX_POOL = {1: F.max_pool1d, 2: F.max_pool2d, 3: F.max_pool3d}
AVG_POOL = {1: F.avg_pool1d, 2: F.avg_pool2d, 3: F.avg_pool3d}

for name, x, kernel, stride, padding, dilation in (
    ("1d", rand(2, 3, 11), [3], [2], [1], [1]),
    ("1d_even", rand(2, 3, 10), [3], [3], [0], [1]),
    ("2d", rand(2, 3, 11, 8), [3, 2], [2, 2], [1, 0], [1, 1]),
    ("2d_dropped", rand(1, 2, 6, 5), [2, 2], [4, 3], [1, 1], [1, 1]),
    ("2d_dilated", rand(1, 2, 11, 13), [3, 3], [2, 3], [1, 1], [2, 2]),
    ("2d_stride_one", rand(1, 2, 7, 5), [3, 3], [1, 1], [1, 1], [1, 1]),
    ("2d_f16", rand(1, 2, 7, 5, dtype=F16), [3, 3], [2, 2], [1, 1], [1, 1]),
    ("2d_bf16", rand(1, 2, 7, 5, dtype=BF16), [3, 3], [2, 2], [1, 1], [1, 1]),
    ("2d_holed", HOLED, [2, 3], [2, 2], [1, 1], [1, 1]),
    ("3d", rand(1, 2, 5, 7, 6), [2, 3, 2], [2, 2, 3], [1, 1, 0], [1, 1, 1]),
):
    rank = len(kernel)
    for ceil in (False, True):
        options = kernel, stride, padding, dilation, ceil
        row(
            "pool",
            f"max_{name}_{ceil}",
            lambda c, x, a=options: c.max_pool(x, *a),
            lambda x, f=MAX_POOL[rank], a=options: f(x, *a),
            x,
        )
        for include in (False, True):
            options = kernel, stride, padding, ceil, include
            if dilation == [1] * rank and name != "2d_holed":
                row(
                    "pool",
                    f"avg_{name}_{ceil}_{include}",
                    lambda c, x, a=options: c.avg_pool(x, *a),
                    in_float32(lambda x, f=AVG_POOL[rank], a=options: f(x, *a)),
                    x,
                )
for half in (F16, BF16):
    row(
        "pool",
        f"max_holed_{half}",
        lambda c, x: c.max_pool(x, [2, 3], [2, 2], [1, 1], [1, 1], False),
        lambda x: F.max_pool2d(x.float(), (2, 3), 2, 1).to(x.dtype),
        HOLED.to(half),
    )
for name, emit, reference in (
    (
        "max_dynamic",
        lambda c, x: c.max_pool(x, [3, 3], [2, 2], [1, 1], [1, 1], True),
        lambda x: F.max_pool2d(x, 3, 2, 1, 1, True),
    ),
    (
        "avg_dynamic",
        lambda c, x: c.avg_pool(x, [3, 3], [2, 2], [1, 1], True, True),
        lambda x: F.avg_pool2d(x, 3, 2, 1, True),
    ),
):
    row("pool", name, emit, reference, rand(2, 3, 8, 9), dynamic=True)
row(
    "pool",
    "avg_holed",
    lambda c, x: c.avg_pool(x, [2, 2], [2, 2], [0, 0], False, True),
    lambda x: F.avg_pool2d(x, 2),
    HOLED,
)

SHIFTED = rand(3, 5, 8) + 100
SCALE, SHIFT = rand(8), rand(8) + 1
for name, axis, x, options in (
    ("softmax", 1, rand(3, 5, 8, scale=5), {}),
    ("softmax_big", 2, rand(3, 5, 8, scale=200), {}),
    ("softmax_special", 1, BAD, {}),
    ("softmax_f16", 1, rand(3, 51, dtype=F16, scale=5), {}),
    ("softmax_bf16", 1, rand(3, 51, dtype=BF16, scale=5), {}),
    ("softmax_dynamic", 1, rand(3, 5, 8), {"dynamic": True}),
):
    row(
        "norm",
        name,
        lambda c, x, a=axis: c.softmax(x, a),
        in_float32(lambda x, a=axis: x.softmax(a)),
        x,
        **options,
    )
row(
    "norm",
    "layer",
    lambda c, x: c.layer_norm(x, [2], SCALE, SHIFT, 1e-5),
    lambda x: F.layer_norm(x, (8,), SCALE, SHIFT),
    rand(3, 5, 8),
)
row(
    "norm",
    "layer_shifted",
    lambda c, x: c.layer_norm(x, [2], SCALE, SHIFT, 1e-5),
    lambda x: F.layer_norm(x.double(), (8,), SCALE.double(), SHIFT.double()).float(),
    SHIFTED,
    atol=3e-5,
)
row(
    "norm",
    "layer_plain",
    lambda c, x: c.layer_norm(x, [1, 2], None, None, 1e-3),
    lambda x: F.layer_norm(x, (5, 8), eps=1e-3),
    rand(3, 5, 8),
)
row(
    "norm",
    "layer_weight",
    lambda c, x: c.layer_norm(x, [2], SCALE, None, 1e-5),
    lambda x: F.layer_norm(x, (8,), SCALE),
    rand(3, 5, 8),
)
row(
    "norm",
    "layer_f16",
    lambda c, x: c.layer_norm(x, [1], None, None, 1e-5),
    in_float32(lambda x: F.layer_norm(x, (33,))),
    rand(3, 33, dtype=F16),
)
row(
    "norm",
    "layer_bf16",
    lambda c, x: c.layer_norm(x, [2], SCALE.bfloat16(), SHIFT.bfloat16(), 1e-5),
    in_float32(lambda x: F.layer_norm(x, (8,), SCALE.bfloat16().float(), SHIFT.bfloat16().float())),
    rand(3, 5, 8, dtype=BF16),
)
row(
    "norm",
    "layer_dynamic",
    lambda c, x: c.layer_norm(x, [2], SCALE, SHIFT, 1e-5),
    lambda x: F.layer_norm(x, (8,), SCALE, SHIFT),
    rand(3, 5, 8),
    dynamic=True,
)
row(
    "norm",
    "group",
    lambda c, x: c.group_norm(x, 4, SCALE, SHIFT, 1e-5),
    lambda x: F.group_norm(x, 4, SCALE, SHIFT),
    rand(2, 8, 5, 3),
)
row(
    "norm",
    "group_1",
    lambda c, x: c.group_norm(x, 1, SCALE, None, 1e-5),
    lambda x: F.group_norm(x, 1, SCALE),
    rand(2, 8, 5),
)
row(
    "norm",
    "instance",
    lambda c, x: c.group_norm(x, 8, None, SHIFT, 1e-5),
    lambda x: F.instance_norm(x, bias=SHIFT),
    rand(2, 8, 5, 3, 2),
)
row(
    "norm",
    "group_flat",
    lambda c, x: c.group_norm(x, 4, SCALE, SHIFT, 1e-5),
    lambda x: F.group_norm(x, 4, SCALE, SHIFT),
    rand(3, 8),
)
row(
    "norm",
    "group_f16",
    lambda c, x: c.group_norm(x, 4, SCALE.half(), SHIFT.half(), 1e-5),
    in_float32(lambda x: F.group_norm(x, 4, SCALE.half().float(), SHIFT.half().float())),
    rand(2, 8, 5, 3, dtype=F16),
)
row(
    "norm",
    "group_dynamic",
    lambda c, x: c.group_norm(x, 4, SCALE, SHIFT, 1e-5),
    lambda x: F.group_norm(x, 4, SCALE, SHIFT),
    rand(2, 8, 5, 3),
    dynamic=True,
)

Q, K, V = rand(2, 3, 5, 8), rand(2, 3, 7, 8, scale=2), rand(2, 3, 7, 4)
KEEP = rand(5, 7, dtype=BOOL)
KEEP[2] = False
for name, mask, causal in (
    ("plain", None, False),
    ("causal", None, True),
    ("added", rand(2, 1, 5, 7), False),
    ("bool", KEEP, False),
):
    row(
        "norm",
        f"attention_{name}",
        lambda c, q, k, v, m=mask, z=causal: c.attention(q, k, v, m, z, 0.3),
        lambda q, k, v, m=mask, z=causal: F.scaled_dot_product_attention(
            q, k, v, m, is_causal=z, scale=0.3
        ),
        Q,
        K,
        V,
    )
    row(
        "norm",
        f"attention_{name}_dynamic",
        lambda c, q, m=mask, z=causal: c.attention(q, q, q, None, z, 0.3),
        lambda q, m=mask, z=causal: F.scaled_dot_product_attention(q, q, q, is_causal=z, scale=0.3),
        Q,
        dynamic=True,
    )
row(
    "norm",
    "attention_f16",
    lambda c, q, k, v: c.attention(q, k, v, None, False, 0.3),
    in_float32(lambda q, k, v: F.scaled_dot_product_attention(q, k, v, scale=0.3)),
    Q.half(),
    K.half(),
    V.half(),
)
