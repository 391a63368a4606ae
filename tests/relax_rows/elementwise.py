"""Elementwise primitives: special values, every dtype, broadcasting, casts."""

from __future__ import annotations

from collections.abc import Callable

import torch

from .harness import BF16, BOOL, F16, F32, F64, I32, I64, INF, NAN, U8, WEIGHT, rand, row

SPECIAL = [
    0.0,
    -0.0,
    1.0,
    -1.0,
    0.5,
    -0.5,
    1.5,
    2.5,
    -1.5,
    -2.5,
    NAN,
    INF,
    -INF,
    1e-6,
    -1e-6,
    1e-30,
    88.0,
    -88.0,
    3.7,
    -3.7,
]
FLOAT_UNARY = (
    "abs neg sign exp expm1 log log1p log2 sqrt rsqrt reciprocal sin cos tan asin acos atan sinh "
    "cosh tanh asinh acosh atanh ceil floor round trunc erf sigmoid relu isnan isinf"
).split()
EXACT_UNARY = "abs neg sign ceil floor round trunc relu isnan isinf".split()


def in_float64(name: str) -> Callable[[torch.Tensor], torch.Tensor]:
    """The oracle of a unary function: computed in float64 and rounded once."""

    def oracle(x: torch.Tensor) -> torch.Tensor:
        result = getattr(torch, name)(x.double())
        return result.to(x.dtype) if result.is_floating_point() else result

    return oracle


for dtype in (F32, F64, F16, BF16):
    values = torch.cat(
        [torch.tensor(SPECIAL, dtype=F64), rand(67, dtype=F64, scale=3),
         rand(53, dtype=F64, scale=1e-3)]
    ).to(dtype)
    for name in FLOAT_UNARY:
        exact = name in EXACT_UNARY
        tiny = None if exact else {F32: 1e-37, F64: 1e-300, F16: 1e-7, BF16: 1e-37}[dtype]
        row(
            f"unary_{str(dtype)[6:]}",
            name,
            lambda c, x, name=name: c.unary(name, x),
            in_float64(name),
            values,
            exact=exact,
            atol=tiny,
        )
for name in ("abs", "neg", "sign", "bitwise_not", "round", "floor", "relu"):
    oracle = (lambda x: x.clone()) if name in ("round", "floor") else getattr(torch, name)
    row("unary_int", name, lambda c, x, name=name: c.unary(name, x), oracle, rand(13, dtype=I64))
row("unary_int", "logical_not", lambda c, x: c.unary("logical_not", x), torch.logical_not,
    rand(13, dtype=BOOL))
row("unary_int", "0d", lambda c, x: c.unary("tanh", x), torch.tanh, torch.tensor(0.3))
row("unary_int", "empty", lambda c, x: c.unary("tanh", x), torch.tanh, torch.zeros(0, 3))

LEFT = [NAN, 1, 2, -0.0, 0.0, INF, -INF, 5.5, -5.5, 5.5, -5.5, 3, -3, 0.3, NAN, 6, 1, 5, -5, -0.0,
        -7, 7, 0.0]
RIGHT = [1, NAN, 3, 0.0, -0.0, -INF, NAN, 2, 2, -2, -2, 0, 0, 0.1, NAN, 3, 0.1, INF, INF, -0.0, 7,
         -7, -3]
FLOAT_BINARY = {
    "add": torch.add,
    "sub": torch.sub,
    "mul": torch.mul,
    "div": torch.div,
    "floordiv": torch.floor_divide,
    "truncdiv": lambda a, b: torch.div(a, b, rounding_mode="trunc"),
    "remainder": torch.remainder,
    "fmod": torch.fmod,
    "pow": torch.pow,
    "maximum": torch.maximum,
    "minimum": torch.minimum,
    "atan2": torch.atan2,
    "eq": torch.eq,
    "ne": torch.ne,
    "lt": torch.lt,
    "le": torch.le,
    "gt": torch.gt,
    "ge": torch.ge,
}
for dtype in (F32, F64, F16, BF16):
    a, b = torch.tensor(LEFT, dtype=dtype), torch.tensor(RIGHT, dtype=dtype)
    for name, oracle in FLOAT_BINARY.items():
        row(
            f"binary_{str(dtype)[6:]}",
            name,
            lambda c, x, y, name=name: c.binary(name, x, y),
            oracle,
            a,
            b,
            exact=name not in ("pow", "atan2", "maximum", "minimum"),
        )
a = torch.tensor([7, -7, 7, -7, 0, 5, -1, 2**40, -9])
b = torch.tensor([3, 3, -3, -3, 5, -5, 4, 7, 9])
for name, oracle in FLOAT_BINARY.items():
    if name not in ("div", "pow", "atan2"):
        row("binary_int", name, lambda c, x, y, name=name: c.binary(name, x, y), oracle, a, b)
        row("binary_int", f"{name}_i32", lambda c, x, y, name=name: c.binary(name, x, y), oracle,
            a.to(I32), b.to(I32))
for name in ("bitwise_and", "bitwise_or", "bitwise_xor"):
    row("binary_int", name, lambda c, x, y, name=name: c.binary(name, x, y), getattr(torch, name),
        a, b)
base, exponent = (
    torch.tensor([2, -3, 7, 0, 0, 1, -1, -1, 2, 3, 2, 10]),
    torch.tensor([10, 3, 0, 0, 5, -4, -3, 4, -1, 40, 64, 18]),
)
row("binary_int", "pow", lambda c, x, y: c.binary("pow", x, y), torch.pow, base, exponent)
amount = torch.tensor([0, 1, 5, 63, 64, 70, 2, 3, 1])
row("binary_int", "shift_left", lambda c, x, y: c.binary("shift_left", x, y),
    torch.bitwise_left_shift, a, amount)
row("binary_int", "shift_right", lambda c, x, y: c.binary("shift_right", x, y),
    torch.bitwise_right_shift, a, amount)
p, q = torch.tensor([True, True, False, False]), torch.tensor([True, False, True, False])
for name in ("logical_and", "logical_or", "logical_xor", "eq", "ne", "lt", "ge", "bitwise_and",
             "bitwise_xor"):
    row("binary_int", f"{name}_bool", lambda c, x, y, name=name: c.binary(name, x, y),
        getattr(torch, name), p, q)
row("binary_int", "broadcast", lambda c, x, y: c.binary("maximum", x, y), torch.maximum,
    rand(3, 1, 5), rand(4, 1))
row(
    "binary_int",
    "0d",
    lambda c, x, y: c.binary("remainder", x, y),
    torch.remainder,
    rand(7),
    torch.tensor(0.7),
    atol=1e-5,
)
row("binary_int", "empty", lambda c, x, y: c.binary("remainder", x, y), torch.remainder, rand(0, 3),
    rand(3))
row("binary_int", "constant", lambda c, x: c.binary("add", x, WEIGHT), lambda x: x + WEIGHT,
    rand(3, 4))
for value in (0.5, NAN):
    number = torch.tensor(value)
    for name in ("maximum", "minimum"):
        row(
            "binary_int",
            f"{name}_number_{value}",
            lambda c, x, name=name, number=number: c.binary(name, x, c.literal(number)),
            lambda x, name=name, number=number: getattr(torch, name)(x, number),
            torch.tensor([NAN, 1.0, -1.0, INF, -INF]),
        )
        row(
            "binary_int",
            f"number_{value}_{name}",
            lambda c, x, name=name, number=number: c.binary(name, c.literal(number), x),
            lambda x, name=name, number=number: getattr(torch, name)(number, x),
            torch.tensor([NAN, 1.0, -1.0, INF, -INF]),
        )
row(
    "binary_int", "where", lambda c, m, x, y: c.where(m, x, y), torch.where, rand(3, 1, dtype=BOOL),
    rand(4), rand(3, 4)
)
row(
    "binary_int",
    "where_int",
    lambda c, m, x: c.where(m, x, torch.tensor(5)),
    lambda m, x: torch.where(m, x, 5),
    rand(4, dtype=BOOL),
    rand(4, dtype=I64),
)
row("binary_int", "dynamic", lambda c, x, y: c.binary("add", x, y), torch.add, rand(3, 4),
    rand(3, 1), dynamic=True)
row(
    "binary_int", "dynamic_te", lambda c, x, y: c.binary("fmod", x, y), torch.fmod, rand(3, 4),
    rand(3, 1), dynamic=True
)

for source in (F32, F64, F16, BF16, I64, I32, U8, BOOL):
    numbers = [0, 1.5, 2.7, 100.3, 0.1, 1 / 3, 250.0, 3.0000001] + (
        [-1.5, -0.1, -2.0] if source not in (U8, BOOL) else []
    )
    for target in (F32, F64, F16, BF16, I64, I32, U8, BOOL):
        row(
            "cast",
            f"{source}_{target}",
            lambda c, x, t=target: c.cast(x, t),
            lambda x, t=target: x.to(t).clone(),
            torch.tensor(numbers, dtype=F64).to(source),
            exact=True,
        )
row("cast", "nan_bool", lambda c, x: c.cast(x, BOOL), lambda x: x.to(BOOL),
    torch.tensor([NAN, 0.0, -0.0, 1e-30]))
