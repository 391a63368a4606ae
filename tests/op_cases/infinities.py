"""Infinite numbers and NaN: as inputs, and as numbers, constants and buffers of the program."""

import torch
import torch.nn.functional as F
from case import case
from torch import inf, nan

from op_cases.data import WITH_NAN

ROW = torch.tensor([[inf, 1.0, -inf, 0.0, 2.0]])
NUMBER = torch.tensor([-inf])
INDEX = torch.tensor([[0, 3], [2, 1]])
SOME = ROW[:, :2].expand(2, 2)
LINE = torch.tensor([inf, 1.0, -inf, -3.0, 0.0, 2.5, nan, -1.0, 0.5, -0.5, 2.0])
BASES, EXPONENTS = torch.meshgrid(LINE, LINE, indexing="ij")
ONE_NAN = torch.stack([LINE.roll(i)[:7] for i in range(11)])

CASES = [
    case("infinite_choices",
         lambda x: (torch.where(x > 0, inf, -inf), torch.where(x > 0, x, ROW),
                    torch.where(x > 0, x, NUMBER), torch.where(x > 9, ROW, x)),
         (3, 5), oracle="same"),
    case("infinite_limits",
         lambda x: (x.clamp(min=inf), x.clamp(max=-inf), x.clamp(-inf, inf), x.maximum(NUMBER),
                    x.minimum(NUMBER), x.maximum(ROW), x.minimum(ROW)),
         WITH_NAN, oracle="same"),
    case("infinite_comparisons",
         lambda x: (x > NUMBER, x == NUMBER, x <= NUMBER, x < inf, x >= inf, x != ROW),
         WITH_NAN, oracle="same"),
    case("infinite_writes",
         lambda x: (x.scatter(1, INDEX, inf), x.scatter(1, INDEX, SOME),
                    x.scatter(1, INDEX[:1, :1], inf),
                    x.index_fill(1, INDEX[0], -inf), x.masked_fill(x > 0, inf),
                    x.index_put((INDEX[0, :1],), NUMBER)),
         (4, 5), oracle="same"),
    case("infinite_sums",
         lambda x: (x + inf, inf - x, x + ROW, NUMBER * (x.abs() + 1), x * nan),
         (3, 5), oracle="same"),
    case("nan_choices",
         lambda x: (torch.where(x > 0, x, nan), torch.where(x > 0, nan, inf),
                    x.masked_fill(x > 0, nan), torch.full_like(x, nan),
                    x.index_fill(1, INDEX[0], nan), torch.where(x > 0, x, 0.0)),
         (3, 5), oracle="same"),
    case("infinite_padding",
         lambda x: (F.pad(x, (1, 1), value=-inf), F.pad(x, (1, 1, 1, 1), value=inf) + x[0, 0],
                    F.pad(x, (1, 1), value=nan)),
         (3, 5), oracle="same"),
    case("infinite_filled",
         lambda x: (torch.full_like(x, -inf), x.new_full((2, 3), inf) + x[0, 0],
                    NUMBER.expand(3, 5), torch.cat([x, ROW, NUMBER.expand(1, 5)]),
                    torch.stack([x[0], ROW[0]])),
         (3, 5), oracle="same"),
    case("max_pool_of_infinities",
         lambda x: (F.max_pool1d((x + NUMBER)[None], 3, 1, 1), F.max_pool1d((x + ROW)[None], 2, 1),
                    F.max_pool2d(torch.full_like(x, -inf)[None], 2)),
         (3, 5), oracle="same"),
    case("extremes_with_nan",
         lambda x: (x.amax(1), x.amin(0), x.amax((0, 1), True), x.argmax(1), x.argmin(1), *x.max(1),
                    *x.min(1), x.max(), x.min(), *x.topk(2), *x.topk(3, largest=False)),
         ONE_NAN, oracle="same"),
    case("extremes_with_nan_half", lambda x: (x.amax(1), x.argmax(1), *x.topk(2, 1)),
         ONE_NAN.half(), oracle="same"),
    case("pow_special", torch.pow, BASES, EXPONENTS, oracle="same"),
    case("pow_special_numbers",
         lambda x: (x**inf, x**-inf, x**1.5, x**5.0, inf**x, (-inf) ** x, (-2.0) ** x, 2.0**x,
                    x**nan),
         LINE, oracle="same"),
    case("infinite_operands",
         lambda x: (torch.hypot(x, NUMBER), torch.atan2(x, NUMBER), torch.fmod(NUMBER, x),
                    torch.remainder(x, -NUMBER), torch.xlogy(x, NUMBER), torch.xlogy(x, -NUMBER),
                    torch.logaddexp(x, NUMBER), x.copysign(NUMBER), x.sign()),
         LINE, oracle="same"),
]  # fmt: skip
