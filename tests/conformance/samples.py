"""The samples of PyTorch's operator database for one operator and dtype, as programs of tensors."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from itertools import islice
from typing import Any

import torch
from torch.testing._internal.common_methods_invocations import op_db
from torch.utils import _pytree as pytree

DTYPES = (torch.float32, torch.float16, torch.int64, torch.bool)
_GENERATED = 64  # samples that a database entry may generate before some are chosen
_MARK = object()

# Which of equal values comes first is not determined.
TIES = ("sort", "argsort", "topk", "kthvalue", "mode")
_UNINITIALISED = """
    empty empty_like empty_permuted empty_strided new_empty new_empty_strided resize_ resize_as_
""".split()
_SPARSE = "to_sparse sparse.sampled_addmm sparse.mm.reduce".split()
EXCLUDED = {
    "multinomial": "random",
    **dict.fromkeys(_UNINITIALISED, "returns memory that is not initialised"),
    **dict.fromkeys(_SPARSE, "sparse tensors have no counterpart in a network"),
}


@dataclass(frozen=True)
class Sample:
    """One call of an operator.

    Attributes:
        program: a function of the tensors in ``inputs``.
        inputs: all tensors among the arguments, in order; one that nobody reads if there are none.
        text: the call, short.
    """

    program: Callable[..., Any]
    inputs: tuple[torch.Tensor, ...]
    text: str


@lru_cache
def operators() -> dict[str, Any]:
    """The database by full name, "nn.functional.pad.reflect"."""
    return {f"{op.name}.{op.variant_test_name}".removesuffix("."): op for op in op_db}


def dtypes(op: Any) -> list[torch.dtype]:
    """The dtypes of the suite that the operator takes on the CPU."""
    return [dtype for dtype in DTYPES if dtype in op.supported_dtypes("cpu")]


def samples(op: Any, dtype: torch.dtype, limit: int) -> list[Sample]:
    """At most `limit` samples, evenly spread over those of the database; the same in every run."""
    torch.manual_seed(0)
    found = list(islice(op.sample_inputs("cpu", dtype, requires_grad=False), _GENERATED))
    count = min(limit, len(found))
    chosen = [found[i * len(found) // count] for i in range(count)]
    return [_sample(op, s.input, s.args, s.kwargs) for s in chosen]


def _sample(op: Any, value: Any, args: Any, kwargs: Any) -> Sample:
    leaves, tree = pytree.tree_flatten(((value, *args), kwargs))
    tensors = tuple(leaf.detach() for leaf in leaves if isinstance(leaf, torch.Tensor))
    marked = [_MARK if isinstance(leaf, torch.Tensor) else leaf for leaf in leaves]

    def program(*inputs: torch.Tensor) -> Any:
        remaining: Iterator[torch.Tensor] = iter(inputs)
        filled = [next(remaining) if m is _MARK else m for m in marked]
        arguments, keywords = pytree.tree_unflatten(filled, tree)
        return op.op(*arguments, **keywords)

    shown = [*map(_text, (value, *args)), *(f"{k}={_text(v)}" for k, v in kwargs.items())]
    return Sample(program, tensors or (torch.zeros(1),), f"({', '.join(shown)})"[:200])


def _text(value: Any) -> str:
    if isinstance(value, torch.Tensor):
        return f"{str(value.dtype).removeprefix('torch.')}{list(value.shape)}"
    if isinstance(value, (list, tuple)):
        return f"[{', '.join(map(_text, value))}]"
    return repr(value)
