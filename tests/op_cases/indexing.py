"""Cases of torch2trt/handlers/indexing.py: reading by index."""

import torch
from case import case

from op_cases.data import COUNTS

ROWS = torch.tensor([2, 0, 0])
COLUMNS = torch.tensor([[1], [3]])
DATA_DEPENDENT = {"tvm": "depends on the data"}

CASES = [
    case("index_line", lambda x: x[ROWS], (3, 4)),
    case("index_negative", lambda x: x[:, torch.tensor([-1, 1])], (3, 4)),
    case("index_two", lambda x: x[ROWS, torch.tensor([1, 3, 0])], (3, 4)),
    case("index_broadcast", lambda x: x[ROWS, COLUMNS], (3, 4, 2)),
    case("index_inner", lambda x: x[:, ROWS, COLUMNS], (2, 3, 4, 2)),
    case("index_apart", lambda x: x[ROWS, :, COLUMNS], (3, 2, 4)),
    case("index_ellipsis_none", lambda x: x[..., None, ROWS], (2, 3)),
    case("index_symbolic", lambda x, i: x[i], (5, 2), torch.tensor([[4, -5], [1, 0]])),
    case("index_constant_table", lambda i: torch.arange(12).reshape(4, 3)[i], torch.tensor([3, 1])),
    case("index_constant_mask", lambda x: x[torch.tensor([True, False, True])], (3, 4)),
    case("index_mask", lambda x: x[x > 0], (3, 4), refused=DATA_DEPENDENT),
    case("masked_select", lambda x: torch.masked_select(x, x > 0), (3, 4), refused=DATA_DEPENDENT),
    case("nonzero", lambda x: torch.nonzero(x > 0), (3, 4), refused=DATA_DEPENDENT),
    case("nonzero_numpy", lambda x: torch.where(x > 0), (3, 4), refused=DATA_DEPENDENT),
    case("gather_integers", lambda x: torch.gather(x, 0, torch.tensor([[1, 0, 0], [0, 1, 1]])),
         COUNTS),
    case("take", lambda x: torch.take(x, torch.tensor([[5, -1], [0, 2]])), (3, 4)),
    case("take_along_dim", lambda x, i: torch.take_along_dim(x, i, 1), (3, 4),
         torch.tensor([[1], [0], [3]])),
    case("take_along_dim_flat", lambda x: torch.take_along_dim(x, torch.tensor([5, 1])), (3, 4)),
    case("embedding_symbolic_weight", lambda w, i: torch.nn.functional.embedding(i, w), (5, 3),
         COUNTS),
]
