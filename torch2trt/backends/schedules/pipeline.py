"""From a Relax module to an executable: layout, legalisation, fusion, a rule for every fused function, code."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import tvm
from tvm import relax, s_tir, tirx
from tvm.tirx import compilation_pipeline

from . import legalize
from .conv import conv_rule, depthwise_rule
from .fastmath import vectorisable
from .general import emit
from .layout import Rewriter
from .matmul import dense_rule
from .packing import Recipe
from .stages import Program, Unschedulable, inline, parse
from .target import Cpu, cpu_of
from .tir import seq

Rule = Callable[[Program, Cpu], list[Any]]
RULES: dict[str, Rule] = {
    "conv2d": conv_rule,
    "depthwise": depthwise_rule,
    "dense": dense_rule,
}
UNSCHEDULED = "none"
_PIPELINE = "torch2trt_cpu"


@dataclass(frozen=True)
class Lowered:
    """What compilation gives: the executable, how to make its arguments, and the rule that served each function."""

    executable: Any
    recipes: tuple[Recipe, ...]
    rules: dict[str, str]


def lower(mod: Any, target: Any) -> Lowered:
    """Compile a module whose `main` takes its inputs first and its weights after them."""
    from . import operators  # noqa: F401 - fills the table of operators

    cpu = cpu_of(target)
    rewriter = Rewriter(cpu)
    with target:
        mod = relax.transform.DecomposeOpsForInference()(mod)
        mod = rewriter.run(mod)
        mod = tvm.transform.Sequential(_fusing())(mod)
        mod, rules = schedule(mod, cpu)
        mod = tvm.transform.Sequential(_lowering(target))(mod)
        _register_pipeline()
        executable = relax.build(mod, target, relax_pipeline=None, tir_pipeline=_PIPELINE)
    return Lowered(executable, tuple(rewriter.recipes), rules)


def _fusing() -> list[Any]:
    step = relax.transform
    return [
        step.CanonicalizeBindings(),
        relax.backend.DispatchSampling(),
        relax.backend.DispatchSortScan(),
        step.LegalizeOps(legalize.LEGALIZE),
        step.AnnotateTIROpPattern(),
        step.FuseOps(),
        step.FuseTIR(),
        step.RewriteDataflowReshape(),
        step.DeadCodeElimination(),
    ]


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
    for gvar, func in list(mod.functions_items()):
        if isinstance(func, tirx.PrimFunc):
            func, rules[gvar.name_hint] = schedule_function(func, cpu)
            mod[gvar] = func
    return mod, rules


def schedule_function(func: Any, cpu: Cpu) -> tuple[Any, str]:
    """One fused function by the first rule that can serve it, and that rule's name."""
    try:
        program = parse(func)
    except Unschedulable:
        return func, UNSCHEDULED
    stages = tuple(replace(s, value=vectorisable(s.value)) for s in program.stages)
    program = replace(program, stages=stages)
    for name in sorted({str(s.attrs["rule"]) for s in stages if "rule" in s.attrs}):
        try:
            return _function(func, program, RULES[name](program, cpu)), name
        except Unschedulable:
            continue
    program = inline(program)
    return _function(func, program, emit(program.stages, program, cpu)), "general"


def _function(func: Any, program: Program, body: list[Any]) -> Any:
    """The function with a new body; buffers that its loops share are allocated at its head."""
    shared = [s.buffer for s in program.stages if not any(s.buffer.same_as(p) for p in func.params)]
    allocs = [tirx.AllocBuffer(b) for b in shared]
    made = tirx.PrimFunc(func.params, seq([*allocs, *body]), func.ret_type, func.attrs)
    return made.with_attr({"tirx.noalias": True, "s_tir": True})


def _register_pipeline() -> None:
    if _PIPELINE not in compilation_pipeline.PIPELINE_MAP:
        compilation_pipeline.PIPELINE_MAP[_PIPELINE] = _tir_pipeline


def _tir_pipeline() -> Any:
    return s_tir.pipeline.default_s_tir_pipeline()
