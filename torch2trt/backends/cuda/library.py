"""The operators that PyTorch's libraries run, with the epilogues that they can take along."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F

from ..flags import cudnn_flags
from .normal import Attention, LayerNorm, Softmax, Strided, scaled_product

Arguments = Sequence[torch.Tensor]


@dataclass(frozen=True)
class Epilogue:
    """What is done with a result: times `scale`, plus a bias, plus another tensor, and a ReLU.

    The order is this one.
    """

    scale: float = 1.0
    bias: bool = False
    residual: bool = False
    relu: bool = False

    def apply(self, y: torch.Tensor, rest: Arguments, channels: int) -> torch.Tensor:
        """The same by plain operators; `channels` is the dimension of the bias."""
        given = iter(rest)
        if self.scale != 1.0:
            y = y * self.scale
        if self.bias:
            bias = next(given)
            y = y + bias.reshape([-1 if i == channels % y.dim() else 1 for i in range(y.dim())])
        if self.residual:
            y = y + next(given)
        return y.relu() if self.relu else y


@dataclass(frozen=True)
class Convolution:
    """A convolution; in two dimensions of channels-last images, weights [out, height, width, in].

    Attributes:
        padding: (before, after) of each spatial dimension.
        last: whether image, weight and result have their channels last.
    """

    stride: tuple[int, ...]
    padding: tuple[tuple[int, int], ...]
    dilation: tuple[int, ...]
    groups: int
    last: bool
    transposed: bool = False
    output_padding: tuple[int, ...] = ()

    def operands(
        self, x: torch.Tensor, weight: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor, list[int]]:
        """Image and weight as PyTorch wants them, and the padding that remains."""
        if self.last:
            x, weight = _first(x), _first(weight)
        if all(before == after for before, after in self.padding):
            return x, weight, [before for before, _ in self.padding]
        both = [p for pair in reversed(self.padding) for p in pair]
        return F.pad(x, both), weight, [0] * len(self.padding)

    def pointwise(self, weight_shape: Sequence[int]) -> bool:
        """Whether it is a matrix product of the pixels."""
        sizes = weight_shape[1:-1] if self.last else weight_shape[2:]
        plain = all(s == 1 for s in (*self.stride, *sizes)) and not any(
            p for pair in self.padding for p in pair
        )
        return plain and self.last and self.groups == 1 and not self.transposed

    def plain(self, arguments: Arguments, epilogue: Epilogue) -> torch.Tensor:
        """By cuDNN, the epilogue by operators of its own."""
        x, weight, padding = self.operands(*arguments[:2])
        y = torch.convolution(
            x, weight, None, self.stride, padding, self.dilation, self.transposed,
            self.output_padding or [0] * len(padding), self.groups,
        )  # fmt: skip
        y = _last(y) if self.last else y
        return epilogue.apply(y, arguments[2:], -1 if self.last else 1)

    def fused(self, arguments: Arguments, epilogue: Epilogue) -> torch.Tensor:
        """By one call of cuDNN with bias, residual and ReLU."""
        x, weight, padding = self.operands(*arguments[:2])
        rest = list(arguments[2:])
        bias = rest.pop(0) if epilogue.bias else None
        options = self.stride, padding, self.dilation, self.groups
        if epilogue.residual:
            return _last(
                torch.cudnn_convolution_add_relu(x, weight, _first(rest[0]), 1.0, bias, *options)
            )
        return _last(torch.cudnn_convolution_relu(x, weight, bias, *options))

    def product(self, arguments: Arguments, epilogue: Epilogue) -> torch.Tensor:
        """A pointwise convolution as a matrix product."""
        x, weight, *rest = arguments
        flat = weight.reshape(weight.shape[0], -1).t()
        rest = [r.reshape(-1, r.shape[-1]) if r.dim() > 1 else r for r in rest]
        y = _product(x.reshape(-1, x.shape[-1]), flat, rest, epilogue)
        return y.reshape(*x.shape[:-1], y.shape[-1])


@dataclass(frozen=True)
class Product:
    """A matrix product of two operands that are read through views."""

    first: Strided
    second: Strided

    def operands(self, arguments: Arguments) -> tuple[torch.Tensor, torch.Tensor]:
        """The operands as they are read."""
        return self.first.read(arguments[0]), self.second.read(arguments[1])

    def plain(self, arguments: Arguments, epilogue: Epilogue) -> torch.Tensor:
        """By cuBLAS, the epilogue by operators of its own."""
        a, b = self.operands(arguments)
        if epilogue.scale != 1.0 and a.dim() > 2 and a.shape[:-2] == b.shape[:-2]:
            return replace(epilogue, scale=1.0).apply(
                scaled_product(a, b, epilogue.scale), arguments[2:], -1
            )
        return epilogue.apply(torch.matmul(a, b), arguments[2:], -1)

    def fused(self, arguments: Arguments, epilogue: Epilogue) -> torch.Tensor:
        """By one call of cuBLASLt with bias and ReLU."""
        a, b = self.operands(arguments)
        y = _product(a.reshape(-1, a.shape[-1]), b, list(arguments[2:]), epilogue)
        return y.reshape(*a.shape[:-1], y.shape[-1])


Operator = Convolution | Product | Attention | Softmax | LayerNorm


@dataclass(frozen=True)
class Library:
    """One call into a library.

    Attributes:
        way: the method of the operator that runs it.
        epilogue: the part of the epilogue that it takes along.
        dtype: of the result.
        search: whether cuDNN may try its algorithms at the first call.
    """

    operator: Operator
    way: str
    epilogue: Epilogue
    dtype: torch.dtype
    search: bool = True

    @property
    def name(self) -> str:
        """What a report calls it."""
        kind = type(self.operator).__name__.lower()
        extra = [n for n in ("bias", "residual", "relu") if getattr(self.epilogue, n)]
        return "_".join([kind, *extra, self.way])

    def __call__(self, *arguments: torch.Tensor) -> torch.Tensor:
        """Run it on the current stream."""
        run: Callable[..., torch.Tensor] = getattr(self.operator, self.way)
        with cudnn_flags(benchmark=self.search and not torch.backends.cudnn.deterministic):
            return run(arguments, self.epilogue).to(self.dtype).contiguous()


def candidates(
    operator: Operator, shapes: Sequence[Sequence[int]], epilogue: Epilogue
) -> list[tuple[str, Epilogue]]:
    """The ways to run an operator and how much of the epilogue each takes.

    The rest is left to a TVM kernel.
    """
    none = Epilogue(scale=epilogue.scale)
    found = [("plain", none)]
    weight = shapes[1]
    if isinstance(operator, Attention):
        return [*found, ("fused", none)]
    if isinstance(operator, Product):
        shared = len(operator.second.size) == 2 and not epilogue.residual and epilogue.scale == 1.0
        return ([("fused", epilogue)] if shared and epilogue.bias else []) + found
    if epilogue.relu and operator.last and not operator.transposed:
        found.append(("fused", epilogue))
    if operator.pointwise(weight):
        found.append(("product", none))
        if epilogue.bias and not epilogue.residual:
            found.append(("product", epilogue))
        elif epilogue.bias:
            found.append(("product", Epilogue(bias=True)))
    return found


def _product(
    a: torch.Tensor, b: torch.Tensor, rest: list[torch.Tensor], epilogue: Epilogue
) -> torch.Tensor:
    """a b of two matrices with its epilogue, by one library call where there is one."""
    if epilogue.bias and epilogue.relu and not epilogue.residual and a.is_cuda:
        return torch._addmm_activation(rest[0], a, b)
    if epilogue.bias:
        y = torch.addmm(rest.pop(0), a, b)
        return replace(epilogue, bias=False).apply(y, rest, -1)
    return epilogue.apply(torch.mm(a, b), rest, -1)


def _first(x: torch.Tensor) -> torch.Tensor:
    """A channels-last array as PyTorch sees it."""
    return x.permute(0, -1, *range(1, x.dim() - 1))


def _last(x: torch.Tensor) -> torch.Tensor:
    """An image of PyTorch as a contiguous channels-last array."""
    return x.permute(0, *range(2, x.dim()), 1).contiguous()
