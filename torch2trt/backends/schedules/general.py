"""The rule that serves every function: parallel over the outer loops, vectors along the inner one.

Stages that share their leading loops and hand each other rows (softmax, normalisation) run row by row, with the
rows between them in a buffer of the thread. The last vector of a row that does not divide by the vector width overlaps the
one before: it writes the same values again, so no scalar remainder is needed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from math import prod
from typing import Any

import tvm
from tvm import sym, tirx

from .stages import Program, Stage, follows, is_load, reads, substitute
from .target import Cpu
from .tir import (
    INDEX,
    PARALLEL,
    VECTORIZED,
    broadcast,
    buffer,
    const,
    load,
    loop,
    loops,
    nodes,
    ramp,
    rewrite,
    seq,
    store,
    unravel,
)

_PARALLEL_WORK = 16384  # element operations below which starting the other threads costs more than it saves
_MOST_PIECES = 80  # ranges of an axis that get a loop of their own
_ROW_BYTES = 64 * 1024  # largest row that is kept in a thread's own buffer


@dataclass
class Emitter:
    """Writes the loops of stages; `rows` maps a buffer to its row buffer and the number of its leading indices to drop."""

    cpu: Cpu
    rows: dict[Any, tuple[Any, int]] = field(default_factory=dict)

    def value(self, stage: Stage, expr: Any, binding: dict[Any, Any], own: Any = None) -> Any:
        """`expr` of `stage` with its axes bound; reads of its own buffer become `own`."""

        def change(node: Any) -> Any:
            if not is_load(node):
                return None
            if own is not None and node.source.same_as(stage.buffer):
                return own
            if node.source in self.rows:
                row, drop = self.rows[node.source]
                kept = [substitute(i, binding) for i in node.indices[drop:]]
                return load(row, kept or [0])
            return None

        return substitute(expr, binding, change)

    def store(self, stage: Stage, indices: Sequence[Any], value: Any) -> Any:
        """The store of `value` to the buffer of `stage`, or to its row buffer."""
        if stage.buffer in self.rows:
            row, drop = self.rows[stage.buffer]
            return store(row, list(indices[drop:]) or [0], value)
        return store(stage.buffer, indices, value)

    def grid(self, extents: Sequence[int], body: Callable[[list[Any]], Any], parallel: bool) -> Any:
        """Loops over `extents`; as many of the outer ones as feed all cores run in parallel."""
        if not parallel:
            return loops(extents, body)
        count = 0
        while count < len(extents) and prod(extents[:count]) < 8 * self.cpu.cores:
            count += 1
        outer = list(extents[:count])

        def inner(flat: Any) -> Any:
            head = unravel(flat, outer)
            return loops(extents[count:], lambda rest: body(head + rest))

        return loop(prod(outer), inner, PARALLEL, "task")

    def vectors(self, extent: int, width: int) -> tuple[int, int, Callable[[Any], Any]]:
        """How to cover `extent` by vectors: their number, their width and where the i-th begins."""
        lanes = min(extent, width)
        count = -(-extent // lanes)
        if extent % lanes == 0:
            return count, lanes, lambda i: i * lanes
        return count, lanes, lambda i: tirx.min(i * lanes, extent - lanes)

    def stage(self, stage: Stage, prefix: Sequence[Any] = (), parallel: bool = True) -> Any:
        """The loops of one stage; its leading axes are bound to `prefix`."""
        work = prod(stage.extents) * prod(stage.reduce_extents) * max(1, len(stage.loads()))
        parallel = parallel and work >= _PARALLEL_WORK
        if not stage.reduce:
            return self._map(stage, prefix, parallel)
        if stage.value.ty.dtype != "float32" or not _plain_update(stage):
            return self._serial_reduction(stage, prefix, parallel)
        if _contiguous_reduction(stage, len(prefix)):
            return self._row_reduction(stage, prefix, parallel)
        return self._column_reduction(stage, prefix, parallel)

    def _map(self, stage: Stage, prefix: Sequence[Any], parallel: bool) -> Any:
        split = _flat_from(stage, len(prefix))
        outer, tail = stage.extents[len(prefix) : split], stage.extents[split:]
        if split == len(stage.axes) - 1:
            pieces = _pieces(stage)
            if len(pieces) > 1:
                return self._in_pieces(stage, prefix, pieces, parallel)
        tile = _transposed_axis(stage, len(prefix), split)
        count, lanes, start = self.vectors(prod(tail), self.cpu.lanes)

        def body(indices: list[Any]) -> Any:
            base = start(indices[-1])

            def lane(i: Any) -> Any:
                at = [*prefix, *indices[:-1], *unravel(base + i, tail)]
                return self._assign(stage, stage.value, at)

            return loop(lanes, lane, VECTORIZED, "lane")

        if tile is not None and count > 1:
            return self._tiled(outer, count, tile - len(prefix), body, parallel)
        return self.grid([*outer, count], body, parallel)

    def _assign(self, stage: Stage, value: Any, at: list[Any]) -> Any:
        bound = self.value(stage, value, dict(zip(stage.axes, at, strict=True)))
        return self.store(stage, at, bound)

    def _in_pieces(
        self,
        stage: Stage,
        prefix: Sequence[Any],
        pieces: list[tuple[int, int, Any]],
        parallel: bool,
    ) -> Any:
        """A stage whose value is chosen by ranges of the last axis: one vector loop for each range."""

        def piece(indices: list[Any], low: int, high: int, value: Any) -> Any:
            count, lanes, start = self.vectors(high - low, self.cpu.lanes)

            def chunk(number: Any) -> Any:
                base = start(number) + low
                return loop(
                    lanes,
                    lambda i: self._assign(stage, value, [*prefix, *indices, base + i]),
                    VECTORIZED,
                    "lane",
                )

            return loop(count, chunk)

        def body(indices: list[Any]) -> Any:
            return seq(piece(indices, *part) for part in pieces)

        return self.grid(list(stage.extents[len(prefix) : -1]), body, parallel)

    def _tiled(
        self,
        outer: Sequence[int],
        count: int,
        axis: int,
        body: Callable[[list[Any]], Any],
        parallel: bool,
    ) -> Any:
        """Like `grid` over `outer` and `count`, with the loop over 16 steps of `axis` innermost."""
        size = min(16, outer[axis])
        blocks = -(-outer[axis] // size)
        extents = [*outer[:axis], blocks, *outer[axis + 1 :], count]

        def block(indices: list[Any]) -> Any:
            first = tirx.min(indices[axis] * size, outer[axis] - size)
            return loop(
                size, lambda i: body([*indices[:axis], first + i, *indices[axis + 1 :]])
            )

        return self.grid(extents, block, parallel)

    def _column_reduction(self, stage: Stage, prefix: Sequence[Any], parallel: bool) -> Any:
        """A reduction with vectors along the last spatial axis."""
        drop = len(prefix)
        outer = stage.extents[drop:-1]
        if len(stage.extents) == drop:
            return self._serial_reduction(stage, prefix, parallel)
        last = stage.extents[-1]
        width = self.cpu.lanes
        unroll = next((u for u in (4, 2) if last % (u * width) == 0), 1)
        count, lanes, start = self.vectors(last, width)
        if unroll > 1:
            count //= unroll
        acc = buffer((lanes * unroll,), "float32", "acc", "local")

        def body(indices: list[Any]) -> Any:
            base = start(indices[-1] * unroll)

            def at(part: int, i: Any) -> list[Any]:
                return [*prefix, *indices[:-1], base + part * lanes + i]

            def init(part: int) -> Any:
                return store(acc, [ramp(part * lanes, lanes)], broadcast(stage.init, lanes))

            def update(part: int, reduced: list[Any]) -> Any:
                def lane(i: Any) -> Any:
                    own = load(acc, [part * lanes + i])
                    binding = dict(zip(stage.axes, at(part, i), strict=True))
                    binding.update(zip(stage.reduce, reduced, strict=True))
                    value = self.value(stage, stage.value, binding, own)
                    return store(acc, [part * lanes + i], value)

                return loop(lanes, lane, VECTORIZED, "lane")

            def write(part: int) -> Any:
                return loop(
                    lanes,
                    lambda i: self.store(stage, at(part, i), load(acc, [part * lanes + i])),
                    VECTORIZED,
                    "lane",
                )

            parts = range(unroll)
            reduction = loops(
                stage.reduce_extents, lambda r: seq(update(part, r) for part in parts)
            )
            return seq(
                [tirx.AllocBuffer(acc), *map(init, parts), reduction, *map(write, parts)]
            )

        return self.grid([*outer, count], body, parallel)

    def _row_reduction(self, stage: Stage, prefix: Sequence[Any], parallel: bool) -> Any:
        """A reduction with vectors along its own last axis."""
        extent, lanes = stage.reduce_extents[-1], self.cpu.lanes
        unroll = 4 if extent >= 8 * lanes else 1
        step = unroll * lanes
        acc = buffer((step,), "float32", "acc", "local")

        def body(indices: list[Any]) -> Any:
            at = [*prefix, *indices]

            def update(first: Any, part: int, width: int, reduced: list[Any]) -> Any:
                def lane(i: Any) -> Any:
                    own = load(acc, [part * lanes + i])
                    binding = dict(zip(stage.axes, at, strict=True))
                    binding.update(zip(stage.reduce, [*reduced, first + i], strict=True))
                    value = self.value(stage, stage.value, binding, own)
                    return store(acc, [part * lanes + i], value)

                return loop(width, lane, VECTORIZED, "lane")

            def row(reduced: list[Any]) -> Any:
                whole, rest = divmod(extent, step)
                ones, tail = divmod(rest, lanes)
                parts = []
                if whole:
                    parts.append(
                        loop(
                            whole,
                            lambda c: seq(
                                update(c * step + u * lanes, u, lanes, reduced)
                                for u in range(unroll)
                            ),
                        )
                    )
                for one in range(ones):
                    parts.append(update(whole * step + one * lanes, one, lanes, reduced))
                if tail:
                    parts.append(update(extent - tail + const(0, INDEX), 0, tail, reduced))
                return seq(parts)

            start = [
                store(acc, [ramp(u * lanes, lanes)], broadcast(stage.init, lanes))
                for u in range(unroll)
            ]
            reduction = loops(stage.reduce_extents[:-1], row)
            fold = _fold(stage, acc, step)
            result = self.store(stage, at, load(acc, [0]))
            return seq([tirx.AllocBuffer(acc), *start, reduction, *fold, result])

        return self.grid(list(stage.extents[len(prefix) :]), body, parallel)

    def _serial_reduction(self, stage: Stage, prefix: Sequence[Any], parallel: bool) -> Any:
        """A reduction as it was written; only its spatial loops run in parallel."""

        def body(indices: list[Any]) -> Any:
            at = [*prefix, *indices]
            binding = dict(zip(stage.axes, at, strict=True))

            def update(reduced: list[Any]) -> Any:
                full = {**binding, **dict(zip(stage.reduce, reduced, strict=True))}
                return self.store(stage, at, self.value(stage, stage.value, full))

            return seq(
                [
                    self.store(stage, at, self.value(stage, stage.init, binding)),
                    loops(stage.reduce_extents, update),
                ]
            )

        return self.grid(list(stage.extents[len(prefix) :]), body, parallel)


def emit(stages: Sequence[Stage], program: Program, cpu: Cpu) -> list[Any]:
    """The loops of `stages`, in order; buffers that only pass rows along become row buffers."""
    result, position = [], 0
    while position < len(stages):
        count, shared = _run(stages, position, cpu)
        run = stages[position : position + count]
        if count == 1:
            result.append(Emitter(cpu).stage(run[0]))
        else:
            result.append(_rows(run, shared, stages[position + count :], program, cpu))
        position += count
    return result


def _run(stages: Sequence[Stage], position: int, cpu: Cpu) -> tuple[int, int]:
    """How many stages from `position` on run row by row together, and how many leading axes they share."""
    count, shared = 1, len(stages[position].extents)
    while position + count < len(stages):
        run = stages[position : position + count]
        following = stages[position + count]
        common = _common(run, following, shared)
        rows = prod(following.extents[:common])
        if not common or rows < 2 * cpu.cores or not _row_fits(run, common):
            break
        count, shared = count + 1, common
    return count, shared


def _row_fits(run: Sequence[Stage], shared: int) -> bool:
    return all(4 * prod(stage.extents[shared:]) <= _ROW_BYTES for stage in run)


def _common(run: Sequence[Stage], following: Stage, shared: int) -> int:
    """The number of leading axes along which `following` reads only the matching row of `run`."""
    shared = min(shared, len(following.extents))
    linked = False
    for producer in run:
        for node in reads(following, producer.buffer):
            linked = True
            same = 0
            while (
                same < min(shared, len(node.indices))
                and follows(
                    [node.indices[same]], [following.axes[same]], [following.extents[same]]
                )
                and producer.extents[same] == following.extents[same]
            ):
                same += 1
            shared = min(shared, same)
    first = run[0]
    while shared and first.extents[:shared] != following.extents[:shared]:
        shared -= 1
    return shared if linked else 0


def _rows(
    run: Sequence[Stage], shared: int, later: Sequence[Stage], program: Program, cpu: Cpu
) -> Any:
    """The stages of `run` one after the other for each row."""
    rows: dict[Any, tuple[Any, int]] = {}
    for stage in run:
        escapes = any(stage.buffer.same_as(o) for o in program.outputs) or any(
            bool(reads(s, stage.buffer)) for s in later
        )
        if not escapes:
            shape = stage.extents[shared:] or (1,)
            name = f"{stage.name}_row"
            local = buffer(shape, stage.value.ty.dtype, name, "local")
            rows[stage.buffer] = (local, shared)
    emitter = Emitter(cpu, rows)
    extents = run[0].extents[:shared]
    total = prod(extents)
    blocks = min(total, 4 * cpu.cores)
    size = -(-total // blocks)

    def block(index: Any) -> Any:
        first = tirx.min(index * size, total - size)

        def row(i: Any) -> Any:
            at = unravel(first + i, extents)
            return seq(emitter.stage(stage, at, parallel=False) for stage in run)

        allocs = [tirx.AllocBuffer(local) for local, _ in rows.values()]
        return seq([*allocs, loop(size, row, name="row")])

    return loop(blocks, block, PARALLEL, "task")


def _plain_update(stage: Stage) -> bool:
    """Whether the update combines the buffer itself with one new value, so that parts may be combined later."""
    value = stage.value
    if type(value) not in (tirx.Add, tirx.Max, tirx.Min, tirx.Mul):
        return False
    own = [is_load(side) and side.source.same_as(stage.buffer) for side in (value.a, value.b)]
    mine = sum(is_load(n) and n.source.same_as(stage.buffer) for n in nodes(value))
    return sum(own) == 1 and mine == 1


def _fold(stage: Stage, acc: Any, size: int) -> list[Any]:
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


def _contiguous_reduction(stage: Stage, drop: int) -> bool:
    if not _reads_along(stage, stage.reduce[-1]):
        return False
    free = stage.axes[drop:]
    return not free or not _reads_along(stage, free[-1])


def _transposed_axis(stage: Stage, drop: int, split: int) -> int | None:
    """The axis along which some read is contiguous while the last axis is not."""
    if split != len(stage.axes) - 1 or not stage.loads():
        return None
    if all(_reads_along(stage, stage.axes[-1]) or not n.indices for n in stage.loads()):
        return None
    for axis in range(drop, split):
        if stage.extents[axis] > 1 and _reads_along(stage, stage.axes[axis]):
            return axis
    return None


def _flat_from(stage: Stage, drop: int) -> int:
    """The first axis from which on all axes can run as one: every read follows them all, or none of them."""
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


def _pieces(stage: Stage) -> list[tuple[int, int, Any]]:
    """The ranges of the last axis in which every choice that depends on it alone is the same, with the value in each."""
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
    """The ranges between `cuts` with the value in each; halving keeps the work for long chains of choices low."""
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
    zero = -slope * int(origin)
    return [zero, zero + 1]


def _chosen(value: Any, axis: Any, low: int, high: int) -> Any:
    """`value` with the choices decided that are the same for every `axis` in [low, high)."""
    analyzer = sym.Analyzer()
    analyzer.bind(axis, tvm.ir.Range(low, high))

    def change(node: Any) -> Any:
        if type(node).__name__ != "Call" or node.op.name != "tirx.if_then_else":
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
