"""Normalisation and attention of TensorRT."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch

from .base import Operand, Tensor
from .tensorrt_nn import NetworkMixin


class NormMixin(NetworkMixin):
    """channel_affine, layer_norm, group_norm and attention; see ``SymbolicContext``."""

    def channel_affine(self, x: Tensor, scale: torch.Tensor, shift: torch.Tensor) -> Tensor:
        """``x * scale + shift`` per channel (dimension 1), as one scale layer where there is one.

        Args:
            x: [N, C, ...].
            scale: [C], in the dtype of `x`.
            shift: [C], in the dtype of `x`.
        """
        rank = self.rank(x)
        if rank == 3:  # the layer wants four dimensions
            return self._unlift(self.channel_affine(self._lift(x), scale, shift))
        if rank < 3 or self.dtype(x) == torch.bfloat16:
            view = (1, scale.numel()) + (1,) * (rank - 2)
            product = self.elementwise("PROD", *self.align(x, self.constant(scale, "scale", view)))
            return self.elementwise("SUM", product, self.constant(shift, "shift", view))
        mode, power = self.trt.ScaleMode.CHANNEL, self.no_weights(self.dtype(x))
        weights = self.weights(shift, "shift"), self.weights(scale, "scale")
        return self.out(self.network.add_scale_nd(x, mode, *weights, power, 1))

    # ---- layer and group norm --------------------------------------------------------------------
    def layer_norm(
        self, x: Tensor, axes: Sequence[int], weight: Operand | None, bias: Operand | None,
        eps: float,
    ) -> Tensor:  # fmt: skip
        sizes = [x.shape[axis] for axis in axes]
        if -1 in sizes:
            raise self.refuse("layer_norm over a dynamic dimension is not available")
        rank = self.rank(x)
        shape = (1,) * (rank - len(sizes)) + tuple(sizes)
        scale = self._affine(weight, "weight", 1, shape, x)
        shift = self._affine(bias, "bias", 0, shape, x)
        return self._normalization(x, scale, shift, axes, eps)

    def _affine(
        self, values: Operand | None, role: str, default: float, shape: Sequence[int], x: Tensor
    ) -> Tensor:
        if values is None:
            return self.literal(torch.full(shape, default, dtype=self.dtype(x)))
        if self.is_tensor(values):
            return self.reshape(values, shape)
        return self.constant(values, role, shape)

    def _normalization(
        self,
        x: Tensor,
        scale: Tensor,
        shift: Tensor,
        axes: Sequence[int],
        eps: float,
        groups: int | None = None,
    ) -> Tensor:
        modern = self.has("add_normalization_v2")
        add = self.network.add_normalization_v2 if modern else self.network.add_normalization
        layer = self.check(add(x, scale, shift, self.axes(axes)))
        layer.epsilon = eps
        if groups is not None:
            layer.num_groups = groups
        return self.out(layer)

    def group_norm(
        self, x: Tensor, groups: int, weight: Operand | None, bias: Operand | None, eps: float,
    ) -> Tensor:  # fmt: skip
        rank, channels = self.rank(x), x.shape[1]
        view = (1, channels) + (1,) * (rank - 2)
        scale = self._affine(weight, "weight", 1, view, x)
        shift = self._affine(bias, "bias", 0, view, x)
        spatial = range(2, rank)
        if rank >= 4 and groups == channels:
            return self._normalization(x, scale, shift, spatial, eps)
        if rank >= 4 and groups == 1:
            return self._normalization(x, scale, shift, range(1, rank), eps)
        if rank >= 4 and self.has("add_normalization_v2"):
            return self._normalization(x, scale, shift, spatial, eps, groups)
        return self._group_norm_of_rows(x, groups, scale, shift, eps)

    def _group_norm_of_rows(
        self, x: Tensor, groups: int, scale: Tensor, shift: Tensor, eps: float
    ) -> Tensor:
        """Every group as one row, where there is no layer for it; mean and variance in float32."""
        shape = self.shape(x)
        size = x.shape[1] // groups
        for dim in shape[2:]:
            size = size * dim
        rows = self.cast(self.reshape(x, (shape[0], groups, size)), torch.float32)
        centred = self.elementwise("SUB", rows, self.reduce("mean", rows, [2], keepdim=True))
        squares = self.elementwise("PROD", centred, centred)
        variance = self.reduce("mean", squares, [2], keepdim=True)
        factor = self._rsqrt(self._with("SUM", variance, eps))
        normal = self.reshape(self.elementwise("PROD", centred, factor), shape)
        scale, shift = self.cast(scale, torch.float32), self.cast(shift, torch.float32)
        scaled = self.elementwise("PROD", normal, scale)
        return self.cast(self.elementwise("SUM", scaled, shift), self.dtype(x))

    # ---- attention -------------------------------------------------------------------------------
    def attention(
        self, q: Tensor, k: Tensor, v: Tensor, mask: Operand | None, causal: bool, scale: float,
    ) -> Tensor:  # fmt: skip
        """TensorRT's attention layer for half precision without a mask, else attention's parts.

        TensorRT-RTX 1.7 crashes when it builds the layer with a constant mask that broadcasts over
        heads. The layer does not scale, so `q` is scaled before, which is exact in half precision
        for powers of two only. The parts keep scores and softmax in float32, as PyTorch and the
        layer do.
        """
        dtype = self.dtype(q)
        fused = dtype in (torch.float16, torch.bfloat16) and self.has("add_attention")
        if fused and self.rank(q) == 4 and mask is None and abs(math.frexp(scale)[0]) == 0.5:
            return self._attention_layer(self._with("PROD", q, scale), k, v, causal)
        q, k = (self.cast(x, torch.float32) for x in (q, k))
        scores = self.out(
            self.network.add_matrix_multiply(
                q, self.trt.MatrixOperation.NONE, k, self.trt.MatrixOperation.TRANSPOSE
            )
        )
        scores = self._with("PROD", scores, scale)
        if causal:
            scores = self._masked(scores, self._causal_mask(q, k))
        if mask is not None:
            scores = self._masked(scores, mask)
        weights = self.cast(self.softmax(scores, self.rank(scores) - 1), dtype)
        return self._without_blind_rows(self.matmul(weights, v), mask)

    def _without_blind_rows(self, result: Tensor, mask: Operand | None) -> Tensor:
        """0, as torch has it, instead of NaN in rows that may look at nothing."""
        if mask is None:
            return result
        last = self.rank(mask) - 1
        if not self.is_tensor(mask):
            blind = ~mask if mask.dtype == torch.bool else mask == -math.inf
            blind = blind.all(last, keepdim=True)
            if not blind.any():
                return result
            blind = self.literal(blind)
        elif self.dtype(mask) == torch.bool:
            blind = self._not(self.reduce("any", mask, [last], keepdim=True))
        else:
            blind = self._with("EQUAL", self.reduce("max", mask, [last], keepdim=True), -math.inf)
        return self.where(blind, self.number(0, self.dtype(result), 1), result)

    def _masked(self, scores: Tensor, mask: Operand) -> Tensor:
        if self.dtype_of(mask) == torch.bool:
            dtype = self.dtype(scores)
            return self.where(mask, scores, self.number(-math.inf, dtype, self.rank(scores)))
        return self.binary("add", scores, self.via(self.dtype(scores), mask))

    def _causal_mask(self, q: Tensor, k: Tensor) -> Tensor:
        rows, columns = self.shape(q)[-2], self.shape(k)[-2]
        if self.is_static((rows, columns)):
            return self.literal(torch.ones(rows, columns, dtype=torch.bool).tril())
        row = self.reshape(self.arange(0, rows), (rows, 1))
        return self.binary("ge", row, self.reshape(self.arange(0, columns), (1, columns)))

    def _attention_layer(self, q: Tensor, k: Tensor, v: Tensor, causal: bool) -> Tensor:
        softmax = self.trt.AttentionNormalizationOp.SOFTMAX
        if self.has("add_attention_v2"):
            kinds = self.trt.CausalMaskKind
            kind = kinds.UPPER_LEFT if causal else kinds.NONE
            layer = self.check(self.network.add_attention_v2(q, k, v, softmax, kind))
        else:
            layer = self.check(self.network.add_attention(q, k, v, softmax, causal))
        layer.decomposable = True
        layer.name = self.unique("attention")
        output = layer.get_output(0)
        output.name = self.unique()
        return output
