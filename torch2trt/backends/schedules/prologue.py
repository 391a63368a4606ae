"""Elementwise functions that only feed a matrix product become part of it.

What they compute then goes through a buffer of the thread, row by row, not through memory.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace
from math import prod
from typing import Any

from tvm import relax, s_tir, tirx
from tvm.relax.expr_functor import PyExprMutator, mutator

from .layout import again
from .stages import Program, Stage, Unschedulable, is_load, parse, reads
from .target import Cpu
from .tir import is_choice, load, nodes, rewrite

ROW_BYTES = 64 * 1024  # of the buffer of a thread


@dataclass(frozen=True)
class _Pair:
    """A call and the one that feeds it: its variable, both calls, the operand between them."""

    var: Any
    call: Any
    feeder: Any
    operand: int

    @property
    def names(self) -> tuple[str, str]:
        return self.feeder.args[0].name_hint, self.call.args[0].name_hint


def merge(mod: Any, cpu: Cpu) -> tuple[Any, dict[str, Program]]:
    """The module with feeders merged into products, and the merged programs by name.

    The merged functions in the module have no bodies yet.
    """
    programs: dict[str, Program] = {}
    merged: dict[tuple[str, str, int], Any] = {}
    chosen: dict[Any, tuple[_Pair, Any]] = {}
    builder = relax.BlockBuilder(mod)
    for pair in _pairs(mod):
        key = (*pair.names, pair.operand)
        if key not in merged:
            merged[key] = None
            func = mod[pair.names[1]]
            program = _joined(mod[pair.names[0]], func, pair.operand, cpu)
            if program is not None:
                number = tirx.Evaluate(len(programs))  # the builder takes equal functions for one
                empty = tirx.PrimFunc(program.params, number, func.ret_type, func.attrs)
                made = builder.add_func(empty, "_".join(pair.names))
                merged[key], programs[made.name_hint] = made, program
        if merged[key] is not None:
            chosen[pair.var] = (pair, merged[key])
    if not chosen:
        return mod, programs
    mod = builder.get()
    mod["main"] = _Merger(mod, chosen).visit_expr(mod["main"])
    return relax.transform.DeadCodeElimination()(mod), programs


def _pairs(mod: Any) -> Iterator[_Pair]:
    """Calls of functions marked `dense` whose first operand nobody else reads."""
    main = mod["main"]
    bindings = [b for block in main.body.blocks for b in block.bindings]
    calls = {b.var: b.value for b in bindings if _is_call(getattr(b, "value", None))}
    uses: Counter[Any] = Counter()
    for binding in bindings:
        relax.analysis.post_order_visit(
            binding.value, lambda e: uses.update([e] if isinstance(e, relax.Var) else [])
        )
    uses.update([main.body.body])
    for var, call in calls.items():
        for operand, argument in enumerate(call.args[1].fields):
            if argument in calls and uses[argument] == 1:
                yield _Pair(var, call, calls[argument], operand)


def _is_call(expr: Any) -> bool:
    return isinstance(expr, relax.Call) and getattr(expr.op, "name", "") == "relax.call_tir"


def _joined(feeder: Any, func: Any, operand: int, cpu: Cpu) -> Program | None:
    """The program of both functions, with variables of its own, where that is worth it."""
    try:
        first, second = (parse(s_tir.renew_defs(f)) for f in (feeder, func))
    except Unschedulable:
        return None
    value = second.params[operand]
    if not _suits(first, second, value, cpu):
        return None
    source = first.outputs[0]

    def change(node: Any) -> Any:
        if is_load(node) and node.source.same_as(value):
            return load(source, [rewrite(i, change) for i in node.indices])
        return None

    stages = tuple(replace(s, value=rewrite(s.value, change)) for s in second.stages)
    inputs = tuple(p for p in first.params if not p.same_as(source))
    params = (*inputs, *(p for p in second.params if not p.same_as(value)))
    return Program(params, (*first.stages, *stages), second.outputs)


def _suits(first: Program, second: Program, value: Any, cpu: Cpu) -> bool:
    anchors = [s for s in second.stages if s.attrs.get("rule") == "dense"]
    readers = [s for s in second.stages if reads(s, value)]
    plain = all(not s.reduce and s.value.ty.dtype == "float32" for s in first.stages)
    if len(anchors) != 1 or len(readers) != 1 or len(first.outputs) != 1 or not plain:
        return False
    if not any(map(_computes, first.stages)):
        return False  # what only moves rows about is as fast by itself
    return (
        readers[0] is anchors[0]
        and anchors[0].loads()[0].source.same_as(value)
        and fits(anchors[0], cpu)
    )


def _computes(stage: Stage) -> bool:
    return any(
        n.ty.dtype == "float32" and not (is_load(n) or is_choice(n) or isinstance(n, tirx.FloatImm))
        for n in nodes(stage.value)
    )


def fits(anchor: Stage, cpu: Cpu) -> bool:
    """Whether all cores have rows, the weights stay in the cache and a tile's rows in a buffer."""
    depth, columns, wide = (
        anchor.reduce_extents[0],
        anchor.extents[-1],
        int(anchor.attrs["tile"][0]),
    )
    tiles = -(-prod(anchor.extents[:-1]) // wide)
    return (
        tiles >= 2 * cpu.cores and 6 * depth * columns <= cpu.l2 and 4 * wide * depth <= ROW_BYTES
    )


@mutator
class _Merger(PyExprMutator):
    """Replaces the chosen calls."""

    def __init__(self, mod: Any, chosen: dict[Any, tuple[_Pair, Any]]) -> None:
        super().__init__(mod)
        self._chosen = chosen
        self._now: tuple[_Pair, Any] | None = None

    def visit_var_binding_(self, binding: Any) -> None:
        self._now = self._chosen.get(binding.var)
        super().visit_var_binding_(binding)

    def visit_call_(self, call: Any) -> Any:
        if self._now is None:
            return super().visit_call_(call)
        (pair, function), self._now = self._now, None
        own = [a for i, a in enumerate(pair.call.args[1].fields) if i != pair.operand]
        arguments = [self.visit_expr(a) for a in (*pair.feeder.args[1].fields, *own)]
        return self.builder_.normalize(again(call, [function, relax.Tuple(arguments)]))
