"""Cases of torch2trt/handlers/statistics.py."""

import torch
from case import case

from op_cases.data import BOOLS, COUNTS, WITH_NAN

CASES = [
    case("aminmax", lambda x: (*torch.aminmax(x), *torch.aminmax(x, dim=1, keepdim=True)), (3, 4)),
    case("logsumexp",
         lambda x: (torch.logsumexp(x * 90, 1), torch.logsumexp(x, (0, 1), keepdim=True)), (3, 4)),
    case("logsumexp_infinite", lambda x: x.logsumexp(1),
         torch.tensor([[-torch.inf, -torch.inf], [torch.inf, 0.0]]),
         oracle="same"),
    case("logsumexp_of_nothing",
         lambda x: (x.logsumexp(1), x.logsumexp((0, 1), True), x.T.logsumexp(1)),
         torch.ones(3, 0)),
    case("nansum", lambda x: torch.nansum(torch.where(x < 9, x, torch.nan), 1), WITH_NAN,
         oracle="same"),
    case("nanmean", lambda x: torch.nanmean(x[:, :4].clamp(-9, 9), 1), WITH_NAN, oracle="same"),
    case("count_nonzero", lambda x: (x.count_nonzero(), x.count_nonzero(1)), COUNTS),
    case("count_nonzero_bool", lambda x: torch.count_nonzero(x, (0, 1)), BOOLS),
    case("std_mean",
         lambda x: (*torch.std_mean(x, 1), *torch.std_mean(x, (0, 1), correction=0, keepdim=True)),
         (3, 4)),
    case("var_mean", lambda x: (*torch.var_mean(x), *torch.var_mean(x, 0, unbiased=False)), (3, 4)),
    case("cov", torch.cov, (3, 5)),
    case("cov_line", torch.cov, (5,)),
    case("cov_weights", lambda x, a: torch.cov(x, fweights=COUNTS[1], aweights=a.abs()), (3, 5),
         (5,)),
    case("corrcoef", torch.corrcoef, (3, 5)),
]  # fmt: skip
