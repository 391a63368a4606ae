"""Matrix products: with packed constant weights, and of two computed operands."""

from __future__ import annotations

from math import prod
from typing import Any

from tvm import te

from .stages import Program, Unschedulable
from .target import Cpu
from .tiles import Accumulators, Tile, anchored, best_tile, panel_start, surround, tile_start
from .tir import PARALLEL, load, loop, ramp, seq, unravel


def dense_tile(rows: int, columns: int, cpu: Cpu) -> Tile:
    """The register tile of a product with `rows` rows and `columns` columns."""
    return best_tile(1, rows, columns, cpu)


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

    def task(index: Any) -> Any:
        panel, number = unravel(index, (panels, tiles))
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
        return seq([*acc.start(), loop(depth, step), *acc.finish(at, start, columns)])

    return surround(parts, program, cpu, loop(panels * tiles, task, PARALLEL, "task"))


def _operands(anchor: Any) -> tuple[Any, Any]:
    loads = anchor.loads()
    if len(loads) != 2:
        raise Unschedulable("a product that does not read two buffers")
    return loads[0].source, loads[1].source
