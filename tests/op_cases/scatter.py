"""Cases of torch2trt/handlers/scatter.py: writing into a copy."""

import torch
from case import case

from op_cases.data import INTS

INDEX = torch.tensor([[2, 0, 1], [0, 2, 2]])
ROWS = torch.tensor([2, 0])
MASK = torch.tensor([[True, False, True, False], [False, True, True, False],
                     [False, False, False, True]])


def _reduced(reduce, include_self):
    return lambda x, i, s: torch.scatter_reduce(x, 1, i, s, reduce, include_self=include_self)


def _assigned(x, index, values):
    x = x.clone()
    x[index] = values
    return x


CASES = [
    case("slice_scatter", lambda x, s: torch.slice_scatter(x, s, 1, 1, -1), (2, 5), (2, 3)),
    case("slice_scatter_steps", lambda x, s: torch.slice_scatter(x, s, 0, 1, None, 2), (6, 3),
         (3, 3)),
    case("slice_scatter_whole", lambda x, s: torch.slice_scatter(x, s, 1), (2, 3), (2, 3)),
    case("slice_scatter_constant", lambda x: torch.slice_scatter(x, torch.ones(2, 1), 1, 4),
         (2, 5)),
    case("slice_scatter_batch", lambda x, s: torch.slice_scatter(x, s, 1, 2, 4), (2, 5), (2, 2),
         dynamic=True),
    case("slice_scatter_into_constant",
         lambda s: torch.slice_scatter(torch.zeros(4, 3), s, 0, 1, 3), (2, 3)),
    case("select_scatter", lambda x, s: torch.select_scatter(x, s, 1, -1), (2, 5, 3), (2, 3)),
    case("select_scatter_line", lambda x, s: torch.select_scatter(x, s, 0, 2), (5,), ()),
    case("diagonal_scatter", lambda x, s: torch.diagonal_scatter(x, s, 1), (4, 4), (3,)),
    case("diagonal_scatter_batch", lambda x, s: torch.diagonal_scatter(x, s, -1, 0, 2), (4, 2, 5),
         (2, 3)),
    case("copy", lambda x, s: torch.ops.aten.copy(x, s), INTS, (5,), oracle="same"),
    case("fill", lambda x: x.clone().fill_(3.5) + x, (2, 3), dynamic=True),
    case("fill_tensor", lambda x, v: x.clone().fill_(v), (2, 3), torch.tensor(2)),
    case("zero", lambda x: x.clone().zero_() + x, (2, 3)),
    case("scatter", lambda x, i, s: x.scatter(1, i, s), (2, 4), torch.tensor([[2, 0], [1, 3]]),
         (2, 2)),
    case("scatter_smaller_index", lambda x, i, s: x.scatter(0, i, s), (4, 5),
         torch.tensor([[2, 0], [1, 3]]), (3, 4)),
    case("scatter_value", lambda x, i: x.scatter(-1, i, 2.5), (2, 4),
         torch.tensor([[2, 0], [1, 3]])),
    case("scatter_reduce_add", lambda x, i, s: x.scatter(1, i, s, reduce="add"), (2, 3), INDEX,
         (2, 3)),
    case("scatter_value_multiply", lambda x, i: x.scatter(1, i, 2.0, reduce="multiply"), (2, 3),
         INDEX),
    case("scatter_add", lambda x, i, s: x.scatter_add(1, i, s), (2, 3), INDEX, (2, 3)),
    case("scatter_add_integers", lambda x, i: x.scatter_add(1, i, i), INTS,
         torch.tensor([[1, 1, 4], [0, 0, 0]])),
    *[case(f"scatter_reduce_{r}{'' if s else '_alone'}", _reduced(r, s), (2, 4), INDEX, (2, 3))
      for r in ("sum", "prod", "mean", "amax", "amin") for s in (True, False)],
    case("index_add", lambda x, s: x.index_add(0, ROWS, s, alpha=2), (3, 4), (2, 4)),
    case("index_add_repeated", lambda x, s: x.index_add(1, torch.tensor([1, 1, 0]), s), (2, 3),
         (2, 3)),
    case("index_copy", lambda x, s: x.index_copy(1, ROWS, s), (2, 4, 3), (2, 2, 3)),
    case("index_fill", lambda x: x.index_fill(1, torch.tensor([0, -1]), 7.0), (2, 4, 3)),
    case("index_reduce_mean", lambda x, s: x.index_reduce(0, torch.tensor([1, 1, 2]), s, "mean"),
         (4, 2), (3, 2)),
    case("index_reduce_amax",
         lambda x, s: x.index_reduce(0, torch.tensor([1, 1, 2]), s, "amax", include_self=False),
         (4, 2), (3, 2)),
    case("masked_scatter", lambda x, s: x.masked_scatter(MASK, s), (3, 4), (3, 4)),
    case("masked_scatter_symbolic", lambda x, s: x.masked_scatter(x > 0, s), (3, 4), (12,)),
    case("index_put_line", lambda x, v: torch.index_put(x, (ROWS,), v), (3, 4), (2, 4)),
    case("index_put_negative", lambda x, v: torch.index_put(x, (torch.tensor([-1, 0]),), v), (3, 4),
         (4,)),
    case("index_put_two", lambda x, v: torch.index_put(x, (ROWS, torch.tensor([1, 3])), v), (3, 4),
         (2,)),
    case("index_put_accumulate",
         lambda x, v: torch.index_put(x, (torch.tensor([0, 0, 1]), torch.tensor([1, 1, 3])), v,
                                      accumulate=True),
         (3, 4), (3,)),
    case("index_put_inner", lambda x, v: _assigned(x, (slice(None), ROWS), v), (2, 3, 4),
         (2, 2, 4)),
    case("index_put_apart", lambda x, v: _assigned(x, (ROWS, slice(None), ROWS), v), (3, 2, 4),
         (2, 2)),
    case("index_put_symbolic", lambda x, i, v: torch.index_put(x, (i,), v), (5, 2),
         torch.tensor([4, 1]), (2, 2)),
    case("index_put_mask", lambda x: torch.index_put(x, (x > 0,), torch.tensor(0.5)), (3, 4)),
    case("index_put_mask_values", lambda x, v: torch.index_put(x, (MASK[:, 0],), v), (3, 4),
         (1, 4)),
    case("index_put_mask_rows", lambda x, v: torch.index_put(x, (MASK[:, 1] < MASK[:, 2],), v),
         (3, 4), (1, 4)),
    case("index_put_mask_symbolic", lambda x, v: _assigned(x, x[:, 0] > 0, v),
         torch.tensor([[1.0], [-1.0], [2.0]]),
         (2, 1)),
    case("put", lambda x, v: torch.ops.aten.put(x, torch.tensor([[5, -1], [0, 2]]), v), (3, 4),
         (2, 2)),
    case("index_put_bools_accumulate",
         lambda x, v: torch.index_put(x, (torch.tensor([0, 0]),), v, accumulate=True), MASK,
         MASK[1:]),
    case("scatter_reduce_bools", _reduced("amin", False), MASK, INDEX, MASK[1:, :3]),
]  # fmt: skip
