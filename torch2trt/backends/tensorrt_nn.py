"""Matrix products, convolutions and pooling of TensorRT."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any

import torch

from .base import Operand, Tensor
from .tensorrt_base import FLOATS, INTS
from .tensorrt_intconv import IntConvMixin
from .tensorrt_reduce import extreme


class NetworkMixin(IntConvMixin):
    """matmul, einsum, convolutions, pooling and softmax; see ``SymbolicContext``."""

    # ---- products --------------------------------------------------------------------------------
    def matmul(self, a: Operand, b: Operand) -> Tensor:
        if self.dtype_of(a) not in FLOATS:
            return self._int_matmul(*self.align(a, b))
        (a, before), (b, after) = self._factor(a), self._factor(b)
        a, b = self.align(a, b)
        return self.out(self.network.add_matrix_multiply(a, before, b, after))

    def _factor(self, x: Operand) -> tuple[Operand, Any]:
        """A factor and how the layer takes it; transposed constants as they lie in memory."""
        operations = self.trt.MatrixOperation
        if not self.is_tensor(x) and not x.is_contiguous() and x.mT.is_contiguous():
            return x.mT, operations.TRANSPOSE
        return x, operations.NONE

    def _int_matmul(self, a: Tensor, b: Tensor) -> Tensor:
        """TensorRT multiplies float matrices only: products on one more dimension, summed."""
        rank = self.rank(a)
        left = self.reshape(a, (*self.shape(a), 1))
        right = self.reshape(b, (*self.shape(b)[:-2], 1, *self.shape(b)[-2:]))
        return self.reduce("sum", self.binary("mul", left, right), [rank - 1], keepdim=False)

    def einsum(self, equation: str, xs: Sequence[Operand]) -> Tensor:
        """In steps of two operands, because releases before 10.12 take no more at once."""
        left, result = equation.replace(" ", "").split("->")
        terms = left.split(",")
        tensors = [self.operand(x) for x in xs]
        while len(tensors) > 2:
            kept = set(result).union(*terms[2:])
            letters = dict.fromkeys(terms[0] + terms[1])
            middle = "".join(letter for letter in letters if letter in kept)
            tensors[:2] = [self._einsum_layer(f"{terms[0]},{terms[1]}->{middle}", tensors[:2])]
            terms[:2] = [middle]
        return self._einsum_layer(f"{','.join(terms)}->{result}", tensors)

    def _einsum_layer(self, equation: str, tensors: list[Tensor]) -> Tensor:
        return self.out(self.network.add_einsum(tensors, equation))

    def softmax(self, x: Tensor, axis: int) -> Tensor:
        if self.rank(x) == 1:
            row = self.reshape(x, (1, *self.shape(x)))
            return self.reshape(self.softmax(row, 1), self.shape(x))
        layer = self.check(self.network.add_softmax(x))
        layer.axes = 1 << axis
        return self.out(layer)

    # ---- convolutions ----------------------------------------------------------------------------
    def conv(
        self, x: Tensor, weight: Operand, bias: Operand | None, stride: Sequence[int],
        padding: Sequence[tuple[int, int]], dilation: Sequence[int], groups: int,
    ) -> Tensor:  # fmt: skip
        if self._of_integers(x, weight):
            return self._int_conv(x, weight, bias, stride, padding, dilation, groups)
        if len(stride) == 1:
            window = (1, *stride), [(0, 0), *padding], (1, *dilation)
            return self._unlift(self.conv(self._lift(x), self._lift(weight), bias, *window, groups))
        layer, late_bias = self._weighted(
            self.network.add_convolution_nd, x, weight, bias, weight.shape[0]
        )
        before, after = zip(*padding, strict=True)
        self._set_window(layer, stride, before, after, dilation, groups)
        return self._add_bias(self.out(layer), late_bias)

    def conv_transpose(
        self, x: Tensor, weight: Operand, bias: Operand | None, stride: Sequence[int],
        padding: Sequence[int], output_padding: Sequence[int], dilation: Sequence[int], groups: int,
    ) -> Tensor:  # fmt: skip
        window = stride, padding, output_padding, dilation
        if self._of_integers(x, weight):
            return self._int_conv_transpose(x, weight, bias, *window, groups)
        if len(stride) == 1:
            window = (1, *stride), (0, *padding), (0, *output_padding), (1, *dilation)
            y = self.conv_transpose(self._lift(x), self._lift(weight), bias, *window, groups)
            return self._unlift(y)
        weight, dilation = self._without_dilation(weight, stride, dilation)
        ends = [pad - extra for pad, extra in zip(padding, output_padding, strict=True)]
        after, beyond = [max(0, end) for end in ends], [max(0, -end) for end in ends]
        early, late = (None, bias) if any(beyond) else (bias, None)
        layer, late_bias = self._weighted(
            self.network.add_deconvolution_nd, x, weight, early, weight.shape[1] * groups
        )
        self._set_window(layer, stride, padding, after, dilation, groups)
        y = self.pad(self.out(layer), (0,) * self.rank(x), (0, 0, *beyond), "constant")
        return self._add_bias(y, late if late_bias is None else late_bias)

    def _without_dilation(
        self, weight: Operand, stride: Sequence[int], dilation: Sequence[int]
    ) -> tuple[Operand, Sequence[int]]:
        """Zeros between the weights, for TensorRT-RTX has no deconvolution with both strides and
        dilation."""
        if self._weakly_typed or max(stride) == 1 or max(dilation) == 1:
            return weight, dilation
        weight = self.operand(weight, "weight")
        for axis, gap in enumerate(dilation, start=2):
            weight = self._spread(weight, axis, gap)
        return weight, (1,) * len(stride)

    def _set_window(
        self, layer: Any, stride: Sequence[int], before: Sequence[int], after: Sequence[int],
        dilation: Sequence[int], groups: int,
    ) -> None:  # fmt: skip
        layer.stride_nd = tuple(stride)
        layer.pre_padding = tuple(before)
        layer.post_padding = tuple(after)
        layer.dilation_nd = tuple(dilation)
        layer.num_groups = groups

    def _of_integers(self, x: Tensor, weight: Operand) -> bool:
        kind = self.dtype(x)
        return kind in INTS and self.same_dtype(kind, self.dtype_of(weight))

    def _weighted(
        self, add: Any, x: Tensor, weight: Operand, bias: Operand | None, maps: int
    ) -> tuple[Any, Operand | None]:
        """A (de)convolution layer, and the bias that it could not take.

        bfloat16 weights and symbolic ones are inputs of the layer, others are weights of it.
        """
        if self.dtype(x) not in FLOATS or self.dtype_of(weight) != self.dtype(x):
            raise self.refuse(
                f"convolution of {self.dtype(x)} with a {self.dtype_of(weight)} weight is not "
                "available"
            )
        as_input = self.is_tensor(weight) or weight.dtype == torch.bfloat16
        with_bias = bias is not None and not as_input and not self.is_tensor(bias)
        empty = self.no_weights(self.dtype(x))
        kernel = empty if as_input else self.weights(weight, "weight")
        values = self.weights(bias, "bias") if with_bias else empty
        layer = self.check(add(x, maps, tuple(weight.shape[2:]), kernel, values))
        if as_input:
            layer.set_input(1, self.operand(weight, "weight"))
        return layer, None if with_bias else bias

    def _add_bias(self, x: Tensor, bias: Operand | None) -> Tensor:
        if bias is None:
            return x
        view = (1, -1) + (1,) * (self.rank(x) - 2)
        if self.is_tensor(bias):
            return self.binary("add", x, self.reshape(bias, (1, bias.shape[0], *view[2:])))
        return self.elementwise(
            "SUM", x, self.constant(bias, "bias", (1, bias.shape[0], *view[2:]))
        )

    def _lift(self, x: Operand) -> Operand:
        """[N, C, L] as [N, C, 1, L]: TensorRT's windows have two or three dimensions."""
        if not self.is_tensor(x):
            return x.unsqueeze(2)
        n, c, length = self.shape(x)
        return self.reshape(x, (n, c, 1, length))

    def _unlift(self, x: Tensor) -> Tensor:
        n, c, _, length = self.shape(x)
        return self.reshape(x, (n, c, length))

    # ---- pooling ---------------------------------------------------------------------------------
    def max_pool(
        self, x: Tensor, kernel: Sequence[int], stride: Sequence[int], padding: Sequence[int],
        dilation: Sequence[int], ceil_mode: bool,
    ) -> Tensor:  # fmt: skip
        if len(kernel) == 1:
            window = (1, *kernel), (1, *stride), (0, *padding), (1, *dilation)
            return self._unlift(self.max_pool(self._lift(x), *window, ceil_mode))
        infinite = x.name in self._infinite  # 8.6's layer starts from the lowest finite number
        if self.dtype(x) not in FLOATS or any(d != 1 for d in dilation) or infinite:
            return self._max_of_slices(x, kernel, stride, padding, dilation, ceil_mode)
        after = self._end_padding(x, kernel, stride, padding, ceil_mode)
        return self._pool_layer("MAX", x, kernel, stride, padding, after)

    def avg_pool(
        self, x: Tensor, kernel: Sequence[int], stride: Sequence[int], padding: Sequence[int],
        ceil_mode: bool, count_include_pad: bool,
    ) -> Tensor:  # fmt: skip
        if len(kernel) == 1:
            window = (1, *kernel), (1, *stride), (0, *padding)
            return self._unlift(self.avg_pool(self._lift(x), *window, ceil_mode, count_include_pad))
        if self.dtype(x) not in FLOATS:
            raise self.refuse(f"avg_pool of {self.dtype(x)} is not available")
        after = self._end_padding(x, kernel, stride, padding, ceil_mode)
        excluded = not count_include_pad
        if count_include_pad and (after is None or list(after) != list(padding)):
            # The padding counts, what ceil_mode adds beyond it does not: pad first,
            # then exclude the rest.
            edges = (0, 0, *padding)
            x = self.pad(x, edges, edges, "constant")
            if after is not None:
                after = [end - pad for end, pad in zip(after, padding, strict=True)]
            padding, excluded = (0,) * len(kernel), True
        return self._pool_layer("AVERAGE", x, kernel, stride, padding, after, excluded)

    def _end_padding(
        self, x: Tensor, kernel: Sequence[int], stride: Sequence[int], padding: Sequence[int],
        ceil_mode: bool,
    ) -> list[int] | None:  # fmt: skip
        """Padding behind x for torch's size with rounding down; None: let the layer round up.

        torch rounds up only as long as the last window starts in x or in the padding before it.
        """
        if not ceil_mode:
            return list(padding)
        sizes = x.shape[2:]
        if -1 in sizes:
            rows = zip(padding, stride, kernel, strict=True)
            if any(pad + step > window for pad, step, window in rows):
                raise self.refuse(
                    "pooling with ceil_mode of a dynamic size is not available for this window and "
                    "padding"
                )
            return None
        after = []
        for size, window, step, pad in zip(sizes, kernel, stride, padding, strict=True):
            count = -((size + 2 * pad - window) // -step)
            count -= count * step >= size + pad
            after.append(max(pad, count * step + window - size - pad))
        return after

    def _pool_layer(
        self, kind: str, x: Tensor, kernel: Sequence[int], stride: Sequence[int],
        before: Sequence[int],
        after: Sequence[int] | None, excluded: bool = True,
    ) -> Tensor:  # fmt: skip
        layer = self.check(
            self.network.add_pooling_nd(x, getattr(self.trt.PoolingType, kind), tuple(kernel))
        )
        layer.stride_nd = tuple(stride)
        layer.pre_padding = tuple(before)
        layer.post_padding = tuple(before if after is None else after)
        if after is None:
            layer.padding_mode = self.trt.PaddingMode.EXPLICIT_ROUND_UP
        if kind == "AVERAGE":
            layer.average_count_excludes_padding = excluded
        return self.out(layer)

    def _max_of_slices(
        self, x: Tensor, kernel: Sequence[int], stride: Sequence[int], padding: Sequence[int],
        dilation: Sequence[int], ceil_mode: bool,
    ) -> Tensor:  # fmt: skip
        """Dilated windows, integers, infinite values: a strided slice per window element."""
        spans = [(window - 1) * gap + 1 for window, gap in zip(kernel, dilation, strict=True)]
        after = self._end_padding(x, spans, stride, padding, ceil_mode)
        if after is None:
            raise self.refuse(
                "max_pool with dilation and ceil_mode of a dynamic size is not available"
            )
        lowest = extreme(self.dtype(x), largest=False)
        padded = self.pad(x, (0, 0, *padding), (0, 0, *after), "constant", lowest)
        sizes = self._seen_sizes(padded, kernel, stride, dilation)
        slices = self._seen(padded, sizes, kernel, stride, dilation)
        return functools.reduce(
            lambda a, b: self.binary("maximum", a, b), (part for _, part in slices)
        )
