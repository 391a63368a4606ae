"""Sums of products over named dimensions, as permutations and batched matrix products."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from ..registry import op
from .common import axis, numel, promote, rank, shape
from .elementwise import add, mul
from .linear import matmul, outer, scaled_sum
from .matrix import diagonal
from .reduction import sum_
from .shape import permute, reshape, unsqueeze


@dataclass(frozen=True)
class _Term:
    """A tensor whose dimensions have names."""

    x: Any
    names: tuple[str, ...]


@op("aten::einsum")
def einsum(ctx, equation, tensors, path=None):
    """einsum(str equation, Tensor[] tensors, *, int[]? path=None) -> Tensor"""
    tensors = promote(ctx, *tensors)
    inputs, output = _parse(equation, [rank(ctx, x) for x in tensors])
    terms = [_without_repeats(ctx, _Term(x, names)) for x, names in zip(tensors, inputs)]
    while len(terms) > 1:
        first, second, *rest = terms
        kept = set(output).union(*(t.names for t in rest))
        terms = [_contract(ctx, first, second, kept), *rest]
    return _arranged(ctx, _summed(ctx, terms[0], set(output)), output)


def _parse(equation: str, ranks: Sequence[int]) -> tuple[list[tuple[str, ...]], tuple[str, ...]]:
    """The names of all dimensions of operands and output; those under an ellipsis are numbers."""
    left, _, right = equation.replace(" ", "").partition("->")
    operands = left.split(",")
    hidden = [dims - len(text.replace("...", "")) for text, dims in zip(operands, ranks)]
    inputs = [_expanded(text, count) for text, count in zip(operands, hidden)]
    if "->" in equation:
        return inputs, _expanded(right, max(hidden))
    once = sorted(name for name in set(left) if name.isalpha() and left.count(name) == 1)
    return inputs, (*_expanded("...", max(hidden)), *once)


def _expanded(text: str, hidden: int) -> tuple[str, ...]:
    before, dots, after = text.partition("...")
    return (*before, *(str(i) for i in reversed(range(hidden if dots else 0))), *after)


def _without_repeats(ctx: Any, term: _Term) -> _Term:
    """A name that stands twice in one operand: its diagonal."""
    x, names = term.x, list(term.names)
    for name in dict.fromkeys(names):
        while names.count(name) > 1:
            first = names.index(name)
            second = names.index(name, first + 1)
            x = diagonal(ctx, x, 0, first, second)
            names = [n for i, n in enumerate(names) if i not in (first, second)] + [name]
    return _Term(x, tuple(names))


def _summed(ctx: Any, term: _Term, kept: set[str]) -> _Term:
    """Without the dimensions that nobody needs any more."""
    over = [i for i, name in enumerate(term.names) if name not in kept]
    if not over:
        return term
    return _Term(sum_(ctx, term.x, over), tuple(n for n in term.names if n in kept))


def _arranged(ctx: Any, term: _Term, names: Sequence[str]) -> Any:
    """The tensor with its dimensions in the order of `names`; missing ones have size 1."""
    x = permute(ctx, term.x, [term.names.index(n) for n in names if n in term.names])
    for position, name in enumerate(names):
        x = x if name in term.names else unsqueeze(ctx, x, position)
    return x


def _contract(ctx: Any, first: _Term, second: _Term, kept: set[str]) -> _Term:
    """The product of two operands, summed over the names that are not `kept`."""
    first = _summed(ctx, first, kept | set(second.names))
    second = _summed(ctx, second, kept | set(first.names))
    common = [n for n in first.names if n in second.names]
    inner = [n for n in common if n not in kept and _sizes_match(ctx, n, first, second)]
    if not inner:
        names = (*first.names, *(n for n in second.names if n not in first.names))
        product = mul(ctx, _arranged(ctx, first, names), _arranged(ctx, second, names))
        return _summed(ctx, _Term(product, names), kept)
    batch = [n for n in common if n not in inner]
    rows = [n for n in first.names if n not in common]
    columns = [n for n in second.names if n not in common]
    left = _grouped(ctx, first, batch, rows, inner)
    right = _grouped(ctx, second, batch, inner, columns)
    product = matmul(ctx, left, right)
    lead = list(shape(ctx, product))[: len(batch)]
    sizes = [*lead, *_sizes(ctx, first, rows), *_sizes(ctx, second, columns)]
    return _summed(ctx, _Term(reshape(ctx, product, sizes), (*batch, *rows, *columns)), kept)


def _sizes(ctx: Any, term: _Term, names: Sequence[str]) -> list[Any]:
    return [shape(ctx, term.x)[term.names.index(n)] for n in names]


def _sizes_match(ctx: Any, name: str, first: _Term, second: _Term) -> bool:
    """Whether a dimension can be a matrix dimension; a size of 1 broadcasts."""
    a, b = _sizes(ctx, first, [name])[0], _sizes(ctx, second, [name])[0]
    return a is b or not (isinstance(a, int) and isinstance(b, int)) or a == b


def _grouped(
    ctx: Any, term: _Term, batch: Sequence[str], rows: Sequence[str], columns: Sequence[str]
) -> Any:
    """The tensor as matrices: [*batch, rows, columns]."""
    x = _arranged(ctx, term, [*batch, *rows, *columns])
    sizes = list(shape(ctx, x))
    first, second = len(batch), len(batch) + len(rows)
    counts = [numel(ctx, x, range(first, second)), numel(ctx, x, range(second, len(sizes)))]
    return reshape(ctx, x, [*sizes[:first], *counts])


@op("aten::tensordot")
def tensordot(ctx, x, other, dims_self, dims_other):
    """tensordot(Tensor self, Tensor other, int[] dims_self, int[] dims_other) -> Tensor"""
    x, other = promote(ctx, x, other)
    left = [chr(ord("a") + i) for i in range(rank(ctx, x))]
    right = [chr(ord("A") + i) for i in range(rank(ctx, other))]
    for a, b in zip(dims_self, dims_other):
        right[axis(ctx, other, b)] = left[axis(ctx, x, a)]
    names = [n for n in left if n not in right] + [n for n in right if n not in left]
    return einsum(ctx, f"{''.join(left)},{''.join(right)}->{''.join(names)}", [x, other])


@op("aten::bilinear")
def bilinear(ctx, input1, input2, weight, bias=None):
    """bilinear(Tensor input1, Tensor input2, Tensor weight, Tensor? bias=None) -> Tensor"""
    result = einsum(ctx, "...i,oij,...j->...o", [input1, weight, input2])
    return result if bias is None else add(ctx, result, bias)


@op("aten::addbmm")
def addbmm(ctx, x, batch1, batch2, beta=1, alpha=1):
    """addbmm(Tensor self, Tensor batch1, Tensor batch2, *, Scalar beta=1, Scalar alpha=1)
    -> Tensor"""
    product = sum_(ctx, matmul(ctx, batch1, batch2), [0])
    return scaled_sum(ctx, x, product, beta, alpha)


@op("aten::addr")
def addr(ctx, x, vec1, vec2, beta=1, alpha=1):
    """addr(Tensor self, Tensor vec1, Tensor vec2, *, Scalar beta=1, Scalar alpha=1) -> Tensor"""
    return scaled_sum(ctx, x, outer(ctx, vec1, vec2), beta, alpha)


@op("aten::chain_matmul", "aten::linalg_multi_dot")
def multi_dot(ctx, matrices):
    """linalg_multi_dot(Tensor[] tensors) -> Tensor"""
    product = matrices[0]
    for matrix in matrices[1:]:
        product = matmul(ctx, product, matrix)
    return product


@op("aten::matrix_power", "aten::linalg_matrix_power")
def matrix_power(ctx, x, n):
    """linalg_matrix_power(Tensor self, int n) -> Tensor"""
    if n < 1:
        raise ctx.refuse(f"matrix power {n}, which needs an inverse or an identity")
    product = x
    for _ in range(n - 1):
        product = matmul(ctx, product, x)
    return product
