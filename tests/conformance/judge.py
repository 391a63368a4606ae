"""Is an output what PyTorch computes? By the tolerances that the operator database states."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch.testing._internal.common_device_type import precisionOverride, toleranceOverride

_DEFAULTS = {
    torch.float64: (1e-7, 1e-7), torch.float32: (1.3e-6, 1e-5), torch.float16: (1e-3, 1e-5),
    torch.bfloat16: (1.6e-2, 1e-5),
}  # fmt: skip


def tolerances(op: Any, dtype: torch.dtype) -> tuple[float, float]:
    """(rtol, atol): PyTorch's defaults for the dtype, or what the database allows this operator."""
    rtol, atol = _DEFAULTS.get(dtype, (0.0, 0.0))
    for decorator in op.decorators:
        for override in getattr(decorator, "decorators", [decorator]):
            if isinstance(override, toleranceOverride) and dtype in override.d:
                allowed = override.d[dtype]
                rtol, atol = max(rtol, allowed.rtol), max(atol, allowed.atol)
            elif isinstance(override, precisionOverride) and dtype in override.d:
                atol = max(atol, override.d[dtype])
    return rtol, atol


def difference(
    got: Sequence[torch.Tensor],
    expected: Sequence[torch.Tensor],
    precise: Sequence[torch.Tensor],
    op: Any,
    source: torch.Tensor | None = None,
) -> str:
    """What is wrong with `got`, empty if nothing.

    Args:
        expected: PyTorch's outputs.
        precise: the same in float64; an output is also right where it is as near to these as
            PyTorch's own output.
        source: what was sorted, for operators whose order of equal values is not determined.
    """
    if len(got) != len(expected):
        return f"got {len(got)} outputs, expected {len(expected)}"
    for index, (g, e, p) in enumerate(zip(got, expected, precise)):
        if tuple(g.shape) != tuple(e.shape) or g.dtype != e.dtype:
            got_type, expected_type = f"{g.dtype}{list(g.shape)}", f"{e.dtype}{list(e.shape)}"
            return f"output {index}: got {got_type}, expected {expected_type}"
        if source is not None and g.dtype == torch.int64 and _same_choice(g, e, source):
            continue
        rtol, atol = tolerances(op, e.dtype)
        close = torch.allclose(g, e, rtol, atol, equal_nan=True)
        if not close and not _as_near(g, e, p, rtol, atol):
            return f"output {index}: {_worst(g, e)}"
    return ""


def _same_choice(got: torch.Tensor, expected: torch.Tensor, source: torch.Tensor) -> bool:
    """Whether two index tensors choose the same values along some dimension, none of them twice."""
    if got.dim() == source.dim() - 1:
        return any(
            _same_choice(got.unsqueeze(d), expected.unsqueeze(d), source)
            for d in range(source.dim())
        )
    for dim, size in enumerate(source.shape):
        others = [n for d, n in enumerate(source.shape) if d != dim]
        same_others = others == [n for d, n in enumerate(got.shape) if d != dim]
        if got.dim() != source.dim() or not same_others or not got.numel():
            continue
        order = got.sort(dim).values
        twice = (order.diff(dim=dim) == 0).any()
        if int(order.min()) < 0 or int(order.max()) >= size or bool(twice):
            continue
        one, other = (torch.take_along_dim(source, index, dim) for index in (got, expected))
        if torch.equal(one, other):
            return True
    return False


def _as_near(
    got: torch.Tensor, expected: torch.Tensor, precise: torch.Tensor, rtol: float, atol: float
) -> bool:
    """Whether the distance from float64 is at most PyTorch's worst distance and the tolerance."""
    if not got.is_floating_point() or precise.dtype != torch.float64 or precise.shape != got.shape:
        return False
    limit = torch.finfo(got.dtype).max
    precise = precise.masked_fill(precise > limit, torch.inf)
    precise = precise.masked_fill(precise < -limit, -torch.inf)
    finite = torch.isfinite(precise) & torch.isfinite(expected)
    same = torch.eq(got.double(), expected.double()) | (got.isnan() & expected.isnan())
    if not bool((same | (finite & torch.isfinite(got))).all()):
        return False
    own, other = ((x.double() - precise)[finite].abs() for x in (expected, got))
    allowed = own.max() + atol + rtol * precise[finite].abs()
    return bool((other <= allowed).all())


def _worst(got: torch.Tensor, expected: torch.Tensor) -> str:
    if got.dtype == torch.bool:
        return f"{int((got != expected).sum())} of {got.numel()} values differ"
    apart = (got.double() - expected.double()).abs()
    apart = torch.where(got == expected, 0.0, apart)
    special = apart.isnan() & ~(got.isnan() & expected.isnan())
    worst = special.double() if bool(special.any()) else apart.nan_to_num(0.0)
    position = int(worst.argmax())
    wrong = int(((apart > 0) | special).sum())
    values = [x.reshape(-1)[position].item() for x in (got, expected)]
    return (
        f"got {values[0]:.8g}, expected {values[1]:.8g} at "
        f"{position} of {got.numel()}; {wrong} values differ"
    )
