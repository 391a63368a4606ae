"""Each primitive of ``RelaxContext``, compiled with TVM's default pipeline, against PyTorch.

Rows of one family share a module, because compiling takes longer than everything else here.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

import pytest
import torch
import torch.nn.functional as F

tvm = pytest.importorskip("tvm")
pytest.importorskip("tvm.relax")

from torch2trt.backends.relax import DTYPE_NAMES, RelaxContext, tvm_array  # noqa: E402
from torch2trt.errors import UnsupportedOpError  # noqa: E402

F16, BF16, F32, F64 = torch.float16, torch.bfloat16, torch.float32, torch.float64
I32, I64, U8, BOOL = torch.int32, torch.int64, torch.uint8, torch.bool
NAN, INF = float("nan"), float("inf")
TOLERANCE = {F64: (1e-12, 1e-12), F32: (2e-6, 2e-6), F16: (2**-10, 1e-6), BF16: (2**-7, 1e-6)}


@dataclass(frozen=True)
class Row:
    """One primitive call: `emit(ctx, *inputs)` must give what `torch(*inputs)` gives."""

    name: str
    emit: Callable[..., Any]
    torch: Callable[..., Any]
    inputs: Sequence[torch.Tensor]
    dynamic: bool = False  # dimension 0 of each input of this row is symbolic
    exact: bool = False  # bit for bit, the sign of zero included
    atol: float | None = None
    group: str = field(default="", compare=False)


ROWS: list[Row] = []


def row(group: str, name: str, emit: Any, oracle: Any, *inputs: torch.Tensor, **options: Any) -> None:
    ROWS.append(Row(f"{group}-{name}", emit, oracle, inputs, group=group, **options))


def rand(*shape: int, dtype: torch.dtype = F32, scale: float = 1.0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(sum(shape) + len(shape))
    if not dtype.is_floating_point:
        return torch.randint(0 if dtype in (U8, BOOL) else -20, 2 if dtype == BOOL else 20, shape, generator=generator).to(dtype)
    return (torch.randn(shape, generator=generator, dtype=F64) * scale).to(dtype)


def to_torch(value: Any) -> torch.Tensor:
    if str(value.dtype) == "bfloat16":
        return torch.from_dlpack(value).clone()
    return torch.from_numpy(value.numpy().copy())


def compile_and_run(context: RelaxContext, outputs: Sequence[Any], inputs: Sequence[torch.Tensor]) -> list[torch.Tensor]:
    """The outputs of ``main``, one per entry of `outputs`."""
    module = context.finish(outputs)
    program = tvm.compile(module, tvm.target.Target({"kind": "llvm"}))
    machine = tvm.relax.VirtualMachine(program, tvm.cpu())
    values = [*inputs, *context.tvm_weight_dict.values()]
    result = machine["main"](*[tvm_array(v) for v in values])
    return [to_torch(v) for v in ([result] if len(outputs) == 1 else result)]


def run_rows(rows: Sequence[Row]) -> dict[str, list[torch.Tensor]]:
    context, outputs, inputs, counts = RelaxContext(), [], [], []
    for number, case in enumerate(rows):
        args = []
        for i, x in enumerate(case.inputs):
            shape = [f"n{number}", *x.shape[1:]] if case.dynamic else list(x.shape)
            args.append(context.input(f"x{number}_{i}", shape, x.dtype))
        result = case.emit(context, *args)
        result = list(result) if isinstance(result, (list, tuple)) else [result]
        outputs += result
        inputs += case.inputs
        counts.append(len(result))
    values = iter(compile_and_run(context, outputs, inputs))
    return {case.name: [next(values) for _ in range(count)] for case, count in zip(rows, counts)}


@lru_cache
def group_results(group: str) -> dict[str, list[torch.Tensor]]:
    """All rows of a family from one module; none where that module does not build, then each row builds its own."""
    try:
        return run_rows([case for case in ROWS if case.group == group])
    except Exception:
        return {}


def check(case: Row, got: list[torch.Tensor]) -> None:
    expected = case.torch(*case.inputs)
    expected = list(expected) if isinstance(expected, (list, tuple)) else [expected]
    assert len(got) == len(expected)
    for a, b in zip(got, expected):
        rtol, atol = (0, 0) if case.exact else TOLERANCE.get(b.dtype, (0, 0))
        atol = atol if case.atol is None else case.atol
        torch.testing.assert_close(a, b.contiguous(), rtol=rtol, atol=atol, equal_nan=True)
        if case.exact and b.dtype.is_floating_point:
            number = ~b.isnan()
            assert torch.equal(torch.signbit(a)[number], torch.signbit(b)[number]), "the sign of a zero differs"


# ---- elementwise -----------------------------------------------------------------------------------------------------
SPECIAL = [0.0, -0.0, 1.0, -1.0, 0.5, -0.5, 1.5, 2.5, -1.5, -2.5, NAN, INF, -INF, 1e-6, -1e-6, 1e-30, 88.0, -88.0, 3.7, -3.7]
FLOAT_UNARY = (
    "abs neg sign exp expm1 log log1p log2 sqrt rsqrt reciprocal sin cos tan asin acos atan sinh cosh tanh asinh acosh "
    "atanh ceil floor round trunc erf sigmoid relu isnan isinf"
).split()
EXACT_UNARY = "abs neg sign ceil floor round trunc relu isnan isinf".split()

for dtype in (F32, F64, F16, BF16):
    values = torch.cat([torch.tensor(SPECIAL, dtype=F64), rand(67, dtype=F64, scale=3), rand(53, dtype=F64, scale=1e-3)]).to(dtype)
    for name in FLOAT_UNARY:
        exact = name in EXACT_UNARY
        tiny = None if exact else {F32: 1e-37, F64: 1e-300, F16: 1e-7, BF16: 1e-37}[dtype]
        row(
            f"unary_{str(dtype)[6:]}", name, lambda c, x, name=name: c.unary(name, x), getattr(torch, name), values,
            exact=exact, atol=tiny,
        )  # fmt: skip
for name in ("abs", "neg", "sign", "bitwise_not", "round", "floor", "relu"):
    oracle = (lambda x: x.clone()) if name in ("round", "floor") else getattr(torch, name)
    row("unary_int", name, lambda c, x, name=name: c.unary(name, x), oracle, rand(13, dtype=I64))
row("unary_int", "logical_not", lambda c, x: c.unary("logical_not", x), torch.logical_not, rand(13, dtype=BOOL))
row("unary_int", "0d", lambda c, x: c.unary("tanh", x), torch.tanh, torch.tensor(0.3))
row("unary_int", "empty", lambda c, x: c.unary("tanh", x), torch.tanh, torch.zeros(0, 3))

LEFT = [NAN, 1, 2, -0.0, 0.0, INF, -INF, 5.5, -5.5, 5.5, -5.5, 3, -3, 0.3, NAN, 6, 1, 5, -5, -0.0, -7, 7, 0.0]
RIGHT = [1, NAN, 3, 0.0, -0.0, -INF, NAN, 2, 2, -2, -2, 0, 0, 0.1, NAN, 3, 0.1, INF, INF, -0.0, 7, -7, -3]
FLOAT_BINARY = {
    "add": torch.add, "sub": torch.sub, "mul": torch.mul, "div": torch.div, "floordiv": torch.floor_divide,
    "truncdiv": lambda a, b: torch.div(a, b, rounding_mode="trunc"), "remainder": torch.remainder, "fmod": torch.fmod,
    "pow": torch.pow, "maximum": torch.maximum, "minimum": torch.minimum, "atan2": torch.atan2, "eq": torch.eq,
    "ne": torch.ne, "lt": torch.lt, "le": torch.le, "gt": torch.gt, "ge": torch.ge,
}  # fmt: skip
for dtype in (F32, F64, F16, BF16):
    a, b = torch.tensor(LEFT, dtype=dtype), torch.tensor(RIGHT, dtype=dtype)
    for name, oracle in FLOAT_BINARY.items():
        row(
            f"binary_{str(dtype)[6:]}", name, lambda c, x, y, name=name: c.binary(name, x, y), oracle, a, b,
            exact=name not in ("pow", "atan2", "maximum", "minimum"),
        )  # fmt: skip
a, b = torch.tensor([7, -7, 7, -7, 0, 5, -1, 2**40, -9]), torch.tensor([3, 3, -3, -3, 5, -5, 4, 7, 9])
for name, oracle in FLOAT_BINARY.items():
    if name not in ("div", "pow", "atan2"):
        row("binary_int", name, lambda c, x, y, name=name: c.binary(name, x, y), oracle, a, b)
        row("binary_int", f"{name}_i32", lambda c, x, y, name=name: c.binary(name, x, y), oracle, a.to(I32), b.to(I32))
for name in ("bitwise_and", "bitwise_or", "bitwise_xor"):
    row("binary_int", name, lambda c, x, y, name=name: c.binary(name, x, y), getattr(torch, name), a, b)
base, exponent = torch.tensor([2, -3, 7, 0, 0, 1, -1, -1, 2, 3, 2, 10]), torch.tensor([10, 3, 0, 0, 5, -4, -3, 4, -1, 40, 64, 18])
row("binary_int", "pow", lambda c, x, y: c.binary("pow", x, y), torch.pow, base, exponent)
amount = torch.tensor([0, 1, 5, 63, 64, 70, 2, 3, 1])
row("binary_int", "shift_left", lambda c, x, y: c.binary("shift_left", x, y), torch.bitwise_left_shift, a, amount)
row("binary_int", "shift_right", lambda c, x, y: c.binary("shift_right", x, y), torch.bitwise_right_shift, a, amount)
p, q = torch.tensor([True, True, False, False]), torch.tensor([True, False, True, False])
for name in ("logical_and", "logical_or", "logical_xor", "eq", "ne", "lt", "ge", "bitwise_and", "bitwise_xor"):
    row("binary_int", f"{name}_bool", lambda c, x, y, name=name: c.binary(name, x, y), getattr(torch, name), p, q)
row("binary_int", "broadcast", lambda c, x, y: c.binary("maximum", x, y), torch.maximum, rand(3, 1, 5), rand(4, 1))
row("binary_int", "0d", lambda c, x, y: c.binary("remainder", x, y), torch.remainder, rand(7), torch.tensor(0.7), atol=1e-5)
row("binary_int", "empty", lambda c, x, y: c.binary("remainder", x, y), torch.remainder, rand(0, 3), rand(3))
WEIGHT = rand(3, 1)
row("binary_int", "constant", lambda c, x: c.binary("add", x, WEIGHT), lambda x: x + WEIGHT, rand(3, 4))
for value in (0.5, NAN):
    number = torch.tensor(value)
    for name in ("maximum", "minimum"):
        row(
            "binary_int", f"{name}_number_{value}", lambda c, x, name=name, number=number: c.binary(name, x, c.literal(number)),
            lambda x, name=name, number=number: getattr(torch, name)(x, number), torch.tensor([NAN, 1.0, -1.0, INF, -INF]),
        )  # fmt: skip
        row(
            "binary_int", f"number_{value}_{name}", lambda c, x, name=name, number=number: c.binary(name, c.literal(number), x),
            lambda x, name=name, number=number: getattr(torch, name)(number, x), torch.tensor([NAN, 1.0, -1.0, INF, -INF]),
        )  # fmt: skip
row("binary_int", "where", lambda c, m, x, y: c.where(m, x, y), torch.where, rand(3, 1, dtype=BOOL), rand(4), rand(3, 4))
row("binary_int", "where_int", lambda c, m, x: c.where(m, x, torch.tensor(5)), lambda m, x: torch.where(m, x, 5), rand(4, dtype=BOOL), rand(4, dtype=I64))
row("binary_int", "dynamic", lambda c, x, y: c.binary("add", x, y), torch.add, rand(3, 4), rand(3, 1), dynamic=True)
row("binary_int", "dynamic_te", lambda c, x, y: c.binary("fmod", x, y), torch.fmod, rand(3, 4), rand(3, 1), dynamic=True)

for source in (F32, F64, F16, BF16, I64, I32, U8, BOOL):
    numbers = [0, 1.5, 2.7, 100.3, 0.1, 1 / 3, 250.0, 3.0000001] + ([-1.5, -0.1, -2.0] if source not in (U8, BOOL) else [])
    for target in (F32, F64, F16, BF16, I64, I32, U8, BOOL):
        row("cast", f"{source}_{target}", lambda c, x, t=target: c.cast(x, t), lambda x, t=target: x.to(t).clone(), torch.tensor(numbers, dtype=F64).to(source), exact=True)  # fmt: skip
row("cast", "nan_bool", lambda c, x: c.cast(x, BOOL), lambda x: x.to(BOOL), torch.tensor([NAN, 0.0, -0.0, 1e-30]))

# ---- reductions ------------------------------------------------------------------------------------------------------
BAD = torch.tensor([[NAN, 1, 3], [2, NAN, -1], [5, 4, NAN], [-INF, -INF, -INF], [INF, INF, INF], [1, 2, 3]])
for name in ("sum", "prod", "mean", "max", "min"):
    oracle = {"max": torch.amax, "min": torch.amin}.get(name, getattr(torch, name))
    emit = lambda c, x, name=name: c.reduce(name, x, [1], False)  # noqa: E731
    row("reduce", name, emit, lambda x, f=oracle: f(x, 1), rand(5, 7, 3))
    row("reduce", f"{name}_f64", emit, lambda x, f=oracle: f(x, 1), rand(5, 7, 3, dtype=F64))
    row("reduce", f"{name}_f16", emit, lambda x, f=oracle: f(x, 1), rand(5, 101, dtype=F16))
    row("reduce", f"{name}_bf16", emit, lambda x, f=oracle: f(x, 1), rand(5, 101, dtype=BF16))
    row("reduce", f"{name}_special", emit, lambda x, f=oracle: f(x, 1), BAD)
    row("reduce", f"{name}_dynamic", emit, lambda x, f=oracle: f(x, 1), rand(5, 7, 3), dynamic=True)
    if name != "prod":
        row("reduce", f"{name}_keepdim", lambda c, x, name=name: c.reduce(name, x, [0, 2], True), lambda x, f=oracle: f(x, (0, 2), keepdim=True), rand(5, 7, 3))  # fmt: skip
        row("reduce", f"{name}_all", lambda c, x, name=name: c.reduce(name, x, [0, 1], False), lambda x, f=oracle: f(x, (0, 1)), rand(5, 7))  # fmt: skip
    if name != "mean":
        row("reduce", f"{name}_i64", emit, lambda x, f=oracle: f(x, 1), rand(5, 7, dtype=I64))
    if name not in ("max", "min"):
        row("reduce", f"{name}_empty", emit, lambda x, f=oracle: f(x, 1), torch.zeros(3, 0, 2))
row("reduce", "any", lambda c, x: c.reduce("any", x, [1], False), lambda x: x.any(1), rand(6, 2, dtype=BOOL))
row("reduce", "all", lambda c, x: c.reduce("all", x, [0, 1], True), lambda x: x.all().reshape(1, 1), rand(6, 2, dtype=BOOL))
for name in ("max", "min"):
    oracle = getattr(torch, f"arg{name}")
    row("reduce", f"arg{name}", lambda c, x, name=name: c.arg_reduce(name, x, 1, False), lambda x, f=oracle: f(x, 1), rand(5, 11, 3))
    row("reduce", f"arg{name}_nan", lambda c, x, name=name: c.arg_reduce(name, x, 1, True), lambda x, f=oracle: f(x, 1, keepdim=True), BAD)  # fmt: skip
    ties = torch.tensor([[3, 1, 3, 1], [2, 2, 2, 2]])
    row("reduce", f"arg{name}_ties", lambda c, x, name=name: c.arg_reduce(name, x, 1, False), lambda x, f=oracle: f(x, 1), ties)
    row("reduce", f"arg{name}_f16", lambda c, x, name=name: c.arg_reduce(name, x, 0, False), lambda x, f=oracle: f(x, 0), rand(13, 2, dtype=F16))  # fmt: skip
    row("reduce", f"arg{name}_dynamic", lambda c, x, name=name: c.arg_reduce(name, x, 1, False), lambda x, f=oracle: f(x, 1), rand(5, 11), dynamic=True)  # fmt: skip
for name in ("sum", "prod", "max", "min"):
    scan = {"max": lambda x, d: x.cummax(d)[0], "min": lambda x, d: x.cummin(d)[0]}.get(name, getattr(torch, f"cum{name}"))
    for dtype in (F32, I64, F16):
        values = rand(3, 11, 2, dtype=dtype, scale=0.7)
        row("scan", f"{name}_{dtype}", lambda c, x, name=name: c.cumulative(name, x, 1), lambda x, f=scan: f(x, 1), values)
    row("scan", f"{name}_nan", lambda c, x, name=name: c.cumulative(name, x, 1), lambda x, f=scan: f(x, 1), BAD)
    row("scan", f"{name}_empty", lambda c, x, name=name: c.cumulative(name, x, 1), lambda x, f=scan: f(x, 1), rand(3, 0))
UNSORTED = torch.tensor([[NAN, 1, 3, -0.0, 0.0, 3, INF], [-INF, NAN, NAN, INF, 2, 2, -5]])
for descending in (False, True):
    emit = lambda c, x, d=descending: c.sort(x, 1, d)  # noqa: E731
    oracle = lambda x, d=descending: torch.sort(x, dim=1, descending=d, stable=True)  # noqa: E731
    for name, values in {
        "f32": UNSORTED, "f64": UNSORTED.double(), "f16": UNSORTED.half(), "i64": rand(3, 30, 2, dtype=I64),
        "i32": rand(3, 30, dtype=I32), "bool": rand(3, 9, dtype=BOOL), "u8": rand(3, 9, dtype=U8), "empty": rand(2, 0),
    }.items():  # fmt: skip
        row("sort", f"{name}_{descending}", emit, oracle, values)
    distinct = torch.linspace(-3, 3, 31)[torch.randperm(31, generator=torch.Generator().manual_seed(0))].reshape(1, 31)
    row("sort", f"topk_{descending}", lambda c, x, d=descending: c.topk(x, 5, 1, d), lambda x, d=descending: x.topk(5, 1, d), distinct)
    row("sort", f"topk_dynamic_{descending}", lambda c, x, d=descending: c.topk(x, 5, 1, d), lambda x, d=descending: x.topk(5, 1, d), distinct, dynamic=True)  # fmt: skip


@pytest.mark.parametrize("case", ROWS, ids=lambda case: case.name)
def test_row(case: Row) -> None:
    results = group_results(case.group)
    check(case, results[case.name] if case.name in results else run_rows([case])[case.name])
