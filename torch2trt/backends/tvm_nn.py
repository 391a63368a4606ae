"""Products, convolutions, pooling, normalisation and attention for both TVM dialects.

Operators go by their Relax names.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch

from . import tvm_pool, tvm_sample
from .base import Dim, Operand, Tensor
from .tvm_base import HALF
from .tvm_sizes import SizeChecks, empty


class NetworkPrimitives(SizeChecks):
    """A part of ``RelaxContext`` and ``RelayContext``."""

    # ---- products --------------------------------------------------------------------------------
    def _accumulate(self, *xs: Tensor) -> dict[str, str]:
        """The ``out_dtype`` argument that makes half precision sum in float32."""
        half = all(self.dtype(x) in HALF for x in xs)
        return {"out_dtype": "float32"} if half else {}

    def matmul(self, a: Operand, b: Operand) -> Tensor:
        a, b = self.operand(a, "weight"), self.operand(b, "weight")
        inner = self.shape(b)[-2]
        a = self.fit(a, [*[None] * (len(self.shape(a)) - 1), inner])
        b = self.fit(b, [*[None] * (len(self.shape(b)) - 2), self.shape(a)[-1], None])
        if empty([inner]):
            return self._sum_of_no_products(a, b)
        product = self.emit(self.op("matmul")(a, b, **self._accumulate(a, b)))
        return self.cast(self.unless_empty(product, [inner], 0), self.dtype(a))

    def _sum_of_no_products(self, a: Tensor, b: Tensor) -> Tensor:
        *batch, inner, columns = self.shape(b)
        rows = self.reshape(a, [*self.shape(a), 1])
        products = self.binary("mul", rows, self.reshape(b, [*batch, 1, inner, columns]))
        return self.reduce("sum", products, [len(self.shape(products)) - 2], False)

    def einsum(self, equation: str, xs: Sequence[Operand]) -> Tensor:
        xs = [self.operand(x) for x in xs]
        dtype = self.dtype(xs[0])
        left, output = equation.replace(" ", "").split("->")
        terms = left.split(",")
        if len(xs) == 2 and all(len(set(t)) == len(t) for t in terms):
            shared = set(terms[0]) & set(terms[1])
            if set(output) | shared >= set(terms[0]) | set(terms[1]):
                return self._contract(terms, output, xs)
        half = dtype in HALF
        wide = [self.cast(x, torch.float32) for x in xs] if half else xs
        return self.cast(self.emit(self.op("einsum")(wide, f"{left}->{output}")), dtype)

    def _contract(self, terms: Sequence[str], output: str, xs: Sequence[Tensor]) -> Tensor:
        """Two operands as one batched matrix product."""
        first, second = terms
        batch = [c for c in first if c in second and c in output]
        summed = [c for c in first if c in second and c not in output]
        rows, columns = [c for c in first if c not in second], [c for c in second if c not in first]
        size = {c: d for term, x in zip(terms, xs) for c, d in zip(term, self.shape(x))}

        def matrix(x: Tensor, term: str, groups: Sequence[list[str]]) -> Tensor:
            x = self.permute(x, [term.index(c) for group in groups for c in group])
            flat = [math.prod([size[c] for c in group], start=1) for group in groups[1:]]
            return self.reshape(x, [*[size[c] for c in groups[0]], *flat])

        product = self.matmul(
            matrix(xs[0], first, (batch, rows, summed)),
            matrix(xs[1], second, (batch, summed, columns)),
        )
        letters = [*batch, *rows, *columns]
        product = self.reshape(product, [size[c] for c in letters])
        return self.permute(product, [letters.index(c) for c in output])

    # ---- convolutions ----------------------------------------------------------------------------
    def _add_bias(self, x: Tensor, bias: Operand | None, dtype: torch.dtype) -> Tensor:
        if bias is not None:
            bias = self.cast(self.operand(bias, "bias"), self.dtype(x))
            shape = [1, self.shape(bias)[0], *[1] * (len(self.shape(x)) - 2)]
            x = self.emit(self.op("add")(x, self.reshape(bias, shape)))
        return self.cast(x, dtype)

    def conv(
        self, x: Tensor, weight: Operand, bias: Operand | None, stride: Sequence[int],
        padding: Sequence[tuple[int, int]], dilation: Sequence[int], groups: int,
    ) -> Tensor:  # fmt: skip
        weight = self.operand(weight, "weight")
        before, after = zip(*padding)
        y = self.emit(
            self.op(f"nn.conv{len(stride)}d")(
                x,
                weight,
                list(stride),
                [*before, *after],
                list(dilation),
                groups,
                **self._accumulate(x, weight),
            )
        )
        return self._add_bias(y, bias, self.dtype(x))

    def conv_transpose(
        self, x: Tensor, weight: Operand, bias: Operand | None, stride: Sequence[int],
        padding: Sequence[int], output_padding: Sequence[int], dilation: Sequence[int], groups: int,
    ) -> Tensor:  # fmt: skip
        weight, dtype = self.operand(weight, "weight"), self.dtype(x)
        if dtype in HALF:
            x, weight = self.cast(x, torch.float32), self.cast(weight, torch.float32)
        extra, after, zeros = list(output_padding), list(padding), [0] * len(stride)
        for i, (more, s, p) in enumerate(zip(output_padding, stride, padding)):
            # TVM has no output padding of a stride or more: pad less behind, then with zeros
            if more >= s:
                extra[i], after[i], zeros[i] = 0, max(0, p - more), max(0, more - p)
        arguments = list(stride), [*padding, *after], extra, list(dilation), groups
        y = self.emit(self.op(f"nn.conv{len(stride)}d_transpose")(x, weight, *arguments))
        if any(zeros):
            y = self.pad(y, [0] * len(self.shape(y)), [0, 0, *zeros], "constant")
        return self._add_bias(y, bias, dtype)

    # ---- pooling ---------------------------------------------------------------------------------
    def _pool_sizes(
        self, x: Tensor, kernel: Sequence[int], stride: Sequence[int], padding: Sequence[int],
        dilation: Sequence[int], ceil_mode: bool,
    ) -> tuple[list[Dim], list[Dim]]:  # fmt: skip
        """Output sizes as in PyTorch, and how far the last window reaches behind the input."""
        sizes, over = [], []
        for dim, k, s, p, d in zip(self.shape(x)[2:], kernel, stride, padding, dilation):
            room = dim + 2 * p - d * (k - 1) - 1
            if ceil_mode and not isinstance(dim, int):
                raise self.refuse("pooling with ceil_mode over a dynamic size")
            count = (room + (s - 1 if ceil_mode else 0)) // s + 1
            if ceil_mode and (count - 1) * s >= dim + p:
                count -= 1
            sizes.append(count)
            over.append((count - 1) * s + d * (k - 1) + 1 - dim - p if isinstance(dim, int) else p)
        return sizes, over

    def max_pool(
        self, x: Tensor, kernel: Sequence[int], stride: Sequence[int], padding: Sequence[int],
        dilation: Sequence[int], ceil_mode: bool,
    ) -> Tensor:  # fmt: skip
        dtype = self.dtype(x)
        if not dtype.is_floating_point:
            raise self.refuse(f"max_pool of {dtype}")
        _, over = self._pool_sizes(x, kernel, stride, padding, dilation, ceil_mode)
        after = [max(0, o) if ceil_mode else p for o, p in zip(over, padding)]
        return self._pool("max", x, kernel, stride, [*padding, *after], dilation)

    def _pool(
        self, kind: str, x: Tensor, kernel: Sequence[int], stride: Sequence[int],
        padding: Sequence[int], dilation: Sequence[int], **options: bool,
    ) -> Tensor:  # fmt: skip
        """By keywords, which the dialects order differently."""
        operator = self.op(f"nn.{kind}_pool{len(kernel)}d")
        window = {"pool_size": list(kernel), "strides": list(stride), "dilation": list(dilation)}
        return self.emit(operator(x, **window, padding=list(padding), **options))

    def avg_pool(
        self, x: Tensor, kernel: Sequence[int], stride: Sequence[int], padding: Sequence[int],
        ceil_mode: bool, count_include_pad: bool,
    ) -> Tensor:  # fmt: skip
        dtype = self.dtype(x)
        sizes, over = self._pool_sizes(x, kernel, stride, padding, [1] * len(kernel), ceil_mode)
        wide = self._float32(x)
        if any(isinstance(o, int) and o > p for o, p in zip(over, padding)):
            arguments = list(kernel), list(stride), list(padding), sizes, count_include_pad
            return self.cast(self.te(tvm_pool.avg_pool, wide, *arguments, name="avg_pool"), dtype)
        pads, ones = [*padding, *padding], [1] * len(kernel)
        options = {"count_include_pad": count_include_pad}
        return self.cast(self._pool("avg", wide, kernel, stride, pads, ones, **options), dtype)

    # ---- resampling ------------------------------------------------------------------------------
    def resize(
        self, x: Operand, size: Sequence[Dim], mode: str, align_corners: bool,
        scales: Sequence[float | None],
    ) -> Tensor:  # fmt: skip
        if mode not in tvm_sample.RESIZE:
            raise self._missing(f"resize {mode}")
        x = self.operand(x)
        dtype = self.dtype(x)
        if not dtype.is_floating_point and not mode.startswith("nearest"):
            raise self.refuse(f"resize {mode} of {dtype}")
        arguments = list(size), mode, bool(align_corners), list(scales)
        return self.te(tvm_sample.resize, x, *arguments, name=f"resize_{mode.replace('-', '_')}")

    def grid_sample(
        self, x: Tensor, grid: Operand, mode: str, padding: str, align_corners: bool
    ) -> Tensor:
        grid = self.operand(grid, "grid")
        rank = len(self.shape(x)) - 2
        if mode not in ("bilinear", "nearest", "bicubic") or padding not in (
            "zeros",
            "border",
            "reflection",
        ):
            raise self._missing(f"grid_sample {mode} {padding}")
        if mode == "bicubic" and rank != 2:
            raise self.refuse("bicubic grid_sample of other than 2 spatial dimensions")
        return self.te(
            tvm_sample.grid_sample, x, grid, mode, padding, bool(align_corners), name="grid_sample"
        )

    # ---- normalisation ---------------------------------------------------------------------------
    def softmax(self, x: Tensor, axis: int) -> Tensor:
        dtype = self.dtype(x)
        wide = self._float32(x)
        return self.cast(self.emit(self.op("nn.softmax")(wide, axis)), dtype)

    def layer_norm(
        self, x: Tensor, axes: Sequence[int], weight: Operand | None, bias: Operand | None,
        eps: float,
    ) -> Tensor:  # fmt: skip
        dtype, axes = self.dtype(x), list(axes)
        sizes = [self.shape(x)[a] for a in axes]
        if not all(isinstance(d, int) for d in sizes):
            raise self.refuse("layer_norm over a dynamic size")
        scale, shift = torch.ones(sizes, dtype=dtype), torch.zeros(sizes, dtype=dtype)
        scale = self.literal(scale) if weight is None else self.operand(weight, "weight")
        shift = self.literal(shift) if bias is None else self.operand(bias, "bias")
        return self.emit(
            self.op("nn.layer_norm")(
                x, scale, shift, axes, eps, center=bias is not None, scale=weight is not None
            )
        )

    def group_norm(
        self, x: Tensor, groups: int, weight: Operand | None, bias: Operand | None, eps: float,
    ) -> Tensor:  # fmt: skip
        dtype, shape = self.dtype(x), self.shape(x)
        wide = self._float32(x)
        rest = math.prod(shape[2:], start=shape[1] // groups)
        grouped = self.reshape(wide, [shape[0], groups, rest])
        y = self.te(tvm_pool.normalize, grouped, [2], None, None, float(eps), name="group_norm")
        y = self.reshape(y, shape)
        for parameter, role, combine in ((weight, "weight", "multiply"), (bias, "bias", "add")):
            if parameter is not None:
                value = self.cast(self.operand(parameter, role), self.dtype(wide))
                y = self.emit(
                    self.op(combine)(y, self.reshape(value, [1, shape[1], *[1] * (len(shape) - 2)]))
                )
        return self.cast(y, dtype)

    def attention(
        self, q: Tensor, k: Tensor, v: Tensor, mask: Operand | None, causal: bool, scale: float,
    ) -> Tensor:  # fmt: skip
        dtype = self.dtype(q)
        wide = torch.float32 if dtype in HALF else dtype
        q, k, v = (self.cast(x, wide) for x in (q, k, v))
        rank = len(self.shape(k))
        transposed = self.permute(k, [*range(rank - 2), rank - 1, rank - 2])
        product = self.matmul(q, transposed)
        scores = self.binary("mul", product, self._number(scale, wide))
        if causal:
            scores = self._masked(scores, self._lower_triangle(q, k))
        if mask is not None:
            scores = self._masked(scores, self.operand(mask, "mask"))
        weights = self.softmax(scores, rank - 1)
        if mask is not None:
            weights = self._without_blind_rows(weights, scores, rank - 1)
        return self.cast(self.matmul(weights, v), dtype)

    def _masked(self, scores: Tensor, mask: Tensor) -> Tensor:
        dtype = self.dtype(scores)
        if self.dtype(mask) == torch.bool:
            return self.where(mask, scores, self._number(-math.inf, dtype))
        return self.binary("add", scores, self.cast(mask, dtype))

    def _without_blind_rows(self, weights: Tensor, scores: Tensor, axis: int) -> Tensor:
        """0, as torch has it, instead of NaN in rows that may look at nothing."""
        dtype = self.dtype(scores)
        top = self.reduce("max", scores, [axis], True)
        blind = self.binary("eq", top, self._number(-math.inf, dtype))
        return self.where(blind, self._number(0, dtype), weights)

    def _number(self, value: float, dtype: torch.dtype) -> Tensor:
        return self.literal(torch.tensor(value, dtype=dtype))

    def _lower_triangle(self, q: Tensor, k: Tensor) -> Tensor:
        rows, columns = self.shape(q)[-2], self.shape(k)[-2]
        below = self.reshape(self.arange(0, rows), [rows, 1])
        return self.binary("ge", below, self.reshape(self.arange(0, columns), [1, columns]))
