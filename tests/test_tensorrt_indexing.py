"""Indexing primitives of TensorRT: gather, scatter, nonzero."""

from __future__ import annotations

import pytest
import torch
from tensorrt_case import INTS, Case, Table, check, normal, whole

case = Table()

INDEX = torch.tensor([[2, 0, 1, 1], [0, 0, 2, 1]])
case("take-tensor", lambda c, x, i: c.take(x, i, 0), lambda x, i: x[i], normal(3, 4), INDEX)
case(
    "take-scalar",
    lambda c, x, i: c.take(x, i, 1),
    lambda x, i: x[:, i],
    normal(3, 4),
    torch.tensor(2),
)
case(
    "take-constant", lambda c, i: c.take(normal(3, 4), i, 0), lambda i: normal(3, 4)[i], INDEX.int()
)
case("gather", lambda c, x, i: c.gather(x, i, 0), lambda x, i: x.gather(0, i), normal(3, 4), INDEX)
case(
    "gather-smaller",
    lambda c, x, i: c.gather(x, i, 0),
    lambda x, i: x.gather(0, i),
    normal(3, 6),
    INDEX,
)
case(
    "gather-bool",
    lambda c, x, i: c.gather(x, i, 0),
    lambda x, i: x.gather(0, i),
    normal(3, 4) > 0,
    INDEX,
)
case(
    "gather-dynamic",
    lambda c, x, i: c.gather(x, i, 0),
    lambda x, i: x.gather(0, i),
    normal(3, 4),
    INDEX,
    dynamic={0: [0, 1], 1: [0, 1]},
)
PLACES = torch.tensor([[[0, 1], [2, 3]], [[1, 1], [0, 0]]])
case(
    "gather_nd",
    lambda c, x, i: c.gather_nd(x, i),
    lambda x, i: x[i[..., 0], i[..., 1]],
    normal(3, 4, 2),
    PLACES,
)
UNIQUE = torch.tensor([[2, 0, 1, 1], [0, 1, 2, 0]])
SOURCE = normal(2, 4, seed=1)
for name, x, source in (
    ("scatter", normal(3, 4), SOURCE),
    ("scatter-smaller", normal(3, 6), SOURCE),
    ("scatter-bool", normal(3, 4) > 0, SOURCE > 0),
):
    case(
        name,
        lambda c, x, i, s: c.scatter(x, i, s, 0, None),
        lambda x, i, s: x.scatter(0, i, s),
        x,
        UNIQUE,
        source,
    )
for reduction, torch_name in (
    ("add", "sum"),
    ("multiply", "prod"),
    ("maximum", "amax"),
    ("minimum", "amin"),
):
    for axis in (0, 1):
        index = INDEX if axis == 0 else INDEX[:, :3].contiguous()
        case(
            f"scatter-{reduction}-{axis}",
            lambda c, x, i, s, r=reduction, a=axis: c.scatter(x, i, s, a, r),
            lambda x, i, s, r=torch_name, a=axis: x.scatter_reduce(a, i, s, r),
            normal(3, 4),
            index,
            normal(*index.shape, seed=1),
        )
    case(
        f"scatter-{reduction}-int",
        lambda c, x, i, s, r=reduction: c.scatter(x, i, s, 0, r),
        lambda x, i, s, r=torch_name: x.scatter_reduce(0, i, s, r),
        whole(-3, 3, 3, 6),
        INDEX,
        whole(-3, 3, 2, 4, seed=1),
    )
NEW = torch.tensor([[0, 1], [2, 3]])
case(
    "scatter_nd",
    lambda c, x, i, s: c.scatter_nd(x, i, s, False),
    lambda x, i, s: x.index_put((i[:, 0], i[:, 1]), s),
    normal(3, 4, 2),
    NEW,
    normal(2, 2),
)
case(
    "scatter_nd-add",
    lambda c, x, i, s: c.scatter_nd(x, i, s, True),
    lambda x, i, s: x.index_put((i[..., 0], i[..., 1]), s, True),
    normal(3, 4, 2),
    PLACES,
    normal(2, 2, 2),
)
case(
    "scatter_nd-add-full",
    lambda c, x, i, s: c.scatter_nd(x, i, s, True),
    lambda x, i, s: x.index_put((i[..., 0], i[..., 1]), s, True),
    normal(3, 4),
    PLACES,
    normal(2, 2),
)
case(
    "nonzero",
    lambda c, x: c.nonzero(x),
    torch.nonzero,
    INTS.float(),
    unbuilt="TensorRT-RTX has no runner for NonZero",
)


@pytest.mark.parametrize("case", case, ids=lambda case: case.name)
def test_primitive(case: Case) -> None:
    check(case)
