"""Which tensors a compiled program takes: dense ones, with values of their own."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch._subclasses import FakeTensor, functional_tensor

from .errors import InputMismatchError

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
