"""Resizing and grid sampling as TE, with PyTorch's coordinate rules."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np

from . import tvm_te as T
from .tvm_names import te, tirx

Expr = Any
RESIZE = ("nearest", "nearest-exact", "linear", "cubic")
CUBIC = -0.75


def _working_dtype(x: te.Tensor) -> str:
    return "float64" if T.dtype_name(x) == "float64" else "float32"


def _scale(size_in: Any, size_out: Any, factor: float | None, align: bool, dtype: str) -> Expr:
    """Input steps per output step."""
    known = all(isinstance(d, (int, tirx.IntImm)) for d in (size_in, size_out))
    number = np.dtype(dtype).type
    if not align and factor:
        return tirx.const(float(number(1.0 / factor)), dtype)
    if not known:
        size_in, size_out = (
            tirx.const(d, "int64") if isinstance(d, int) else d for d in (size_in, size_out)
        )
        last = (size_in - 1, size_out - 1) if align else (size_in, size_out)
        ratio = last[0].astype(dtype) / last[1].astype(dtype)
        return tirx.Select(size_out > 1, ratio, tirx.const(0, dtype)) if align else ratio
    size_in, size_out = int(size_in), int(size_out)
    if align:
        return tirx.const(
            float(number(size_in - 1) / number(size_out - 1)) if size_out > 1 else 0.0, dtype
        )
    return tirx.const(float(number(size_in) / number(size_out)), dtype)


def _clamp(i: Expr, size: Any) -> Expr:
    return tirx.max(tirx.min(i, size - 1), tirx.const(0, "int64"))


def cubic_weights(t: Expr) -> list[Expr]:
    """Weights of the four neighbours of a point that lies `t` behind the second."""

    def c(v: float) -> Expr:
        return T.const(v, t)

    def near(d: Expr) -> Expr:
        return ((c(CUBIC + 2) * d - c(CUBIC + 3)) * d) * d + c(1)

    def far(d: Expr) -> Expr:
        return ((c(CUBIC) * d - c(5 * CUBIC)) * d + c(8 * CUBIC)) * d - c(4 * CUBIC)

    rest = c(1) - t
    return [far(t + c(1)), near(t), near(rest), far(rest + c(1))]


def _taps(
    i: Expr, size: Any, scale: Expr, mode: str, align: bool
) -> list[tuple[Expr, Expr | None]]:
    """Input positions and weights for the output position `i` along one axis."""
    dtype = T.dtype_name(scale)
    half, zero = tirx.const(0.5, dtype), tirx.const(0, dtype)
    at = i.astype(dtype)
    if mode.startswith("nearest"):
        source = at * scale if mode == "nearest" else (at + half) * scale
        return [(_clamp(tirx.floor(source).astype("int64"), size), None)]
    source = at * scale if align else (at + half) * scale - half
    if mode == "linear":
        source = source if align else tirx.max(source, zero)
        low = _clamp(source.astype("int64"), size)
        weight = tirx.max(tirx.min(source - low.astype(dtype), tirx.const(1, dtype)), zero)
        high = tirx.min(low + 1, size - 1)
        return [(low, tirx.const(1, dtype) - weight), (high, weight)]
    floor = tirx.floor(source)
    low = floor.astype("int64")
    weights = cubic_weights(source - floor)
    return [(_clamp(low + k - 1, size), weights[k]) for k in range(4)]


def _blend(
    taps: Sequence[Sequence[tuple[Expr, Expr | None]]], read: Any, chosen: tuple[Expr, ...] = ()
) -> Expr:
    """The weighted sum over all combinations of taps, innermost axis first."""
    if not taps:
        return read(*chosen)
    total = None
    for position, weight in taps[0]:
        part = _blend(taps[1:], read, (*chosen, position))
        part = part if weight is None else part * weight
        total = part if total is None else total + part
    return total


def _tables(
    shape: Sequence[Any], taps: Callable[..., list[Any]], label: str
) -> list[tuple[te.Tensor, te.Tensor | None]]:
    """The taps of one axis, computed once into tensors of `shape`, not anew for each element."""
    count = len(taps(*[tirx.const(0, "int64") for _ in shape]))

    def table(tap: int, part: int) -> te.Tensor:
        return te.compute(
            shape, lambda *i: taps(*i)[tap][part], name=f"{label}_{('at', 'weight')[part]}{tap}"
        )

    weighted = taps(*[tirx.const(0, "int64") for _ in shape])[0][1] is not None
    return [(table(tap, 0), table(tap, 1) if weighted else None) for tap in range(count)]


def _look_up(
    tables: Sequence[tuple[te.Tensor, te.Tensor | None]], index: Sequence[Expr]
) -> list[tuple[Expr, Any]]:
    return [(at(*index), None if weight is None else weight(*index)) for at, weight in tables]


def resize(
    x: te.Tensor, size: Sequence[Any], mode: str, align: bool, factors: Sequence[float | None]
) -> te.Tensor:
    """[N, C, *spatial] to [N, C, *size]."""
    dtype, stored = _working_dtype(x), T.dtype_name(x)
    tables = []
    for axis, (size_in, size_out, factor) in enumerate(zip(x.shape[2:], size, factors)):
        scale = _scale(size_in, size_out, factor, align, dtype)
        taps = partial(_taps, size=size_in, scale=scale, mode=mode, align=align)
        tables.append(_tables([size_out], taps, f"axis{axis}"))

    def compute(n: Expr, c: Expr, *index: Expr) -> Expr:
        taps = [_look_up(table, [i]) for table, i in zip(tables, index)]
        if mode.startswith("nearest"):
            return _blend(taps, lambda *at: x(n, c, *at))
        return _blend(taps, lambda *at: x(n, c, *at).astype(dtype)).astype(stored)

    return te.compute([*x.shape[:2], *size], compute, name="resize")


# ---- grid sample ---------------------------------------------------------------------------------
# The rules are those of PyTorch on the CPU, whose code for images differs from that for volumes in
# rounding and in what becomes of NaN and infinity.
class _Image:
    """The coordinates along one axis of an image."""

    def __init__(self, size: Any, align: bool, dtype: str):
        self.extent, self.align = size.astype(dtype), align
        self.zero, self.one = tirx.const(0, dtype), tirx.const(1, dtype)
        self.half, self.two = tirx.const(0.5, dtype), tirx.const(2, dtype)

    def position(self, x: Expr) -> Expr:
        """The place among the elements of the coordinate `x`, which is 1 at the end."""
        if self.align:
            return (x + self.one) * ((self.extent - self.one) * self.half)
        return (x + self.one) * (self.extent * self.half) - self.half

    def reflected(self, x: Expr) -> Expr:
        low = self.zero if self.align else self.zero - self.half
        period = self.two * (self.extent - self.one if self.align else self.extent)
        safe = tirx.Select(period > self.zero, period, self.one)
        distance = tirx.abs(x - low)
        extra = distance - tirx.floor(distance / safe) * safe
        return tirx.Select(period > self.zero, tirx.min(extra, safe - extra) + low, self.zero)

    def clipped(self, x: Expr) -> Expr:
        """NaN is the first element."""
        return tirx.Select(x > self.zero, tirx.min(x, self.extent - self.one), self.zero)

    def outside(self, x: Expr) -> Expr:
        """What is interpolated where outside is zero: no number where `x` is not finite."""
        return x

    def place(self, x: Expr, padding: str) -> Expr:
        """A position after the padding rule; with "zeros" it may still lie outside."""
        if padding == "zeros":
            return self.outside(x)
        return self.clipped(self.reflected(x) if padding == "reflection" else x)

    def index(self, x: Expr) -> Expr:
        """A whole position as an integer; far outside stays outside, and so is NaN."""
        four = self.two + self.two
        near = tirx.min(x, self.extent + self.two)
        return tirx.Select(x > self.zero - four, near, self.zero - four).astype("int64")


class _Volume(_Image):
    """The coordinates along one axis of a volume."""

    def position(self, x: Expr) -> Expr:
        if self.align:
            return (x + self.one) / self.two * (self.extent - self.one)
        return ((x + self.one) * self.extent - self.one) / self.two

    def reflected(self, x: Expr) -> Expr:
        low = self.zero if self.align else self.zero - self.half
        span = self.extent - self.one if self.align else self.extent
        safe = tirx.Select(span > self.zero, span, self.one)
        distance = tirx.abs(x - low)
        flips, extra = tirx.floor(distance / safe), tirx.truncmod(distance, safe)
        odd = tirx.all(
            tirx.truncmod(flips, self.two) > self.half,
            flips < tirx.const(2.0**31, T.dtype_name(x)),
        )
        result = tirx.Select(odd, span - extra + low, extra + low)
        return tirx.Select(span > self.zero, result, self.zero)

    def clipped(self, x: Expr) -> Expr:
        """NaN is the last element."""
        last = self.extent - self.one
        return tirx.Select(x <= self.zero, self.zero, tirx.Select(x < last, x, last))

    def outside(self, x: Expr) -> Expr:
        return tirx.Select(
            tirx.abs(x) < tirx.const(2.0**31, T.dtype_name(x)), x, self.zero - self.two
        )


def _grid_taps(x: Expr, axis: _Image, mode: str, padding: str) -> list[tuple[Expr, Expr | None]]:
    position = axis.position(x)
    if mode == "bicubic":
        floor = tirx.floor(position)
        places = [floor + tirx.const(k - 1, T.dtype_name(x)) for k in range(4)]
        inside = [axis.index(axis.place(p, padding)) for p in places]
        return list(zip(inside, cubic_weights(position - floor)))
    position = axis.place(position, padding)
    if mode == "nearest":
        return [(axis.index(tirx.nearbyint(position)), None)]
    floor = tirx.floor(position)
    low, weight = axis.index(floor), position - floor
    return [(low, T.const(1, weight) - weight), (low + 1, weight)]


def grid_sample(x: te.Tensor, grid: te.Tensor, mode: str, padding: str, align: bool) -> te.Tensor:
    """[N, C, *spatial] sampled at [N, *size, rank]; the last coordinate is of the first axis."""
    dtype, stored = _working_dtype(x), T.dtype_name(x)
    rank = len(x.shape) - 2
    rules = _Image if rank == 2 else _Volume

    def taps(*index: Expr, axis: int) -> list[tuple[Expr, Expr | None]]:
        coordinate = grid(*index, rank - 1 - axis).astype(dtype)
        return _grid_taps(coordinate, rules(x.shape[2 + axis], align, dtype), mode, padding)

    places = grid.shape[:-1]
    tables = [_tables(places, partial(taps, axis=axis), f"axis{axis}") for axis in range(rank)]

    def compute(n: Expr, c: Expr, *index: Expr) -> Expr:
        found = [_look_up(table, (n, *index)) for table in tables]
        return _blend(found, lambda *at: _or_zero(x, (n, c, *at), dtype)).astype(stored)

    return te.compute([*x.shape[:2], *grid.shape[1:-1]], compute, name="grid_sample")


def _or_zero(x: te.Tensor, index: Sequence[Expr], dtype: str) -> Expr:
    """An element of `x` [N, C, *spatial], 0 where `index` lies outside the image."""
    bounds = [(i >= 0, i < d) for i, d in zip(index[2:], x.shape[2:])]
    inside = tirx.all(*itertools.chain(*bounds))
    return tirx.if_then_else(inside, x(*index).astype(dtype), tirx.const(0, dtype))
