"""Reductions, scans and sorting."""

from __future__ import annotations

import torch

from .harness import BAD, BF16, BOOL, F16, F32, F64, I32, I64, INF, NAN, U8, rand, row

for name in ("sum", "prod", "mean", "max", "min"):
    oracle = {"max": torch.amax, "min": torch.amin}.get(name, getattr(torch, name))
    emit = lambda c, x, name=name: c.reduce(name, x, [1], False)  # noqa: E731
    row("reduce", name, emit, lambda x, f=oracle: f(x, 1), rand(5, 7, 3))
    row("reduce", f"{name}_f64", emit, lambda x, f=oracle: f(x, 1), rand(5, 7, 3, dtype=F64))
    row("reduce", f"{name}_f16", emit, lambda x, f=oracle: f(x, 1), rand(5, 101, dtype=F16))
    row("reduce", f"{name}_bf16", emit, lambda x, f=oracle: f(x, 1), rand(5, 101, dtype=BF16))
    row("reduce", f"{name}_special", emit, lambda x, f=oracle: f(x, 1), BAD)
    row("reduce", f"{name}_dynamic", emit, lambda x, f=oracle: f(x, 1), rand(5, 7, 3), dynamic=True)
    if name in ("max", "min"):
        row("reduce", f"{name}_special_f16", emit, lambda x, f=oracle: f(x, 1), BAD.half())
        row("reduce", f"{name}_special_bf16", emit, lambda x, f=oracle: f(x, 1), BAD.bfloat16())
    if name != "prod":
        row(
            "reduce",
            f"{name}_keepdim",
            lambda c, x, name=name: c.reduce(name, x, [0, 2], True),
            lambda x, f=oracle: f(x, (0, 2), keepdim=True),
            rand(5, 7, 3),
        )
        row(
            "reduce",
            f"{name}_all",
            lambda c, x, name=name: c.reduce(name, x, [0, 1], False),
            lambda x, f=oracle: f(x, (0, 1)),
            rand(5, 7),
        )
    if name != "mean":
        row("reduce", f"{name}_i64", emit, lambda x, f=oracle: f(x, 1), rand(5, 7, dtype=I64))
    if name not in ("max", "min"):
        row("reduce", f"{name}_empty", emit, lambda x, f=oracle: f(x, 1), torch.zeros(3, 0, 2))
row("reduce", "any", lambda c, x: c.reduce("any", x, [1], False), lambda x: x.any(1),
    rand(6, 2, dtype=BOOL))
row(
    "reduce",
    "all",
    lambda c, x: c.reduce("all", x, [0, 1], True),
    lambda x: x.all().reshape(1, 1),
    rand(6, 2, dtype=BOOL),
)
for name in ("max", "min"):
    oracle = getattr(torch, f"arg{name}")
    row(
        "reduce",
        f"arg{name}",
        lambda c, x, name=name: c.arg_reduce(name, x, 1, False),
        lambda x, f=oracle: f(x, 1),
        rand(5, 11, 3),
    )
    row(
        "reduce",
        f"arg{name}_nan",
        lambda c, x, name=name: c.arg_reduce(name, x, 1, True),
        lambda x, f=oracle: f(x, 1, keepdim=True),
        BAD,
    )
    ties = torch.tensor([[3, 1, 3, 1], [2, 2, 2, 2]])
    row(
        "reduce",
        f"arg{name}_ties",
        lambda c, x, name=name: c.arg_reduce(name, x, 1, False),
        lambda x, f=oracle: f(x, 1),
        ties,
    )
    row(
        "reduce",
        f"arg{name}_f16",
        lambda c, x, name=name: c.arg_reduce(name, x, 0, False),
        lambda x, f=oracle: f(x, 0),
        rand(13, 2, dtype=F16),
    )
    row(
        "reduce",
        f"arg{name}_dynamic",
        lambda c, x, name=name: c.arg_reduce(name, x, 1, False),
        lambda x, f=oracle: f(x, 1),
        rand(5, 11),
        dynamic=True,
    )
for name in ("sum", "prod", "max", "min"):
    scan = {"max": lambda x, d: x.cummax(d)[0], "min": lambda x, d: x.cummin(d)[0]}.get(
        name, getattr(torch, f"cum{name}")
    )
    for dtype in (F32, I64, F16):
        values = rand(3, 11, 2, dtype=dtype, scale=0.7)
        row(
            "scan",
            f"{name}_{dtype}",
            lambda c, x, name=name: c.cumulative(name, x, 1),
            lambda x, f=scan: f(x, 1),
            values,
        )
    row("scan", f"{name}_nan", lambda c, x, name=name: c.cumulative(name, x, 1),
        lambda x, f=scan: f(x, 1), BAD)
    row(
        "scan", f"{name}_empty", lambda c, x, name=name: c.cumulative(name, x, 1),
        lambda x, f=scan: f(x, 1), rand(3, 0)
    )
UNSORTED = torch.tensor([[NAN, 1, 3, -0.0, 0.0, 3, INF], [-INF, NAN, NAN, INF, 2, 2, -5]])
for descending in (False, True):
    emit = lambda c, x, d=descending: c.sort(x, 1, d)  # noqa: E731
    oracle = lambda x, d=descending: torch.sort(x, dim=1, descending=d, stable=True)  # noqa: E731
    for name, values in {
        "f32": UNSORTED,
        "f64": UNSORTED.double(),
        "f16": UNSORTED.half(),
        "i64": rand(3, 30, 2, dtype=I64),
        "i32": rand(3, 30, dtype=I32),
        "bool": rand(3, 9, dtype=BOOL),
        "u8": rand(3, 9, dtype=U8),
        "empty": rand(2, 0),
    }.items():
        row("sort", f"{name}_{descending}", emit, oracle, values)
    order = torch.randperm(31, generator=torch.Generator().manual_seed(0))
    distinct = torch.linspace(-3, 3, 31)[order].reshape(1, 31)
    row(
        "sort",
        f"topk_{descending}",
        lambda c, x, d=descending: c.topk(x, 5, 1, d),
        lambda x, d=descending: x.topk(5, 1, d),
        distinct,
    )
    row(
        "sort",
        f"topk_dynamic_{descending}",
        lambda c, x, d=descending: c.topk(x, 5, 1, d),
        lambda x, d=descending: x.topk(5, 1, d),
        distinct,
        dynamic=True,
    )
