"""Products and sums of products: matrix multiplication and Einstein summation."""

from __future__ import annotations

import torch

from .layers import Layer, rule


@rule("MATRIX_MULTIPLY", "IMatrixMultiplyLayer", widen=True)
def matrix_multiply(layer: Layer, a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    """op0(a) @ op1(b); an operand may be a collection of matrices, transposed ones, or vectors."""
    op0, op1 = layer.api.op0.name, layer.api.op1.name
    row, column = op0 == "VECTOR", op1 == "VECTOR"
    layer.check(
        a.ndim + row == b.ndim + column,
        f"expected operands with as many batch dimensions, got {tuple(a.shape)} as {op0} and "
        f"{tuple(b.shape)} as {op1}",
    )
    a = a.unsqueeze(-2) if row else a.mT if op0 == "TRANSPOSE" else a
    b = b.unsqueeze(-1) if column else b.mT if op1 == "TRANSPOSE" else b
    product = a @ b
    product = product.squeeze(-1) if column else product
    return product.squeeze(-1 if column else -2) if row else product


@rule("EINSUM", "IEinsumLayer", widen=True)
def einsum(layer: Layer, *operands: torch.Tensor) -> torch.Tensor:
    return torch.einsum(layer.api.equation, *operands)
