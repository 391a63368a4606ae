"""Cases of torch2trt/handlers/logic.py and special.py."""

import torch
from case import case

from op_cases.data import BOOLS, COUNTS, INTS, POSITIVE, SPECIAL, UNIT, WITH_NAN

OTHER_BOOLS = BOOLS.flip(0)
SHIFTS = torch.tensor([[1, 0, 2, 1, 3], [0, 1, 2, 3, 4]])

CASES = [
    *[case(name, getattr(torch, name), INTS, INTS.flip(0)) for name in (
        "bitwise_and", "bitwise_or", "bitwise_xor", "logical_and", "logical_or", "logical_xor")],
    *[case(f"{name}_bools", getattr(torch, name), BOOLS, OTHER_BOOLS) for name in (
        "bitwise_and", "bitwise_or", "bitwise_xor", "logical_xor")],
    case("bitwise_number", lambda x: (x & 6, x | 3, x ^ -2), INTS),
    case("bitwise_int32", lambda x: (x & 6, x | 3, ~x), INTS.int()),
    case("bitwise_not", lambda x, b: (~x, ~b, torch.logical_not(x)), INTS, BOOLS),
    case("shifts", lambda x, s: (x << s, x >> s, x << 2, x >> 1), INTS, SHIFTS),
    case("logic_of_floats", lambda x, y: (torch.logical_or(x, y > 0), torch.logical_not(x)),
         SPECIAL, SPECIAL.flip(0)),
    case("bool_arithmetic", lambda x, y: (x + y, x * y, torch.maximum(x, y), x.max(1)[0]), BOOLS,
         OTHER_BOOLS),
    case("special_values",
         lambda x: (x.isfinite(), x.isinf(), x.isnan(), x.isposinf(), x.isneginf()), WITH_NAN,
         oracle="same"),
    case("special_values_of_integers", lambda x: (x.isfinite(), x.isinf(), x.isnan()), INTS),
    case("signbit", lambda x: (x.signbit(), torch.copysign(torch.ones_like(x), x)), SPECIAL,
         oracle="same"),
    case("copysign_number", lambda x: torch.copysign(x, -2.0), (3, 4)),
    case("heaviside", lambda x, v: torch.heaviside(x, v), torch.tensor([-1.0, 0.0, 2.0]),
         torch.tensor([0.5])),
    case("nan_to_num", lambda x: (x.nan_to_num(), x.nan_to_num(1.0, 2.0, -3.0)), WITH_NAN,
         oracle="same"),
    case("isclose", lambda x, y: torch.isclose(x, y, equal_nan=True), WITH_NAN, WITH_NAN + 1e-9,
         oracle="same"),
    case("isin", lambda x: (torch.isin(x, torch.tensor([1, 5])), torch.isin(x, 7, invert=True)),
         INTS),
    case("atan2", torch.atan2, (3, 5), (3, 5)),
    case("log10", torch.log10, POSITIVE),
    case("exp2", torch.exp2, (3, 5)),
    case("degrees", lambda x: (torch.deg2rad(x), torch.rad2deg(x)), (3, 5)),
    case("frac", torch.frac, (3, 5)),
    case("lerp", lambda x, y, w: (x.lerp(y, 0.3), x.lerp(y, 0.8), x.lerp(y, w)), (3, 5), (3, 5),
         UNIT),
    case("addcmul", lambda x, y, z: torch.addcmul(x, y, z, value=0.5), (3, 5), (3, 1), (5,)),
    case("addcdiv", lambda x, y, z: torch.addcdiv(x, y, z, value=2), (3, 5), (3, 5), POSITIVE),
    case("logaddexp", lambda x, y: (torch.logaddexp(x * 50, y * 50), torch.logaddexp2(x, y)),
         (3, 5), (3, 5)),
    case("logaddexp_infinite", torch.logaddexp, SPECIAL, SPECIAL, oracle="same"),
    case("logit_eps_above_half", lambda x: torch.logit(x, 0.75),
         torch.tensor([0.1, 0.5, 0.9, torch.nan])),
    case("logit", lambda x: (torch.logit(x), torch.logit(x, 0.2)), UNIT * 0.9),
    case("erfc", lambda x: torch.erfc(x * 2), (3, 5)),
    case("xlogy", torch.xlogy, torch.tensor([0.0, 2.0, 0.0, 1.0]),
         torch.tensor([0.0, 3.0, torch.nan, torch.inf])),
    case("sinc", torch.sinc, torch.tensor([0.0, 0.5, -1.2])),
    case("entr", torch.special.entr, torch.tensor([0.0, 0.5, 2.0])),
    *[case(f"{name}_nan", lambda x, f=getattr(torch, name): (f(x, x.flip(1)), f(x, x[0, :1])),
           WITH_NAN, oracle="same") for name in ("fmax", "fmin")],
    case("fmax_mixed", lambda x: (torch.fmax(x, torch.tensor(0.5)), torch.fmin(x, x.flip(1))),
         COUNTS),
    case("hypot", torch.hypot, (3, 5), (3, 5)),
    case("hypot_large", lambda x: torch.hypot(x * 1e30, x * 2e30), (4,), oracle="same"),
    case("elementwise_bools", lambda x, y: (x.sign(), torch.clamp(x, y), x.sum(0), x.square()),
         BOOLS, OTHER_BOOLS),
    case("isclose_bools", torch.isclose, BOOLS, OTHER_BOOLS),
]  # fmt: skip
