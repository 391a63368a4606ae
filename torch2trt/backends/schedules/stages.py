"""A fused tensor-IR function as a list of stages, and their inlining.

Each stage is `buffer[spatial indices] = value`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from tvm import tirx

from .tir import is_choice, nodes, rewrite


class Unschedulable(Exception):
    """The rule at hand cannot serve this function."""


@dataclass(frozen=True)
class Stage:
    """One loop nest: `buffer[axes] = value`, or a reduction of `value` over `reduce`.

    Attributes:
        name: the name of the block.
        buffer: the buffer that it writes, indexed by exactly `axes`.
        axes: the spatial index variables, with their extents in `extents`.
        reduce: the reduction variables, with their extents in `reduce_extents`.
        value: what is stored; for a reduction the update, which reads the buffer itself.
        init: the start value of a reduction, None for a plain stage.
        attrs: the annotations of the block.
    """

    name: str
    buffer: Any
    axes: tuple[Any, ...]
    extents: tuple[int, ...]
    reduce: tuple[Any, ...]
    reduce_extents: tuple[int, ...]
    value: Any
    init: Any = None
    attrs: dict[str, Any] = field(default_factory=dict)

    def value_at(self, indices: Sequence[Any], change: Callable[[Any], Any] | None = None) -> Any:
        """The stored expression at other spatial indices."""
        return substitute(self.value, dict(zip(self.axes, indices, strict=True)), change)

    def loads(self) -> list[Any]:
        """Every buffer read, without a reduction's reading of itself."""
        return [n for n in nodes(self.value) if is_load(n) and not n.source.same_as(self.buffer)]


@dataclass(frozen=True)
class Program:
    """A fused function: its parameters in order, and its stages in order."""

    params: tuple[Any, ...]
    stages: tuple[Stage, ...]
    outputs: tuple[Any, ...]


def is_load(node: Any) -> bool:
    """Whether the node reads a buffer."""
    return type(node).__name__ == "TensorLoad"


def substitute(
    expr: Any, values: dict[Any, Any], change: Callable[[Any], Any] | None = None
) -> Any:
    """`expr` with variables replaced; `change` may replace other nodes first."""

    def pick(node: Any) -> Any:
        if change is not None:
            new = change(node)
            if new is not None:
                return new
        value = values.get(node) if isinstance(node, tirx.Var) else None
        if value is None or isinstance(value, int) or value.ty.dtype == node.ty.dtype:
            return value
        return tirx.Cast(node.ty.dtype, value)

    return rewrite(expr, pick)


def parse(func: Any) -> Program:
    """The stages of a fused function.

    Raises:
        Unschedulable: the function is not a sequence of plain loop nests with static extents.
    """
    root = getattr(func.body, "block", None)
    if root is None or any(not hasattr(p.ty, "shape") for p in func.params):
        raise Unschedulable("no root block")
    body = root.body
    nests = list(body.seq) if isinstance(body, tirx.SeqStmt) else [body]
    stages = tuple(_stage(nest) for nest in nests)
    params = tuple(func.params)
    written = [s.buffer for s in stages]
    outputs = tuple(p for p in params if any(p.same_as(w) for w in written))
    if len(written) != len({hash(w) for w in written}):
        raise Unschedulable("a buffer is written by two stages")
    for p in params:
        if any(not isinstance(d, tirx.IntImm) for d in p.ty.shape):
            raise Unschedulable("a dynamic shape")
    return Program(params, stages, outputs)


def _stage(nest: Any) -> Stage:
    extents: dict[Any, int] = {}
    while isinstance(nest, tirx.For):
        if not isinstance(nest.extent, tirx.IntImm) or not _is_zero(nest.min):
            raise Unschedulable("a loop without a static extent")
        extents[nest.loop_var] = int(nest.extent)
        nest = nest.body
    block = getattr(nest, "block", None)
    if block is None or not isinstance(block.body, tirx.BufferStore):
        raise Unschedulable("a loop nest that is not one store")
    if block.alloc_buffers or block.match_buffers or not _is_true(nest.predicate):
        raise Unschedulable("a block with buffers or a condition of its own")
    return _stage_of_block(block, nest.iter_values, extents)


def _stage_of_block(block: Any, values: Sequence[Any], extents: dict[Any, int]) -> Stage:
    axes, reduce, sizes = [], [], {}
    for iv, value in zip(block.iter_vars, values, strict=True):
        if not _is_zero(iv.dom.min) or not isinstance(iv.dom.extent, tirx.IntImm):
            raise Unschedulable("an index without a static range")
        size = int(iv.dom.extent)
        if extents.get(value, 1 if _is_zero(value) else None) != size:
            raise Unschedulable("an index that is not a loop variable")
        sizes[iv.var] = size
        (reduce if int(iv.iter_type) == 2 else axes).append(iv.var)
    store = block.body
    if not store.indices and all(sizes[a] == 1 for a in axes):
        axes = []
    if len(store.indices) != len(axes) or not all(
        i.same_as(a) for i, a in zip(store.indices, axes, strict=True)
    ):
        raise Unschedulable("a store at other indices than those of its loops")
    shape = store.buffer.ty.shape
    if not all(isinstance(d, tirx.IntImm) for d in shape):
        raise Unschedulable("a buffer of dynamic size")
    if [int(d) for d in shape] != [sizes[a] for a in axes]:
        raise Unschedulable("a store to a part of a buffer")
    if bool(reduce) != (block.init is not None):
        raise Unschedulable("a reduction without a start value")
    unit = {v: tirx.const(0, v.ty.dtype) for v, size in sizes.items() if size == 1}
    return Stage(
        name=block.name_hint,
        buffer=store.buffer,
        axes=tuple(axes),
        extents=tuple(sizes[a] for a in axes),
        reduce=tuple(reduce),
        reduce_extents=tuple(sizes[r] for r in reduce),
        value=substitute(store.value, unit) if unit else store.value,
        init=block.init.value if block.init is not None else None,
        attrs=dict(block.annotations),
    )


def follows(indices: Sequence[Any], axes: Sequence[Any], extents: Sequence[int]) -> bool:
    """Whether a read takes each index from the axis at its place.

    The index of an axis of extent one is zero.
    """
    return len(indices) == len(axes) and all(
        i.same_as(a) or (n == 1 and _is_zero(i))
        for i, a, n in zip(indices, axes, extents, strict=True)
    )


def _is_zero(value: Any) -> bool:
    return isinstance(value, tirx.IntImm) and int(value) == 0


def _is_true(value: Any) -> bool:
    return isinstance(value, tirx.IntImm) and int(value) == 1


def inline(program: Program, keep: Callable[[Stage], bool] = lambda stage: False) -> Program:
    """The program with every cheap or once-read plain stage put into its readers.

    `keep` names the stages that stay, besides outputs and reductions. A dear stage stays too where
    its readers would evaluate it more often than it has elements.
    """
    stages = list(program.stages)
    position = 0
    while position < len(stages):
        stage = stages[position]
        readers = [i for i, s in enumerate(stages) if reads(s, stage.buffer)]
        if (
            stage.reduce
            or keep(stage)
            or not readers
            or any(stage.buffer.same_as(o) for o in program.outputs)
            or not _worth_inlining(stage, [stages[i] for i in readers])
        ):
            position += 1
            continue
        for i in readers:
            stages[i] = replace(stages[i], value=_inlined(stages[i], stage))
        del stages[position]
    return replace(program, stages=tuple(stages))


def reads(stage: Stage, buffer: Any) -> list[Any]:
    """The loads of `buffer` in `stage`."""
    return [n for n in stage.loads() if n.source.same_as(buffer)]


def _inlined(reader: Stage, producer: Stage) -> Any:
    """The value of `reader` with that of `producer` in it.

    What is read twice at the same place has a name.
    """
    shared = None
    if len(_at_own_place(reader, producer)) > 1:
        shared = tirx.Var("shared", producer.value.ty.dtype)

    def change(node: Any) -> Any:
        if not (is_load(node) and node.source.same_as(producer.buffer)):
            return None
        if shared is not None and follows(node.indices, reader.axes, reader.extents):
            return shared
        return producer.value_at([rewrite(i, change) for i in node.indices])

    value = rewrite(reader.value, change)
    return value if shared is None else tirx.Let(shared, producer.value_at(reader.axes), value)


def _at_own_place(reader: Stage, producer: Stage) -> list[Any]:
    """The reads of `producer` at the indices of a plain stage itself."""
    if reader.reduce or reader.extents != producer.extents:
        return []
    found = reads(reader, producer.buffer)
    return [n for n in found if follows(n.indices, reader.axes, reader.extents)]


def _evaluations(reader: Stage, producer: Stage) -> int:
    """How often `reader` would evaluate the value of `producer`."""
    repeated = max(0, len(_at_own_place(reader, producer)) - 1)
    times = len(reads(reader, producer.buffer)) - repeated
    return times * _product(reader.extents + reader.reduce_extents)


def _worth_inlining(stage: Stage, readers: list[Stage]) -> bool:
    parts = nodes(stage.value)
    calls = sum(type(n).__name__ == "Call" and not is_choice(n) for n in parts)
    divisions = sum(isinstance(n, tirx.Div) for n in parts)
    size = _product(stage.extents)
    uses = sum(_evaluations(r, stage) for r in readers)
    trivial = sum(is_load(n) for n in parts) <= 1 and not calls and not divisions and len(parts) < 8
    if any(r.reduce for r in readers) and not trivial:
        return uses <= size and len(readers) == 1
    return trivial or uses <= size


def _product(values: Sequence[int]) -> int:
    result = 1
    for value in values:
        result *= value
    return result
