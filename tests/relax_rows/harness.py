"""Rows of ``RelaxContext`` tests and what runs them, with TVM's default pipeline, beside PyTorch.

Rows of one family share a module, because compiling takes longer than everything else here.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

import torch
import tvm

from torch2trt.backends.relax import RelaxContext, tvm_array

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


ROWS: list[Row] = []  # filled by the modules of this package


def row(group: str, name: str, emit: Any, oracle: Any, *inputs: torch.Tensor,
        **options: Any) -> None:
    ROWS.append(Row(f"{group}-{name}", emit, oracle, inputs, group=group, **options))


def rand(*shape: int, dtype: torch.dtype = F32, scale: float = 1.0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(sum(shape) + len(shape))
    if not dtype.is_floating_point:
        return torch.randint(
            0 if dtype in (U8, BOOL) else -20, 2 if dtype == BOOL else 20, shape,
            generator=generator
        ).to(dtype)
    return (torch.randn(shape, generator=generator, dtype=F64) * scale).to(dtype)


def to_torch(value: Any) -> torch.Tensor:
    if str(value.dtype) == "bfloat16":
        return torch.from_dlpack(value).clone()
    return torch.from_numpy(value.numpy().copy())


def compile_and_run(
    context: RelaxContext, outputs: Sequence[Any], inputs: Sequence[torch.Tensor]
) -> list[torch.Tensor]:
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
    """All rows of a family from one module, none where it does not build: then each has its own."""
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
            assert torch.equal(torch.signbit(a)[number],
                               torch.signbit(b)[number]), "the sign of a zero differs"


def in_float32(function: Callable[..., torch.Tensor]) -> Callable[..., torch.Tensor]:
    """The oracle of half precision: computed in float32 and rounded once."""
    return lambda *xs: function(*[x.float() if x.dtype in (F16, BF16) else x
                                  for x in xs]).to(xs[0].dtype)


BAD = torch.tensor([[NAN, 1, 3], [2, NAN, -1], [5, 4, NAN], [-INF, -INF, -INF], [INF, INF, INF],
                    [1, 2, 3]])
WEIGHT = rand(3, 1)
