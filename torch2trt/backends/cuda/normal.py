"""Library operators of transformers, and the views through which operands are read."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F


@dataclass(frozen=True)
class Strided:
    """How an operand is read from a contiguous tensor."""

    size: tuple[int, ...]
    stride: tuple[int, ...]
    offset: int = 0

    @classmethod
    def of(cls, tensor: torch.Tensor) -> Strided:
        """The way a view reads its base."""
        return cls(tuple(tensor.shape), tensor.stride(), tensor.storage_offset())

    def read(self, base: torch.Tensor) -> torch.Tensor:
        """The operand."""
        return base.as_strided(self.size, self.stride, self.offset)


@dataclass(frozen=True)
class Softmax:
    """Softmax over the last dimension."""

    def plain(self, arguments: Sequence[torch.Tensor], epilogue: Any) -> torch.Tensor:
        """By PyTorch's kernel."""
        return torch.softmax(arguments[0], -1)


@dataclass(frozen=True)
class LayerNorm:
    """Layer norm over the last dimensions, with weight and bias."""

    shape: tuple[int, ...]
    epsilon: float

    def plain(self, arguments: Sequence[torch.Tensor], epilogue: Any) -> torch.Tensor:
        """By PyTorch's kernel."""
        x, weight, bias = arguments
        return F.layer_norm(x, self.shape, weight, bias, self.epsilon)


@dataclass(frozen=True)
class Attention:
    """softmax(scale * q k^T) v; in four dimensions the result is [batch, length, heads, size].

    Attributes:
        keys: how the transposed keys are read, as the second operand of the first product.
    """

    queries: Strided
    keys: Strided
    values: Strided
    scale: float

    def operands(self, arguments: Sequence[torch.Tensor]) -> tuple[torch.Tensor, ...]:
        """Queries, transposed keys and values."""
        views = self.queries, self.keys, self.values
        return tuple(view.read(x) for view, x in zip(views, arguments))

    def plain(self, arguments: Sequence[torch.Tensor], epilogue: Any) -> torch.Tensor:
        """By two products with a softmax between; half precision is summed and kept in float32."""
        q, k, v = self.operands(arguments)
        dtype = q.dtype
        if dtype in (torch.float16, torch.bfloat16):
            q, k, v = q.float(), k.float(), v.float()
        weights = torch.softmax(scaled_product(q, k, self.scale), -1)
        return _heads_inside(torch.matmul(weights, v)).to(dtype)

    def fused(self, arguments: Sequence[torch.Tensor], epilogue: Any) -> torch.Tensor:
        """By PyTorch's fused attention."""
        q, k, v = self.operands(arguments)
        added = max(4 - q.dim(), 0)
        q, k, v = (x[(None,) * added] for x in (q, k.transpose(-1, -2), v))
        y = F.scaled_dot_product_attention(q, k, v, scale=self.scale)
        return _heads_inside(y.reshape(y.shape[added:]) if added else y)


def scaled_product(a: torch.Tensor, b: torch.Tensor, scale: float) -> torch.Tensor:
    """a b * scale for operands of the same batch dimensions, the scale inside the product."""
    lead = a.shape[:-2]
    a, b = a.reshape(-1, *a.shape[-2:]), b.reshape(-1, *b.shape[-2:])
    y = torch.baddbmm(a.new_empty(1, 1, 1), a, b, beta=0, alpha=scale)
    return y.reshape(*lead, *y.shape[-2:])


def _heads_inside(y: torch.Tensor) -> torch.Tensor:
    return y.transpose(1, 2) if y.dim() == 4 else y
