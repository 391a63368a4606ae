"""Which tensors a program takes: dense ones, with values of their own, in memory of their own."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations

import torch
from torch._subclasses import FakeTensor, functional_tensor

from .errors import InputMismatchError
from .graph import Graph

_WITHOUT_MEMORY = FakeTensor, functional_tensor.FunctionalTensor
_is_wrapped = torch._C._functorch.is_functorch_wrapped_tensor


def check_dense(tensors: Sequence[torch.Tensor]) -> None:
    """Refuse sparse and nested tensors, and those of ``torch.func``, ``torch.export`` and the like.

    Raises:
        InputMismatchError: which tensor it is, and what to do.
    """
    for position, x in enumerate(tensors):
        if x.is_nested or x.layout != torch.strided:
            kind = "nested" if x.is_nested else str(x.layout).removeprefix("torch.")
            raise InputMismatchError(
                f"tensor input {position}: got a {kind} tensor, expected a dense one; use"
                f" {'to_padded_tensor(...)' if x.is_nested else 'to_dense()'}"
            )
        if _is_wrapped(x) or isinstance(x, _WITHOUT_MEMORY):
            raise InputMismatchError(
                f"tensor input {position}: got a tensor of a transform (vmap, grad, fake tensors or"
                " export), expected one with values of its own: a compiled program has no"
                " derivatives and is no operation of PyTorch. Call it on the whole batch, use"
                " .train() for derivatives, or transform the module that it was made of"
            )


def depends_on_memory(graph: Graph) -> bool:
    """Whether what a program gives depends on where its inputs lie in memory."""
    return bool(graph.input_writes or _strided_inputs(graph))


def check_memory(graph: Graph, tensors: Sequence[torch.Tensor]) -> None:
    """Refuse inputs that lie in memory in another way than those of the trace, where it counts.

    Raises:
        InputMismatchError: two inputs share memory and the program writes to inputs, or it reads an
            input by strides and they are others.
    """
    pairs = combinations(enumerate(tensors), 2) if graph.input_writes else ()
    for (i, one), (j, other) in pairs:
        if _overlap(one, other):
            raise InputMismatchError(
                f"tensor inputs {i} and {j} share memory, and the program writes to its inputs"
                f" ({'; '.join(graph.input_writes)}); pass a clone of one of them"
            )
    for position in _strided_inputs(graph):
        x, expected = tensors[position], graph.inputs[position].strides
        if x.stride() != expected:
            raise InputMismatchError(
                f"tensor input {position}: got strides {x.stride()}, expected {expected} as in the"
                " example, for the program reads it by strides (as_strided)"
            )


def _strided_inputs(graph: Graph) -> list[int]:
    read = {n.inputs[0].name for n in graph.nodes if n.kind.startswith("aten::as_strided")}
    return [i for i, v in enumerate(graph.inputs) if v.name in read and v.strides is not None]


def _overlap(one: torch.Tensor, other: torch.Tensor) -> bool:
    (a, b), (c, d) = _span(one), _span(other)
    return a < d and c < b


def _span(x: torch.Tensor) -> tuple[int, int]:
    """The first address and the one behind the last."""
    last = sum((size - 1) * stride for size, stride in zip(x.shape, x.stride()))
    end = x.data_ptr() + (last + 1) * x.element_size()
    return (x.data_ptr(), end) if x.numel() else (0, 0)
