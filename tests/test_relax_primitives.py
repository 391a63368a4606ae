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



def in_float64(name: str) -> Callable[[torch.Tensor], torch.Tensor]:
    """The oracle of a unary function: computed in float64 and rounded once."""

    def oracle(x: torch.Tensor) -> torch.Tensor:
        result = getattr(torch, name)(x.double())
        return result.to(x.dtype) if result.is_floating_point() else result

    return oracle


for dtype in (F32, F64, F16, BF16):
    values = torch.cat([torch.tensor(SPECIAL, dtype=F64), rand(67, dtype=F64, scale=3), rand(53, dtype=F64, scale=1e-3)]).to(dtype)
    for name in FLOAT_UNARY:
        exact = name in EXACT_UNARY
        tiny = None if exact else {F32: 1e-37, F64: 1e-300, F16: 1e-7, BF16: 1e-37}[dtype]
        row(
            f"unary_{str(dtype)[6:]}", name, lambda c, x, name=name: c.unary(name, x), in_float64(name), values,
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


# ---- shapes ------------------------------------------------------------------------------------------------------------
X = rand(2, 3, 5)
for dtype in (F32, I64, BOOL, F16, BF16):
    x = rand(2, 3, 5, dtype=dtype)
    tag = str(dtype)[6:]
    row("shape", f"reshape_{tag}", lambda c, x: c.reshape(x, [5, 6]), lambda x: x.reshape(5, 6), x)
    row("shape", f"permute_{tag}", lambda c, x: c.permute(x, [2, 0, 1]), lambda x: x.permute(2, 0, 1), x)
    row("shape", f"expand_{tag}", lambda c, x: c.expand(x, [4, 2, 3, 5]), lambda x: x.expand(4, 2, 3, 5), x)
    row("shape", f"concat_{tag}", lambda c, x: c.concat([x, x], 1), lambda x: torch.cat([x, x], 1), x)
    row("shape", f"slice_{tag}", lambda c, x: c.slice(x, [0, 1, 4], [2, 2, 3], [1, 1, -2]), lambda x: x.flip(2)[:, 1:3, ::2], x)
    if dtype != BOOL:
        row("shape", f"pad_{tag}", lambda c, x: c.pad(x, [0, 1, 2], [1, 0, 0], "constant", 3), lambda x: F.pad(x, (2, 0, 1, 0, 0, 1), value=3), x)  # fmt: skip
row("shape", "pad_bool", lambda c, x: c.pad(x, [0, 1], [1, 0], "constant", True), lambda x: F.pad(x, (1, 0, 0, 1), value=True), rand(2, 3, dtype=BOOL))  # fmt: skip
row("shape", "pad_inf", lambda c, x: c.pad(x, [0, 1, 2], [1, 0, 0], "constant", -INF), lambda x: F.pad(x, (2, 0, 1, 0, 0, 1), value=-INF), X)  # fmt: skip
row("shape", "pad_big_int", lambda c, x: c.pad(x, [0, 1], [1, 0], "constant", 2**52 + 1), lambda x: F.pad(x, (1, 0, 0, 1), value=2**52 + 1), rand(2, 3, dtype=I64))  # fmt: skip
row("shape", "pad_empty", lambda c, x: c.pad(x, [1, 0], [2, 0], "constant", 1), lambda x: torch.ones(3, 4), torch.zeros(0, 4))
for mode in ("reflect", "replicate", "circular"):
    y = rand(2, 3, 4, 7)
    row("shape", f"pad_{mode}", lambda c, x, m=mode: c.pad(x, [0, 0, 2, 3], [0, 0, 1, 4], mode=m), lambda x, m=mode: F.pad(x, (3, 4, 2, 1), mode=m), y)  # fmt: skip
    row("shape", f"pad_{mode}_dynamic", lambda c, x, m=mode: c.pad(x, [0, 0, 2, 3], [0, 0, 1, 4], mode=m), lambda x, m=mode: F.pad(x, (3, 4, 2, 1), mode=m), y, dynamic=True)  # fmt: skip
row("shape", "reshape_0d", lambda c, x: c.reshape(x, [1, 1]), lambda x: x.reshape(1, 1), torch.tensor(2.0))
row("shape", "reshape_to_0d", lambda c, x: c.reshape(x, []), lambda x: x.reshape([]), torch.ones(1, 1))
row("shape", "permute_0d", lambda c, x: c.permute(x, []), lambda x: x, torch.tensor(2.0))
row("shape", "reshape_empty", lambda c, x: c.reshape(x, [4, 0]), lambda x: x.reshape(4, 0), torch.zeros(2, 0, 3))
row("shape", "slice_empty", lambda c, x: c.slice(x, [0, 3], [2, 0], [1, 1]), lambda x: x[:, 3:3], rand(2, 5))
row("shape", "slice_whole", lambda c, x: c.slice(x, [0, 0], [2, 5], [1, 1]), lambda x: x, rand(2, 5))
row("shape", "slice_strided", lambda c, x: c.slice(x, [1, 0], [2, 3], [3, 2]), lambda x: x[1:7:3, ::2], rand(7, 5))
row("shape", "slice_one", lambda c, x: c.slice(x, [6, 4], [1, 1], [1, -1]), lambda x: x[6:, 4:], rand(7, 5))
row("shape", "expand_0d", lambda c, x: c.expand(x, [2, 3]), lambda x: x.expand(2, 3), torch.tensor(2.0))
row("shape", "expand_ones", lambda c, x: c.expand(x, [2, 3, 5]), lambda x: x.expand(2, 3, 5), rand(3, 1))
row("shape", "concat_constant", lambda c, x: c.concat([x, WEIGHT, x], 1), lambda x: torch.cat([x, WEIGHT, x], 1), rand(3, 4))
row("shape", "concat_empty", lambda c, x, y: c.concat([x, y], 0), lambda x, y: torch.cat([x, y]), rand(3, 4), torch.zeros(0, 4))
row("shape", "reshape_dynamic", lambda c, x: c.reshape(x, [c.shape(x)[0], 15]), lambda x: x.reshape(2, 15), X, dynamic=True)
row("shape", "reshape_merge", lambda c, x: c.reshape(x, [c.shape(x)[0] * 3, 5]), lambda x: x.reshape(6, 5), X, dynamic=True)
row("shape", "reshape_split", lambda c, x: c.reshape(x, [c.shape(x)[0] // 2, 2, 3, 5]), lambda x: x.reshape(1, 2, 3, 5), X, dynamic=True)  # fmt: skip
row("shape", "permute_dynamic", lambda c, x: c.permute(x, [2, 0, 1]), lambda x: x.permute(2, 0, 1), X, dynamic=True)
row("shape", "expand_dynamic", lambda c, x: c.expand(x, [4, *c.shape(x)]), lambda x: x.expand(4, 2, 3, 5), X, dynamic=True)
row("shape", "expand_literal_dynamic", lambda c, x: c.expand(c.literal(torch.ones(1, 2)), [c.shape(x)[0], 2]), lambda x: torch.ones(2, 2), X, dynamic=True)  # fmt: skip
row("shape", "concat_dynamic", lambda c, x: c.concat([x, x], 0), lambda x: torch.cat([x, x]), X, dynamic=True)
row("shape", "slice_dynamic", lambda c, x: c.slice(x, [0, 1, 0], [c.shape(x)[0], 2, 5], [1, 1, 1]), lambda x: x[:, 1:], X, dynamic=True)
row("shape", "slice_dynamic_end", lambda c, x: c.slice(x, [1, 0, 0], [c.shape(x)[0] - 1, 3, 5], [1, 1, 1]), lambda x: x[1:], X, dynamic=True)  # fmt: skip
row("shape", "slice_dynamic_flip", lambda c, x: c.slice(x, [c.shape(x)[0] - 1, 0, 0], c.shape(x), [-1, 1, 1]), lambda x: x.flip(0), X, dynamic=True)  # fmt: skip
row("shape", "pad_dynamic", lambda c, x: c.pad(x, [0, 0, 1], [0, 0, 1], "constant", 0), lambda x: F.pad(x, (1, 1)), X, dynamic=True)
row("shape", "pad_by_dynamic", lambda c, x: c.pad(x, [c.shape(x)[0], 0, 0], [0, 0, 0], "constant", 2), lambda x: F.pad(x, (0, 0, 0, 0, 2, 0), value=2), X, dynamic=True)  # fmt: skip
row("shape", "size_tensor", lambda c, x: c.size_tensor([c.shape(x)[0], 7, c.shape(x)[0] * 3]), lambda x: torch.tensor([2, 7, 6]), X, dynamic=True)  # fmt: skip
row("shape", "size_tensor_i32", lambda c, x: c.size_tensor([c.shape(x)[0]], I32), lambda x: torch.tensor([2], dtype=I32), X, dynamic=True)
row("shape", "arange_dynamic", lambda c, x: c.arange(1, c.shape(x)[0], 3), lambda x: torch.tensor([1, 4]), X, dynamic=True)
row("shape", "arange_start", lambda c, x: c.arange(c.shape(x)[0], 4, -1), lambda x: torch.tensor([2, 1, 0, -1]), X, dynamic=True)
row("shape", "arange_static", lambda c, x: c.reshape(c.arange(2, 3, 2), [3]), lambda x: torch.tensor([2, 4, 6]), X)

# ---- indexing ----------------------------------------------------------------------------------------------------------
TABLE = rand(7, 4)
for dtype in (F32, I64, BOOL, F16, BF16):
    tag = str(dtype)[6:]
    x, index = rand(3, 7, 2, dtype=dtype), torch.tensor([[0, 6, 3], [5, 5, 1]])
    row("index", f"take_{tag}", lambda c, x, i: c.take(x, i, 1), lambda x, i: x[:, i], x, index)
    row("index", f"gather_{tag}", lambda c, x, i: c.gather(x, i, 1), lambda x, i: x.gather(1, i), x, torch.tensor([[[0, 6], [5, 1]], [[2, 2], [3, 0]]]))  # fmt: skip
    row("index", f"gather_nd_{tag}", lambda c, x, i: c.gather_nd(x, i), lambda x, i: x[i[..., 0], i[..., 1]], x, torch.tensor([[[0, 6], [2, 1], [1, 1]]]))  # fmt: skip
    row("index", f"scatter_{tag}", lambda c, x, i, s: c.scatter(x, i, s, 1, None), lambda x, i, s: x.scatter(1, i, s), x, torch.tensor([[[0, 6], [5, 1]]]), rand(1, 2, 2, dtype=dtype))  # fmt: skip
    row("index", f"scatter_nd_{tag}", lambda c, x, i, s: c.scatter_nd(x, i, s, False), lambda x, i, s: x.index_put((i[:, 0], i[:, 1]), s), x, torch.tensor([[0, 6], [2, 1], [1, 1]]), rand(3, 2, dtype=dtype))  # fmt: skip
row("index", "embedding", lambda c, i: c.take(TABLE, i, 0), lambda i: TABLE[i], torch.tensor([[1, 6], [0, 0]]))
row("index", "take_i32", lambda c, x, i: c.take(x, i, 0), lambda x, i: x[i.long()], rand(5, 2), torch.tensor([4, 0], dtype=I32))
row("index", "take_0d", lambda c, x: c.take(x, c.literal(torch.tensor(2)), 1), lambda x: x[:, 2], rand(3, 4))
row("index", "take_empty", lambda c, x, i: c.take(x, i, 0), lambda x, i: x[i], rand(5, 2), torch.zeros(0, dtype=I64))
row("index", "take_dynamic", lambda c, i: c.take(TABLE, i, 0), lambda i: TABLE[i], torch.tensor([[1, 6], [0, 0]]), dynamic=True)
row("index", "gather_dynamic", lambda c, x, i: c.gather(x, i, 1), lambda x, i: x.gather(1, i), rand(2, 5), torch.tensor([[1, 4], [0, 0]]), dynamic=True)  # fmt: skip
SMALL, DUPLICATE = torch.tensor([[0, 2, 0], [1, 1, 1]]), torch.tensor([[0, 0, 2, 0], [1, 1, 1, 0], [2, 0, 2, 2]])
for name, reduce in (("add", "sum"), ("multiply", "prod"), ("maximum", "amax"), ("minimum", "amin")):
    for dtype in (F32, I64, F16):
        row("index", f"scatter_{name}_{dtype}", lambda c, x, i, s, n=name: c.scatter(x, i, s, 0, n), lambda x, i, s, r=reduce: x.float().scatter_reduce(0, i, s.float(), r).to(x.dtype), rand(3, 4, dtype=dtype), DUPLICATE, rand(3, 4, dtype=dtype, scale=2))  # fmt: skip
    row("index", f"scatter_{name}_small", lambda c, x, i, s, n=name: c.scatter(x, i, s, 1, n), lambda x, i, s, r=reduce: x.scatter_reduce(1, i, s, r), rand(5, 4, 1), SMALL[..., None], rand(2, 3, 1))  # fmt: skip
    row("index", f"scatter_{name}_nan", lambda c, x, i, s, n=name: c.scatter(x, i, s, 0, n), lambda x, i, s, r=reduce: x.scatter_reduce(0, i, s, r), torch.tensor([1.0, NAN, 3.0, -INF]), torch.tensor([0, 0, 1, 2, 2, 3]), torch.tensor([NAN, 1.0, 2.0, 5.0, 1.0, -INF]))  # fmt: skip
row("index", "scatter_empty", lambda c, x, i, s: c.scatter(x, i, s, 0, None), lambda x, i, s: x, rand(4), torch.zeros(0, dtype=I64), rand(0))
row("index", "scatter_nd_add", lambda c, x, i, s: c.scatter_nd(x, i, s, True), lambda x, i, s: x.index_put((i[:, 0],), s, accumulate=True), rand(4, 2), torch.tensor([[1], [1], [0]]), rand(3, 2))  # fmt: skip
row("index", "scatter_nd_full", lambda c, x, i, s: c.scatter_nd(x, i, s, False), lambda x, i, s: x.index_put((i[..., 0], i[..., 1]), s), rand(4, 2), torch.tensor([[[1, 1], [0, 1]]]), rand(1, 2))  # fmt: skip
row("index", "scatter_nd_f16", lambda c, x, i, s: c.scatter_nd(x, i, s, True), lambda x, i, s: x.float().index_put((i[:, 0],), s.float(), accumulate=True).half(), rand(4, dtype=F16), torch.tensor([[1], [1], [0]]), rand(3, dtype=F16))  # fmt: skip

# ---- products and convolutions -----------------------------------------------------------------------------------------
def in_float32(function: Callable[..., torch.Tensor]) -> Callable[..., torch.Tensor]:
    """The oracle of half precision: computed in float32 and rounded once."""
    return lambda *xs: function(*[x.float() if x.dtype in (F16, BF16) else x for x in xs]).to(xs[0].dtype)


for name, left, right in (
    ("2d", (5, 7), (7, 3)), ("batch", (2, 5, 7), (2, 7, 3)), ("broadcast", (2, 1, 5, 7), (3, 7, 4)), ("rank", (7, 3), (4, 3, 2)),
    ("one", (1, 1), (1, 1)), ("no_k", (3, 0), (0, 2)), ("no_rows", (0, 3), (3, 2)),
):  # fmt: skip
    row("product", f"matmul_{name}", lambda c, a, b: c.matmul(a, b), torch.matmul, rand(*left), rand(*right))
for dtype in (F64, F16, BF16, I64):
    row("product", f"matmul_{dtype}", lambda c, a, b: c.matmul(a, b), in_float32(torch.matmul), rand(2, 5, 64, dtype=dtype), rand(64, 3, dtype=dtype))  # fmt: skip
LINEAR = rand(7, 4)
row("product", "matmul_constant", lambda c, a: c.matmul(a, LINEAR), lambda a: a @ LINEAR, rand(5, 7))
row("product", "matmul_dynamic", lambda c, a: c.matmul(a, LINEAR), lambda a: a @ LINEAR, rand(5, 3, 7), dynamic=True)
row("product", "matmul_dynamic_batch", lambda c, a, b: c.matmul(a, b), torch.matmul, rand(5, 3, 7), rand(5, 7, 2), dynamic=True)
for equation, shapes in {
    "ij,jk->ik": [(2, 3), (3, 4)], "bhid,bhjd->bhij": [(2, 3, 4, 5), (2, 3, 6, 5)], "bij,bjk->kbi": [(2, 3, 4), (2, 4, 5)],
    "i,j->ij": [(3,), (4,)], "ij,ij->": [(3, 4), (3, 4)], "ii->i": [(4, 4)], "ij->": [(3, 4)], "ij->ji": [(3, 4)],
    "ij,jk,kl->il": [(2, 3), (3, 4), (4, 2)], "ij,kl->k": [(2, 3), (4, 5)], "bi,bi->b": [(3, 4), (3, 4)],
    "nctw,cd->ndtw": [(2, 3, 4, 5), (3, 6)],
}.items():  # fmt: skip
    row("product", f"einsum_{equation}", lambda c, *xs, e=equation: c.einsum(e, xs), lambda *xs, e=equation: torch.einsum(e, *xs), *[rand(*s) for s in shapes])  # fmt: skip
row("product", "einsum_f16", lambda c, *xs: c.einsum("ij,jk->ik", xs), in_float32(torch.matmul), rand(3, 64, dtype=F16), rand(64, 2, dtype=F16))
row("product", "einsum_dynamic", lambda c, x: c.einsum("bij,jk->bik", [x, LINEAR]), lambda x: x @ LINEAR, rand(2, 3, 7), dynamic=True)


def conv_row(name: str, x: Sequence[int], w: Sequence[int], stride: Any, padding: Any, dilation: Any, groups: int, dtype: torch.dtype = F32, bias: bool = True, **options: Any) -> None:  # fmt: skip
    rank = len(x) - 2
    weight, shift = rand(*w, dtype=dtype), rand(w[0], dtype=dtype) if bias else None
    wide = [v.float() if v is not None and dtype in (F16, BF16) else v for v in (weight, shift)]
    flat = [amount for pair in reversed(padding) for amount in pair]

    def oracle(x: torch.Tensor) -> torch.Tensor:
        y = x.float() if dtype in (F16, BF16) else x
        function = {1: F.conv1d, 2: F.conv2d, 3: F.conv3d}[rank]
        return function(F.pad(y, flat), *wide, stride=stride, dilation=dilation, groups=groups).to(dtype)

    row("conv", name, lambda c, v: c.conv(v, weight, shift, stride, padding, dilation, groups), oracle, rand(*x, dtype=dtype), **options)


conv_row("1d", (2, 3, 11), (4, 3, 3), [2], [(1, 1)], [1], 1)
conv_row("1d_same", (1, 3, 11), (4, 3, 4), [1], [(1, 2)], [1], 1)
conv_row("1d_groups", (1, 4, 11), (6, 2, 3), [1], [(2, 2)], [2], 2)
conv_row("2d", (2, 3, 11, 7), (5, 3, 3, 3), [2, 1], [(1, 1), (0, 0)], [1, 1], 1)
conv_row("2d_no_bias", (1, 3, 9, 7), (5, 3, 3, 1), [1, 1], [(1, 1), (0, 0)], [1, 1], 1, bias=False)
conv_row("2d_uneven", (1, 3, 9, 7), (5, 3, 3, 3), [2, 2], [(0, 1), (2, 1)], [1, 1], 1)
conv_row("2d_dilated", (1, 3, 13, 11), (5, 3, 3, 3), [1, 2], [(2, 2), (3, 3)], [2, 3], 1)
conv_row("2d_depthwise", (1, 6, 9, 7), (6, 1, 3, 3), [1, 1], [(1, 1), (1, 1)], [1, 1], 6)
conv_row("2d_multiplier", (1, 3, 9, 7), (6, 1, 3, 3), [1, 1], [(1, 1), (1, 1)], [1, 1], 3)
conv_row("2d_groups", (1, 6, 9, 7), (4, 3, 3, 3), [1, 1], [(1, 1), (1, 1)], [1, 1], 2)
conv_row("2d_pointwise", (1, 6, 5, 7), (4, 6, 1, 1), [1, 1], [(0, 0), (0, 0)], [1, 1], 1)
conv_row("2d_dynamic", (2, 3, 9, 7), (5, 3, 3, 3), [1, 1], [(1, 1), (1, 1)], [1, 1], 1, dynamic=True)
conv_row("2d_f64", (1, 3, 9, 7), (5, 3, 3, 3), [1, 1], [(1, 1), (1, 1)], [1, 1], 1, dtype=F64)
conv_row("2d_f16", (1, 16, 9, 7), (5, 16, 3, 3), [1, 1], [(1, 1), (1, 1)], [1, 1], 1, dtype=F16)
conv_row("2d_bf16", (1, 16, 9, 7), (5, 16, 3, 3), [1, 1], [(1, 1), (1, 1)], [1, 1], 1, dtype=BF16)
conv_row("3d", (1, 3, 5, 7, 6), (4, 3, 3, 2, 3), [1, 2, 1], [(1, 1), (0, 0), (1, 1)], [1, 1, 2], 1)
conv_row("3d_uneven", (1, 2, 5, 7, 6), (4, 2, 3, 2, 3), [1, 1, 1], [(1, 0), (0, 2), (1, 1)], [1, 1, 1], 1)
conv_row("3d_groups", (1, 4, 5, 7, 6), (4, 2, 3, 2, 3), [1, 2, 1], [(1, 1), (0, 0), (1, 1)], [1, 1, 1], 2)


def transposed_row(name: str, x: Sequence[int], w: Sequence[int], stride: Any, padding: Any, extra: Any, dilation: Any, groups: int, dtype: torch.dtype = F32, **options: Any) -> None:  # fmt: skip
    function = {1: F.conv_transpose1d, 2: F.conv_transpose2d, 3: F.conv_transpose3d}[len(x) - 2]
    weight, shift = rand(*w, dtype=dtype), rand(w[1] * groups, dtype=dtype)
    row(
        "conv", f"transpose_{name}", lambda c, v: c.conv_transpose(v, weight, shift, stride, padding, extra, dilation, groups),
        in_float32(lambda x: function(x, weight.to(x.dtype), shift.to(x.dtype), stride, padding, extra, groups, dilation)), rand(*x, dtype=dtype), **options,
    )  # fmt: skip


transposed_row("1d", (2, 3, 7), (3, 4, 3), [2], [1], [1], [1], 1)
transposed_row("1d_dilated", (2, 4, 7), (4, 2, 3), [2], [1], [1], [2], 2)
transposed_row("2d", (1, 3, 5, 7), (3, 4, 3, 3), [2, 2], [1, 1], [1, 0], [1, 1], 1)
transposed_row("2d_no_padding", (1, 3, 5, 7), (3, 4, 2, 2), [2, 2], [0, 0], [0, 0], [1, 1], 1)
transposed_row("2d_much_padding", (1, 3, 5, 7), (3, 4, 2, 3), [2, 1], [2, 3], [0, 0], [1, 1], 1)
transposed_row("2d_groups", (1, 4, 5, 7), (4, 3, 3, 3), [2, 1], [1, 0], [1, 0], [1, 1], 2)
transposed_row("2d_dilated", (1, 4, 5, 7), (4, 3, 3, 3), [2, 1], [1, 0], [1, 1], [2, 3], 2)
transposed_row("2d_depthwise", (1, 4, 5, 7), (4, 1, 4, 4), [2, 2], [1, 1], [0, 0], [1, 1], 4)
transposed_row("2d_dynamic", (2, 3, 5, 7), (3, 4, 3, 3), [2, 2], [1, 1], [1, 0], [1, 1], 1, dynamic=True)
transposed_row("2d_f16", (1, 16, 5, 7), (16, 4, 3, 3), [2, 2], [1, 1], [1, 0], [1, 1], 1, dtype=F16)
transposed_row("3d", (1, 3, 3, 4, 5), (3, 2, 3, 2, 3), [2, 1, 2], [1, 0, 1], [1, 0, 0], [1, 1, 1], 1)
transposed_row("3d_groups", (1, 4, 3, 4, 5), (4, 2, 3, 2, 3), [2, 1, 2], [1, 0, 1], [1, 1, 0], [1, 2, 1], 2)

# ---- pooling -----------------------------------------------------------------------------------------------------------
HOLED = rand(1, 2, 9, 7).masked_fill(rand(1, 2, 9, 7) > 1.2, NAN).masked_fill(rand(1, 2, 9, 7) < 0.3, -INF)
for name, x, kernel, stride, padding, dilation in (
    ("1d", rand(2, 3, 11), [3], [2], [1], [1]), ("1d_even", rand(2, 3, 10), [3], [3], [0], [1]),
    ("2d", rand(2, 3, 11, 8), [3, 2], [2, 2], [1, 0], [1, 1]), ("2d_dropped", rand(1, 2, 6, 5), [2, 2], [4, 3], [1, 1], [1, 1]),
    ("2d_dilated", rand(1, 2, 11, 13), [3, 3], [2, 3], [1, 1], [2, 2]), ("2d_stride_one", rand(1, 2, 7, 5), [3, 3], [1, 1], [1, 1], [1, 1]),
    ("2d_f16", rand(1, 2, 7, 5, dtype=F16), [3, 3], [2, 2], [1, 1], [1, 1]), ("2d_holed", HOLED, [2, 3], [2, 2], [1, 1], [1, 1]),
    ("3d", rand(1, 2, 5, 7, 6), [2, 3, 2], [2, 2, 3], [1, 1, 0], [1, 1, 1]),
):  # fmt: skip
    rank = len(kernel)
    for ceil in (False, True):
        function = {1: F.max_pool1d, 2: F.max_pool2d, 3: F.max_pool3d}[rank]
        row("pool", f"max_{name}_{ceil}", lambda c, x, a=(kernel, stride, padding, dilation, ceil): c.max_pool(x, *a), lambda x, f=function, a=(kernel, stride, padding, dilation, ceil): f(x, *a), x)  # fmt: skip
        for include in (False, True):
            function = {1: F.avg_pool1d, 2: F.avg_pool2d, 3: F.avg_pool3d}[rank]
            if dilation == [1] * rank and name != "2d_holed":
                row("pool", f"avg_{name}_{ceil}_{include}", lambda c, x, a=(kernel, stride, padding, ceil, include): c.avg_pool(x, *a), in_float32(lambda x, f=function, a=(kernel, stride, padding, ceil, include): f(x, *a)), x)  # fmt: skip
row("pool", "max_dynamic", lambda c, x: c.max_pool(x, [3, 3], [2, 2], [1, 1], [1, 1], True), lambda x: F.max_pool2d(x, 3, 2, 1, 1, True), rand(2, 3, 8, 9), dynamic=True)  # fmt: skip
row("pool", "avg_dynamic", lambda c, x: c.avg_pool(x, [3, 3], [2, 2], [1, 1], True, True), lambda x: F.avg_pool2d(x, 3, 2, 1, True), rand(2, 3, 8, 9), dynamic=True)  # fmt: skip
row("pool", "avg_holed", lambda c, x: c.avg_pool(x, [2, 2], [2, 2], [0, 0], False, True), lambda x: F.avg_pool2d(x, 2), HOLED)

# ---- resampling --------------------------------------------------------------------------------------------------------
def resize_row(name: str, x: torch.Tensor, mode: str, size: Any, align: bool = False, factors: Any = None, **options: Any) -> None:
    rank = x.dim() - 2
    torch_mode = {"linear": {1: "linear", 2: "bilinear", 3: "trilinear"}[rank], "cubic": "bicubic"}.get(mode, mode)
    keywords = {} if mode.startswith("nearest") else {"align_corners": align}
    scaling = {"scale_factor": factors} if factors else {"size": size}
    row(
        "resize", f"{mode}_{name}", lambda c, v: c.resize(v, size, mode, align, factors or [None] * rank),
        lambda v: F.interpolate(v, mode=torch_mode, **scaling, **keywords), x, **options,
    )  # fmt: skip


for mode in ("nearest", "nearest-exact", "linear"):
    resize_row("1d", rand(2, 3, 7), mode, [17])
    resize_row("2d_up", rand(2, 3, 5, 7), mode, [11, 14])
    resize_row("2d_down", rand(2, 3, 11, 13), mode, [4, 6])
    resize_row("3d", rand(1, 2, 3, 4, 5), mode, [5, 3, 11])
    resize_row("factor", rand(1, 2, 7, 5), mode, [16, 8], factors=[2.3, 1.7])
    resize_row("f64", rand(1, 2, 7, 5, dtype=F64), mode, [9, 13])
    resize_row("dynamic", rand(2, 2, 7, 5), mode, [9, 13], dynamic=True)
for mode in ("linear", "cubic"):
    resize_row("align", rand(1, 2, 5, 7), mode, [11, 1], align=True)
    resize_row("align_down", rand(1, 2, 11, 7), mode, [4, 7], align=True)
resize_row("align_3d", rand(1, 2, 3, 4, 5), "linear", [5, 3, 11], align=True)
resize_row("2d_up", rand(2, 3, 5, 7), "cubic", [11, 14], atol=1e-5)
resize_row("2d_down", rand(2, 3, 11, 13), "cubic", [4, 6], atol=1e-5)
resize_row("factor", rand(1, 2, 7, 5), "cubic", [16, 8], factors=[2.3, 1.7], atol=1e-5)
resize_row("u8", rand(1, 2, 7, 5, dtype=U8), "nearest", [9, 13])
resize_row("f16", rand(1, 2, 7, 5, dtype=F16), "nearest", [9, 13])
resize_row("f16", rand(1, 2, 7, 5, dtype=F16), "linear", [9, 13])
for mode in ("nearest", "linear"):
    row("resize", f"{mode}_by_shape", lambda c, x, m=mode: c.resize(x, [c.shape(x)[0] * 3, 5], m, False, [None, None]), lambda x, m=mode: F.interpolate(x, (6, 5), mode={"linear": "bilinear"}.get(m, m)), rand(2, 3, 4, 5), dynamic=True)  # fmt: skip
GRID = torch.cat([rand(2, 4, 5, 2, scale=0.8), torch.tensor([-1.0, 1.0, 0.0, -1.5, 3.0, -2.7, 1.01, -0.99, 5.3, 100.0]).reshape(1, 1, 5, 2).expand(2, 1, 5, 2)], 1)  # fmt: skip
for align in (False, True):
    for padding in ("zeros", "border", "reflection"):
        for mode in ("bilinear", "nearest", "bicubic"):
            row("resize", f"grid_{mode}_{padding}_{align}", lambda c, x, g, a=(mode, padding, align): c.grid_sample(x, g, *a), lambda x, g, a=(mode, padding, align): F.grid_sample(x, g, *a), rand(2, 3, 6, 7), GRID, atol=2e-5)  # fmt: skip
        row("resize", f"grid_3d_{padding}_{align}", lambda c, x, g, a=("bilinear", padding, align): c.grid_sample(x, g, *a), lambda x, g, a=("bilinear", padding, align): F.grid_sample(x, g, *a), rand(1, 2, 3, 4, 5), rand(1, 2, 3, 4, 3, scale=0.9), atol=1e-5)  # fmt: skip

# ---- normalisation -----------------------------------------------------------------------------------------------------
SHIFTED = rand(3, 5, 8) + 100
SCALE, SHIFT = rand(8), rand(8) + 1
row("norm", "softmax", lambda c, x: c.softmax(x, 1), lambda x: x.softmax(1), rand(3, 5, 8, scale=5))
row("norm", "softmax_big", lambda c, x: c.softmax(x, 2), lambda x: x.softmax(2), rand(3, 5, 8, scale=200))
row("norm", "softmax_special", lambda c, x: c.softmax(x, 1), lambda x: x.softmax(1), BAD)
row("norm", "softmax_f16", lambda c, x: c.softmax(x, 1), in_float32(lambda x: x.softmax(1)), rand(3, 51, dtype=F16, scale=5))
row("norm", "softmax_bf16", lambda c, x: c.softmax(x, 1), in_float32(lambda x: x.softmax(1)), rand(3, 51, dtype=BF16, scale=5))
row("norm", "softmax_dynamic", lambda c, x: c.softmax(x, 1), lambda x: x.softmax(1), rand(3, 5, 8), dynamic=True)
row("norm", "layer", lambda c, x: c.layer_norm(x, [2], SCALE, SHIFT, 1e-5), lambda x: F.layer_norm(x, (8,), SCALE, SHIFT), rand(3, 5, 8))
row("norm", "layer_shifted", lambda c, x: c.layer_norm(x, [2], SCALE, SHIFT, 1e-5), lambda x: F.layer_norm(x.double(), (8,), SCALE.double(), SHIFT.double()).float(), SHIFTED, atol=3e-5)  # fmt: skip
row("norm", "layer_plain", lambda c, x: c.layer_norm(x, [1, 2], None, None, 1e-3), lambda x: F.layer_norm(x, (5, 8), eps=1e-3), rand(3, 5, 8))
row("norm", "layer_weight", lambda c, x: c.layer_norm(x, [2], SCALE, None, 1e-5), lambda x: F.layer_norm(x, (8,), SCALE), rand(3, 5, 8))
row("norm", "layer_f16", lambda c, x: c.layer_norm(x, [1], None, None, 1e-5), in_float32(lambda x: F.layer_norm(x, (33,))), rand(3, 33, dtype=F16))
row("norm", "layer_bf16", lambda c, x: c.layer_norm(x, [2], SCALE.bfloat16(), SHIFT.bfloat16(), 1e-5), in_float32(lambda x: F.layer_norm(x, (8,), SCALE.bfloat16().float(), SHIFT.bfloat16().float())), rand(3, 5, 8, dtype=BF16))  # fmt: skip
row("norm", "layer_dynamic", lambda c, x: c.layer_norm(x, [2], SCALE, SHIFT, 1e-5), lambda x: F.layer_norm(x, (8,), SCALE, SHIFT), rand(3, 5, 8), dynamic=True)
row("norm", "group", lambda c, x: c.group_norm(x, 4, SCALE, SHIFT, 1e-5), lambda x: F.group_norm(x, 4, SCALE, SHIFT), rand(2, 8, 5, 3))
row("norm", "group_1", lambda c, x: c.group_norm(x, 1, SCALE, None, 1e-5), lambda x: F.group_norm(x, 1, SCALE), rand(2, 8, 5))
row("norm", "instance", lambda c, x: c.group_norm(x, 8, None, SHIFT, 1e-5), lambda x: F.instance_norm(x, bias=SHIFT), rand(2, 8, 5, 3, 2))
row("norm", "group_flat", lambda c, x: c.group_norm(x, 4, SCALE, SHIFT, 1e-5), lambda x: F.group_norm(x, 4, SCALE, SHIFT), rand(3, 8))
row("norm", "group_f16", lambda c, x: c.group_norm(x, 4, SCALE.half(), SHIFT.half(), 1e-5), in_float32(lambda x: F.group_norm(x, 4, SCALE.half().float(), SHIFT.half().float())), rand(2, 8, 5, 3, dtype=F16))  # fmt: skip
row("norm", "group_dynamic", lambda c, x: c.group_norm(x, 4, SCALE, SHIFT, 1e-5), lambda x: F.group_norm(x, 4, SCALE, SHIFT), rand(2, 8, 5, 3), dynamic=True)

Q, K, V = rand(2, 3, 5, 8), rand(2, 3, 7, 8, scale=2), rand(2, 3, 7, 4)
KEEP = rand(5, 7, dtype=BOOL)
KEEP[2] = False
for name, mask, causal in (("plain", None, False), ("causal", None, True), ("added", rand(2, 1, 5, 7), False), ("bool", KEEP, False)):
    row("norm", f"attention_{name}", lambda c, q, k, v, m=mask, z=causal: c.attention(q, k, v, m, z, 0.3), lambda q, k, v, m=mask, z=causal: F.scaled_dot_product_attention(q, k, v, m, is_causal=z, scale=0.3), Q, K, V)  # fmt: skip
    row("norm", f"attention_{name}_dynamic", lambda c, q, m=mask, z=causal: c.attention(q, q, q, None, z, 0.3), lambda q, m=mask, z=causal: F.scaled_dot_product_attention(q, q, q, is_causal=z, scale=0.3), Q, dynamic=True)  # fmt: skip
row("norm", "attention_f16", lambda c, q, k, v: c.attention(q, k, v, None, False, 0.3), in_float32(lambda q, k, v: F.scaled_dot_product_attention(q, k, v, scale=0.3)), Q.half(), K.half(), V.half())  # fmt: skip


@pytest.mark.parametrize("case", ROWS, ids=lambda case: case.name)
def test_row(case: Row) -> None:
    results = group_results(case.group)
    check(case, results[case.name] if case.name in results else run_rows([case])[case.name])
