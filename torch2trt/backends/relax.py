"""The context that builds a TVM Relax function.

Weights become parameters of ``main`` behind the inputs, so that they can be exchanged at run time;
small constants of the program text are inlined.
"""

from __future__ import annotations

import re
import weakref
from collections.abc import Callable, Sequence
from operator import attrgetter
from typing import Any

import torch
import tvm
from tvm import relax, tirx

from . import relax_exact
from .base import Dim, Operand, Tensor
from .tvm_base import DTYPE_NAMES
from .tvm_index import IndexPrimitives
from .tvm_math import MathPrimitives
from .tvm_nn import NetworkPrimitives


def tvm_array(value: torch.Tensor) -> tvm.runtime.Tensor:
    """A copy of `value` on the CPU that TVM owns, aligned and compact."""
    source = value.detach().cpu().contiguous()
    array = tvm.runtime.empty(tuple(source.shape), DTYPE_NAMES[source.dtype])
    if source.dtype == torch.bfloat16:
        return array.copyfrom(tvm.runtime.from_dlpack(source.clone())) if source.numel() else array
    return array.copyfrom(source.numpy())


def _nothing(kind: Any) -> relax.Expr | None:
    """The constant of a type without elements: TVM's passes stumble over computing one."""
    if not isinstance(kind, relax.TensorType) or not isinstance(kind.shape, relax.ShapeExpr):
        return None
    sizes = list(kind.shape)
    if not all(isinstance(d, tirx.IntImm) for d in sizes) or all(int(d) for d in sizes):
        return None
    return relax.const(tvm.runtime.empty([int(d) for d in sizes], str(kind.dtype)))


def _close_block(builder: relax.BlockBuilder, open_blocks: list[str]) -> None:
    if open_blocks:
        open_blocks.clear()
        builder._end_block()


class RelaxContext(MathPrimitives, IndexPrimitives, NetworkPrimitives):
    """Builds ``main(inputs..., weights...)`` of an ``IRModule``.

    Attributes:
        network: the ``relax.BlockBuilder``.
        tvm_weight_dict: the weights, torch tensors by function parameter, in the order of the
            parameters.
    """

    name = "relax"
    lineage = ("relax", "tvm")

    def __init__(self) -> None:
        super().__init__()
        self.network = relax.BlockBuilder()
        self._symbols: dict[str, tirx.Var] = {}
        # No function scope of the builder: those live on a stack that all builders and threads
        # share.
        self.network._begin_dataflow_block()
        self._open_blocks = ["main"]
        weakref.finalize(self, _close_block, self.network, self._open_blocks)

    # ---- the function ----------------------------------------------------------------------------
    def input(self, name: str, shape: Sequence[Dim | str | None], dtype: torch.dtype) -> Tensor:
        """A new parameter of ``main``; a string in `shape` names a dynamic dimension."""
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

    def finish(self, outputs: Sequence[Operand]) -> tvm.IRModule:
        """Close ``main``; one output is given out as a tensor, several as a tuple.

        Relax variables that a caller brought, made by neither `input` nor `constant`, come behind
        the inputs.
        """
        values = [self.operand(x, "output") for x in outputs]
        body = self.network.emit_output(values[0] if len(values) == 1 else relax.Tuple(values))
        block = self.network._end_block()
        self._open_blocks.clear()
        sequence = relax.SeqExpr([block], body)
        brought = self._brought(relax.analysis.free_vars(sequence))
        inputs = [*self._inputs, *[v for v in brought if isinstance(v.ty, relax.TensorType)]]
        params = [*inputs, *self.tvm_weight_dict]
        self.network.begin_scope(params)
        sequence = self.network.normalize(sequence)
        self.network.end_scope()
        function = relax.Function(params, sequence).with_attr("global_symbol", "main")
        self.network.add_func(function.with_attr("num_input", len(inputs)), "main")
        return self.network.get()

    # ---- values ----------------------------------------------------------------------------------
    def _variable(self, name: str, shape: Sequence[int], dtype: str) -> relax.Var:
        return relax.Var(name, relax.TensorType(shape, dtype))

    def literal(self, value: torch.Tensor) -> Tensor:
        self.tvm_dtype(value.dtype)
        return relax.const(tvm_array(value))

    def is_tensor(self, value: Any) -> bool:
        if not isinstance(value, relax.Expr) or tvm.ir.is_prim_expr(value):
            return False
        return isinstance(value.ty, relax.TensorType) or (
            value.ty.is_missing() and isinstance(value, tvm.ir.Call)
        )

    def is_dim(self, value: Any) -> bool:
        return (
            isinstance(value, relax.Expr)
            and not isinstance(value, tirx.IntImm)
            and tvm.ir.is_prim_expr(value)
        )

    def shape(self, x: Tensor) -> tuple[Dim, ...]:
        shape = self._type(x).shape
        if shape is None:
            raise self.refuse(f"the shape of {x} is not known to Relax")
        return tuple(int(d) if isinstance(d, tirx.IntImm) else d for d in shape)

    def _type(self, x: Tensor) -> relax.TensorType:
        return self.normalize(x).ty

    def op(self, name: str) -> Callable[..., relax.Expr]:
        """The Relax operator of a dotted name, such as ``nn.relu``."""
        return attrgetter(name)(relax.op)

    def emit(self, expr: relax.Expr, role: str = "") -> Tensor:
        """Bind `expr` to a variable named by scope and role, whose shape and dtype are known."""
        expr = self.network.normalize(expr)
        nothing = _nothing(expr.ty)
        if nothing is not None:
            return nothing
        return self.network.emit(expr, name_hint=re.sub(r"\W", "_", self.unique(role)))

    def assume_shape(self, x: Tensor, shape: Sequence[Dim]) -> Tensor:
        # A cast to a plain symbol would be taken for its definition.
        zero = tirx.const(0, "int64")
        dims = [tirx.Add(d, zero) if isinstance(d, tirx.Var) else d for d in shape]
        kind = relax.TensorType(dims, self._type(x).dtype)
        return self.network.match_cast(x, kind, re.sub(r"\W", "_", self.unique("held")))

    def normalize(self, value: Any) -> Any:
        """A raw Relax expression is emitted, a tuple becomes a list; all else is given back."""
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
        scalars = [relax_exact.scalar_or_expr(a) if isinstance(a, relax.Expr) else a for a in args]
        return self.te_index(
            function, *(scalars if any(map(self.is_tensor, scalars)) else args), name=name
        )

    def te_index(self, function: Callable[..., Any], *args: Any, name: str) -> Any:
        return self.emit(self.network.call_te(function, *args, primfunc_name_hint=name))

    def size_tensor(self, dims: Sequence[Dim], dtype: torch.dtype = torch.int64) -> Tensor:
        if all(isinstance(d, int) for d in dims):
            return super().size_tensor(dims, dtype)
        return self.cast(self.emit(relax.op.shape_to_tensor(relax.ShapeExpr(list(dims)))), dtype)
