"""From a Relax module to an executable.

The steps: layout, legalisation, fusion, a rule for every fused function, code.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import tvm
from tvm import relax, s_tir, tirx
from tvm.tirx import compilation_pipeline

from . import legalize
from .access import in_vectors
from .building import build
from .conv import conv_rule
from .fastmath import vectorisable
from .general import emit
from .layout import Rewriter
from .matmul import dense_rule, matmul_rule
from .packing import Recipe
from .prologue import merge
from .sliding import depthwise_rule, pool_rule
from .stages import Program, Stage, Unschedulable, follows, inline, parse
from .target import Cpu, cpu_of
from .tir import nodes, seq

Rule = Callable[[Any, Program, Cpu], Any]
GENERAL, OUTER, UNSCHEDULED = "general", "outer loops", "none"
_LOG = logging.getLogger(__name__)
_PIPELINE = "torch2trt_cpu"
_ONE_AT_A_TIME = threading.Lock()  # the builders of all threads share one stack of functions


@dataclass(frozen=True)
class Lowered:
    """What compilation gives.

    It is the executable, how to make its arguments, and the rule that served each function.
    """

    executable: Any
    recipes: tuple[Recipe, ...]
    rules: dict[str, str]
    inputs: tuple[tuple[tuple[int, ...], str], ...]


def lower(mod: Any, target: Any) -> Lowered:
    """Compile a module whose `main` takes its inputs first and its weights after them."""
    from . import operators  # noqa: F401 - fills the table of operators

    cpu = cpu_of(target)
    inputs = _inputs(mod["main"])
    rewriter = Rewriter(cpu)
    with _ONE_AT_A_TIME, target:
        mod = relax.transform.DecomposeOpsForInference()(mod)
        mod = rewriter.run(mod)
        mod = tvm.transform.Sequential(fusing(legalize.LEGALIZE))(mod)
        mod, rules = schedule(mod, cpu)
        mod = tvm.transform.Sequential(_lowering(target))(mod)
    _register_pipeline()
    executable = build(mod, target, _PIPELINE)
    return Lowered(executable, tuple(rewriter.recipes), rules, inputs)


def _inputs(main: Any) -> tuple[tuple[tuple[int, ...], str], ...]:
    """Shape and dtype of the real inputs; a dynamic dimension counts as one."""
    found = []
    for param in main.params[: int(main.attrs["num_input"])]:
        shape = tuple(int(d) if isinstance(d, tirx.IntImm) else 1 for d in param.ty.shape)
        found.append((shape, str(param.ty.dtype)))
    return tuple(found)


def fusing(legal: dict[str, Any] | None = None) -> list[Any]:
    """The passes from Relax operators to fused functions; `legal` replaces lowerings of TVM."""
    step = relax.transform
    return [
        step.CanonicalizeBindings(),
        relax.backend.DispatchSampling(),
        relax.backend.DispatchSortScan(),
        step.LegalizeOps(legal),
        step.DeadCodeElimination(),
        step.AnnotateTIROpPattern(),
        tvm.transform.module_pass(_mark_elementwise, opt_level=0),
        step.FuseOps(),
        step.FuseTIR(),
        step.RewriteDataflowReshape(),
        step.DeadCodeElimination(),
    ]


def _mark_elementwise(mod: Any, context: Any) -> Any:
    """Mark what reads one operand at its own indices and broadcasts the others as elementwise.

    Relax sees less where an axis has extent one, and fuses only what is elementwise into a
    convolution.
    """
    for gvar, func in list(mod.functions_items()):
        if isinstance(func, tirx.PrimFunc) and int((func.attrs or {}).get("op_pattern", -1)) == 1:
            if _elementwise(func):
                mod[gvar] = func.with_attr("op_pattern", 0)
    return mod


def _elementwise(func: Any) -> bool:
    try:
        stages = parse(func).stages
    except Unschedulable:
        return False
    return all(not s.reduce and _at_own_indices(s) for s in stages)


def _at_own_indices(stage: Stage) -> bool:
    loads = stage.loads()
    own = [follows(n.indices, stage.axes, stage.extents) for n in loads]
    rank = len(stage.axes)
    return (any(own) or not own) and all(
        len(n.indices) <= rank
        and follows(n.indices, stage.axes[rank - len(n.indices) :], [1] * len(n.indices))
        for n in loads
    )


def _lowering(target: Any) -> list[Any]:
    from tvm.relax.backend import cpu_generic

    step = relax.transform
    return [
        step.ToNonDataflow(),
        step.RemovePurityChecking(),
        step.CallTIRRewrite(),
        *cpu_generic.pipeline.finalize_passes(target),
    ]


def schedule(mod: Any, cpu: Cpu) -> tuple[Any, dict[str, str]]:
    """Replace every fused function by its scheduled form, and name the rule that served it."""
    rules: dict[str, str] = {}
    mod, programs = merge(mod, cpu)
    for gvar, func in list(mod.functions_items()):
        if isinstance(func, tirx.PrimFunc):
            name = gvar.name_hint
            mod[gvar], rules[name] = schedule_function(func, cpu, programs.get(name))
    return mod, rules


def schedule_function(func: Any, cpu: Cpu, program: Program | None = None) -> tuple[Any, str]:
    """One fused function by the first rule that can serve it, and that rule's name.

    `program` saves parsing it.
    """
    try:
        program = program or parse(func)
        stages = tuple(replace(s, value=vectorisable(s.value)) for s in program.stages)
    except Unschedulable as reason:
        _LOG.debug("%s is not a sequence of plain stages: %s", _name(func), reason)
        return _outer_loops(func)
    program = replace(program, stages=stages)
    names = sorted({str(s.attrs["rule"]) for s in stages if "rule" in s.attrs})
    for name in [*names, "elementwise", "reduction", GENERAL]:
        try:
            return _lowered(RULES[name](func, program, cpu)), name
        except Exception as reason:  # noqa: BLE001 - whatever a rule stumbles over, the next one may serve
            _LOG.debug("%s is not served by %s: %s", _name(func), name, reason)
    return _outer_loops(func)


def _lowered(func: Any) -> Any:
    """The function with its loops lowered.

    It is done one by one, so that a failure costs one function its rule.
    """
    passes = tvm.transform.Sequential(_loop_passes(reuse=not _overlaps(func)))
    mod = passes(tvm.IRModule({"main": func}))
    return mod["main"]


def _overlaps(func: Any) -> bool:
    """Whether some loop writes elements twice and may read what stages hand on.

    The last vector of a row writes elements twice. Such a loop must find its input unchanged the
    second time, so no buffer may take the place of another.
    """
    statements = list(_statements(func.body))
    buffers = [s for s in statements if isinstance(s, tirx.AllocBuffer) and s.buffer.name != "acc"]
    indices = [index for s in statements if isinstance(s, tirx.BufferStore) for index in s.indices]
    return len(buffers) > 1 and any(
        isinstance(node, tirx.Min) for index in indices for node in nodes(index)
    )


def _statements(statement: Any) -> Iterator[Any]:
    yield statement
    inside = [getattr(statement, name, None) for name in ("body", "then_case", "else_case")]
    for part in (*inside, *getattr(statement, "seq", ())):
        if part is not None:
            yield from _statements(part)


def _outer_loops(func: Any) -> tuple[Any, str]:
    """The function with the outer spatial loops of each block in parallel, the rest unchanged.

    Only the first of these where TVM stumbles over all of them as one, which have dynamic extents.
    """
    for most in (None, 1):
        try:
            found = _in_parallel(func, most)
            return (func, UNSCHEDULED) if found is None else (_without_blocks(found), OUTER)
        except Exception as reason:  # noqa: BLE001 - whatever the schedule stumbles over, the plain function is right
            _LOG.debug("%s keeps its loops: %s", _name(func), reason)
    return func, UNSCHEDULED


def _in_parallel(func: Any, most: int | None) -> Any:
    """`func` with up to `most` outer loops of each block as a parallel one; None: it has none."""
    schedule = s_tir.Schedule(func)
    found = False
    for block in schedule.get_child_blocks(s_tir.dlight.analysis.get_root_block(schedule)):
        spatial = []
        for index, loop in zip(schedule.get(block).iter_vars, schedule.get_loops(block)):
            if int(index.iter_type) != 0:
                break
            spatial.append(loop)
        if spatial:
            one = spatial[:most]
            schedule.parallel(schedule.fuse(*one) if len(one) > 1 else one[0])
            found = True
    return schedule.mod["main"] if found else None


def _without_blocks(func: Any) -> Any:
    passes = tvm.transform.Sequential([*_block_passes(), *_loop_passes()])
    return passes(tvm.IRModule({"main": func}))["main"]


def _name(func: Any) -> str:
    return str((func.attrs or {}).get("global_symbol", "a function"))


def _function(func: Any, program: Program, body: list[Any]) -> Any:
    """The function with a new body; buffers that its loops share are allocated at its head."""
    shared = [s.buffer for s in program.stages if not any(s.buffer.same_as(p) for p in func.params)]
    allocs = [tirx.AllocBuffer(b) for b in shared]
    made = tirx.PrimFunc(func.params, seq([*allocs, *body]), func.ret_type, func.attrs)
    return made.with_attr({"tirx.noalias": True, "s_tir": True})


def _anchored(statements: Callable[[Program, Cpu], list[Any]]) -> Rule:
    return lambda func, program, cpu: _function(func, program, statements(program, cpu))


def _stages(served: Callable[[Stage], bool]) -> Rule:
    def rule(func: Any, program: Program, cpu: Cpu) -> Any:
        program = inline(program)
        if not all(served(s) for s in program.stages):
            raise Unschedulable("a stage that another rule is for")
        return _function(func, program, emit(program.stages, program, cpu))

    return rule


RULES: dict[str, Rule] = {
    "conv2d": _anchored(conv_rule),
    "depthwise": _anchored(depthwise_rule),
    "pool": _anchored(pool_rule),
    "dense": _anchored(dense_rule),
    "matmul": _anchored(matmul_rule),
    "elementwise": _stages(lambda stage: not stage.reduce),
    "reduction": _stages(in_vectors),
    GENERAL: _stages(lambda stage: True),
}


def _register_pipeline() -> None:
    if _PIPELINE not in compilation_pipeline.PIPELINE_MAP:
        compilation_pipeline.PIPELINE_MAP[_PIPELINE] = _tir_pipeline


def _tir_pipeline() -> Any:
    """The lowering of tensor IR.

    What is not scheduled still has blocks, and only that goes through their passes.
    """
    _, finish_host, finish_device = s_tir.pipeline.default_s_tir_pipeline()
    return tvm.transform.module_pass(_lower_loops, opt_level=0), finish_host, finish_device


def _lower_loops(mod: Any, context: Any) -> Any:
    blocks = {g: f for g, f in mod.functions_items() if _has_blocks(f)}
    if blocks:
        passes = [*_block_passes(), *_loop_passes()]
        lowered = tvm.transform.Sequential(passes)(tvm.IRModule(blocks, attrs=mod.attrs))
        for gvar in blocks:
            mod[mod.get_global_var(gvar.name_hint)] = lowered[gvar.name_hint]
    return tvm.transform.Sequential(_packed_passes())(mod)


def _has_blocks(func: Any) -> bool:
    return type(func.body).__name__ == "SBlockRealize"


def _block_passes() -> list[Any]:
    step = s_tir.transform
    return [
        step.CanonicalizeLoop(),
        step.LowerInitBlock(),
        step.PlanAndUpdateBufferAllocationLocation(),
        step.ConvertBlocksToOpaque(),
        step.CompactBufferAllocation(),
        step.LowerMatchBuffer(),
        step.LowerOpaqueBlock(),
    ]


def _loop_passes(reuse: bool = True) -> list[Any]:
    """From loops to plain statements.

    With `reuse`, a buffer may take the memory of one that is not read any more.
    """
    step = tirx.transform
    return [
        step.FlattenBuffer(),
        step.BF16ComputeLegalize(),
        step.NarrowDataType(32),
        step.VectorizeLoop(True),
        *([step.StorageRewrite()] if reuse else []),
        step.UnrollLoop(),
        step.StmtSimplify(),
        step.RemoveNoOp(),
        s_tir.transform.RewriteUnsafeSelect(),
    ]


def _packed_passes() -> list[Any]:
    step = tirx.transform
    return [
        step.VerifyMemory(),
        step.AnnotateEntryFunc(),
        step.SplitHostDevice(),
        step.MakePackedAPI(),
        step.BF16StorageLegalize(),
    ]
