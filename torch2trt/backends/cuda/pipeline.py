"""From a Relax module to a plan: library calls, fusion, schedules bound to threads, code."""

from __future__ import annotations

import logging
from dataclasses import dataclass, field
from math import prod
from typing import Any

import torch
import tvm
from tvm import relax, tirx
from tvm.s_tir import dlight

from ...errors import Torch2TrtError
from ..schedules.packing import Recipe
from ..schedules.pipeline import fusing
from ..schedules.stages import Unschedulable, parse
from .plan import Plan, make_plan
from .rewrite import LibraryRewriter
from .tune import chooser
from .workspace import hoist

_LOG = logging.getLogger(__name__)
UNSCHEDULED = "none"
_BLOCK = 256  # threads of a block whose elements do not work together
_SHORT = 128  # elements of a sum that one thread computes


@dataclass(frozen=True)
class Lowered:
    """What compilation gives.

    Attributes:
        plan: the steps of the program.
        recipes: how its weights are made from the parameters.
        rules: the schedule rule of each fused function.
        count: the number of inputs.
    """

    plan: Plan
    recipes: tuple[Recipe, ...]
    rules: dict[str, str] = field(default_factory=dict)
    count: int = 0


def lower(mod: Any, device: torch.device) -> Lowered:
    """Compile a module whose `main` takes its inputs first and its weights after them."""
    target = target_of(device)
    lowered, rewriter = fused(mod, target, chooser(device))
    views = _views(lowered)
    scheduled, rules = schedule(lowered, target)
    scheduled, spaces = hoist(scheduled)
    count = int(mod["main"].attrs["num_input"])
    functions = {
        g: f
        for g, f in scheduled.functions_items()
        if isinstance(f, tirx.PrimFunc) and g.name_hint not in views
    }
    code = build(functions, target)
    names = {g.name_hint: code[g.name_hint] for g in functions}
    plan = make_plan(scheduled["main"], names, rewriter.libraries, spaces, device, views)
    return Lowered(plan, tuple(rewriter.recipes), rules, count)


def _views(mod: Any) -> set[str]:
    """The functions that only give their operand another shape."""
    return {
        g.name_hint
        for g, f in mod.functions_items()
        if isinstance(f, tirx.PrimFunc) and relax.analysis.has_reshape_pattern(f)
    }


def target_of(device: torch.device) -> Any:
    """The TVM target of a torch device."""
    if device.type == "cuda":
        return tvm.target.Target.from_device(tvm.cuda(device.index or 0))
    return tvm.target.Target({"kind": "llvm"})


def fused(mod: Any, target: Any, choose: Any) -> tuple[Any, LibraryRewriter]:
    """The module with library calls and unscheduled functions, and what knows the calls."""
    rewriter = LibraryRewriter(choose)
    with target:
        mod = relax.transform.DecomposeOpsForInference()(mod)
        mod = rewriter.run(mod)
        mod = tvm.transform.Sequential(fusing())(mod)
    return mod, rewriter


def schedule(mod: Any, target: Any) -> tuple[Any, dict[str, str]]:
    """Bind every fused function to threads, and name the rule that did.

    For another target than CUDA change nothing.
    """
    rules: dict[str, str] = {}
    for gvar, func in list(mod.functions_items()):
        if isinstance(func, tirx.PrimFunc):
            rules[gvar.name_hint] = UNSCHEDULED
            if target.kind.name == "cuda":
                func, rules[gvar.name_hint] = schedule_function(func, target)
                mod[gvar] = func
    return mod, rules


def schedule_function(func: Any, target: Any) -> tuple[Any, str]:
    """One fused function by the first rule that takes it, and that rule's name."""
    gpu = dlight.gpu
    rules = [gpu.Matmul(), gpu.GEMV(), gpu.Reduction(), gpu.GeneralReduction(), gpu.Fallback()]
    for rule in rules[4:] if _short_sums(func) else rules:
        name = type(rule).__name__
        width = _narrow(target) if isinstance(rule, gpu.Fallback) else target
        try:
            with target:
                made = rule.apply(func, width, False)
        except Exception as reason:  # noqa: BLE001 - whatever a rule stumbles over, the next one may serve
            _LOG.debug("%s is not served by %s: %s", func.attrs, name, reason)
            continue
        if made is not None:
            made = made[0] if isinstance(made, list) else made
            return made.mod["main"].with_attr("tirx.is_scheduled", True), name
    return func, UNSCHEDULED


def _narrow(target: Any) -> Any:
    """The target with small blocks, which spread over more of the GPU."""
    return tvm.target.Target({**dict(target.export()), "max_threads_per_block": _BLOCK})


def _short_sums(func: Any) -> bool:
    """Whether no sum of the function is too long for one thread."""
    try:
        stages = parse(func).stages
    except Unschedulable:
        return False
    return all(prod(s.reduce_extents) <= _SHORT for s in stages if s.reduce)


def build(functions: dict[Any, Any], target: Any) -> Any:
    """The compiled functions.

    Raises:
        Torch2TrtError: the code could not be compiled.
    """
    if not functions:
        return {}
    named = {g: f.with_attr("global_symbol", g.name_hint) for g, f in functions.items()}
    try:
        with target:
            return tvm.compile(tvm.IRModule(named), target)
    except (RuntimeError, ValueError, TypeError) as error:
        raise Torch2TrtError(f"TVM could not compile for {target}: {error}") from error
