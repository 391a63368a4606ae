"""Windows that combine each channel by itself: depthwise convolution and pooling."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from tvm import te, tirx

from ..tvm_te import max_reducer
from .stages import Program, is_load, substitute
from .target import Cpu
from .tiles import Accumulators, Anchored, Tile, anchored, panel_start, surround
from .tir import INDEX, PARALLEL, VECTORIZED, const, load, loop, seq, store, unravel
from .window import Span, Window, padded, uncovered


@dataclass(frozen=True)
class Pool:
    """The numbers of a two-dimensional pooling; `padding` is top, left, bottom, right."""

    kernel: tuple[int, int]
    strides: tuple[int, int]
    padding: tuple[int, int, int, int]
    dilation: tuple[int, int]


def depthwise(x: Any, weight: Any, spec: Any) -> Any:
    """x (N, H, W, C), weight (KH, KW, C), the numbers of a convolution."""
    source = padded(x, spec.padding)
    shape = (x.shape[0], *spec.out(int(x.shape[1]), int(x.shape[2])), x.shape[3])
    ry, rx, at = _window(spec)
    return te.compute(
        shape,
        lambda n, h, w, c: te.sum(source[at(n, h, w, c)] * weight[ry, rx, c], axis=[ry, rx]),
        name="depthwise",
        attrs=_attrs("depthwise", spec),
    )


def max_pool(x: Any, pool: Pool) -> Any:
    """The maximum of each window; NaN where one is in it."""
    source = padded(x, pool.padding, float("-inf"))
    ry, rx, at = _window(pool)
    return te.compute(
        _pooled(source, pool),
        lambda n, h, w, c: max_reducer(source[at(n, h, w, c)], axis=[ry, rx]),
        name="max_pool",
        attrs=_attrs("pool", pool),
    )


def avg_pool(x: Any, pool: Pool, count_include_pad: bool) -> Any:
    """The mean of each window, with the padding or without."""
    source = padded(x, pool.padding)
    ry, rx, at = _window(pool)
    total = te.compute(
        _pooled(source, pool),
        lambda n, h, w, c: te.sum(source[at(n, h, w, c)], axis=[ry, rx]),
        name="pool_sum",
        attrs=_attrs("pool", pool),
    )

    def inside(axis: int, position: Any) -> Any:
        if count_include_pad or not any(pool.padding):
            return const(pool.kernel[axis], INDEX)
        start = position * pool.strides[axis] - pool.padding[axis]
        end = tirx.min(start + pool.kernel[axis], x.shape[axis + 1])
        return end - tirx.max(start, 0)

    def mean(n: Any, h: Any, w: Any, c: Any) -> Any:
        return total(n, h, w, c) / (inside(0, h) * inside(1, w)).astype("float32")

    return te.compute(total.shape, mean, name="avg_pool")


def mean(x: Any) -> Any:
    """The mean over the pixels of x (N, H, W, C); its rows are work for all cores."""
    images, height, width, channels = x.shape
    ry, rx = te.reduce_axis((0, height), "ry"), te.reduce_axis((0, width), "rx")
    rows = te.compute(
        (images, height, channels), lambda n, h, c: te.sum(x[n, h, rx, c], axis=rx), name="rows"
    )
    scale = const(1.0 / (int(height) * int(width)))
    total = te.compute(
        (images, 1, 1, channels), lambda n, h, w, c: te.sum(rows[n, ry, c], axis=ry), name="total"
    )
    return te.compute(total.shape, lambda *at: total(*at) * scale, name="mean")


def _window(numbers: Any) -> tuple[Any, Any, Any]:
    """The axes of the window, and what it reads from where."""
    ry = te.reduce_axis((0, numbers.kernel[0]), "ry")
    rx = te.reduce_axis((0, numbers.kernel[1]), "rx")

    def at(n: Any, h: Any, w: Any, c: Any) -> tuple[Any, ...]:
        y = h * numbers.strides[0] + ry * numbers.dilation[0]
        return n, y, w * numbers.strides[1] + rx * numbers.dilation[1], c

    return ry, rx, at


def _pooled(source: Any, pool: Pool) -> tuple[int, ...]:
    images, height, width, channels = (int(d) for d in source.shape)
    size = [
        (extent - (kernel - 1) * dilation - 1) // stride + 1
        for extent, kernel, dilation, stride in zip(
            (height, width), pool.kernel, pool.dilation, pool.strides
        )
    ]
    return (images, *size, channels)


def _attrs(rule: str, numbers: Any) -> dict[str, Any]:
    return {"rule": rule, "steps": [*numbers.strides, *numbers.dilation]}


def depthwise_rule(program: Program, cpu: Cpu) -> list[Any]:
    """Loops over images and rows in parallel; a tile is a few pixels of one vector of channels."""
    return _sliding(anchored(program, "depthwise"), program, cpu)


def pool_rule(program: Program, cpu: Cpu) -> list[Any]:
    """As for a depthwise convolution."""
    return _sliding(anchored(program, "pool"), program, cpu)


def _sliding(parts: Anchored, program: Program, cpu: Cpu) -> list[Any]:
    anchor = parts.anchor
    images, height, width, channels = anchor.extents
    tile = _tile(width, channels, cpu)
    source = anchor.loads()[0].source
    parts, image, window = uncovered(parts, source, 1, tile.width)
    panels = -(-channels // tile.panel)

    def task(index: Any) -> Any:
        number, row = unravel(index, (images, height))
        first, count = window.rows(row)

        def strip(left: Any, spans: Sequence[Span]) -> Any:
            def panel(p: Any) -> Any:
                start = panel_start(p, tile, channels)
                block = _Block(parts, tile, cpu, source, image, window, [number, row, left, start])
                return block.emit(first, count, spans)

            return loop(panels, panel)

        return seq(window.across(tile.width, strip))

    return surround(parts, program, cpu, loop(images * height, task, PARALLEL, "task"))


@dataclass
class _Block:
    """One tile: `corner` is its image, row, first column and first channel."""

    parts: Anchored
    tile: Tile
    cpu: Cpu
    source: Any
    image: Any
    window: Window
    corner: list[Any]

    def emit(self, first: Any, count: Any, spans: Sequence[Span]) -> Any:
        """The statements that compute the tile from `count` rows of the window, from `first` on."""
        anchor = self.parts.anchor
        acc = Accumulators(self.tile, self.parts, self.cpu)
        number, row, left, start = self.corner

        def line(i: Any) -> Any:
            return seq(
                self._update(acc, r, [first + i, const(span.first + x, INDEX)])
                for span in spans
                for x in range(span.count)
                for r in range(span.begin, span.end)
            )

        place = (lambda r: [number, row, left + r], start, anchor.extents[3])
        return seq([*acc.start(anchor.init), loop(count, line), *acc.finish(*place)])

    def _update(self, acc: Accumulators, r: int, reduced: Sequence[Any]) -> Any:
        anchor, lanes = self.parts.anchor, self.tile.lanes
        number, row, left, start = self.corner
        top, before = self.window.before

        def lane(i: Any) -> Any:
            at = [number, row, left + r, start + i]
            binding = dict(zip([*anchor.axes, *anchor.reduce], [*at, *reduced], strict=True))

            def change(node: Any) -> Any:
                if not is_load(node):
                    return None
                if node.source.same_as(anchor.buffer):
                    return load(acc.buffer, [r * lanes + i])
                if not node.source.same_as(self.source):
                    return None
                n, h, w, c = (substitute(j, binding) for j in node.indices)
                return load(self.image, [n, h - top, w - before, c])

            return store(acc.buffer, [r * lanes + i], substitute(anchor.value, binding, change))

        return loop(lanes, lane, VECTORIZED, "lane")


def _tile(width: int, channels: int, cpu: Cpu) -> Tile:
    lanes = cpu.lanes
    while lanes > channels and lanes > 1:
        lanes //= 2
    most = max(1, min(cpu.registers // 2 - 2, 8))
    count = -(-width // most)
    return Tile(1, -(-width // count), 1, lanes)
