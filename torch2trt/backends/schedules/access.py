"""How a stage reads its operands.

What runs along memory, what may run as one loop, and what is chosen by ranges.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import tvm
from tvm import sym, tirx

from .stages import Stage, follows, is_load, substitute
from .tir import INDEX, const, is_choice, load, nodes, ramp, rewrite, store

_MOST_PIECES = 80  # ranges of an axis that get a loop of their own


def plain_update(stage: Stage) -> bool:
    """Whether the update combines the buffer itself with one new value.

    Then it can be done in parts that are combined later.
    """
    value = stage.value
    if type(value) not in (tirx.Add, tirx.Max, tirx.Min, tirx.Mul):
        return False
    own = [is_load(side) and side.source.same_as(stage.buffer) for side in (value.a, value.b)]
    mine = sum(is_load(n) and n.source.same_as(stage.buffer) for n in nodes(value))
    return sum(own) == 1 and mine == 1


def in_vectors(stage: Stage) -> bool:
    """Whether the loops of the stage are written with vectors."""
    return not stage.reduce or (stage.value.ty.dtype == "float32" and plain_update(stage))


def folded(stage: Stage, acc: Any, size: int) -> list[Any]:
    """Statements that combine the `size` partial results in `acc` into its first element."""
    combine, result = type(stage.value), []
    lanes = size
    while lanes > 1:
        lanes //= 2
        low, high = load(acc, [ramp(0, lanes)]), load(acc, [ramp(lanes, lanes)])
        result.append(store(acc, [ramp(0, lanes)], combine(low, high)))
    return result


def _step(index: Any, axis: Any) -> Any:
    """By how much `index` grows when `axis` grows by one; None where that is not constant."""
    moved = substitute(index, {axis: axis + 1})
    difference = sym.Analyzer().simplify(moved - index)
    return int(difference) if isinstance(difference, tirx.IntImm) else None


def _reads_along(stage: Stage, axis: Any) -> bool:
    return any(
        node.indices and _uses(node.indices[-1], axis) and _step(node.indices[-1], axis) == 1
        for node in stage.loads()
    )


def _uses(expr: Any, axis: Any) -> bool:
    return any(isinstance(n, tirx.Var) and n.same_as(axis) for n in nodes(expr))


def contiguous_reduction(stage: Stage, drop: int) -> bool:
    """Whether the last reduction axis runs along memory.

    The last axis behind the first `drop` must not do so.
    """
    if not _reads_along(stage, stage.reduce[-1]):
        return False
    free = stage.axes[drop:]
    return not free or not _reads_along(stage, free[-1])


def transposed_axis(stage: Stage, drop: int, split: int) -> int | None:
    """The axis along which some read is contiguous while the last axis is not."""
    if split != len(stage.axes) - 1 or not stage.loads():
        return None
    if all(_reads_along(stage, stage.axes[-1]) or not n.indices for n in stage.loads()):
        return None
    for axis in range(drop, split):
        if stage.extents[axis] > 1 and _reads_along(stage, stage.axes[axis]):
            return axis
    return None


def flat_from(stage: Stage, drop: int) -> int:
    """The first axis from which on all axes can run as one.

    Every read follows all of them, or none.
    """
    last = len(stage.axes) - 1
    split = max(last, drop)
    if drop > last:
        return len(stage.axes)
    while split > drop and all(_follows(n, stage, split - 1) for n in stage.loads()):
        split -= 1
    bare = [n for n in nodes(_without_loads(stage.value)) if isinstance(n, tirx.Var)]
    while any(n.same_as(a) for n in bare for a in stage.axes[split:]) and split < last:
        split += 1
    return split


def pieces(stage: Stage) -> list[tuple[int, int, Any]]:
    """The ranges of the last axis in which all choices by it alone are the same.

    Each range comes with the value in it.
    """
    axis, extent = stage.axes[-1], stage.extents[-1]
    cuts = {0, extent}
    for node in nodes(stage.value):
        if type(node) in (tirx.LT, tirx.LE, tirx.GT, tirx.GE):
            cuts.update(c for c in _cuts(node, axis) if 0 < c < extent)
    ordered = sorted(cuts)
    if len(ordered) < 3 or len(ordered) > _MOST_PIECES:
        return [(0, extent, stage.value)]
    return list(_split(stage.value, axis, ordered))


def _split(value: Any, axis: Any, cuts: Sequence[int]) -> Iterator[tuple[int, int, Any]]:
    """The ranges between `cuts` with the value in each.

    Halving keeps the work for long chains of choices low.
    """
    low, high = cuts[0], cuts[-1]
    value = _chosen(value, axis, low, high)
    if len(cuts) == 2:
        yield low, high, value
        return
    middle = len(cuts) // 2
    yield from _split(value, axis, cuts[: middle + 1])
    yield from _split(value, axis, cuts[middle:])


def _cuts(node: Any, axis: Any) -> list[int]:
    """Where a comparison of `axis` plus a constant with a constant changes its answer."""
    found = [n for n in nodes(node) if isinstance(n, tirx.Var)]
    if len(found) != 1 or not found[0].same_as(axis) or _step(node.a - node.b, axis) is None:
        return []
    slope = _step(node.a - node.b, axis)
    origin = sym.Analyzer().simplify(substitute(node.a - node.b, {axis: const(0, INDEX)}))
    if slope not in (1, -1) or not isinstance(origin, tirx.IntImm):
        return []
    behind = type(node) in ((tirx.LE, tirx.GT) if slope == 1 else (tirx.LT, tirx.GE))
    return [-slope * int(origin) + behind]


def _chosen(value: Any, axis: Any, low: int, high: int) -> Any:
    """`value` with the choices decided that are the same for every `axis` in [low, high)."""
    analyzer = sym.Analyzer()
    analyzer.bind(axis, tvm.ir.Range(low, high))

    def change(node: Any) -> Any:
        if not is_choice(node):
            return None
        condition = analyzer.simplify(node.args[0])
        if isinstance(condition, tirx.IntImm):
            return rewrite(node.args[1 if int(condition) else 2], change)
        parts = [rewrite(a, change) for a in node.args[1:]]
        return tirx.if_then_else(condition, *parts)

    return rewrite(value, change)


def _without_loads(value: Any) -> Any:
    return rewrite(value, lambda n: const(0, n.ty.dtype) if is_load(n) else None)


def _follows(node: Any, stage: Stage, split: int) -> bool:
    axes = stage.axes[split:]
    count = len(axes)
    if not any(_uses(i, a) for i in node.indices for a in axes):
        return True
    tail = list(node.indices)[-count:]
    if len(tail) < count or any(_uses(i, a) for i in node.indices[:-count] for a in axes):
        return False
    same = follows(tail, axes, stage.extents[split:])
    shape = [int(d) for d in node.source.ty.shape[-count:]]
    return same and shape == list(stage.extents[split:])
