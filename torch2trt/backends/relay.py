"""The context that builds a TVM Relay function, for the releases of TVM that have Relay.

Weights are free variables of the outputs, by name in ``tvm_weight_dict``; small constants of the program text are
inlined. Sizes are static.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np
import torch
import tvm
from tvm import relay, tir

from . import relay_exact, tvm_pool
from . import tvm_te as T
from .base import Dim, Operand, Tensor
from .tvm_base import DTYPE_NAMES, TORCH_DTYPES
from .tvm_index import IndexPrimitives
from .tvm_math import MathPrimitives
from .tvm_nn import NetworkPrimitives

GROUPED = ("conv1d", "conv2d", "conv2d_transpose")  # the convolutions that TVM has groups for


def _pool(operator: Callable[..., relay.Expr]) -> Callable[..., relay.Expr]:
    def pool(x: Tensor, kernel: Any, stride: Any, padding: Any, dilation: Any, *flags: bool) -> relay.Expr:
        options = dict(zip(("ceil_mode", "count_include_pad"), flags))
        return operator(x, kernel, stride, dilation, padding, **options)

    return pool


def _scatter_nd(x: Tensor, index: Tensor, source: Tensor, mode: str) -> relay.Expr:
    rank = len(index.checked_type.shape)
    return relay.scatter_nd(x, relay.transpose(index, [rank - 1, *range(rank - 1)]), source, mode)


# By the name in Relax, what Relay calls differently or takes in another order.
OPERATORS: dict[str, Callable[..., relay.Expr]] = {
    "astype": relay.cast, "permute_dims": relay.transpose, "concat": relay.concatenate,
    "nn.leakyrelu": relay.nn.leaky_relu, "cumsum": relay.op.transform.cumsum, "scatter_nd": _scatter_nd,
    "reshape": lambda x, shape: relay.reshape(x, list(shape), allowzero=True),
    "argsort": lambda x, axis, descending, dtype: relay.argsort(x, axis, not descending, dtype),
    "strided_slice": lambda x, axes, begin, end, strides, assume_inbound=True: relay.strided_slice(
        x, begin, end, strides, axes=axes
    ),
    "nn.pad": lambda x, widths, mode, value: relay.nn.pad(x, list(zip(widths[::2], widths[1::2])), value, mode),
    "einsum": lambda xs, equation: relay.einsum(relay.Tuple(list(xs)), equation),
    **{
        f"nn.{kind}_pool{rank}d": _pool(getattr(relay.nn, f"{kind}_pool{rank}d"))
        for kind in ("max", "avg") for rank in (1, 2, 3)
    },
}  # fmt: skip


class RelayContext(MathPrimitives, IndexPrimitives, NetworkPrimitives):
    """Builds Relay expressions.

    Attributes:
        tvm_weight_dict: the weights, numpy arrays by variable, as ``relay.build`` takes them.
    """

    name = "relay"
    lineage = ("relay", "tvm")
    dtype_names = {dtype: name for dtype, name in DTYPE_NAMES.items() if dtype != torch.bfloat16}

    # ---- the function ----------------------------------------------------------------------------------------------
    def input(self, name: str, shape: Sequence[Dim | str | None], dtype: torch.dtype) -> Tensor:
        """A new variable of static shape."""
        if not all(isinstance(d, int) for d in shape):
            raise self.refuse(f"input {name}: got the shape {list(shape)}, expected static sizes for Relay")
        self._inputs.append(self._variable(self._identifier(name), list(shape), self.tvm_dtype(dtype)))
        return self._inputs[-1]

    def finish(self, outputs: Sequence[Operand]) -> tvm.IRModule:
        """An ``IRModule`` with ``main(inputs..., weights...)``; one output is a tensor, several are a tuple."""
        values = [self.operand(x, "output") for x in outputs]
        body = values[0] if len(values) == 1 else relay.Tuple(values)
        known = [*self._inputs, *self.tvm_weight_dict]
        brought = [v for v in relay.analysis.free_vars(body) if not any(v.same_as(k) for k in known)]
        return tvm.IRModule.from_expr(relay.Function([*self._inputs, *brought, *self.tvm_weight_dict], body))

    # ---- values ----------------------------------------------------------------------------------------------------
    def _variable(self, name: str, shape: Sequence[int], dtype: str) -> relay.Var:
        return self.emit(relay.var(name, shape=tuple(shape), dtype=dtype))

    def _weight_value(self, value: torch.Tensor) -> np.ndarray:
        return value.detach().cpu().numpy()

    def literal(self, value: torch.Tensor) -> Tensor:
        return self.emit(relay.const(value.detach().cpu().numpy(), self.tvm_dtype(value.dtype)))

    def is_tensor(self, value: Any) -> bool:
        return isinstance(value, relay.Expr) and not isinstance(value, (tvm.ir.Op, relay.Function, relay.Tuple))

    def shape(self, x: Tensor) -> tuple[Dim, ...]:
        return tuple(int(d) for d in self._type(x).shape)

    def dtype(self, x: Tensor) -> torch.dtype:
        return TORCH_DTYPES[str(self._type(x).dtype)]

    def _type(self, x: Tensor) -> Any:
        return x.checked_type if x._checked_type_ is not None else relay.transform.InferTypeLocal(x)

    def emit(self, expr: relay.Expr, role: str = "") -> Tensor:
        self._type(expr)
        return expr

    def normalize(self, value: Any) -> Any:
        if isinstance(value, (list, tuple)):
            return type(value)(self.normalize(v) for v in value)
        if isinstance(value, relay.expr.TupleWrapper):
            value = value.astuple()
        if not self.is_tensor(value):
            return value
        kind = self._type(value)
        if isinstance(kind, relay.TupleType):
            return [self.emit(relay.TupleGetItem(value, i)) for i in range(len(kind.fields))]
        return value

    def te(self, function: Callable[..., Any], *args: Any, name: str) -> Any:
        scalars = [self._scalar(a) for a in args]
        return self.te_index(function, *(scalars if any(map(self.is_tensor, scalars)) else args), name=name)

    def te_index(self, function: Callable[..., Any], *args: Any, name: str) -> Any:
        return self.emit(relay_exact.call_te(function, args, self.is_tensor, name))

    def _scalar(self, value: Any) -> Any:
        if not isinstance(value, relay.Constant) or value.data.shape:
            return value
        return tir.const(value.data.numpy().item(), value.data.dtype)

    def size_tensor(self, dims: Sequence[Dim], dtype: torch.dtype = torch.int64) -> Tensor:
        return self.literal(torch.tensor(list(dims), dtype=dtype))

    # ---- operators by their Relax names ------------------------------------------------------------------------------
    def op(self, name: str) -> Callable[..., relay.Expr]:
        if name.startswith("nn.conv"):
            return partial(self._convolution, name.removeprefix("nn."))
        if name in OPERATORS or name in ("atan2", "nn.layer_norm"):
            return OPERATORS.get(name) or getattr(self, f"_{name.removeprefix('nn.')}")
        result: Any = relay
        for part in name.split("."):
            result = getattr(result, part)
        return result

    def _atan2(self, a: Tensor, b: Tensor) -> relay.Expr:
        return self.te(T.elementwise(T.wide(T.EXACT["atan2"]), "atan2"), a, b, name="atan2")

    def _layer_norm(
        self, x: Tensor, weight: Tensor, bias: Tensor, axes: Sequence[int], eps: float, center: bool, scale: bool,
    ) -> relay.Expr:  # fmt: skip
        given = (weight if scale else None), (bias if center else None)
        return self.te_index(tvm_pool.normalize, x, list(axes), *given, float(eps), name="layer_norm")

    def _convolution(self, name: str, x: Tensor, weight: Tensor, *arguments: Any) -> relay.Expr:
        """A convolution that knows its kernel; those that TVM has no groups for run group by group."""
        sizes, dtype = self.shape(weight), self.dtype(x)
        groups = arguments[-1]
        x, weight = self._float32(x), self._float32(weight)
        options: dict[str, Any] = {"kernel_size": sizes[2:], "channels": sizes[0]}
        if name.endswith("transpose"):
            strides, padding, extra, dilation, _ = arguments
            weight = self.emit(relay.nn.dilate(weight, [1, 1, *dilation])) if max(dilation) > 1 else weight
            options = {"kernel_size": self.shape(weight)[2:], "channels": sizes[1] * groups, "output_padding": extra}
            arguments = strides, padding, [1] * len(strides), groups
        operator = getattr(relay.nn, name)
        if groups == 1 or name in GROUPED:
            return self.cast(self.emit(operator(x, weight, *arguments, **options)), dtype)
        options["channels"] //= groups
        pairs = zip(self._parts(x, 1, groups), self._parts(weight, 0, groups))
        parts = [self.emit(operator(v, w, *arguments[:-1], 1, **options)) for v, w in pairs]
        return self.cast(self.concat(parts, 1), dtype)

    def _parts(self, x: Tensor, axis: int, count: int) -> list[Tensor]:
        size = self.shape(x)[axis] // count
        return [self._narrow(x, axis, i * size, size) for i in range(count)]

    def _accumulate(self, *xs: Tensor) -> dict[str, str]:
        return {}

    def matmul(self, a: Operand, b: Operand) -> Tensor:
        """Through ``nn.dense`` and ``nn.batch_matmul``, the second matrix transposed: TOPI has schedules for that."""
        a, b = self.operand(a, "weight"), self.operand(b, "weight")
        dtype, rows, columns = self.dtype(a), self.shape(a)[:-1], self.shape(b)[-1]
        a, b = self._float32(a), self._float32(b)
        inner = self.shape(a)[-1]
        lead = np.broadcast_shapes(rows[:-1], self.shape(b)[:-2])
        rank, count = len(self.shape(b)), math.prod(lead)
        b = self.permute(b, [*range(rank - 2), rank - 1, rank - 2])
        if rank == 2:
            y = self.emit(relay.nn.dense(self.reshape(a, [math.prod(rows), inner]), b))
        else:
            a = self.reshape(self.expand(a, [*lead, rows[-1], inner]), [count, rows[-1], inner])
            b = self.reshape(self.expand(b, [*lead, columns, inner]), [count, columns, inner])
            y = self.emit(relay.nn.batch_matmul(a, b))
        return self.cast(self.reshape(y, [*lead, rows[-1], columns]), dtype)
