"""The primitives of TensorRT that reduce, sort and reshape."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from tensorrt_case import INF, INTS, NAN, SPECIAL, Case, Table, check, normal, whole

case = Table()


def arithmetic(a: Any, b: Any) -> list[Any]:
    """Every operation of symbolic integers, from both sides."""
    return [
        a + b,
        a - 1,
        1 - a,
        a * b,
        2 * a,
        a // 2,
        -a // 2,
        20 // a,
        a % 4,
        a % b,
        20 % b,
        -b,
        a + 0,
        a * 1,
        a * 0,
    ]


# ---- reductions ----------------------------------------------------------------------------------
REDUCE = {"sum": torch.sum, "prod": None, "mean": torch.mean, "max": torch.amax, "min": torch.amin}
for name, reference in REDUCE.items():
    reference = reference or (lambda x, d, keepdim: x.prod(d[0], keepdim=keepdim))
    for axes, keepdim in (([1], False), ([1], True), ([0, 2], False)):
        if name == "prod" and len(axes) > 1:
            continue
        case(
            f"reduce-{name}-{axes}-{keepdim}",
            lambda c, x, n=name, a=axes, k=keepdim: c.reduce(n, x, a, k),
            lambda x, f=reference, a=axes, k=keepdim: f(x, a, keepdim=k),
            normal(2, 3, 4),
        )
        if name != "mean":
            case(
                f"reduce-{name}-{axes}-{keepdim}-int",
                lambda c, x, n=name, a=axes, k=keepdim: c.reduce(n, x, a, k),
                lambda x, f=reference, a=axes, k=keepdim: f(x, a, keepdim=k),
                whole(-3, 3, 2, 3, 4),
            )
case(
    "reduce-all-axes",
    lambda c, x: c.reduce("sum", x, [0, 1], False),
    lambda x: x.sum(),
    normal(2, 3),
)
case("reduce-any", lambda c, x: c.reduce("any", x, [1], False), lambda x: x.any(1), INTS > 3)
case(
    "reduce-all",
    lambda c, x: c.reduce("all", x, [0], True),
    lambda x: x.all(0, keepdim=True),
    INTS > -5,
)
TIES = torch.tensor(
    [[1.0, 3.0, 3.0, -1.0, -1.0], [0.0, 0.0, 0.0, 0.0, 0.0], [NAN, 1.0, 2.0, 3.0, 4.0]]
)
for name in ("max", "min"):
    reference = torch.argmax if name == "max" else torch.argmin
    for keepdim in (False, True):
        case(
            f"arg-{name}-{keepdim}",
            lambda c, x, n=name, k=keepdim: c.arg_reduce(n, x, 1, k),
            lambda x, f=reference, k=keepdim: f(x, 1, keepdim=k),
            TIES,
        )
    case(
        f"arg-{name}-int",
        lambda c, x, n=name: c.arg_reduce(n, x, 0, False),
        lambda x, f=reference: f(x, 0),
        whole(-2, 2, 5, 6),
    )
    case(
        f"arg-{name}-dynamic",
        lambda c, x, n=name: c.arg_reduce(n, x, 1, False),
        lambda x, f=reference: f(x, 1),
        normal(3, 7),
        dynamic={0: [0, 1]},
    )
for name in ("sum", "prod", "max", "min"):
    reference = {
        "max": lambda x, d: x.cummax(d).values,
        "min": lambda x, d: x.cummin(d).values,
    }.get(name) or getattr(torch, f"cum{name}")
    for axis in (0, 1):
        case(
            f"cumulative-{name}-{axis}",
            lambda c, x, n=name, a=axis: c.cumulative(n, x, a),
            lambda x, f=reference, a=axis: f(x, a),
            normal(5, 7),
        )
    case(
        f"cumulative-{name}-dynamic",
        lambda c, x, n=name: c.cumulative(n, x, 1),
        lambda x, f=reference: f(x, 1),
        normal(2, 5, 3),
        dynamic={0: [0, 1]},
    )
    case(
        f"cumulative-{name}-int",
        lambda c, x, n=name: c.cumulative(n, x, 1),
        lambda x, f=reference: f(x, 1),
        whole(-3, 3, 2, 9),
    )
for largest in (True, False):
    case(
        f"topk-{largest}",
        lambda c, x, d=largest: c.topk(x, 3, 1, d),
        lambda x, d=largest: x.topk(3, 1, d),
        normal(4, 9),
    )
    case(
        f"topk-1d-{largest}",
        lambda c, x, d=largest: c.topk(x, 3, 0, d),
        lambda x, d=largest: x.topk(3, 0, d),
        normal(9),
    )
    case(
        f"topk-axis-{largest}",
        lambda c, x, d=largest: c.topk(x, 2, 0, d),
        lambda x, d=largest: x.topk(2, 0, d),
        normal(4, 1, 2, 1, 2),
    )
    case(
        f"sort-{largest}",
        lambda c, x, d=largest: c.sort(x, 1, d),
        lambda x, d=largest: x.sort(dim=1, descending=d, stable=True),
        TIES,
    )
    case(
        f"sort-axis-{largest}",
        lambda c, x, d=largest: c.sort(x, 0, d),
        lambda x, d=largest: x.sort(dim=0, descending=d, stable=True),
        whole(0, 4, 9, 3),
    )
    case(
        f"sort-special-{largest}",
        lambda c, x, d=largest: c.sort(x, 0, d),
        lambda x, d=largest: x.sort(dim=0, descending=d, stable=True),
        torch.cat([SPECIAL[0], SPECIAL[0].flip(0)]),
    )
    case(
        f"sort-long-{largest}",
        lambda c, x, d=largest: c.sort(x, 0, d),
        lambda x, d=largest: x.sort(dim=0, descending=d, stable=True),
        torch.cat([whole(0, 99, 3900).float(), SPECIAL[0]]),
    )
    case(
        f"sort-dynamic-{largest}",
        lambda c, x, d=largest: c.sort(x, 1, d),
        lambda x, d=largest: x.sort(dim=1, descending=d, stable=True),
        whole(0, 4, 2, 9).float(),
        dynamic={0: [0, 1]},
    )
case(
    "topk-uint8",
    lambda c, x: c.topk(x, 2, 1, True)[0],
    lambda x: x.topk(2).values,
    torch.tensor([[3, 250, 7]]).byte(),
)

# ---- shapes --------------------------------------------------------------------------------------
for dtype in (
    torch.float32,
    torch.float16,
    torch.bfloat16,
    torch.int64,
    torch.int32,
    torch.int8,
    torch.uint8,
    torch.bool,
):
    label = str(dtype).removeprefix("torch.")
    x = whole(0, 3, 2, 3, 4).to(dtype)
    case(f"reshape-{label}", lambda c, x: c.reshape(x, (4, 6)), lambda x: x.reshape(4, 6), x)
    case(f"permute-{label}", lambda c, x: c.permute(x, (2, 0, 1)), lambda x: x.permute(2, 0, 1), x)
    case(
        f"expand-{label}",
        lambda c, x: c.expand(x, (5, 2, 3, 4)),
        lambda x: x.expand(5, 2, 3, 4),
        x[:, :1],
    )
    case(
        f"concat-{label}",
        lambda c, x, y: c.concat([x, y], 1),
        lambda x, y: torch.cat([x, y], 1),
        x,
        x[:, :2].contiguous(),
    )
    case(
        f"slice-{label}",
        lambda c, x: c.slice(x, (0, 2, 1), (2, 2, 2), (1, -2, 2)),
        lambda x: x.flip(1)[:, 0::2, 1::2],
        x,
    )
    case(
        f"pad-{label}",
        lambda c, x: c.pad(x, (0, 1, 0), (0, 0, 2), "constant", 1),
        lambda x: F.pad(x, (0, 2, 1, 0), value=1),
        x,
    )
    case(
        f"take-{label}",
        lambda c, x: c.take(x, torch.tensor([[2, 0], [1, 1]]), 1),
        lambda x: x[:, torch.tensor([[2, 0], [1, 1]])],
        x,
    )
case(
    "reshape-dynamic-one",
    lambda c, x: c.reshape(x, (c.shape(x)[0], 12)),
    lambda x: x.reshape(2, 12),
    normal(2, 3, 4),
    dynamic={0: [0]},
)
case(
    "reshape-dynamic-many",
    lambda c, x: c.reshape(x, (c.shape(x)[0] * c.shape(x)[1], c.shape(x)[2], 1)),
    lambda x: x.reshape(6, 4, 1),
    normal(2, 3, 4),
    dynamic={0: [0, 1, 2]},
)
case("reshape-scalar", lambda c, x: c.reshape(x, ()), lambda x: x.reshape(()), normal(1, 1))
case(
    "expand-dynamic",
    lambda c, x, y: c.expand(x, c.shape(y)),
    lambda x, y: x.expand_as(y),
    normal(1, 3),
    normal(2, 3),
    dynamic={0: [0], 1: [0]},
)
case(
    "expand-dynamic-equal",
    lambda c, x, y: c.expand(x, c.shape(y)),
    lambda x, y: x.expand_as(y),
    normal(2, 3),
    normal(2, 3),
    dynamic={0: [0, 1], 1: [0, 1]},
)
case(
    "expand-constant",
    lambda c, x: c.binary("add", x, c.expand(normal(3, 1), (2, 3, 4))),
    lambda x: x + normal(3, 1),
    normal(2, 3, 4),
)
case(
    "slice-dynamic",
    lambda c, x: c.slice(x, (1, c.shape(x)[1] - 2), (c.shape(x)[0] - 1, 2), (1, 1)),
    lambda x: x[1:, -2:],
    normal(3, 5),
    dynamic={0: [0, 1]},
)
for mode in ("reflect", "replicate", "circular"):
    case(
        f"pad-{mode}",
        lambda c, x, m=mode: c.pad(x, (0, 0, 2), (0, 0, 3), m),
        lambda x, m=mode: F.pad(x, (2, 3), mode=m),
        normal(2, 3, 5),
    )
case(
    "pad-infinite",
    lambda c, x: c.pad(x, (1,), (0,), "constant", -INF),
    lambda x: F.pad(x, (1, 0), value=-INF),
    normal(3),
)
case(
    "arange",
    lambda c, x: c.arange(2, c.shape(x)[0], 3),
    lambda x: 2 + 3 * torch.arange(5),
    normal(5),
    dynamic={0: [0]},
)
case(
    "arange-start",
    lambda c, x: c.arange(c.shape(x)[0] - 4, 3, -1),
    lambda x: torch.arange(1, -2, -1),
    normal(5),
    dynamic={0: [0]},
)
case(
    "size-tensor",
    lambda c, x: c.size_tensor([c.shape(x)[1], 7, c.shape(x)[0], 8]),
    lambda x: torch.tensor([3, 7, 2, 8]),
    normal(2, 3),
    dynamic={0: [0, 1]},
)
case(
    "dims",
    lambda c, x: c.size_tensor([*arithmetic(*c.shape(x))]),
    lambda x: torch.tensor([*arithmetic(*x.shape)]),
    normal(7, 3),
    dynamic={0: [0, 1]},
)
case(
    "as-dim",
    lambda c, x: c.reshape(x, (c.as_dim(c.size_tensor(c.shape(x)[:1])), 3)),
    lambda x: x,
    normal(7, 3),
    dynamic={0: [0, 1]},
)


@pytest.mark.parametrize("case", case, ids=lambda case: case.name)
def test_primitive(case: Case) -> None:
    check(case)
