"""Small helpers to write loop nests and to rewrite expressions of TVM's tensor IR."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

from tvm import tirx
from tvm.ir import Call
from tvm.tirx import ForKind

INDEX = "int64"  # as Relax has it; the lowering narrows it where it can
SERIAL, PARALLEL = ForKind.SERIAL, ForKind.PARALLEL
VECTORIZED, UNROLLED = ForKind.VECTORIZED, ForKind.UNROLLED

_BINARY = (
    tirx.Add, tirx.Sub, tirx.Mul, tirx.Div, tirx.Mod, tirx.FloorDiv, tirx.FloorMod, tirx.Min,
    tirx.Max, tirx.EQ, tirx.NE, tirx.LT, tirx.LE, tirx.GT, tirx.GE, tirx.And, tirx.Or, tirx.LShift,
    tirx.RShift, tirx.BitwiseAnd, tirx.BitwiseOr, tirx.BitwiseXor,
)  # fmt: skip


def var(name: str) -> Any:
    """A fresh index variable."""
    return tirx.Var(name, INDEX)


def const(value: float, dtype: str = "float32") -> Any:
    """A scalar constant."""
    return tirx.const(value, dtype)


def buffer(shape: Sequence[int], dtype: str, name: str, scope: str = "global") -> Any:
    """A fresh buffer; `local` scope is for what should live in registers."""
    return tirx.decl_buffer(tuple(shape), dtype, name=name, scope=scope)


def loop(
    extent: Any, body: Callable[[Any], Any], kind: ForKind = SERIAL, name: str = "i"
) -> Any:
    """`for name in range(extent): body(name)`; a loop of extent one leaves only its body."""
    if isinstance(extent, int) and extent == 1:
        return body(tirx.const(0, INDEX))
    index = var(name)
    return tirx.For(index, tirx.const(0, INDEX), _int(extent), kind, body(index))


def loops(
    extents: Sequence[int], body: Callable[[list[Any]], Any], kind: ForKind = SERIAL
) -> Any:
    """Nested loops over all `extents`; `body` takes the list of their variables."""

    def nest(depth: int, indices: list[Any]) -> Any:
        if depth == len(extents):
            return body(indices)
        return loop(extents[depth], lambda i: nest(depth + 1, [*indices, i]), kind)

    return nest(0, [])


def _int(value: Any) -> Any:
    return tirx.const(value, INDEX) if isinstance(value, int) else value


def seq(stmts: Iterable[Any]) -> Any:
    """The statements one after the other."""
    flat = [s for s in stmts if s is not None]
    return flat[0] if len(flat) == 1 else tirx.SeqStmt(flat)


def store(buf: Any, indices: Sequence[Any], value: Any) -> Any:
    """`buf[indices] = value`."""
    return tirx.BufferStore(buf, value, [_int(i) for i in indices])


def load(buf: Any, indices: Sequence[Any]) -> Any:
    """`buf[indices]`."""
    return tirx.BufferLoad(buf, [_int(i) for i in indices])


def prefetch(buf: Any, indices: Sequence[Any]) -> Any:
    """Bring the cache line of `buf[indices]` near, to be written."""
    write, near, data = (tirx.const(v, "int32") for v in (1, 3, 1))
    address = tirx.address_of(load(buf, indices))
    return tirx.Evaluate(tirx.call_llvm_intrin("void", "llvm.prefetch", address, write, near, data))


def ramp(base: Any, lanes: int) -> Any:
    """The `lanes` consecutive indices from `base` on; a plain index for one lane."""
    return _int(base) if lanes == 1 else tirx.Ramp(_int(base), tirx.const(1, INDEX), lanes)


def broadcast(value: Any, lanes: int) -> Any:
    """`value` in every lane."""
    return value if lanes == 1 else tirx.Broadcast(value, lanes)


def unravel(index: Any, extents: Sequence[int]) -> list[Any]:
    """The multi-dimensional index of a flat one, in row-major order."""
    result: list[Any] = []
    for position, extent in enumerate(reversed(extents)):
        if extent == 1:
            result.append(tirx.const(0, INDEX))
        elif position == len(extents) - 1:
            result.append(index)
        else:
            result.append(tirx.floormod(index, extent))
            index = tirx.floordiv(index, extent)
    return result[::-1]


def rewrite(expr: Any, change: Callable[[Any], Any]) -> Any:
    """`expr` with every node for which `change` gives something else than None replaced.

    `change` sees a node before its children; what it returns is not visited again.
    """
    new = change(expr)
    if new is not None:
        return new
    kind = type(expr)
    if kind in _BINARY:
        a, b = rewrite(expr.a, change), rewrite(expr.b, change)
        return expr if a is expr.a and b is expr.b else kind(a, b)
    if kind.__name__ == "TensorLoad":
        return tirx.BufferLoad(expr.source, [rewrite(i, change) for i in expr.indices])
    if kind.__name__ == "Call":
        args = [rewrite(a, change) for a in expr.args]
        return Call(expr.op, args, expr.attrs, ret_ty=expr.ty)
    if kind is tirx.Cast:
        return tirx.Cast(expr.ty.dtype, rewrite(expr.value, change))
    if kind is tirx.Select:
        parts = (expr.condition, expr.true_value, expr.false_value)
        return tirx.Select(*(rewrite(p, change) for p in parts))
    if kind in (tirx.Not, tirx.BitwiseNot):
        return kind(rewrite(expr.a, change))
    if kind is tirx.Let:
        return _rewrite_let(expr, change)
    return expr


def _rewrite_let(expr: Any, change: Callable[[Any], Any]) -> Any:
    """A copy gets a name of its own: one name may not stand for two values in one expression."""
    name = tirx.Var(expr.var.name, expr.var.ty.dtype)

    def renamed(node: Any) -> Any:
        return name if isinstance(node, tirx.Var) and node.same_as(expr.var) else change(node)

    return tirx.Let(name, rewrite(expr.value, change), rewrite(expr.body, renamed))


def is_choice(node: Any) -> bool:
    """Whether the node is a lazy choice between two values; releases of TVM name it differently."""
    return type(node).__name__ == "Call" and node.op.name.split(".")[-1] == "if_then_else"


def nodes(expr: Any) -> list[Any]:
    """Every node of `expr`, parents first."""
    found: list[Any] = []
    rewrite(expr, found.append)
    return found
