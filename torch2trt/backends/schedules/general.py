"""The rule that serves every function: its stages one by one, or together where they hand on rows.

Stages that share their leading loops (softmax, normalisation) run row by row, with the rows between
them in a buffer of the thread.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import Any

from tvm import tirx

from .emitter import Emitter, Kept
from .stages import Program, Stage, follows, reads
from .target import Cpu
from .tir import PARALLEL, buffer, loop, seq, unravel

_ROW_BYTES = 64 * 1024  # largest row that is kept in a thread's own buffer


def emit(
    stages: Sequence[Stage], program: Program, cpu: Cpu, readers: Sequence[Stage] = ()
) -> list[Any]:
    """The loops of `stages`, in order; buffers that only pass rows along become row buffers.

    Args:
        readers: other stages of the function that read what these make.
    """
    result, position = [], 0
    while position < len(stages):
        count, shared = _run(stages, position, cpu)
        run = stages[position : position + count]
        if count == 1:
            result.append(Emitter(cpu).stage(run[0]))
        else:
            later = (*stages[position + count :], *readers)
            result.append(_rows(run, shared, later, program, cpu))
        position += count
    return result


def _run(stages: Sequence[Stage], position: int, cpu: Cpu) -> tuple[int, int]:
    """How many stages from `position` on run row by row together.

    The second number is how many leading axes they share.
    """
    count, shared = 1, len(stages[position].extents)
    while position + count < len(stages):
        run = stages[position : position + count]
        following = stages[position + count]
        common = _common(run, following, shared)
        rows = prod(following.extents[:common])
        if not common or rows < 2 * cpu.cores or not _row_fits(run, common):
            break
        count, shared = count + 1, common
    return count, shared


def _row_fits(run: Sequence[Stage], shared: int) -> bool:
    return all(4 * prod(stage.extents[shared:]) <= _ROW_BYTES for stage in run)


def _common(run: Sequence[Stage], following: Stage, shared: int) -> int:
    """The number of leading axes along which `following` reads only the matching row of `run`."""
    shared = min(shared, len(following.extents))
    linked = False
    for producer in run:
        for node in reads(following, producer.buffer):
            linked = True
            same = 0
            while (
                same < min(shared, len(node.indices))
                and follows(
                    [node.indices[same]], [following.axes[same]], [following.extents[same]]
                )
                and producer.extents[same] == following.extents[same]
            ):
                same += 1
            shared = min(shared, same)
    first = run[0]
    while shared and first.extents[:shared] != following.extents[:shared]:
        shared -= 1
    return shared if linked else 0


def _rows(
    run: Sequence[Stage], shared: int, later: Sequence[Stage], program: Program, cpu: Cpu
) -> Any:
    """The stages of `run` one after the other for each row."""
    rows: dict[Any, Kept] = {}
    for stage in run:
        escapes = any(stage.buffer.same_as(o) for o in program.outputs) or any(
            bool(reads(s, stage.buffer)) for s in later
        )
        if not escapes:
            shape = stage.extents[shared:] or (1,)
            name = f"{stage.name}_row"
            local = buffer(shape, stage.value.ty.dtype, name, "local")
            rows[stage.buffer] = Kept(local, shared)
    emitter = Emitter(cpu, rows)
    extents = run[0].extents[:shared]
    total = prod(extents)
    blocks = min(total, 4 * cpu.cores)
    size = -(-total // blocks)

    def block(index: Any) -> Any:
        first = tirx.min(index * size, total - size)

        def row(i: Any) -> Any:
            at = unravel(first + i, extents)
            return seq(emitter.stage(stage, at, parallel=False) for stage in run)

        allocs = [tirx.AllocBuffer(kept.buffer) for kept in rows.values()]
        return seq([*allocs, loop(size, row, name="row")])

    return loop(blocks, block, PARALLEL, "task")
