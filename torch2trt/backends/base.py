"""What a backend offers to the operator handlers.

Handlers are written once, in terms of the *primitives* below, and a backend implements each
primitive once. A primitive takes symbolic tensors of the backend; where its argument is called an
*operand* it also takes a constant ``torch.Tensor``, which the backend turns into a constant.
Shapes, axes, dtypes and numbers follow PyTorch: the batch dimension is an ordinary dimension, axes
may not be negative any more (handlers normalise them), dtypes are ``torch.dtype``.

A dimension that is not known before the engine runs is a *symbolic integer* of the backend. It
supports ``+ - * //`` and ``%`` with integers and with its like, from both sides; ``isinstance(d,
int)`` tells a static dimension.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from ..errors import UnsupportedOpError

Tensor = Any  # a symbolic tensor of the active backend
Operand = Any  # a symbolic tensor, or a constant torch.Tensor
Dim = Any  # int, or a symbolic integer of the active backend


class Context:
    """The common part of all contexts.

    Attributes:
        name: "torch", "tensorrt", "relax" or "relay".
        lineage: the names under which emitters are looked up, most specific first.
        network: the network that is being defined, None in PyTorch.
        node: the graph node that is being emitted, None outside a walk.
    """

    name: str
    lineage: tuple[str, ...] = ()
    is_torch = False
    is_tensorrt = False
    is_tvm = False
    network: Any = None

    def __init__(self) -> None:
        self.node: Any = None
        self._names: dict[str, int] = {}

    @property
    def scope(self) -> str:
        """The unique, readable name of the node that is being emitted."""
        return self.node.scope if self.node is not None else "torch2trt"

    def unique(self, role: str = "") -> str:
        """A name for one more layer or tensor of this node; the same in every walk of a graph."""
        name = f"{self.scope}.{role}" if role else self.scope
        count = self._names[name] = self._names.get(name, -1) + 1
        return f"{name}.{count}" if count else name

    def is_tensor(self, value: Any) -> bool:
        """Whether `value` is a symbolic tensor of this backend."""
        return False

    def is_dim(self, value: Any) -> bool:
        """Whether `value` is a symbolic integer of this backend."""
        return False

    def shape(self, x: Tensor) -> tuple[Dim, ...]:
        """The shape as PyTorch means it: ints where static, symbolic integers where dynamic."""
        return tuple(x.shape)

    def dtype(self, x: Tensor) -> torch.dtype:
        """The dtype as PyTorch names it."""
        return x.dtype

    def rewrite(self, graph: Any) -> Any:
        """The graph as this backend likes it best; called before each walk."""
        return graph

    def same_dtype(self, emitted: torch.dtype, recorded: torch.dtype) -> bool:
        """Whether an emitted dtype stands for the recorded one on this backend."""
        return emitted == recorded

    def refuse(self, reason: str) -> UnsupportedOpError:
        """The error of a node that this backend cannot express; to be raised by the caller."""
        node = self.node
        where = f"{node.where}: " if node is not None else ""
        return UnsupportedOpError(f"{where}{reason} (backend: {self.name})")


class SymbolicContext(Context):
    """The primitives. A backend overrides those it has; the rest refuse by name."""

    def _missing(self, primitive: str) -> UnsupportedOpError:
        return self.refuse(f"{primitive} is not available")

    # ---- tensors and constants -------------------------------------------------------------------
    def input(self, name: str, shape: Sequence[Dim | None], dtype: torch.dtype) -> Tensor:
        """A new network input; a None in `shape` is a dynamic dimension."""
        raise self._missing("input")

    def constant(self, value: torch.Tensor, role: str = "constant") -> Tensor:
        """A symbolic tensor for weights, buffers and what is computed from them alone.

        Named ``scope.role``; its values may be exchanged later under that name (refit, runtime
        parameters).
        """
        raise self._missing("constant")

    def literal(self, value: torch.Tensor) -> Tensor:
        """A symbolic tensor for a small constant of the program text (a number, an index table)."""
        raise self._missing("literal")

    def operand(self, value: Operand, role: str = "constant") -> Tensor:
        """`value` itself when it is symbolic, else ``constant(value)``; a number as 0-d tensor."""
        if self.is_tensor(value):
            return value
        is_number = isinstance(value, (int, float)) or self.is_dim(value)
        return self._of_number(value) if is_number else self.constant(value, role)

    def _of_number(self, value: Dim | float) -> Tensor:
        if self.is_dim(value):
            return self.reshape(self.size_tensor([value]), [])
        return self.literal(torch.tensor(value))

    def size_tensor(self, dims: Sequence[Dim], dtype: torch.dtype = torch.int64) -> Tensor:
        """A 1-d integer tensor that holds `dims` (some of them symbolic)."""
        raise self._missing("size_tensor")

    def as_dim(self, x: Tensor) -> Dim:
        """The symbolic integer that a 0-d (or one-element) integer tensor holds."""
        raise self._missing("a number computed from tensor values")

    def position(self, position: Dim, size: Dim, likely: bool = False) -> Dim:
        """A symbolic position along an axis as one that is not counted from the end.

        With `likely`, a position whose sign depends on the sizes may be taken not to be negative:
        `slice` refuses what is outside.
        """
        return position

    def at_least(self, x: Tensor, axis: int, size: int, what: str) -> Tensor:
        """`x`, or an error as the network runs: its dynamic `axis` is smaller than `size`."""
        raise self._missing(what)

    # ---- elementwise -----------------------------------------------------------------------------
    def cast(self, x: Tensor, dtype: torch.dtype) -> Tensor:
        """torch's ``x.to(dtype)``: float to int truncates, to bool is ``!= 0``; `x` if it fits."""
        raise self._missing("cast")

    def unary(self, name: str, x: Tensor) -> Tensor:
        """Elementwise, same dtype (bool for is*): abs neg sign exp expm1 log log1p log2 sqrt rsqrt
        reciprocal sin cos tan asin acos atan sinh cosh tanh asinh acosh atanh ceil floor round
        (half to even) trunc erf sigmoid relu logical_not (bool) bitwise_not (int) isnan isinf.
        """
        raise self._missing(f"unary {name}")

    def binary(self, name: str, a: Operand, b: Operand) -> Tensor:
        """Elementwise with broadcasting; operands and result have one dtype, comparisons give bool.

        add sub mul div (floats only) floordiv truncdiv remainder (sign of the divisor,
        torch.remainder) fmod pow maximum minimum (NaN propagates) atan2 eq ne lt le gt ge
        logical_and logical_or logical_xor (bool) bitwise_and bitwise_or bitwise_xor shift_left
        shift_right (int).
        """
        raise self._missing(f"binary {name}")

    def where(self, condition: Operand, a: Operand, b: Operand) -> Tensor:
        """``torch.where``: bool condition, `a` and `b` of one dtype, all broadcast."""
        raise self._missing("where")

    # ---- reductions, scans, sorting --------------------------------------------------------------
    def reduce(self, name: str, x: Tensor, axes: Sequence[int], keepdim: bool) -> Tensor:
        """sum prod mean max min (NaN propagates) over `axes`; any all on bool. The dtype stays."""
        raise self._missing(f"reduce {name}")

    def arg_reduce(self, name: str, x: Tensor, axis: int, keepdim: bool) -> Tensor:
        """max min: the int64 index of the extreme value, the first of equal ones."""
        raise self._missing(f"arg{name}")

    def cumulative(self, name: str, x: Tensor, axis: int) -> Tensor:
        """Inclusive running sum, prod, max or min along `axis`."""
        raise self._missing(f"cumulative {name}")

    def topk(self, x: Tensor, k: Dim, axis: int, largest: bool) -> tuple[Tensor, Tensor]:
        """The k extreme values, sorted, and their int64 indices."""
        raise self._missing("topk")

    def sort(self, x: Tensor, axis: int, descending: bool) -> tuple[Tensor, Tensor]:
        """All values sorted (stable) and their int64 indices."""
        raise self._missing("sort")

    # ---- shapes ----------------------------------------------------------------------------------
    def reshape(self, x: Operand, shape: Sequence[Dim]) -> Tensor:
        """Row-major reshape; no -1 in `shape`."""
        raise self._missing("reshape")

    def permute(self, x: Tensor, dims: Sequence[int]) -> Tensor:
        """Dimension i of the result is dimension dims[i] of `x`."""
        raise self._missing("permute")

    def expand(self, x: Operand, shape: Sequence[Dim]) -> Tensor:
        """Broadcast to `shape` (numpy's rules, leading dimensions may be added)."""
        raise self._missing("expand")

    def concat(self, xs: Sequence[Operand], axis: int) -> Tensor:
        """Concatenate operands of one dtype."""
        raise self._missing("concat")

    def slice(
        self, x: Operand, starts: Sequence[Dim], sizes: Sequence[Dim], steps: Sequence[int]
    ) -> Tensor:
        """A start, size and step per dimension, clamped into the shape; a step may be negative."""
        raise self._missing("slice")

    def pad(
        self, x: Operand, before: Sequence[Dim], after: Sequence[Dim], mode: str, value: float = 0
    ) -> Tensor:
        """Pad by amounts that are not negative; mode: constant reflect replicate circular."""
        raise self._missing(f"pad {mode}")

    # ---- indexing --------------------------------------------------------------------------------
    def take(self, x: Operand, index: Operand, axis: int) -> Tensor:
        """numpy.take: the shape of `index` (integers, not negative) takes the place of `axis`."""
        raise self._missing("take")

    def gather(self, x: Operand, index: Operand, axis: int) -> Tensor:
        """torch.gather; the index is not negative, and no larger than `x` in other dimensions."""
        raise self._missing("gather")

    def gather_nd(self, x: Operand, index: Operand) -> Tensor:
        """The last dimension of `index` (not negative) indexes the first dimensions of `x`."""
        raise self._missing("gather_nd")

    def scatter(
        self, x: Operand, index: Operand, source: Operand, axis: int, reduction: str | None
    ) -> Tensor:
        """torch.scatter, `source` like `index`; reduction: None add multiply maximum minimum."""
        raise self._missing("scatter")

    def scatter_nd(self, x: Operand, index: Operand, source: Operand, accumulate: bool) -> Tensor:
        """``x[tuple(index[..., k])] = source`` (or ``+=``) in a copy; int64 index, not negative."""
        raise self._missing("scatter_nd")

    def nonzero(self, x: Tensor) -> Tensor:
        """torch.nonzero: [n, rank] int64."""
        raise self._missing("nonzero (its output shape depends on the data)")

    def arange(self, start: Dim, length: Dim, step: int = 1) -> Tensor:
        """int64 ``start + step * [0 .. length)``, for symbolic arguments; others are literals."""
        raise self._missing("arange over a dynamic size")

    # ---- networks --------------------------------------------------------------------------------
    def matmul(self, a: Operand, b: Operand) -> Tensor:
        """Batched matrix product of operands of rank 2 or more; batch dimensions broadcast."""
        raise self._missing("matmul")

    def einsum(self, equation: str, xs: Sequence[Operand]) -> Tensor:
        """Lower-case equation with explicit output; no ellipsis."""
        raise self._missing("einsum")

    def conv(
        self, x: Tensor, weight: Operand, bias: Operand | None, stride: Sequence[int],
        padding: Sequence[tuple[int, int]], dilation: Sequence[int], groups: int,
    ) -> Tensor:  # fmt: skip
        """1-d, 2-d or 3-d convolution of a batch; (before, after) padding per spatial dimension."""
        raise self._missing("conv")

    def conv_transpose(
        self, x: Tensor, weight: Operand, bias: Operand | None, stride: Sequence[int],
        padding: Sequence[int], output_padding: Sequence[int], dilation: Sequence[int], groups: int,
    ) -> Tensor:  # fmt: skip
        """1-d, 2-d or 3-d transposed convolution, torch's weight layout [in, out / groups, ...]."""
        raise self._missing("conv_transpose")

    def max_pool(
        self, x: Tensor, kernel: Sequence[int], stride: Sequence[int], padding: Sequence[int],
        dilation: Sequence[int], ceil_mode: bool,
    ) -> Tensor:  # fmt: skip
        """1-d, 2-d or 3-d max pooling of [N, C, *spatial], output size as torch computes it."""
        raise self._missing("max_pool")

    def avg_pool(
        self, x: Tensor, kernel: Sequence[int], stride: Sequence[int], padding: Sequence[int],
        ceil_mode: bool, count_include_pad: bool,
    ) -> Tensor:  # fmt: skip
        """1-d, 2-d or 3-d average pooling of [N, C, *spatial], size and divisor as in torch."""
        raise self._missing("avg_pool")

    def resize(
        self, x: Operand, size: Sequence[Dim], mode: str, align_corners: bool,
        scales: Sequence[float | None],
    ) -> Tensor:  # fmt: skip
        """torch's upsample of [N, C, *spatial], 1-d to 3-d: nearest, nearest-exact, linear, cubic.

        `scales` are the factors the caller gave (None where the ratio of sizes counts), as torch
        uses them.
        """
        raise self._missing(f"resize {mode}")

    def grid_sample(
        self, x: Tensor, grid: Operand, mode: str, padding: str, align_corners: bool
    ) -> Tensor:
        """torch.grid_sample of [N, C, *spatial]: bilinear nearest bicubic; zeros border
        reflection.
        """
        raise self._missing("grid_sample")

    def channel_affine(self, x: Tensor, scale: torch.Tensor, shift: torch.Tensor) -> Tensor:
        """``x * scale + shift`` with constants per channel (axis 1), as batch norm is."""
        ones = [1] * (len(self.shape(x)) - 2)
        scaled = self.binary("mul", x, self.constant(scale.reshape(-1, *ones), "scale"))
        return self.binary("add", scaled, self.constant(shift.reshape(-1, *ones), "shift"))

    def softmax(self, x: Tensor, axis: int) -> Tensor:
        """Softmax of a float tensor."""
        raise self._missing("softmax")

    def layer_norm(
        self, x: Tensor, axes: Sequence[int], weight: Operand | None, bias: Operand | None,
        eps: float,
    ) -> Tensor:  # fmt: skip
        """(x - mean) / sqrt(var + eps) over trailing `axes`; weight and bias have their shape."""
        raise self._missing("layer_norm")

    def group_norm(
        self, x: Tensor, groups: int, weight: Operand | None, bias: Operand | None, eps: float,
    ) -> Tensor:  # fmt: skip
        """Group norm of [N, C, ...] with weight and bias [C]; groups == C is instance norm."""
        raise self._missing("group_norm")

    def attention(
        self, q: Tensor, k: Tensor, v: Tensor, mask: Operand | None, causal: bool, scale: float,
    ) -> Tensor:  # fmt: skip
        """softmax(q k^T * scale + mask) v of [N, heads, length, size]; bool: False is left out."""
        raise self._missing("attention")


def reduced(sizes: Sequence[Dim], axes: Sequence[int], keepdim: bool) -> list[Dim]:
    """The sizes that a reduction over `axes` leaves."""
    ones = [1 if a in axes else size for a, size in enumerate(sizes)]
    return ones if keepdim else [size for a, size in enumerate(ones) if a not in axes]


def reached(ctx: SymbolicContext, x: Operand, axis: int, index: Operand) -> Operand:
    """`x`, or an error as the network runs: a constant index lies outside of its dynamic `axis`."""
    sizes = ctx.shape(x) if ctx.is_tensor(x) else ()
    constant = isinstance(index, torch.Tensor) and index.numel()
    if not constant or not sizes or isinstance(sizes[axis], int):
        return x
    least = max(int(index.max()) + 1, -int(index.min()))
    return ctx.at_least(x, axis, least, "an index lies outside of its tensor")


def reached_nd(ctx: SymbolicContext, x: Operand, index: Operand) -> Operand:
    """The same for an index whose last dimension is over the axes of `x`."""
    if isinstance(index, torch.Tensor):
        for axis in range(index.shape[-1]):
            x = reached(ctx, x, axis, index[..., axis])
    return x
