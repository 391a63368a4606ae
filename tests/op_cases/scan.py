"""Cases of torch2trt/handlers/scan.py: running sums, sorting, searching."""

import torch
from case import case

from op_cases.data import BOOLS, COUNTS, INTS, WITH_NAN

SORTED = torch.tensor([-1.0, 0.0, 0.0, 1.5])

CASES = [
    case("cumsum", lambda x: x.cumsum(1), (3, 5)),
    case("cumsum_bool", lambda x: x.cumsum(-1), BOOLS),
    case("cumsum_integers_to_float", lambda x: x.cumsum(0, dtype=torch.float32), INTS),
    case("cumprod", lambda x: x.cumprod(-1), (3, 5)),
    case("cummax", lambda x: torch.cummax(x, 1), (3, 5)),
    case("cummax_ties", lambda x: torch.cummax(x, 1), COUNTS),
    case("cummin_nan", lambda x: torch.cummin(x, 1), WITH_NAN, oracle="same"),
    case("logcumsumexp", lambda x: torch.logcumsumexp(x * 20, 1), (3, 5)),
    case("sort", lambda x: x.sort(1), (3, 5)),
    case("sort_stable", lambda x: x.sort(dim=1, stable=True, descending=True), COUNTS),
    case("sort_nan", lambda x: x.sort(1), WITH_NAN, oracle="same"),
    case("argsort", lambda x: x.argsort(0), (5, 3)),
    case("argsort_stable", lambda x: x.argsort(stable=True), COUNTS),
    case("msort", torch.msort, (5, 3)),
    case("kthvalue", lambda x: torch.kthvalue(x, 2, 0), (5, 3)),
    case("kthvalue_keepdim", lambda x: torch.kthvalue(x, 4, keepdim=True), (2, 5)),
    case("median", lambda x: (x.median(1), x.median(0, keepdim=True), x.median()), (3, 4)),
    case("median_of_nothing", lambda x: (x.median(), x.nanmedian()), (0, 4)),
    case("median_of_no_integers", lambda x: x.median(), torch.zeros(0, dtype=torch.int64),
         refused=dict.fromkeys(("tensorrt", "tvm"), "no integers")),
    case("median_nan", lambda x: (x.median(1)[0], x.median()), WITH_NAN, oracle="same"),
    case("nanmedian", lambda x: (x.nanmedian(1), x.nanmedian()), WITH_NAN, oracle="same"),
    case("mode", lambda x: x.mode(1)[0], COUNTS),
    case("searchsorted", lambda x: torch.searchsorted(SORTED, x), (3, 5)),
    case("searchsorted_right", lambda x: torch.searchsorted(SORTED, x, right=True),
         torch.tensor([0.0, 1.5, 9.0])),
    case("searchsorted_rows", lambda s, x: torch.searchsorted(s.sort(-1)[0], x, side="right"),
         (3, 5), (3, 2)),
    case("bucketize", lambda x: torch.bucketize(x, SORTED, out_int32=True), (3, 5)),
    case("cummax_bools", lambda x: torch.cummax(x, 1), BOOLS),
]
