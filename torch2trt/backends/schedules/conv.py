"""Convolutions over channels-last images with packed weights: dense, grouped and pointwise."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod
from typing import Any

from tvm import te

from .stages import Program
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
from .tir import PARALLEL, SERIAL, UNROLLED, load, loop, ramp, seq, unravel
from .window import Span, Window, padded, uncovered

_SHALLOW = 4  # channels whose loop is unrolled


@dataclass(frozen=True)
class ConvSpec:
    """The numbers of a two-dimensional convolution; `padding` is top, left, bottom, right."""

    strides: tuple[int, int]
    padding: tuple[int, int, int, int]
    dilation: tuple[int, int]
    groups: int
    kernel: tuple[int, int]
    channels: int
    outputs: int

    def out(self, height: int, width: int) -> tuple[int, int]:
        """The size of the result."""
        size = []
        for axis, extent in enumerate((height, width)):
            whole = extent + self.padding[axis] + self.padding[axis + 2]
            reach = (self.kernel[axis] - 1) * self.dilation[axis] + 1
            size.append((whole - reach) // self.strides[axis] + 1)
        return size[0], size[1]

    @property
    def depthwise(self) -> bool:
        """Whether each channel is convolved by itself."""
        return self.groups == self.channels == self.outputs


def conv_tile(images: int, height: int, width: int, spec: ConvSpec, cpu: Cpu) -> Tile:
    """The register tile for `images` images of `height` x `width` pixels.

    A tile of one row needs no copy of the image to pad it: it takes the rows of all images as one
    column of rows. The unrolled loops over few channels need registers for more than one pixel.
    """
    rows, columns = spec.out(height, width)
    if any(spec.padding):
        images, rows = images * rows, 1
    depth = spec.channels // spec.groups
    work = Work(
        height=rows,
        width=columns,
        columns=spec.outputs // spec.groups,
        depth=depth * prod(spec.kernel),
        stride=4 * spec.channels * spec.strides[1],
        repeats=images * spec.groups,
        spare=4 if depth <= _SHALLOW else 1,
    )
    return best_tile(work, cpu)


def conv2d(x: Any, weight: Any, spec: ConvSpec, tile: Tile) -> Any:
    """x (N, H, W, C), weight packed to (groups, panels, KH, KW, C / groups, panel columns)."""
    images, height, width, _ = (int(d) for d in x.shape)
    source = padded(x, spec.padding)
    rows, columns = spec.out(height, width)
    depth, each = spec.channels // spec.groups, spec.outputs // spec.groups
    ry = te.reduce_axis((0, spec.kernel[0]), "ry")
    rx = te.reduce_axis((0, spec.kernel[1]), "rx")
    rc = te.reduce_axis((0, depth), "rc")

    def element(n: Any, h: Any, w: Any, c: Any) -> Any:
        group, column = te.indexdiv(c, each), te.indexmod(c, each)
        panel = te.indexdiv(column, tile.panel)
        lane = column - panel_start(panel, tile, each)
        y = h * spec.strides[0] + ry * spec.dilation[0]
        z = w * spec.strides[1] + rx * spec.dilation[1]
        value = source[n, y, z, group * depth + rc] * weight[group, panel, ry, rx, rc, lane]
        return te.sum(value, axis=[ry, rx, rc])

    attrs = {
        "rule": "conv2d",
        "tile": [tile.height, tile.width, tile.vectors, tile.lanes],
        "steps": [*spec.strides, *spec.dilation],
        "groups": spec.groups,
    }
    shape = (images, rows, columns, spec.outputs)
    return te.compute(shape, element, name="conv2d", attrs=attrs)


def conv_rule(program: Program, cpu: Cpu) -> list[Any]:
    """Parallel over images, panels and rows of tiles; a tile is summed up in registers."""
    parts = anchored(program, "conv2d")
    anchor = parts.anchor
    tile = Tile(*(int(v) for v in anchor.attrs["tile"]))
    groups = int(anchor.attrs["groups"])
    images, height, width, outputs = anchor.extents
    source, weight = (n.source for n in anchor.loads())
    parts, image, window = uncovered(parts, source, tile.height, tile.width)
    panels = -(-(outputs // groups) // tile.panel)
    down = -(-height // tile.height)

    def task(index: Any) -> Any:
        number, group, panel, row = unravel(index, (images, groups, panels, down))
        top = tile_start(row, tile.height, height)
        rows = window.rows(top)

        def strip(left: Any, spans: Sequence[Span]) -> Any:
            block = _Block(
                parts, tile, cpu, (image, weight), window, (number, top, left), group, panel
            )
            return block.emit(rows, spans)

        return seq(window.across(tile.width, strip))

    total = images * groups * panels * down
    return surround(parts, program, cpu, loop(total, task, PARALLEL, "task"))


@dataclass
class _Block:
    """The tile of one panel; `corner` is its image, and row and column of its first pixel."""

    parts: Anchored
    tile: Tile
    cpu: Cpu
    operands: tuple[Any, Any]
    window: Window
    corner: tuple[Any, Any, Any]
    group: Any
    panel: Any

    def emit(self, rows: tuple[Any, Any], spans: Sequence[Span]) -> Any:
        """The statements of the tile; `rows` is the first row of the window and their number."""
        anchor, tile = self.parts.anchor, self.tile
        each = anchor.extents[3] // int(anchor.attrs["groups"])
        acc = Accumulators(tile, self.parts, self.cpu)
        first, count = rows

        def line(i: Any) -> Any:
            return seq(self._columns(acc, first + i, span) for span in spans)

        place = (self._at, self.group * each + panel_start(self.panel, tile, each), each)
        return seq([*acc.ahead(*place), *acc.start(), loop(count, line), *acc.finish(*place)])

    def _at(self, r: int) -> list[Any]:
        image, top, left = self.corner
        return [image, top + r // self.tile.width, left + r % self.tile.width]

    def _columns(self, acc: Accumulators, ry: Any, span: Span) -> Any:
        """The sum over the columns of a span and all channels, for the pixels that see them."""
        (image, weight), window, lanes = self.operands, self.window, self.tile.lanes
        depth = self.parts.anchor.reduce_extents[2]
        seen = [r for r in range(self.tile.rows) if span.begin <= r % self.tile.width < span.end]

        def step(rx: Any, rc: Any) -> Any:
            def pixel(r: int) -> Any:
                number, h, w = self._at(r)
                at = [number, window.row(h, ry), window.column(w, rx), self.group * depth + rc]
                return load(image, at)

            def column(v: int) -> Any:
                return load(weight, [self.group, self.panel, ry, rx, rc, ramp(v * lanes, lanes)])

            return acc.multiply(pixel, column, seen)

        kind = UNROLLED if depth <= _SHALLOW else SERIAL
        return loop(span.count, lambda x: loop(depth, lambda rc: step(x + span.first, rc), kind))


def as_pair(values: Sequence[Any]) -> tuple[int, int]:
    """Two numbers from one or two."""
    numbers = [int(v) for v in values]
    return (numbers[0], numbers[-1])


def as_padding(values: Sequence[Any]) -> tuple[int, int, int, int]:
    """Top, left, bottom, right from one, two or four numbers."""
    numbers = [int(v) for v in values]
    if len(numbers) == 4:
        return (numbers[0], numbers[1], numbers[2], numbers[3])
    top, left = numbers[0], numbers[-1]
    return (top, left, top, left)
