"""Cases of torch2trt/handlers/elementwise.py and activation.py."""

import torch
import torch.nn.functional as F
from case import case

BASES, EXPONENTS = torch.arange(-7, 8)[:, None], torch.arange(-3, 120)
INTS = torch.tensor([[7, -7, 5, -5, 0], [2, 3, -3, 1, 9]])
SPECIAL = torch.tensor([0.0, -0.0, 1.5, 2.5, -1.5, -2.5, float("inf"), float("-inf"), 0.3])
POSITIVE = torch.rand(3, 5, generator=torch.Generator().manual_seed(1)) + 0.1
UNIT = POSITIVE / 1.2

CASES = [
    *[case(name, getattr(torch, name), (3, 5)) for name in (
        "abs", "neg", "sign", "exp", "expm1", "sin", "cos", "tan", "sinh", "cosh", "tanh", "asinh",
        "atan", "erf",
        "sigmoid", "relu", "ceil", "floor", "trunc", "square", "reciprocal",
    )],
    *[case(name, getattr(torch, name), POSITIVE)
      for name in ("log", "log2", "log1p", "sqrt", "rsqrt")],
    *[case(name, getattr(torch, name), UNIT) for name in ("asin", "acos", "atanh")],
    case("acosh", torch.acosh, POSITIVE + 1),
    case("round_half_to_even", torch.round, SPECIAL, oracle="same"),
    case("exp_of_integers", torch.exp, INTS),
    case("neg_integers", torch.neg, INTS),
    case("add_alpha", lambda x, y: torch.add(x, y, alpha=2.5), (3, 5), (5,)),
    case("add_number_to_integers", lambda x: x + 2.5, INTS),
    case("add_integers_to_floats", lambda x, y: x + y, (2, 5), INTS),
    case("sub_alpha", lambda x, y: torch.sub(x, y, alpha=3), INTS, INTS.flip(0)),
    case("rsub", lambda x: 1 - x, (3, 5)),
    case("mul_broadcast", lambda x, y: x * y, (3, 1, 5), (4, 1)),
    case("div", lambda x, y: x / y, (3, 5), POSITIVE),
    case("div_integers", lambda x: x / 2, INTS),
    case("div_floor", lambda x: torch.div(x, 2, rounding_mode="floor"), INTS),
    case("div_trunc", lambda x: torch.div(x, 2, rounding_mode="trunc"), INTS),
    case("floor_divide_floats", lambda x, y: torch.floor_divide(x, y), (3, 5), POSITIVE),
    case("remainder_integers", lambda x: torch.remainder(x, 3), INTS),
    case("remainder_floats", lambda x, y: torch.remainder(x, y), (3, 5), POSITIVE),
    case("fmod_integers", lambda x: torch.fmod(x, 3), INTS),
    case("pow_scalar", lambda x: x**2 + x**3 - x**4.0 + x**5, (3, 5)),
    case("pow_tensor", torch.pow, POSITIVE, (3, 5)),
    *[case(f"pow_that_wraps_{bits}", torch.pow, BASES.to(kind), EXPONENTS.to(kind))
      for bits, kind in ((8, torch.int8), (32, torch.int32), (64, torch.int64))],
    case("clamp", lambda x: x.clamp(-0.5, 0.5), (3, 5)),
    case("clamp_min_only", lambda x: x.clamp(min=0.1), (3, 5)),
    case("clamp_integers_by_float", lambda x: x.clamp(-1.5, 2.5), INTS),
    case("maximum", torch.maximum, (3, 5), (3, 5)),
    case("minimum", torch.minimum, (3, 5), (5,)),
    *[case(f"compare_{name}", lambda x, y, f=getattr(torch, name): f(x, y), INTS, INTS.flip(1))
      for name in ("eq", "ne", "lt", "le", "gt", "ge")],
    case("compare_nan", lambda x: (x >= 0, x <= 0, x != x), torch.tensor([1.0, float("nan"), -1.0]),
         oracle="same"),
    case("where", lambda c, x, y: torch.where(c > 0, x, y), (3, 5), (3, 5), (5,)),
    case("masked_fill", lambda x: x.masked_fill(x > 0, -1e4), (3, 5)),
    case("to_int", lambda x: x.mul(3).to(torch.int64), (3, 5)),
    case("to_bool", lambda x: x.to(torch.bool), torch.tensor([0.0, 0.3, -2.0])),
    case("to_half_and_back", lambda x: x.half().float(), (3, 5), oracle="same"),
    case("relu6", F.relu6, (3, 5)),
    case("hardtanh", lambda x: F.hardtanh(x, -0.3, 0.7), (3, 5)),
    case("leaky_relu", lambda x: F.leaky_relu(x, 0.2), (3, 5)),
    case("prelu", torch.nn.PReLU(4), (2, 4, 3)),
    case("prelu_computed", F.prelu, (2, 4, 3), (4,)),
    case("prelu_0d", F.prelu, (), (1,)),
    case("elu", lambda x: F.elu(x, 0.7), (3, 5)),
    case("selu", F.selu, (3, 5)),
    case("celu", lambda x: F.celu(x, 1.3), (3, 5)),
    case("softplus", lambda x: F.softplus(x * 30, beta=2, threshold=10), (3, 5)),
    case("softsign", F.softsign, (3, 5)),
    case("silu", F.silu, (3, 5)),
    case("mish", F.mish, (3, 5)),
    case("hardsigmoid", F.hardsigmoid, (3, 5)),
    case("hardswish", F.hardswish, (3, 5)),
    case("gelu", F.gelu, (3, 5)),
    case("gelu_tanh", lambda x: F.gelu(x, approximate="tanh"), (3, 5)),
    case("glu", F.glu, (3, 6)),
    case("threshold", lambda x: F.threshold(x, 0.1, 20.0), (3, 5)),
    case("hardshrink", F.hardshrink, (3, 5)),
    case("softshrink", F.softshrink, (3, 5)),
    case("logsigmoid", F.logsigmoid, (3, 5)),
    case("softmax", lambda x: x.softmax(1), (2, 5, 3)),
    case("softmax_last", lambda x: x.softmax(-1), (2, 3, 7)),
    case("log_softmax", lambda x: x.log_softmax(-1), (2, 5)),
    case("dropout_eval", lambda x: F.dropout(x, 0.5, training=False) + 1, (2, 5)),
]  # fmt: skip
