"""Matrix products: with packed constant weights, and of two computed operands."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from math import prod
from typing import Any

from tvm import te, tirx

from .emitter import Emitter, Kept
from .prologue import ROW_BYTES, fits
from .stages import Program, Stage, Unschedulable, substitute
from .target import Cpu
from .tiles import (
    Accumulators,
    Anchored,
    Tile,
    Work,
    anchored,
    best_tile,
    panel_start,
    surround,
    tile_start,
)
from .tir import PARALLEL, buffer, load, loop, ramp, seq, unravel


def dense_tile(rows: int, columns: int, depth: int, cpu: Cpu) -> Tile:
    """The register tile of a product (rows, depth) x (depth, columns)."""
    return best_tile(Work(1, rows, columns, depth, 4 * depth), cpu)


def dense(x: Any, weight: Any, columns: int, tile: Tile) -> Any:
    """x (..., K) times a weight packed to (panels, K, panel columns), as a tensor expression."""
    depth = te.reduce_axis((0, x.shape[-1]), "k")

    def element(*at: Any) -> Any:
        column = at[-1]
        panel = te.indexdiv(column, tile.panel)
        lane = column - panel_start(panel, tile, columns)
        return te.sum(x(*at[:-1], depth) * weight[panel, depth, lane], axis=depth)

    attrs = {"rule": "dense", "tile": [tile.width, tile.vectors, tile.lanes]}
    return te.compute([*x.shape[:-1], columns], element, name="dense", attrs=attrs)


def dense_rule(program: Program, cpu: Cpu) -> list[Any]:
    """Parallel over groups of rows and panels; a tile is summed up in registers.

    Where the rows are computed first, each group keeps its own in a buffer of the thread.
    """
    parts = anchored(program, "dense")
    x, weight = _operands(parts.anchor)
    before = parts.before
    if (
        len(before) == 1
        and before[0].buffer.same_as(x)
        and not before[0].reduce
        and fits(parts.anchor, cpu)
    ):
        product = _Product(replace(parts, before=()), cpu, x, weight)
        return surround(product.parts, program, cpu, product.fed(before[0]))
    product = _Product(parts, cpu, x, weight)
    return surround(parts, program, cpu, product.direct())


@dataclass
class _Product:
    """The loops of a product with packed weights."""

    parts: Anchored
    cpu: Cpu
    x: Any
    weight: Any

    def __post_init__(self) -> None:
        anchor = self.parts.anchor
        width, vectors, lanes = (int(v) for v in anchor.attrs["tile"])
        self.tile = Tile(1, width, vectors, lanes)
        self.lead, self.columns = list(anchor.extents[:-1]), anchor.extents[-1]
        self.rows, self.depth = prod(self.lead), anchor.reduce_extents[0]
        self.panels, self.tiles = -(-self.columns // self.tile.panel), -(-self.rows // width)

    def direct(self) -> Any:
        """Loops that read the rows where they are."""
        groups, size = row_groups(
            self.rows, self.columns, self.depth, self.panels, self.tile, self.cpu
        )

        def task(index: Any) -> Any:
            group, panel = unravel(index, (groups, self.panels))
            begin = tile_start(group, size, self.tiles)
            return loop(size, lambda i: self._tile(panel, self._first(begin + i), self.x, self._at))

        return loop(groups * self.panels, task, PARALLEL, "task")

    def fed(self, feeder: Stage) -> Any:
        """Loops over groups of rows that `feeder` computes for each group."""
        width = self.tile.width
        fitting = max(1, ROW_BYTES // (4 * self.depth * width))
        size = min(fitting, max(1, self.tiles // (4 * self.cpu.cores)))
        groups = -(-self.tiles // size)
        kept = buffer((size * width, self.depth), "float32", "rows", "local")

        def task(group: Any) -> Any:
            begin = tile_start(group, size, self.tiles)
            top = self._first(begin)

            def compute(i: Any) -> Any:
                at = self._at(tirx.min(top + i, self.rows - 1))
                place = Kept(kept, len(self.lead), (i,))
                return Emitter(self.cpu, {self.x: place}).stage(feeder, at, parallel=False)

            def tile(panel: Any, i: Any) -> Any:
                first = self._first(begin + i)
                return self._tile(panel, first, kept, lambda row: [row - top])

            products = loop(self.panels, lambda panel: loop(size, lambda i: tile(panel, i)))
            return seq([tirx.AllocBuffer(kept), loop(size * width, compute, name="row"), products])

        return loop(groups, task, PARALLEL, "task")

    def _first(self, number: Any) -> Any:
        return tile_start(number, self.tile.width, self.rows)

    def _at(self, row: Any) -> list[Any]:
        return unravel(row, self.lead)

    def _tile(self, panel: Any, first: Any, source: Any, place: Callable[[Any], list[Any]]) -> Any:
        """The tile of one panel from row `first` on; row `r` of `source` is at `place(r)`."""
        tile = self.tile
        acc = Accumulators(tile, self.parts, self.cpu)

        def step(k: Any) -> Any:
            return acc.multiply(
                lambda r: load(source, [*place(first + r), k]),
                lambda v: load(self.weight, [panel, k, ramp(v * tile.lanes, tile.lanes)]),
            )

        goal = (lambda r: self._at(first + r), panel_start(panel, tile, self.columns), self.columns)
        return seq([*acc.ahead(*goal), *acc.start(), loop(self.depth, step), *acc.finish(*goal)])


def row_groups(
    rows: int, columns: int, depth: int, panels: int, tile: Tile, cpu: Cpu
) -> tuple[int, int]:
    """The number of groups of rows, and of tiles in each; none is without tiles.

    What all panels read of one group stays in the cache.
    """
    tiles = -(-rows // tile.width)
    row = depth + (columns if depth * columns * 8 <= cpu.l2 else 0)
    fitting = max(1, cpu.l2 // 2 // (4 * row) // tile.width)
    groups = -(-tiles // fitting)
    size = -(-tiles // min(tiles, max(groups, -(-4 * cpu.cores // panels))))
    return -(-tiles // size), size


def matmul(a: Any, b: Any) -> Any:
    """a (..., M, K) times b (..., K, N), with broadcast leading dimensions."""
    depth = te.reduce_axis((0, a.shape[-1]), "k")
    rank = max(len(a.shape), len(b.shape))
    lead = [_longer(a.shape, b.shape, rank, i) for i in range(rank - 2)]

    def batch(x: Any, at: Sequence[Any]) -> list[Any]:
        count = len(x.shape) - 2
        tail = at[len(at) - 2 - count : len(at) - 2]
        return [0 if int(d) == 1 else i for d, i in zip(x.shape[:count], tail, strict=True)]

    def element(*at: Any) -> Any:
        left = a(*batch(a, at), at[-2], depth)
        return te.sum(left * b(*batch(b, at), depth, at[-1]), axis=depth)

    shape = [*lead, a.shape[-2], b.shape[-1]]
    return te.compute(shape, element, name="matmul", attrs={"rule": "matmul"})


def _longer(one: Any, other: Any, rank: int, axis: int) -> Any:
    sizes = [s[axis - rank + len(s)] for s in (one, other) if axis - rank + len(s) >= 0]
    return max(sizes, key=int)


def matmul_rule(program: Program, cpu: Cpu) -> list[Any]:
    """As for constant weights, with the second operand read where it lies."""
    parts = anchored(program, "matmul")
    anchor = parts.anchor
    *lead, rows, columns = anchor.extents
    depth = anchor.reduce_extents[0]
    tile = best_tile(Work(1, rows, columns, depth, 4 * depth, prod(lead), exact=True), cpu)
    batches, panels, tiles = prod(lead), -(-columns // tile.panel), -(-rows // tile.width)
    left, right = anchor.loads()

    def task(index: Any) -> Any:
        batch, panel, number = unravel(index, (batches, panels, tiles))
        outer = unravel(batch, lead)
        first = tile_start(number, tile.width, rows)
        start = panel_start(panel, tile, columns)
        acc = Accumulators(tile, parts, cpu)

        def read(node: Any, row: Any, column: Any, k: Any) -> Any:
            binding = dict(zip(anchor.axes, [*outer, row, column], strict=True))
            binding[anchor.reduce[0]] = k
            indices = [substitute(i, binding) for i in node.indices[:-1]]
            last = node.indices[-1]
            end = column if node is right else substitute(last, binding)
            return load(node.source, [*indices, end])

        def step(k: Any) -> Any:
            return acc.multiply(
                lambda r: read(left, first + r, start, k),
                lambda v: read(right, first, ramp(start + v * tile.lanes, tile.lanes), k),
            )

        finish = acc.finish(lambda r: [*outer, first + r], start, columns)
        return seq([*acc.start(), loop(depth, step), *finish])

    total = batches * panels * tiles
    return surround(parts, program, cpu, loop(total, task, PARALLEL, "task"))


def _operands(anchor: Any) -> tuple[Any, Any]:
    loads = anchor.loads()
    if len(loads) != 2:
        raise Unschedulable("a product that does not read two buffers")
    return loads[0].source, loads[1].source
