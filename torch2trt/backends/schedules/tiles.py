"""Register tiles: the rows and vectors that one pass over the reduction computes, and its code."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from math import gcd
from typing import Any

from tvm import tirx

from .emitter import Emitter
from .general import emit
from .stages import Program, Stage, Unschedulable, follows, inline, is_load, reads, substitute
from .target import Cpu
from .tir import INDEX, VECTORIZED, broadcast, buffer, const, load, loop, prefetch, ramp, seq, store

_PAGE = 4096  # bytes of which each has a place of its own in a way of the first level cache
_NARROW = 4  # vectors in a piece of a row too short for the processor to foresee the next one


@dataclass(frozen=True)
class Tile:
    """Results kept in registers: `height` x `width` rows of `vectors` vectors of `lanes`."""

    height: int
    width: int
    vectors: int
    lanes: int

    @property
    def rows(self) -> int:
        """The number of rows."""
        return self.height * self.width

    @property
    def panel(self) -> int:
        """The number of columns."""
        return self.vectors * self.lanes


@dataclass(frozen=True)
class Work:
    """A product to part into tiles.

    Attributes:
        height: the result has `height` x `width` rows.
        width: a tile that is higher than one has the whole width.
        columns: columns of the result.
        depth: products that are summed up for an element of the result.
        stride: bytes from what one row of the result is made of to that of the next.
        repeats: how often all that is done.
        exact: whether vectors may not be longer than the columns, for operands that are not padded.
        spare: registers to leave for other things than results and columns.
    """

    height: int
    width: int
    columns: int
    depth: int
    stride: int
    repeats: int = 1
    exact: bool = False
    spare: int = 1


def best_tile(work: Work, cpu: Cpu) -> Tile:
    """The tile with the least cost.

    The cost of a tile is bound by its multiplications (two a cycle), by its loads (two a cycle), by
    the latency of a multiplication (four cycles) and by what comes from the second level cache;
    what overlaps with the next tile is computed twice. A large result costs more to write in short
    pieces.
    """
    return min(_tiles(work, cpu), key=lambda t: (_cost(t, work, cpu), -t.rows * t.vectors))


def _tiles(work: Work, cpu: Cpu) -> Iterator[Tile]:
    height, width, columns, lanes = work.height, work.width, work.columns, cpu.lanes
    while (lanes > columns) if work.exact else (lanes > 4 and lanes >= 2 * columns):
        lanes //= 2
    most = 8 if height * width == 1 else _NARROW
    for vectors in range(1, cpu.registers // 2 + 1):
        if vectors > 1 and vectors * lanes > columns:
            break
        if vectors > most and (work.exact or columns % (vectors * lanes)):
            continue
        rows = (cpu.registers - work.spare - vectors) // vectors
        for tall in range(1, min(height, 4, rows) + 1):
            for wide in range(1, min(width, rows // tall) + 1):
                if tall == 1 or wide == width:
                    yield Tile(tall, wide, vectors, lanes)


def _cost(tile: Tile, work: Work, cpu: Cpu) -> float:
    count = work.repeats * -(-work.height // tile.height) * -(-work.width // tile.width)
    count *= -(-work.columns // tile.panel)
    shares = -(-count // cpu.cores) * cpu.cores
    products, loads = tile.rows * tile.vectors, tile.rows + tile.vectors
    near = 4 * tile.panel * work.depth <= cpu.l1
    step = max(products / 2, loads / 2, 4.0, 0.0 if near else tile.panel / 6)
    if tile.width * gcd(work.stride, _PAGE) > cpu.l1 - 2 * _PAGE:
        step *= 1.15  # the rows push each other out of the first level cache
    large = 4 * work.repeats * work.height * work.width * work.columns > cpu.l2
    line = (6 if tile.vectors > _NARROW else 20) * tile.lanes / 16 if large else 0
    return shares * (step + 0.75 + products * line / work.depth)


@dataclass(frozen=True)
class Anchored:
    """A fused function around one heavy stage.

    Attributes:
        before: stages that run first.
        anchor: the heavy stage.
        last: the stage whose value is computed on the tile; the anchor itself where nothing can be.
        after: stages that run at the end.
    """

    before: tuple[Stage, ...]
    anchor: Stage
    last: Stage
    after: tuple[Stage, ...]


def anchored(program: Program, rule: str) -> Anchored:
    """Take a function apart around the stage that is marked with `rule`."""
    marked = [s for s in program.stages if s.attrs.get("rule") == rule]
    if len(marked) != 1:
        raise Unschedulable(f"{len(marked)} stages for the rule {rule!r}")
    anchor = marked[0]

    def keep(stage: Stage) -> bool:
        return stage.buffer.same_as(anchor.buffer) or bool(reads(anchor, stage.buffer))

    stages = inline(program, keep).stages
    position = next(i for i, s in enumerate(stages) if s.buffer.same_as(anchor.buffer))
    before, after = stages[:position], stages[position + 1 :]
    users = [s for s in after if reads(s, anchor.buffer)]
    fits = (
        len(users) == 1
        and not users[0].reduce
        and not any(anchor.buffer.same_as(o) for o in program.outputs)
        and all(
            follows(n.indices, users[0].axes, users[0].extents)
            for n in reads(users[0], anchor.buffer)
        )
        and users[0].extents == anchor.extents
    )
    if not fits:
        return Anchored(before, anchor, anchor, after)
    last = users[0]
    position = after.index(last)
    early = tuple(s for s in after[:position] if reads(last, s.buffer))
    if early:
        before, after = (*before, *after[:position]), after[position + 1 :]
    else:
        after = (*after[:position], *after[position + 1 :])
    return Anchored(before, anchor, last, after)


def surround(parts: Anchored, program: Program, cpu: Cpu, core: Any) -> list[Any]:
    """The statements of the whole function: `core` between what runs before and after it."""
    readers = (parts.anchor, parts.last, *parts.after)
    return [
        *emit(parts.before, program, cpu, readers),
        core,
        *emit(parts.after, program, cpu),
    ]


class Accumulators:
    """The results of a tile while they are summed up, and their way out through the last stage."""

    def __init__(self, tile: Tile, parts: Anchored, cpu: Cpu) -> None:
        self.tile, self.parts = tile, parts
        self.emitter = Emitter(cpu)
        self.buffer = buffer((tile.rows * tile.panel,), "float32", "acc", "local")

    def _at(self, row: int, vector: int) -> Any:
        tile = self.tile
        return ramp((row * tile.vectors + vector) * tile.lanes, tile.lanes)

    def start(self, value: Any = None) -> list[Any]:
        """Set all to `value`, zero by default."""
        first = broadcast(const(0.0) if value is None else value, self.tile.lanes)
        return [tirx.AllocBuffer(self.buffer), *(self._set(r, v, first) for r, v in self.each())]

    def ahead(self, at: Callable[[int], list[Any]], column: Any, columns: int) -> list[Any]:
        """Fetch the memory that the results go to; arguments as for `finish`."""
        width = self.tile.lanes
        if self.tile.vectors > _NARROW:
            return []
        return [
            prefetch(self.parts.last.buffer, [*at(r), column + v * width])
            for r, v in self.each()
            if v * width < columns
        ]

    def each(self) -> list[tuple[int, int]]:
        """All (row, vector) positions."""
        return [(r, v) for r in range(self.tile.rows) for v in range(self.tile.vectors)]

    def _set(self, row: int, vector: int, value: Any) -> Any:
        return store(self.buffer, [self._at(row, vector)], value)

    def add(self, row: int, vector: int, value: Any) -> Any:
        """Add `value` to one vector of results."""
        own = load(self.buffer, [self._at(row, vector)])
        return self._set(row, vector, own + value)

    def multiply(
        self,
        rows: Callable[[int], Any],
        columns: Callable[[int], Any],
        only: Sequence[int] | None = None,
    ) -> Any:
        """Add each row's number times each vector of the panel; `only` names the rows."""
        lanes = self.tile.lanes
        wanted = range(self.tile.rows) if only is None else only
        return seq(
            self.add(r, v, broadcast(rows(r), lanes) * columns(v))
            for r in wanted
            for v in range(self.tile.vectors)
        )

    def finish(self, at: Callable[[int], list[Any]], column: Any, columns: int) -> list[Any]:
        """Store the results: row `r` goes to `at(r)`, from `column` on, at most `columns`."""
        return [self._write(r, v, at(r), column, columns) for r, v in self.each()]

    def _write(self, row: int, vector: int, at: list[Any], column: Any, columns: int) -> Any:
        tile, anchor, last = self.tile, self.parts.anchor, self.parts.last
        width = min(tile.lanes, columns - vector * tile.lanes)
        offset = (row * tile.vectors + vector) * tile.lanes

        def lane(i: Any) -> Any:
            result = load(self.buffer, [offset + i])
            indices = [*at, column + vector * tile.lanes + i]
            if last is anchor:
                return store(anchor.buffer, indices, result)

            def change(node: Any) -> Any:
                mine = is_load(node) and node.source.same_as(anchor.buffer)
                return result if mine else None

            binding = dict(zip(last.axes, indices, strict=True))
            return store(last.buffer, indices, substitute(last.value, binding, change))

        return loop(width, lane, VECTORIZED, "lane")


def panel_start(panel: Any, tile: Tile, columns: int) -> Any:
    """The first column of a panel; the last one overlaps where the columns do not divide."""
    if columns <= tile.panel:
        return const(0, INDEX)
    if columns % tile.panel == 0:
        return panel * tile.panel
    return tirx.min(panel * tile.panel, columns - tile.panel)


def tile_start(index: Any, size: int, extent: int) -> Any:
    """The first row of a tile, by the same overlap."""
    if extent % size == 0:
        return index * size
    return tirx.min(index * size, extent - size)
