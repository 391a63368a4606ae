"""What the TVM dialects share: weights are parameters of the function, behind its inputs."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Any

import torch

from ..fold import fold_batch_norm
from ..graph import Graph
from .base import Dim, Operand, SymbolicContext, Tensor

DTYPE_NAMES = {
    torch.float64: "float64", torch.float32: "float32", torch.float16: "float16",
    torch.bfloat16: "bfloat16",
    torch.int64: "int64", torch.int32: "int32", torch.int16: "int16", torch.int8: "int8",
    torch.uint8: "uint8",
    torch.bool: "bool",
}  # fmt: skip
HALF = (torch.float16, torch.bfloat16)
TORCH_DTYPES = {name: dtype for dtype, name in DTYPE_NAMES.items()}


class TVMContext(SymbolicContext):
    """The part of a TVM context that does not depend on the dialect.

    Attributes:
        tvm_weight_dict: the weights by variable, in the order of the parameters.
        named_weights: the same by the name of the variable.
    """

    is_tvm = True
    dtype_names = DTYPE_NAMES

    def __init__(self) -> None:
        super().__init__()
        self.tvm_weight_dict: dict[Any, Any] = {}
        self.named_weights: dict[str, Any] = {}
        self._inputs: list[Any] = []
        self._weights: dict[Any, tuple[Any, torch.Tensor]] = {}
        self._identifiers: set[str] = set()

    def rewrite(self, graph: Graph) -> Graph:
        return fold_batch_norm(graph)

    # ---- what a dialect adds ---------------------------------------------------------------------
    def op(self, name: str) -> Callable[..., Any]:
        """The operator that Relax calls `name`, such as ``nn.relu``.

        It takes its arguments in the order of Relax, those of ``nn.max_pool`` and ``nn.avg_pool``
        by keyword.
        """
        raise self._missing(f"op {name}")

    def emit(self, expr: Any, role: str = "") -> Tensor:
        """`expr` with its shape and dtype known."""
        raise self._missing("emit")

    def normalize(self, value: Any) -> Any:
        """A raw expression is emitted, a tuple becomes a list; everything else is given back."""
        raise self._missing("normalize")

    def te(self, function: Callable[..., Any], *args: Any, name: str) -> Any:
        """Emit a call of a TE function; 0-d constants among `args` may be inlined."""
        return self.te_index(function, *args, name=name)

    def te_index(self, function: Callable[..., Any], *args: Any, name: str) -> Any:
        """Like ``te``, with 0-d constants as tensors."""
        raise self._missing("te_index")

    def _type(self, x: Tensor) -> Any:
        """What the dialect knows of `x`: its shape and dtype."""
        raise self._missing("type")

    def _variable(self, name: str, shape: Sequence[int], dtype: str) -> Any:
        raise self._missing("constant")

    def _weight_value(self, value: torch.Tensor) -> Any:
        return value

    # ---- values ----------------------------------------------------------------------------------
    def dtype(self, x: Tensor) -> torch.dtype:
        return TORCH_DTYPES[str(self._type(x).dtype)]

    def constant(self, value: torch.Tensor, role: str = "constant") -> Tensor:
        value = value.resolve_neg()
        place = value.data_ptr(), value.shape, value.stride(), value.dtype
        key = place if value.numel() else id(value)
        if key not in self._weights:
            dtype, name = self.tvm_dtype(value.dtype), self._identifier(self.unique(role))
            var = self._variable(name, list(value.shape), dtype)
            self._weights[key] = var, value
            self.tvm_weight_dict[var] = self.named_weights[name] = self._weight_value(value)
        return self._weights[key][0]

    def _float32(self, x: Tensor) -> Tensor:
        """`x`, in float32 where it is half precision."""
        return self.cast(x, torch.float32) if self.dtype(x) in HALF else x

    def operand(self, value: Operand, role: str = "constant") -> Tensor:
        if isinstance(value, (torch.Tensor, int, float)) or self.is_dim(value):
            return super().operand(value, role)
        return self.normalize(value)

    def size_tensor(self, dims: Sequence[Dim], dtype: torch.dtype = torch.int64) -> Tensor:
        return self.literal(torch.tensor(list(dims), dtype=dtype))

    def _brought(self, variables: Sequence[Any]) -> list[Any]:
        """Those among `variables` that a caller brought: made by neither `input` nor `constant`."""
        known = [*self._inputs, *self.tvm_weight_dict]
        return [v for v in variables if not any(v.same_as(k) for k in known)]

    def tvm_dtype(self, dtype: torch.dtype) -> str:
        """The name TVM has for `dtype`."""
        if dtype not in self.dtype_names:
            raise self.refuse(
                f"dtype {dtype} has no counterpart, expected one of {list(self.dtype_names)}"
            )
        return self.dtype_names[dtype]

    def _identifier(self, name: str) -> str:
        base = re.sub(r"\W", "_", name) or "value"
        base = base if base[0].isalpha() or base[0] == "_" else f"_{base}"
        result, count = base, 0
        while result in self._identifiers:
            count += 1
            result = f"{base}_{count}"
        self._identifiers.add(result)
        return result
