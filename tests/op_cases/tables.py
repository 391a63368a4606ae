"""Cases of constant tables cut, spread or written to by a size of the input, static or dynamic."""

import torch
import torch.nn.functional as F
from case import case

TABLE = torch.linspace(-2, 3, 27).reshape(9, 3)
SQUARE = torch.linspace(-1, 1, 81).reshape(1, 9, 9)


def written(x: torch.Tensor) -> torch.Tensor:
    table = TABLE.clone()
    table[: x.size(0)] = x
    return table


CASES = [
    case("table_slice", lambda x: x + TABLE[: x.size(0)], (4, 3), dynamic=True),
    case("table_slice_steps", lambda x: x[::2] + TABLE[: x.size(0) : 2], (4, 3), dynamic=True),
    case("slice_from_minus_size", lambda x: x[1 - x.size(0) :], (4, 3), dynamic=True),
    case("table_slice_from", lambda x: x + TABLE[9 - x.size(0) :], (4, 3), dynamic=True),
    case("table_square", lambda x: SQUARE[:, : x.size(0), : x.size(0)].to(x) @ x, (4, 3),
         dynamic=True),
    case("table_select", lambda x: x + TABLE[x.size(0) - 1], (4, 3), dynamic=True),
    case("table_narrow", lambda x: x + TABLE.narrow(0, 1, x.size(0)), (4, 3), dynamic=True),
    case("table_repeat", lambda x: x + TABLE[:1].repeat(x.size(0), 1), (4, 3), dynamic=True),
    case("table_split", lambda x: x + TABLE.split([x.size(0), 9 - x.size(0)])[0], (4, 3),
         dynamic=True),
    case("table_roll", lambda x: x + TABLE.roll(x.size(0), 0)[: x.size(0)], (4, 3)),
    case("select_from_behind_by_size", lambda x: x[x.size(0) - 3], (4, 3), dynamic=True),
    case("slice_from_size", lambda x: x[x.size(0) - 3 :], (4, 3), dynamic=True),
    case("slice_to_size", lambda x: x[: x.size(0) - 3], (4, 3), dynamic=True),
    case("table_pad", lambda x: F.pad(TABLE, (0, 0, x.size(0), 0)).sum(0) + x, (4, 3),
         dynamic=True),
    case("table_resize", lambda x: x + F.interpolate(TABLE.T[None], size=x.size(0))[0].T, (4, 3),
         dynamic=True),
    case("table_written", written, (4, 3), dynamic=True),
    case("table_flip", lambda x: x + TABLE[: x.size(0)].flip(0), (4, 3), dynamic=True),
]  # fmt: skip
