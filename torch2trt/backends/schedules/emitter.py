"""Loops for one stage, whatever it computes: the outer ones in parallel, the inner one in vectors.

The last vector of a row that does not divide by the vector width overlaps the one before: it writes
the same values again, so no scalar remainder is needed.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from math import prod
from typing import Any

from tvm import tirx

from .access import contiguous_reduction, flat_from, folded, in_vectors, pieces, transposed_axis
from .stages import Stage, is_load, substitute
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
    ramp,
    seq,
    store,
    unravel,
)

# Element operations below which starting the other threads costs more than it saves.
_PARALLEL_WORK = 16384


@dataclass(frozen=True)
class Kept:
    """Where the part of a buffer that is kept lies.

    `head` takes the place of its first `drop` indices in `buffer`.
    """

    buffer: Any
    drop: int
    head: tuple[Any, ...] = ()

    def at(self, indices: Sequence[Any]) -> list[Any]:
        """The place of an element."""
        return [*self.head, *indices[self.drop :]] or [0]


@dataclass
class Emitter:
    """Writes the loops of stages.

    Attributes:
        cpu: what to write for.
        rows: for a buffer of which only a row is kept, where that is.
    """

    cpu: Cpu
    rows: dict[Any, Kept] = field(default_factory=dict)

    def value(self, stage: Stage, expr: Any, binding: dict[Any, Any], own: Any = None) -> Any:
        """`expr` of `stage` with its axes bound; reads of its own buffer become `own`."""

        def change(node: Any) -> Any:
            if not is_load(node):
                return None
            if own is not None and node.source.same_as(stage.buffer):
                return own
            if node.source in self.rows:
                row = self.rows[node.source]
                return load(row.buffer, row.at([substitute(i, binding) for i in node.indices]))
            return None

        return substitute(expr, binding, change)

    def store(self, stage: Stage, indices: Sequence[Any], value: Any) -> Any:
        """The store of `value` to the buffer of `stage`, or to its row buffer."""
        if stage.buffer in self.rows:
            row = self.rows[stage.buffer]
            return store(row.buffer, row.at(indices), value)
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
        if not in_vectors(stage):
            return self._serial_reduction(stage, prefix, parallel)
        if contiguous_reduction(stage, len(prefix)):
            return self._row_reduction(stage, prefix, parallel)
        return self._column_reduction(stage, prefix, parallel)

    def _map(self, stage: Stage, prefix: Sequence[Any], parallel: bool) -> Any:
        split = flat_from(stage, len(prefix))
        outer, tail = stage.extents[len(prefix) : split], stage.extents[split:]
        if split == len(stage.axes) - 1:
            parts = pieces(stage)
            if len(parts) > 1:
                return self._in_pieces(stage, prefix, parts, parallel)
        tile = transposed_axis(stage, len(prefix), split)
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
        parts: list[tuple[int, int, Any]],
        parallel: bool,
    ) -> Any:
        """A stage whose value is chosen by ranges of its last axis: one vector loop for each."""

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
            return seq(piece(indices, *part) for part in parts)

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

    def _accumulate(
        self,
        stage: Stage,
        acc: Any,
        offset: int,
        lanes: int,
        at: Callable[[Any], list[Any]],
        reduced: Callable[[Any], list[Any]],
    ) -> Any:
        """Update `lanes` partial results from `offset` on; the indices depend on the lane."""

        def lane(i: Any) -> Any:
            binding = dict(zip(stage.axes, at(i), strict=True))
            binding.update(zip(stage.reduce, reduced(i), strict=True))
            own = load(acc, [offset + i])
            return store(acc, [offset + i], self.value(stage, stage.value, binding, own))

        return loop(lanes, lane, VECTORIZED, "lane")

    def _column_reduction(self, stage: Stage, prefix: Sequence[Any], parallel: bool) -> Any:
        """A reduction with vectors along the last spatial axis."""
        drop = len(prefix)
        if len(stage.extents) == drop:
            return self._serial_reduction(stage, prefix, parallel)
        last = stage.extents[-1]
        unroll = next((u for u in (4, 2) if last % (u * self.cpu.lanes) == 0), 1)
        count, lanes, start = self.vectors(last, self.cpu.lanes)
        acc = buffer((lanes * unroll,), "float32", "acc", "local")
        parts = range(0, unroll * lanes, lanes)

        def body(indices: list[Any]) -> Any:
            base = start(indices[-1] * unroll)

            def at(part: int) -> Callable[[Any], list[Any]]:
                return lambda i: [*prefix, *indices[:-1], base + part + i]

            def update(reduced: list[Any]) -> Any:
                return seq(
                    self._accumulate(stage, acc, p, lanes, at(p), lambda i: reduced) for p in parts
                )

            def write(part: int) -> Any:
                return loop(
                    lanes,
                    lambda i: self.store(stage, at(part)(i), load(acc, [part + i])),
                    VECTORIZED,
                    "lane",
                )

            start_values = _filled(acc, stage.init, parts, lanes)
            reduction = loops(stage.reduce_extents, update)
            return seq([tirx.AllocBuffer(acc), *start_values, reduction, *map(write, parts)])

        return self.grid([*stage.extents[drop:-1], count // unroll], body, parallel)

    def _row_reduction(self, stage: Stage, prefix: Sequence[Any], parallel: bool) -> Any:
        """A reduction with vectors along its own last axis."""
        extent, lanes = stage.reduce_extents[-1], self.cpu.lanes
        parts = range(0, (4 if extent >= 8 * lanes else 1) * lanes, lanes)
        step = len(parts) * lanes
        acc = buffer((step,), "float32", "acc", "local")
        whole, rest = divmod(extent, step)
        tail = rest % lanes

        def body(indices: list[Any]) -> Any:
            at = [*prefix, *indices]

            def update(first: Any, part: int, width: int, reduced: list[Any]) -> Any:
                return self._accumulate(
                    stage, acc, part, width, lambda i: at, lambda i: [*reduced, first + i]
                )

            def row(reduced: list[Any]) -> Any:
                steps = [
                    loop(
                        whole, lambda c: seq(update(c * step + p, p, lanes, reduced) for p in parts)
                    )
                    if whole
                    else None
                ]
                steps += [
                    update(whole * step + p, p, lanes, reduced)
                    for p in range(0, rest - tail, lanes)
                ]
                if tail:
                    steps.append(update(const(extent - tail, INDEX), 0, tail, reduced))
                return seq(steps)

            start_values = _filled(acc, stage.init, parts, lanes)
            reduction = loops(stage.reduce_extents[:-1], row)
            result = self.store(stage, at, load(acc, [0]))
            return seq(
                [tirx.AllocBuffer(acc), *start_values, reduction, *folded(stage, acc, step), result]
            )

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


def _filled(acc: Any, value: Any, parts: Sequence[int], lanes: int) -> list[Any]:
    """Set the partial results that begin at `parts`."""
    return [store(acc, [ramp(part, lanes)], broadcast(value, lanes)) for part in parts]
