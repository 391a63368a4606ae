"""Matrix products: with packed constant weights, and of two computed operands."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import Any

from tvm import te

from .stages import Program, Unschedulable, substitute
from .target import Cpu
from .tiles import Accumulators, Tile, Work, anchored, best_tile, panel_start, surround, tile_start
from .tir import PARALLEL, load, loop, ramp, seq, unravel


def dense_tile(rows: int, columns: int, depth: int, cpu: Cpu) -> Tile:
    """The register tile of a product with `rows` rows and `columns` columns, of vectors of `depth` elements."""
    return best_tile(Work(1, rows, columns, depth), cpu)


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
    """Loops over panels and row tiles in parallel; one tile sums over the whole depth in registers."""
    parts = anchored(program, "dense")
    anchor = parts.anchor
    width, vectors, lanes = (int(v) for v in anchor.attrs["tile"])
    tile = Tile(1, width, vectors, lanes)
    *lead, columns = anchor.extents
    x, weight = _operands(anchor)
    rows, depth = prod(lead), anchor.reduce_extents[0]
    panels, tiles = -(-columns // tile.panel), -(-rows // tile.width)
    groups = _row_groups(rows, columns, depth, panels, tile, cpu)
    size = -(-tiles // groups)

    def one(panel: Any, number: Any) -> Any:
        first = tile_start(number, tile.width, rows)
        acc = Accumulators(tile, parts, cpu)

        def at(row: int) -> list[Any]:
            return unravel(first + row, lead)

        def step(k: Any) -> Any:
            return acc.multiply(
                lambda r: load(x, [*at(r), k]),
                lambda v: load(weight, [panel, k, ramp(v * lanes, lanes)]),
            )

        start = panel_start(panel, tile, columns)
        place = (at, start, columns)
        return seq([*acc.ahead(*place), *acc.start(), loop(depth, step), *acc.finish(*place)])

    def task(index: Any) -> Any:
        group, panel = unravel(index, (groups, panels))
        begin = tile_start(group, size, tiles)
        return loop(size, lambda i: one(panel, begin + i))

    return surround(parts, program, cpu, loop(groups * panels, task, PARALLEL, "task"))


def _row_groups(
    rows: int, columns: int, depth: int, panels: int, tile: Tile, cpu: Cpu
) -> int:
    """Into how many groups of rows to part the work, so that what all panels read of a group stays in the cache."""
    tiles = -(-rows // tile.width)
    row = depth + (columns if depth * columns * 8 <= cpu.l2 else 0)
    fitting = max(1, cpu.l2 // 2 // (4 * row) // tile.width)
    groups = -(-tiles // fitting)
    return min(tiles, max(groups, -(-4 * cpu.cores // panels)))


def matmul(a: Any, b: Any) -> Any:
    """a (..., M, K) times b (..., K, N), with broadcast leading dimensions, as a tensor expression."""
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
    tile = best_tile(Work(1, rows, columns, depth, prod(lead), exact=True), cpu)
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
