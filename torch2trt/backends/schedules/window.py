"""Windows that move over images: what of them lies in the image, and what in its padding.

A window that hangs over the edge leaves out what lies in the padding, so the image need not be
copied to pad it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from typing import Any

from tvm import te, tirx

from .tiles import Anchored, tile_start
from .tir import INDEX, const, loop

_MOST_BODIES = 9  # copies of the inner loop for tiles at the edges


@dataclass(frozen=True)
class Span:
    """Columns of a window that see the image from the same pixels of a tile.

    Attributes:
        first: the first of these columns.
        count: their number.
        begin: the first pixel of the tile whose window has these columns inside the image.
        end: the pixel behind the last one.
    """

    first: int
    count: int
    begin: int
    end: int


@dataclass(frozen=True)
class Window:
    """A window that moves over an image with padding around it; all pairs are rows, columns.

    Attributes:
        kernel: the size of the window.
        strides: by how much it moves.
        dilation: how far its elements are apart.
        before: the padding above and left of the image.
        image: the size of the image, without padding.
        out: the number of positions.
    """

    kernel: tuple[int, int]
    strides: tuple[int, int]
    dilation: tuple[int, int]
    before: tuple[int, int]
    image: tuple[int, int]
    out: tuple[int, int]

    def row(self, position: Any, element: Any) -> Any:
        """The row of the image under a row of the window."""
        return position * self.strides[0] + element * self.dilation[0] - self.before[0]

    def column(self, position: Any, element: Any) -> Any:
        """The column of the image under a column of the window."""
        return position * self.strides[1] + element * self.dilation[1] - self.before[1]

    def rows(self, position: Any) -> tuple[Any, Any]:
        """The first row of the window that lies in the image, and the number of those that do."""
        size, step, last = self.kernel[0], self.dilation[0], self.image[0] - 1
        if not self.before[0] and self.row(self.out[0] - 1, size - 1) <= last:
            return const(0, INDEX), size
        above = self.before[0] - position * self.strides[0]
        first = tirx.max(const(0, INDEX), tirx.floordiv(above + (step - 1), step))
        end = tirx.min(const(size, INDEX), tirx.floordiv(above + last, step) + 1)
        return first, tirx.max(const(0, INDEX), end - first)

    def spans(self, left: int, width: int) -> tuple[Span, ...]:
        """The columns of the window for a tile of `width` pixels from `left` on."""

        def inside(element: int) -> tuple[int, int]:
            seen = [r for r in range(width) if 0 <= self.column(left + r, element) < self.image[1]]
            return (seen[0], seen[-1] + 1) if seen else (0, 0)

        runs = [(key, list(run)) for key, run in groupby(range(self.kernel[1]), key=inside)]
        return tuple(Span(run[0], len(run), *key) for key, run in runs if key[1])

    def strips(self, width: int) -> list[tuple[int, int, tuple[Span, ...]]]:
        """Runs of tiles of a row that see the image alike: the first, their number, the spans."""
        extent = self.out[1]
        lefts = [min(i * width, extent - width) for i in range(-(-extent // width))]
        runs = groupby(range(len(lefts)), key=lambda i: self.spans(lefts[i], width))
        numbered = [(spans, list(run)) for spans, run in runs]
        return [(run[0], len(run), spans) for spans, run in numbered]

    def simple(self, width: int) -> bool:
        """Whether few copies of the inner loop serve tiles of `width` pixels."""
        return sum(len(spans) for _, _, spans in self.strips(width)) <= _MOST_BODIES

    def across(self, width: int, body: Callable[[Any, tuple[Span, ...]], Any]) -> Iterator[Any]:
        """The statements `body(left, spans)` for all tiles of a row."""
        for first, count, spans in self.strips(width):
            yield loop(
                count, lambda i, f=first, s=spans: body(tile_start(i + f, width, self.out[1]), s)
            )


def padded(x: Any, padding: Sequence[int], value: float = 0.0) -> Any:
    """x (N, H, W, C) with `value` around the image; `padding` is top, left, bottom, right."""
    top, left, bottom, right = padding
    if not any(padding):
        return x
    images, height, width, channels = x.shape

    def element(n: Any, h: Any, w: Any, c: Any) -> Any:
        inside = tirx.all(h >= top, h < top + height, w >= left, w < left + width)
        return tirx.if_then_else(inside, x(n, h - top, w - left, c), const(value, x.dtype))

    shape = (images, height + top + bottom, width + left + right, channels)
    return te.compute(shape, element, name="padded", attrs={"before": [top, left]})


def uncovered(parts: Anchored, source: Any, tall: int, wide: int) -> tuple[Anchored, Any, Window]:
    """The function without the padding of `source` where tiles of that size can do without it.

    Returns:
        The parts that remain, the buffer of the image, and the window over it.
    """
    anchor = parts.anchor
    numbers = [int(v) for v in anchor.attrs["steps"]]
    kernel = (anchor.reduce_extents[0], anchor.reduce_extents[1])
    strides, dilation = (numbers[0], numbers[1]), (numbers[2], numbers[3])
    out = (anchor.extents[1], anchor.extents[2])

    def window(image: Any, before: Sequence[Any]) -> Window:
        size = (int(image.ty.shape[1]), int(image.ty.shape[2]))
        return Window(kernel, strides, dilation, (int(before[0]), int(before[1])), size, out)

    pad = next((s for s in parts.before if s.buffer.same_as(source)), None)
    if pad is not None and "before" in pad.attrs and tall == 1:
        image = pad.loads()[0].source
        direct = window(image, pad.attrs["before"])
        if direct.simple(wide):
            rest = tuple(s for s in parts.before if s is not pad)
            return replace(parts, before=rest), image, direct
    return parts, source, window(source, (0, 0))
