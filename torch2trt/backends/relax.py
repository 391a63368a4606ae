"""The context that builds a TVM Relax function.

Weights become parameters of ``main`` behind the inputs, so that they can be exchanged at run time; small constants of
the program text are inlined.
"""

from __future__ import annotations

import re
import weakref
from collections.abc import Callable, Sequence
from typing import Any

import torch
import tvm
from tvm import relax, tirx

from ..fold import fold_batch_norm
from ..graph import Graph
from . import relax_exact
from .base import Dim, Operand, SymbolicContext, Tensor
from .relax_index import IndexPrimitives
from .relax_math import MathPrimitives
from .relax_nn import NetworkPrimitives

DTYPE_NAMES = {
    torch.float64: "float64", torch.float32: "float32", torch.float16: "float16", torch.bfloat16: "bfloat16",
    torch.int64: "int64", torch.int32: "int32", torch.int16: "int16", torch.int8: "int8", torch.uint8: "uint8",
    torch.bool: "bool",
}  # fmt: skip
TORCH_DTYPES = {name: dtype for dtype, name in DTYPE_NAMES.items()}


def tvm_array(value: torch.Tensor) -> tvm.runtime.Tensor:
    """A copy of `value` on the CPU that TVM owns, aligned and compact."""
    source = value.detach().cpu().contiguous()
    array = tvm.runtime.empty(tuple(source.shape), DTYPE_NAMES[source.dtype])
    if source.dtype == torch.bfloat16:
        return array.copyfrom(tvm.runtime.from_dlpack(source.clone())) if source.numel() else array
    return array.copyfrom(source.numpy())


def _close_block(builder: relax.BlockBuilder, open_blocks: list[str]) -> None:
    if open_blocks:
        open_blocks.clear()
        builder._end_block()


class RelaxContext(MathPrimitives, IndexPrimitives, NetworkPrimitives, SymbolicContext):
    """Builds ``main(inputs..., weights...)`` of an ``IRModule``.

    Attributes:
        network: the ``relax.BlockBuilder``.
        tvm_weight_dict: the weights by function parameter, in the order of the parameters.
    """

    name = "relax"
    lineage = ("relax", "tvm")
    is_tvm = True

    def __init__(self) -> None:
        super().__init__()
        self.network = relax.BlockBuilder()
        self.tvm_weight_dict: dict[relax.Var, torch.Tensor] = {}
        self._inputs: list[relax.Var] = []
        self._weights: dict[Any, relax.Var] = {}
        self._symbols: dict[str, tirx.Var] = {}
        self._identifiers: set[str] = set()
        # No function scope of the builder: those live on a stack that all builders and threads share.
        self.network._begin_dataflow_block()
        self._open_blocks = ["main"]
        weakref.finalize(self, _close_block, self.network, self._open_blocks)

    def rewrite(self, graph: Graph) -> Graph:
        return fold_batch_norm(graph)

    # ---- the function ----------------------------------------------------------------------------------------------
    def input(self, name: str, shape: Sequence[Dim | str | None], dtype: torch.dtype) -> Tensor:
        """A new parameter of ``main``. A string in `shape` names a dynamic dimension, one name one number."""
        dims = [self._input_dim(name, i, dim) for i, dim in enumerate(shape)]
        var = relax.Var(self._identifier(name), relax.TensorType(dims, self.tvm_dtype(dtype)))
        self._inputs.append(var)
        self.network.begin_scope([var])
        return var

    def _input_dim(self, name: str, position: int, dim: Dim | str | None) -> Dim:
        if dim is not None and not isinstance(dim, str):
            return dim
        key = dim if dim is not None else self._identifier(f"{name}_{position}")
        if key not in self._symbols:
            self._symbols[key] = tirx.Var(re.sub(r"\W", "_", key), "int64")
        return self._symbols[key]

    def _identifier(self, name: str) -> str:
        base = re.sub(r"\W", "_", name) or "value"
        base = base if base[0].isalpha() or base[0] == "_" else f"_{base}"
        result, count = base, 0
        while result in self._identifiers:
            count += 1
            result = f"{base}_{count}"
        self._identifiers.add(result)
        return result

    def finish(self, outputs: Sequence[Operand]) -> tvm.IRModule:
        """Close ``main``; one output is given out as a tensor, several as a tuple.

        Relax variables that a caller brought, made by neither `input` nor `constant`, come behind the inputs.
        """
        values = [self.operand(self.normalize(x), "output") for x in outputs]
        body = self.network.emit_output(values[0] if len(values) == 1 else relax.Tuple(values))
        block = self.network._end_block()
        self._open_blocks.clear()
        sequence = relax.SeqExpr([block], body)
        weights = list(self.tvm_weight_dict)
        known = [*self._inputs, *weights]
        free = [v for v in relax.analysis.free_vars(sequence) if not any(v.same_as(k) for k in known)]
        inputs = [*self._inputs, *[v for v in free if isinstance(v.ty, relax.TensorType)]]
        params = [*inputs, *weights]
        self.network.begin_scope(params)
        sequence = self.network.normalize(sequence)
        self.network.end_scope()
        function = relax.Function(params, sequence).with_attr("global_symbol", "main")
        self.network.add_func(function.with_attr("num_input", len(inputs)), "main")
        return self.network.get()

    # ---- values ----------------------------------------------------------------------------------------------------
    def constant(self, value: torch.Tensor, role: str = "constant") -> Tensor:
        key = (value.data_ptr(), value.shape, value.stride(), value.dtype) if value.numel() else id(value)
        var = self._weights.get(key)
        if var is None:
            shape, dtype = list(value.shape), self.tvm_dtype(value.dtype)
            var = relax.Var(self._identifier(self.unique(role)), relax.TensorType(shape, dtype))
            self._weights[key] = var
            self.tvm_weight_dict[var] = value
        return var

    def operand(self, value: Operand, role: str = "constant") -> Tensor:
        return self.constant(value, role) if isinstance(value, torch.Tensor) else self.normalize(value)

    def literal(self, value: torch.Tensor) -> Tensor:
        self.tvm_dtype(value.dtype)
        return relax.const(tvm_array(value))

    def is_tensor(self, value: Any) -> bool:
        if not isinstance(value, relax.Expr) or tvm.ir.is_prim_expr(value):
            return False
        return isinstance(value.ty, relax.TensorType) or (value.ty.is_missing() and isinstance(value, tvm.ir.Call))

    def is_dim(self, value: Any) -> bool:
        return isinstance(value, relax.Expr) and not isinstance(value, tirx.IntImm) and tvm.ir.is_prim_expr(value)

    def shape(self, x: Tensor) -> tuple[Dim, ...]:
        x = self.normalize(x)
        if x.ty.shape is None:
            raise self.refuse(f"the shape of {x} is not known to Relax")
        return tuple(int(d) if isinstance(d, tirx.IntImm) else d for d in x.ty.shape)

    def dtype(self, x: Tensor) -> torch.dtype:
        return TORCH_DTYPES[str(self.normalize(x).ty.dtype)]

    def tvm_dtype(self, dtype: torch.dtype) -> str:
        """The name TVM has for `dtype`."""
        if dtype not in DTYPE_NAMES:
            raise self.refuse(f"dtype {dtype} has no counterpart, expected one of {list(DTYPE_NAMES)}")
        return DTYPE_NAMES[dtype]

    def op(self, name: str) -> Callable[..., relax.Expr]:
        """The Relax operator of a dotted name, such as ``nn.relu``."""
        result: Any = relax.op
        for part in name.split("."):
            result = getattr(result, part)
        return result

    def emit(self, expr: relax.Expr, role: str = "") -> Tensor:
        """Bind `expr` to a new variable named by scope and role; its shape and dtype are known from then on."""
        return self.network.emit(expr, name_hint=re.sub(r"\W", "_", self.unique(role)))

    def normalize(self, value: Any) -> Any:
        """A raw Relax expression is emitted, a tuple becomes a list; everything else is given back."""
        if isinstance(value, (list, tuple)):
            return type(value)(self.normalize(v) for v in value)
        if not isinstance(value, relax.Expr) or tvm.ir.is_prim_expr(value):
            return value
        if value.ty.is_missing():
            value = self.emit(value)
        if isinstance(value.ty, relax.TupleType):
            return [self.emit(relax.TupleGetItem(value, i)) for i in range(len(value.ty.fields))]
        return value

    def te(self, function: Callable[..., Any], *args: Any, name: str) -> Any:
        """Emit a call of a TE function; 0-d constants among `args` are inlined where a tensor remains."""
        scalars = [relax_exact.scalar_or_expr(a) if isinstance(a, relax.Expr) else a for a in args]
        if not any(self.is_tensor(a) for a in scalars):
            scalars = list(args)
        return self.emit(self.network.call_te(function, *scalars, primfunc_name_hint=name))

    def size_tensor(self, dims: Sequence[Dim], dtype: torch.dtype = torch.int64) -> Tensor:
        if all(isinstance(d, int) for d in dims):
            return self.literal(torch.tensor(list(dims), dtype=dtype))
        return self.cast(self.emit(relax.op.shape_to_tensor(relax.ShapeExpr(list(dims)))), dtype)
