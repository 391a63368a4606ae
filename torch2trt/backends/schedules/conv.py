"""Convolutions over channels-last images with packed weights: dense, grouped, pointwise and depthwise."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from tvm import te, topi

from .stages import Program
from .target import Cpu
from .tiles import (
    Accumulators,
    Anchored,
    Tile,
    anchored,
    best_tile,
    panel_start,
    surround,
    tile_start,
)
from .tir import INDEX, PARALLEL, const, load, loop, loops, ramp, seq, unravel


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


def conv_tile(images: int, height: int, width: int, columns: int, cpu: Cpu) -> Tile:
    """The register tile for a result of `height` x `width` with `columns` channels in a group."""
    return best_tile(height, width, columns, cpu, images)


def conv2d(x: Any, weight: Any, spec: ConvSpec, tile: Tile) -> Any:
    """x (N, H, W, C), weight packed to (groups, panels, KH, KW, C / groups, panel columns)."""
    images, height, width, _ = (int(d) for d in x.shape)
    source = _padded(x, spec)
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


def _padded(x: Any, spec: ConvSpec) -> Any:
    top, left, bottom, right = spec.padding
    if not any(spec.padding):
        return x
    return topi.nn.pad(x, [0, top, left, 0], [0, bottom, right, 0], name="padded")


def conv_rule(program: Program, cpu: Cpu) -> list[Any]:
    """Loops over images, panels and rows of tiles in parallel; one tile sums over the whole kernel in registers."""
    parts = anchored(program, "conv2d")
    anchor = parts.anchor
    tile = Tile(*(int(v) for v in anchor.attrs["tile"]))
    groups = int(anchor.attrs["groups"])
    images, height, width, outputs = anchor.extents
    panels = -(-(outputs // groups) // tile.panel)
    down, across = -(-height // tile.height), -(-width // tile.width)

    def task(index: Any) -> Any:
        image, group, panel, row = unravel(index, (images, groups, panels, down))
        top = tile_start(row, tile.height, height)

        def strip(number: Any) -> Any:
            left = tile_start(number, tile.width, width)
            return _conv_at(parts, tile, cpu, (image, top, left), group, panel)

        return loop(across, strip)

    total = images * groups * panels * down
    return surround(parts, program, cpu, loop(total, task, PARALLEL, "task"))


def _conv_at(
    parts: Anchored, tile: Tile, cpu: Cpu, corner: tuple[Any, Any, Any], group: Any, panel: Any
) -> Any:
    """The tile of one panel whose first pixel is `corner`."""
    anchor = parts.anchor
    sy, sx, dy, dx = (int(v) for v in anchor.attrs["steps"])
    each = anchor.extents[3] // int(anchor.attrs["groups"])
    depth = anchor.reduce_extents[2]
    source, weight = (n.source for n in anchor.loads())
    acc = Accumulators(tile, parts, cpu)
    image, top, left = corner

    def at(r: int) -> list[Any]:
        return [image, top + r // tile.width, left + r % tile.width]

    def step(reduced: list[Any]) -> Any:
        ry, rx, rc = reduced

        def pixel(r: int) -> Any:
            _, h, w = at(r)
            return load(source, [image, h * sy + ry * dy, w * sx + rx * dx, group * depth + rc])

        def column(v: int) -> Any:
            return load(weight, [group, panel, ry, rx, rc, ramp(v * tile.lanes, tile.lanes)])

        return acc.multiply(pixel, column)

    first = group * each + panel_start(panel, tile, each)
    return seq([*acc.start(), loops(anchor.reduce_extents, step), *acc.finish(at, first, each)])


def depthwise(x: Any, weight: Any, spec: ConvSpec) -> Any:
    """x (N, H, W, C), weight (KH, KW, C)."""
    images, height, width, channels = (int(d) for d in x.shape)
    source = _padded(x, spec)
    ry = te.reduce_axis((0, spec.kernel[0]), "ry")
    rx = te.reduce_axis((0, spec.kernel[1]), "rx")

    def element(n: Any, h: Any, w: Any, c: Any) -> Any:
        y = h * spec.strides[0] + ry * spec.dilation[0]
        z = w * spec.strides[1] + rx * spec.dilation[1]
        return te.sum(source[n, y, z, c] * weight[ry, rx, c], axis=[ry, rx])

    attrs = {"rule": "depthwise", "steps": [*spec.strides, *spec.dilation]}
    shape = (images, *spec.out(height, width), channels)
    return te.compute(shape, element, name="depthwise", attrs=attrs)


def depthwise_rule(program: Program, cpu: Cpu) -> list[Any]:
    """Loops over images and rows in parallel; a tile is a few pixels of one or two vectors of channels."""
    parts = anchored(program, "depthwise")
    anchor = parts.anchor
    sy, sx, dy, dx = (int(v) for v in anchor.attrs["steps"])
    images, height, width, channels = anchor.extents
    tile = _depthwise_tile(width, channels, cpu)
    source, weight = (n.source for n in anchor.loads())
    panels, across = -(-channels // tile.panel), -(-width // tile.width)

    def task(index: Any) -> Any:
        image, row = unravel(index, (images, height))

        def strip(at_tile: list[Any]) -> Any:
            number, panel = at_tile
            left = tile_start(number, tile.width, width)
            start = panel_start(panel, tile, channels)
            acc = Accumulators(tile, parts, cpu)

            def step(reduced: list[Any]) -> Any:
                ry, rx = reduced

                def product(r: int, v: int) -> Any:
                    lanes = ramp(start + v * tile.lanes, tile.lanes)
                    pixel = [image, row * sy + ry * dy, (left + r) * sx + rx * dx, lanes]
                    return load(source, pixel) * load(weight, [ry, rx, lanes])

                return seq(acc.add(r, v, product(r, v)) for r, v in acc.each())

            total = loop(anchor.reduce_extents[0], lambda ry: _unrolled(anchor, ry, step))
            finish = acc.finish(lambda r: [image, row, left + r], start, channels)
            return seq([*acc.start(), total, *finish])

        return loops((across, panels), strip)

    return surround(parts, program, cpu, loop(images * height, task, PARALLEL, "task"))


def _unrolled(anchor: Any, ry: Any, step: Any) -> Any:
    return seq(step([ry, const(x, INDEX)]) for x in range(anchor.reduce_extents[1]))


def _depthwise_tile(width: int, channels: int, cpu: Cpu) -> Tile:
    lanes = cpu.lanes
    while lanes > channels and lanes > 1:
        lanes //= 2
    most = max(1, min(cpu.registers // 2 - 2, 8))
    count = -(-width // most)
    return Tile(1, -(-width // count), 1, lanes)


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
