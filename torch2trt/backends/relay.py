"""The context that builds a TVM Relay function, for the releases of TVM that have Relay.

Weights are free variables of the outputs, by name in ``tvm_weight_dict``; small constants of the
program text are inlined. Sizes are static.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import partial
from operator import attrgetter
from typing import Any

import numpy as np
import torch
import tvm
from tvm import relay

from . import relay_build, tvm_pool  # noqa: F401 - the first has programs use all threads
from . import tvm_te as T
from .base import Dim, Operand, Tensor
from .relay_exact import call_te
from .tvm_base import DTYPE_NAMES
from .tvm_index import IndexPrimitives
from .tvm_math import MathPrimitives
from .tvm_nn import NetworkPrimitives


# ---- what Relay calls differently or takes in another order, by the name in Relax ----------------
def _type(x: relay.Expr) -> Any:
    return x.checked_type if x._checked_type_ is not None else relay.transform.InferTypeLocal(x)


def _shape(x: relay.Expr) -> tuple[int, ...]:
    return tuple(int(d) for d in _type(x).shape)


def _reshape(x: relay.Expr, shape: Sequence[int]) -> relay.Expr:
    return relay.reshape(x, list(shape), allowzero=True)


def _convolution(name: str, x: Tensor, weight: Tensor, *arguments: Any, **dtype: str) -> relay.Expr:
    """A convolution that knows its kernel, without which TVM has no groups."""
    sizes, operator = _shape(weight), getattr(relay.nn, name)
    if not name.endswith("transpose"):
        kernel, channels = sizes[2:], sizes[0]
        return operator(x, weight, *arguments, channels=channels, kernel_size=kernel, **dtype)
    strides, padding, output_padding, dilation, groups = arguments
    if max(dilation) > 1:  # TVM has none
        weight = relay.nn.dilate(weight, [1, 1, *dilation])
    return operator(
        x, weight, strides, padding, groups=groups, channels=sizes[1] * groups,
        kernel_size=_shape(weight)[2:], output_padding=output_padding,
    )  # fmt: skip


def _matmul(a: Tensor, b: Tensor, **dtype: str) -> relay.Expr:
    """Through ``nn.dense`` and ``nn.batch_matmul``, for which TOPI has schedules."""
    *lead, rows, inner = _shape(a)
    columns, rank = _shape(b)[-1], len(_shape(b))
    b = relay.transpose(b, [*range(rank - 2), rank - 1, rank - 2])
    if rank == 2:
        y = relay.nn.dense(_reshape(a, [math.prod(lead) * rows, inner]), b, **dtype)
        return _reshape(y, [*lead, rows, columns])
    lead = list(np.broadcast_shapes(tuple(lead), _shape(b)[:-2]))
    stacks = [
        _reshape(relay.broadcast_to(x, [*lead, size, inner]), [math.prod(lead), size, inner])
        for x, size in ((a, rows), (b, columns))
    ]
    return _reshape(relay.nn.batch_matmul(*stacks, **dtype), [*lead, rows, columns])


def _scatter_nd(x: Tensor, index: Tensor, source: Tensor, mode: str) -> relay.Expr:
    rank = len(_shape(index))
    return relay.scatter_nd(x, relay.transpose(index, [rank - 1, *range(rank - 1)]), source, mode)


def _layer_norm(
    x: Tensor, weight: Tensor, bias: Tensor, axes: list[int], eps: float, center: bool, scale: bool
) -> relay.Expr:
    given = weight if scale else None, bias if center else None
    return call_te(tvm_pool.normalize, x, axes, *given, float(eps), name="layer_norm")


OPERATORS: dict[str, Callable[..., relay.Expr]] = {
    "astype": relay.cast,
    "permute_dims": relay.transpose,
    "concat": relay.concatenate,
    "reshape": _reshape,
    "strided_slice": lambda x, axes, begin, end, strides, assume_inbound=True: relay.strided_slice(
        x, begin, end, strides, axes=axes
    ),
    "scatter_nd": _scatter_nd,
    "cumsum": relay.op.transform.cumsum,
    "argsort": lambda x, axis, descending, dtype: relay.argsort(x, axis, not descending, dtype),
    "atan2": partial(call_te, T.elementwise(T.wide(T.EXACT["atan2"]), "atan2"), name="atan2"),
    "matmul": _matmul,
    "einsum": lambda xs, equation: relay.einsum(relay.Tuple(list(xs)), equation),
    "nn.leakyrelu": relay.nn.leaky_relu,
    "nn.layer_norm": _layer_norm,
    "nn.pad": lambda x, widths, mode, value: relay.nn.pad(
        x, list(zip(widths[::2], widths[1::2])), value, mode
    ),
}


class RelayContext(MathPrimitives, IndexPrimitives, NetworkPrimitives):
    """Builds Relay expressions.

    Attributes:
        tvm_weight_dict: the weights, numpy arrays by variable, as ``relay.build`` takes them.
    """

    name = "relay"
    lineage = ("relay", "tvm")
    dtype_names = {dtype: name for dtype, name in DTYPE_NAMES.items() if dtype != torch.bfloat16}
    shape = staticmethod(_shape)
    _type = staticmethod(_type)

    # ---- the function ----------------------------------------------------------------------------
    def input(self, name: str, shape: Sequence[Dim | str | None], dtype: torch.dtype) -> Tensor:
        """A new variable of static shape."""
        if not all(isinstance(d, int) for d in shape):
            raise self.refuse(f"input {name}: got {list(shape)}, expected static sizes for Relay")
        var = self._variable(self._identifier(name), list(shape), self.tvm_dtype(dtype))
        self._inputs.append(var)
        return var

    def finish(self, outputs: Sequence[Operand]) -> tvm.IRModule:
        """An ``IRModule`` with ``main(inputs..., weights...)``; several outputs are a tuple."""
        values = [self.operand(x, "output") for x in outputs]
        body = values[0] if len(values) == 1 else relay.Tuple(values)
        brought = self._brought(relay.analysis.free_vars(body))
        params = [*self._inputs, *brought, *self.tvm_weight_dict]
        return tvm.IRModule.from_expr(relay.Function(params, body))

    # ---- values ----------------------------------------------------------------------------------
    def _variable(self, name: str, shape: Sequence[int], dtype: str) -> relay.Var:
        return self.emit(relay.var(name, shape=tuple(shape), dtype=dtype))

    def _weight_value(self, value: torch.Tensor) -> np.ndarray:
        return value.detach().cpu().numpy()

    def literal(self, value: torch.Tensor) -> Tensor:
        return self.emit(relay.const(self._weight_value(value), self.tvm_dtype(value.dtype)))

    def is_tensor(self, value: Any) -> bool:
        return isinstance(value, relay.Expr)

    def op(self, name: str) -> Callable[..., relay.Expr]:
        if name.startswith("nn.conv"):
            return partial(_convolution, name.removeprefix("nn."))
        return OPERATORS.get(name) or attrgetter(name)(relay)

    def emit(self, expr: relay.Expr, role: str = "") -> Tensor:
        _type(expr)
        return expr

    def normalize(self, value: Any) -> Any:
        if isinstance(value, relay.Expr) and isinstance(_type(value), relay.TupleType):
            value = relay.expr.TupleWrapper(value, len(_type(value).fields))
        if isinstance(value, (list, tuple, relay.expr.TupleWrapper)):
            return [self.normalize(v) for v in value]
        return value

    def te_index(self, function: Callable[..., Any], *args: Any, name: str) -> Any:
        return self.emit(call_te(function, *args, name=name))
