"""The elementwise primitives of TensorRT: casts, unary and binary operations, selection."""

from __future__ import annotations

import pytest
import torch
from tensorrt_case import FINITE, INF, INTS, NAN, SPECIAL, Case, Table, check, normal, whole

case = Table()

# ---- constants, casts ----------------------------------------------------------------------------
for dtype in (torch.float16, torch.bfloat16, torch.int32, torch.int64, torch.bool):
    label = str(dtype).removeprefix("torch.")
    values = torch.tensor([[0, 1, 2], [3, 0, 5]]).to(dtype)
    case(
        f"constant-{label}",
        lambda c, x, v=values: (x, c.constant(v)),
        lambda x, v=values: (x, v),
        normal(2, 3),
    )
    source = SPECIAL if dtype.is_floating_point or dtype == torch.bool else FINITE
    case(f"cast-{label}", lambda c, x, d=dtype: c.cast(x, d), lambda x, d=dtype: x.to(d), source)
    case(f"cast-{label}-float", lambda c, x: c.cast(x, torch.float32), lambda x: x.float(), values)
case("cast-uint8", lambda c, x: c.cast(x, torch.uint8), lambda x: x.to(torch.uint8), FINITE.abs())
case(
    "cast-int-uint8",
    lambda c, x: c.cast(x, torch.uint8),
    lambda x: x.to(torch.uint8),
    whole(-300, 300, 3, 4),
)
case(
    "cast-bool-uint8",
    lambda c, x: c.cast(c.cast(x, torch.uint8), torch.int64),
    lambda x: x.long(),
    whole(0, 1, 3, 4) > 0,
)
case(
    "constant-uint8",
    lambda c, x: c.binary("maximum", x, whole(0, 9, 3, 4).byte()),
    lambda x: x.maximum(whole(0, 9, 3, 4).byte()),
    whole(0, 9, 3, 4, seed=1).byte(),
)
case("cast-int-bool", lambda c, x: c.cast(x, torch.bool), lambda x: x.bool(), whole(-2, 2, 3, 4))
case(
    "constant-scalar",
    lambda c, x: c.binary("add", x, torch.tensor(2.0, dtype=torch.float64)),
    lambda x: x + 2,
    normal(2, 3),
)
case(
    "literal-empty",
    lambda c, x: c.concat([x, c.literal(torch.zeros(0, 3))], 0),
    lambda x: x,
    normal(2, 3),
)

# ---- unary ---------------------------------------------------------------------------------------
UNARY = {
    "abs": SPECIAL, "neg": SPECIAL, "sign": FINITE, "exp": SPECIAL, "log": SPECIAL,
    "log2": SPECIAL, "sqrt": SPECIAL,
    "rsqrt": SPECIAL, "reciprocal": SPECIAL, "sin": FINITE, "cos": FINITE, "tan": FINITE,
    "asin": FINITE,
    "acos": FINITE, "atan": SPECIAL, "sinh": FINITE, "cosh": FINITE, "tanh": SPECIAL,
    "asinh": FINITE,
    "acosh": FINITE + 1, "atanh": FINITE / 4, "ceil": SPECIAL, "floor": SPECIAL, "round": SPECIAL,
    "trunc": SPECIAL,
    "erf": SPECIAL, "sigmoid": SPECIAL, "relu": FINITE, "isnan": SPECIAL, "isinf": SPECIAL,
}  # fmt: skip
for name, source in UNARY.items():
    case(f"unary-{name}", lambda c, x, n=name: c.unary(n, x), getattr(torch, name), source)
SMALL = torch.tensor([[1e-12, -1e-7, 1e-4, -0.3, 0.49, 0.51, 0.0, 5.0, -0.99]])
for name in ("expm1", "log1p"):
    wide = torch.cat([SMALL, torch.tensor([[80.0, INF, NAN]])], 1)
    case(
        f"unary-{name}",
        lambda c, x, n=name: c.unary(n, x),
        getattr(torch, name),
        wide,
        atol=0,
        rtol=3e-6,
    )
for name in ("abs", "neg", "sign", "relu", "bitwise_not", "floor"):
    for dtype in (torch.int64, torch.int32, torch.int8):
        label = str(dtype).removeprefix("torch.")
        case(
            f"unary-{name}-{label}",
            lambda c, x, n=name: c.unary(n, x),
            getattr(torch, name),
            INTS.to(dtype),
        )
case(
    "unary-bitwise_not-uint8",
    lambda c, x: c.unary("bitwise_not", x),
    torch.bitwise_not,
    INTS.abs().to(torch.uint8),
)
case("unary-logical_not", lambda c, x: c.unary("logical_not", x), torch.logical_not, INTS > 0)
case("unary-isnan-int", lambda c, x: c.unary("isnan", x), torch.isnan, INTS)
case("unary-scalar", lambda c, x: c.unary("exp", x), torch.exp, torch.tensor(0.5))
case("unary-half", lambda c, x: c.unary("trunc", x), torch.trunc, FINITE.half())

# ---- binary --------------------------------------------------------------------------------------
PAIRS = torch.cartesian_prod(
    torch.tensor([1.0, -1.0, 5.5, -5.5, 0.0, 7.0]), torch.tensor([0.1, -0.1, 2.0, -2.0, 7.0])
)
LEFT, RIGHT = PAIRS[:, 0].contiguous(), PAIRS[:, 1].contiguous()
BINARY = {
    "add": torch.add, "sub": torch.sub, "mul": torch.mul, "div": torch.div,
    "floordiv": torch.floor_divide,
    "truncdiv": lambda a, b: torch.div(a, b, rounding_mode="trunc"), "remainder": torch.remainder,
    "fmod": torch.fmod,
    "maximum": torch.maximum, "minimum": torch.minimum, "atan2": torch.atan2, "eq": torch.eq,
    "ne": torch.ne,
    "lt": torch.lt, "le": torch.le, "gt": torch.gt, "ge": torch.ge,
}  # fmt: skip
for name, reference in BINARY.items():
    case(f"binary-{name}", lambda c, a, b, n=name: c.binary(n, a, b), reference, LEFT, RIGHT)
    case(
        f"binary-{name}-broadcast",
        lambda c, a, b, n=name: c.binary(n, a, b),
        reference,
        normal(2, 3, 4),
        normal(3, 1, seed=1) + 3,
    )
    if name not in ("div", "atan2"):
        for dtype in (torch.int64, torch.int32):
            case(
                f"binary-{name}-{dtype}".replace("torch.", ""),
                lambda c, a, b, n=name: c.binary(n, a, b),
                reference,
                whole(-7, 7, 4, 5, dtype=dtype),
                whole(1, 3, 4, 5, dtype=dtype) * whole(0, 1, 4, 5, dtype=dtype).mul(2).sub(1),
            )
WIDE = torch.tensor([1e9, 3.0e6, -12345.678, 1e-20, 5.0, -5.0, 5.0, INF, 2.0, NAN])
DIVISOR = torch.tensor([7e5, 0.7, 0.33, 3.0, INF, INF, -INF, 2.0, 0.0, 1.0])
for name in ("fmod", "remainder"):
    case(
        f"binary-{name}-exact",
        lambda c, a, b, n=name: c.binary(n, a, b),
        getattr(torch, name),
        WIDE,
        DIVISOR,
        atol=0,
        rtol=0,
    )
case(
    "binary-floordiv-exact",
    lambda c, a, b: c.binary("floordiv", a, b),
    torch.floor_divide,
    WIDE[:7],
    DIVISOR[:7],
    rtol=0,
)
case(
    "binary-fmod-half",
    lambda c, a, b: c.binary("fmod", a, b),
    torch.fmod,
    LEFT.half(),
    RIGHT.half(),
    atol=0,
    rtol=0,
)
SIDES = torch.cartesian_prod(SPECIAL[0], SPECIAL[0])
case(
    "binary-atan2-special",
    lambda c, a, b: c.binary("atan2", a, b),
    torch.atan2,
    SIDES[:, 0].clone(),
    SIDES[:, 1].clone(),
)
for name in ("eq", "ne", "lt", "le", "gt", "ge"):
    case(
        f"binary-{name}-nan",
        lambda c, a, b, n=name: c.binary(n, a, b),
        getattr(torch, name),
        SIDES[:, 0].clone(),
        SIDES[:, 1].clone(),
    )
    case(
        f"binary-{name}-bool",
        lambda c, a, b, n=name: c.binary(n, a, b),
        getattr(torch, name),
        INTS > 0,
        INTS > 2,
    )
    case(
        f"binary-{name}-uint8",
        lambda c, a, b, n=name: c.binary(n, a, b),
        getattr(torch, name),
        INTS.abs().to(torch.uint8),
        whole(0, 5, 4, dtype=torch.uint8, seed=1),
    )
for name in (
    "logical_and",
    "logical_or",
    "logical_xor",
    "bitwise_and",
    "bitwise_or",
    "bitwise_xor",
):
    case(
        f"binary-{name}-bool",
        lambda c, a, b, n=name: c.binary(n, a, b),
        getattr(torch, name),
        INTS > 0,
        INTS > -2,
    )
for dtype in (torch.int64, torch.int32, torch.uint8, torch.int8):
    info, label = torch.iinfo(dtype), str(dtype).removeprefix("torch.")
    edges = torch.tensor([info.min, info.max, 0, 1, 93, 117], dtype=dtype)
    grid = [part.contiguous() for part in torch.meshgrid(edges, edges, indexing="ij")]
    for name in ("bitwise_and", "bitwise_or", "bitwise_xor"):
        case(
            f"binary-{name}-{label}",
            lambda c, a, b, n=name: c.binary(n, a, b),
            getattr(torch, name),
            *grid,
        )
    steps = torch.arange(0, info.bits, 3).to(dtype)[:, None].contiguous()
    for name in ("shift_left", "shift_right"):
        reference = torch.bitwise_left_shift if name == "shift_left" else torch.bitwise_right_shift
        case(
            f"binary-{name}-{label}",
            lambda c, a, b, n=name: c.binary(n, a, b),
            reference,
            edges,
            steps,
        )
        case(
            f"binary-{name}-{label}-constant",
            lambda c, a, n=name, s=steps: c.binary(n, a, s),
            lambda a, r=reference, s=steps: r(a, s),
            edges,
        )
case(
    "binary-add-uint8",
    lambda c, a, b: c.binary("add", a, b),
    torch.add,
    torch.tensor([250, 3]).byte(),
    torch.tensor([9, 9]).byte(),
)
case(
    "binary-mul-int8",
    lambda c, a, b: c.binary("mul", a, b),
    torch.mul,
    torch.tensor([100, -3]).char(),
    torch.tensor([9, 9]).char(),
)
for exponent in (1.0, 2.0, 3.0, 0.5, -0.5, -1.0, -2.0, 1.7):
    case(
        f"binary-pow-{exponent}",
        lambda c, x, e=exponent: c.binary("pow", x, torch.tensor(e)),
        lambda x, e=exponent: x**e,
        normal(3, 4).abs() + 0.1,
    )
case(
    "binary-pow",
    lambda c, a, b: c.binary("pow", a, b),
    torch.pow,
    normal(3, 4).abs() + 0.1,
    normal(4, seed=1),
)
case(
    "binary-pow-int",
    lambda c, a, b: c.binary("pow", a, b),
    torch.pow,
    whole(-3, 3, 3, 4),
    whole(0, 5, 4, seed=1),
)
case(
    "binary-constant-left",
    lambda c, x: c.binary("sub", normal(4, 3, 1), x),
    lambda x: normal(4, 3, 1) - x,
    normal(3, 2),
)
case(
    "binary-dynamic-rank",
    lambda c, a, b: c.binary("add", a, b),
    torch.add,
    normal(2, 3, 4),
    normal(3, 4, seed=1),
    dynamic={0: [0, 1], 1: [0, 1]},
)
case(
    "where",
    lambda c, m, a, b: c.where(m, a, b),
    torch.where,
    INTS > 0,
    normal(4),
    normal(2, 1, 1, seed=1),
)
case(
    "where-constant",
    lambda c, x: c.where(x, torch.tensor(1.5), torch.tensor(-INF)),
    lambda x: torch.where(x, 1.5, -INF),
    INTS > 0,
)
for dtype in (torch.bool, torch.uint8, torch.int64, torch.float16):
    case(
        f"where-{dtype}".replace("torch.", ""),
        lambda c, m, a, b: c.where(m, a, b),
        torch.where,
        INTS > 0,
        INTS.abs().to(dtype),
        (INTS * 0).to(dtype),
    )


@pytest.mark.parametrize("case", case, ids=lambda case: case.name)
def test_primitive(case: Case) -> None:
    check(case)
