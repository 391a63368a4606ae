"""Convolutions of integers, which TensorRT does not have: sums of products of slices, exact as
PyTorch's."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence

from .base import Dim, Operand, Tensor
from .tensorrt_index import IndexMixin


class IntConvMixin(IndexMixin):
    """conv and conv_transpose of integers in any number of spatial dimensions."""

    def _int_conv(
        self, x: Tensor, weight: Operand, bias: Operand | None, stride: Sequence[int],
        padding: Sequence[tuple[int, int]], dilation: Sequence[int], groups: int,
    ) -> Tensor:  # fmt: skip
        """One product of a strided slice and a slice of the weight per position of the window."""
        x = self._fitted(x, padding)
        maps, depth = weight.shape[:2]
        kernel = weight.shape[2:]
        sizes = self._seen_sizes(x, kernel, stride, dilation)
        batch, _, *counts = sizes
        ones = (1,) * len(stride)
        total = None
        for offsets, part in self._seen(x, sizes, kernel, stride, dilation):
            part = self.reshape(part, (batch, groups, 1, depth, *counts))
            taps = self._taps(weight, offsets, (1, groups, maps // groups, depth, *ones))
            product = self.reduce("sum", self.binary("mul", part, taps), [3], keepdim=False)
            total = product if total is None else self.binary("add", total, product)
        result = self.reshape(total, (batch, maps, *counts))
        if bias is None:
            return result
        view = (1, maps, *ones)
        bias = self.reshape(bias, view) if self.is_tensor(bias) else bias.reshape(view)
        return self.binary("add", result, bias)

    def _seen_sizes(
        self, x: Tensor, kernel: Sequence[int], stride: Sequence[int], dilation: Sequence[int]
    ) -> tuple[Dim, ...]:
        """[N, C, *windows], the shape of what one position of the window sees of `x`."""
        shape = self.shape(x)
        spans = [(window - 1) * gap + 1 for window, gap in zip(kernel, dilation, strict=True)]
        rows = zip(shape[2:], spans, stride, strict=True)
        return (*shape[:2], *((dim - span) // step + 1 for dim, span, step in rows))

    def _seen(
        self, x: Tensor, sizes: Sequence[Dim], kernel: Sequence[int], stride: Sequence[int],
        dilation: Sequence[int],
    ) -> Iterator[tuple[tuple[int, ...], Tensor]]:  # fmt: skip
        """What each position of the window sees of `x`: the position and a strided slice."""
        for offsets in itertools.product(*map(range, kernel)):
            starts = (offset * gap for offset, gap in zip(offsets, dilation, strict=True))
            yield offsets, self.slice(x, (0, 0, *starts), sizes, (1, 1, *stride))

    def _taps(self, weight: Operand, offsets: Sequence[int], view: Sequence[int]) -> Operand:
        """The weights of one position of the window."""
        if not self.is_tensor(weight):
            return weight[(..., *offsets)].reshape(tuple(view))
        ones = (1,) * len(offsets)
        part = self.slice(weight, (0, 0, *offsets), (*weight.shape[:2], *ones), (1, 1, *ones))
        return self.reshape(part, view)

    def _int_conv_transpose(
        self, x: Tensor, weight: Operand, bias: Operand | None, stride: Sequence[int],
        padding: Sequence[int], output_padding: Sequence[int], dilation: Sequence[int], groups: int,
    ) -> Tensor:  # fmt: skip
        """A convolution of x with zeros between its elements and the weight turned around."""
        for axis, step in enumerate(stride, start=2):
            x = self._spread(x, axis, step)
        rows, columns, *kernel = weight.shape
        weight, maps = self.operand(weight, "weight"), columns * groups
        back = (0, 0, *(window - 1 for window in kernel))
        weight = self.slice(weight, back, (rows, columns, *kernel), (1, 1, *(-1 for _ in kernel)))
        weight = self.reshape(weight, (groups, rows // groups, columns, *kernel))
        weight = self.permute(weight, (0, 2, 1, *range(3, 3 + len(kernel))))
        weight = self.reshape(weight, (maps, rows // groups, *kernel))
        reach = [
            gap * (window - 1) - pad
            for gap, window, pad in zip(dilation, kernel, padding, strict=True)
        ]
        pads = [(low, low + extra) for low, extra in zip(reach, output_padding, strict=True)]
        return self._int_conv(x, weight, bias, (1,) * len(kernel), pads, dilation, groups)

    def _spread(self, x: Tensor, axis: int, step: int) -> Tensor:
        """`x` with step - 1 zeros between its elements along an axis."""
        if step == 1:
            return x
        shape = self.shape(x)
        x = self.reshape(x, (*shape[: axis + 1], 1, *shape[axis + 1 :]))
        none = [0] * self.rank(x)
        x = self.pad(
            x, none, [step - 1 if i == axis + 1 else 0 for i in range(len(none))], "constant"
        )
        x = self.reshape(x, (*shape[:axis], shape[axis] * step, *shape[axis + 1 :]))
        sizes = (*shape[:axis], (shape[axis] - 1) * step + 1, *shape[axis + 1 :])
        return self.slice(x, (0,) * len(sizes), sizes, (1,) * len(sizes))

    def _fitted(self, x: Tensor, padding: Sequence[tuple[int, int]]) -> Tensor:
        """`x` with zeros around it, or cut where the padding is negative."""
        low = (0, 0, *(max(0, before) for before, _ in padding))
        x = self.pad(x, low, (0, 0, *(max(0, after) for _, after in padding)), "constant")
        cut = (0, 0, *(max(0, -before) for before, _ in padding))
        lost = (0, 0, *(max(0, -before) + max(0, -after) for before, after in padding))
        sizes = [dim - less for dim, less in zip(self.shape(x), lost, strict=True)]
        return self.slice(x, cut, sizes, (1,) * len(sizes))
