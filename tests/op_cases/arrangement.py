"""Cases of torch2trt/handlers/arrange.py."""

import torch
from case import case

from op_cases.data import COUNTS

DATA_DEPENDENT = {"tensorrt": "depends on the data", "tvm": "depends on the data"}

CASES = [
    case("as_strided", lambda x: torch.as_strided(x, (3, 2), (1, 3)), (3, 4)),
    case("as_strided_of_transposed", lambda x: torch.as_strided(x.t(), (2, 3), (4, 1)), (3, 4)),
    case("as_strided_offset", lambda x: torch.as_strided(x, (2,), (1,), 3), (3, 4),
         refused={"tensorrt": "offset", "tvm": "offset"}),
    case("unfold_windows", lambda x: x.unfold(1, 3, 2), (2, 8, 3)),
    case("tensor_split", lambda x: torch.tensor_split(x, 3, dim=1), (2, 7)),
    case("tensor_split_indices", lambda x: torch.tensor_split(x, (1, -2, 9), dim=1), (2, 7)),
    case("hsplit", lambda x: torch.hsplit(x, 2), (2, 6)),
    case("vsplit", lambda x: torch.vsplit(x, [1]), (3, 4)),
    case("dsplit", lambda x: torch.dsplit(x, 2), (1, 2, 4)),
    case("unsafe_chunk", lambda x: torch.unsafe_chunk(x, 2, 1), (2, 5)),
    case("unsafe_split", lambda x: torch.unsafe_split(x, 2, 1), (2, 5)),
    case("atleast", lambda x, y: (torch.atleast_1d(x), torch.atleast_2d(y), torch.atleast_3d(y)),
         (), (3,)),
    case("hstack", lambda x, y: torch.hstack([x, y]), (2, 3), (2, 1)),
    case("vstack", lambda x, y: torch.vstack([x, y]), (3,), (2, 3)),
    case("dstack", lambda x, y: torch.dstack([x, y]), (2, 3), (2, 3)),
    case("column_stack", lambda x, y: torch.column_stack([x, y]), (3,), (3, 2)),
    case("fliplr_flipud", lambda x: (torch.fliplr(x), torch.flipud(x)), (2, 3)),
    *[case(f"rot90_{k}", lambda x, k=k: torch.rot90(x, k, [1, 2]), (2, 3, 4))
      for k in (1, 2, 3, -1)],
    case("repeat_interleave", lambda x: (x.repeat_interleave(2, 1), x.repeat_interleave(3)),
         (2, 3)),
    case("repeat_interleave_each", lambda x: x.repeat_interleave(torch.tensor([0, 2, 1]), 1),
         (2, 3)),
    case("repeat_interleave_computed", lambda x, r: x.repeat_interleave(r, 0), (2, 3),
         torch.tensor([1, 2]),
         refused=DATA_DEPENDENT),
    case("unique", lambda x: torch.unique(x), COUNTS, refused=DATA_DEPENDENT),
    case("bincount", lambda x: torch.bincount(x.flatten()), COUNTS, refused=DATA_DEPENDENT),
]  # fmt: skip
