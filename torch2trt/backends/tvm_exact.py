"""What both TVM dialects lower differently from TVM, where TVM differs from PyTorch.

TVM lowers ``nn.relu``, ``maximum``, ``max`` and ``nn.max_pool`` so that NaN is lost, ``not_equal``
so that NaN equals NaN, ``tanh`` and ``atanh`` so that small numbers become zero, has no half
precision for several functions and no vector code for ``sinh`` and ``cosh``. The operators stay
what they are in the graph (layout conversion, fusion and pattern matching see them); a dialect only
changes what they become, for the whole process.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from tvm import topi

from . import tvm_pool
from . import tvm_te as T
from .tvm_names import te


class Lowering(NamedTuple):
    """What replaces TVM's own lowering of one operator.

    Attributes:
        name: of the operator, without its dialect.
        kind: "elementwise", "reduction" or "pool".
        compute: the attributes and operands of a call -> its result.
        applies: attributes and dtype -> whether TVM's own lowering is to be replaced.
    """

    name: str
    kind: str
    compute: Callable[..., te.Tensor]
    applies: Callable[[Any, str], bool]


def _elementwise(name: str, function: T.Scalar) -> Lowering:
    broadcast = T.elementwise(T.wide(function), name.rsplit(".", 1)[-1])

    def compute(attrs: Any, *operands: Any) -> te.Tensor:
        with te.tag_scope(topi.tag.ELEMWISE if len(operands) == 1 else topi.tag.BROADCAST):
            return broadcast(*operands)

    return Lowering(name, "elementwise", compute, lambda attrs, dtype: True)


def _extreme(name: str, reducer: Callable[..., Any]) -> Lowering:
    def compute(attrs: Any, x: te.Tensor) -> te.Tensor:
        rank = len(x.shape)
        axes = range(rank) if attrs.axis is None else sorted(int(a) % rank for a in attrs.axis)
        with te.tag_scope(topi.tag.COMM_REDUCE):
            return T.reduction(
                x, axes, bool(attrs.keepdims), lambda v, r, _: reducer(v, axis=r), name
            )

    def applies(attrs: Any, dtype: str) -> bool:
        return "float" in dtype and not getattr(attrs, "exclude", False)

    return Lowering(name, "reduction", compute, applies)


def _max_pool(rank: int) -> Lowering:
    def compute(attrs: Any, x: te.Tensor) -> te.Tensor:
        dims = [c for c in str(attrs.layout) if c.isalpha()]
        axes = [dims.index(letter) for letter in "DHW"[3 - rank :]]
        padding = [int(p) for p in attrs.padding]
        before, after = padding[:rank], padding[len(padding) - rank :]
        options = attrs.pool_size, attrs.strides, attrs.dilation
        kernel, stride, dilation = ([int(v) for v in option] for option in options)
        return tvm_pool.max_pool(x, axes, kernel, stride, before, after, dilation)

    def applies(attrs: Any, dtype: str) -> bool:
        layout = str(attrs.layout)
        plain = str(attrs.out_layout) in ("", layout) and not set("dhw") & set(layout)
        return plain and "float" in dtype and not attrs.ceil_mode

    return Lowering(f"nn.max_pool{rank}d", "pool", compute, applies)


LOWERINGS = (
    *[_elementwise(name, function) for name, function in T.EXACT.items()],
    _extreme("max", T.max_reducer),
    _extreme("min", T.min_reducer),
    *[_max_pool(rank) for rank in (1, 2, 3)],
)
