"""Control flow: loops, conditionals and assertions.

The boundary layers of a loop (trip limit, recurrence, iterator, loop output) and of a conditional
(condition, input, output) know the object they belong to. Everything that depends on a recurrence
or an iterator is the body of its loop and is computed anew in each iteration.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch

from .evaluator import Definition, Scope
from .layers import Layer, rule

_LOOP = ("TRIP_LIMIT", "RECURRENCE", "ITERATOR", "LOOP_OUTPUT")
_CONDITIONAL = ("CONDITION", "CONDITIONAL_INPUT", "CONDITIONAL_OUTPUT")


def _owner(layer: Layer) -> Any:
    """The loop or conditional that a boundary layer belongs to, None for all other layers."""
    if layer.kind in _LOOP:
        return layer.api.loop
    return layer.api.conditional if layer.kind in _CONDITIONAL else None


def _members(definition: Definition, owner: Any, kind: str) -> list[Layer]:
    return [layer for layer in definition.layers if layer.kind == kind and _owner(layer) is owner]


def _downstream(
    definition: Definition, sources: Iterable[Layer], loop: Any = None
) -> frozenset[Layer]:
    """The sources and all layers that depend on them, up to the outputs of the loop."""
    reached: set[Layer] = set()
    pending = list(sources)
    while pending:
        layer = pending.pop()
        if layer in reached or (layer.kind == "LOOP_OUTPUT" and _owner(layer) is loop):
            continue
        reached.add(layer)
        for tensor in layer.outputs:
            pending.extend(definition.readers.get(tensor, ()))
        if layer.kind in _LOOP:
            pending.extend(_members(definition, _owner(layer), "LOOP_OUTPUT"))
        if layer.kind == "CONDITION":
            pending.extend(_members(definition, _owner(layer), "CONDITIONAL_OUTPUT"))
    return frozenset(reached)


# --- loops ----------------------------------------------------------------------------------------


@rule("LOOP_OUTPUT", "ILoopOutputLayer", lazy=True)
def loop_output(layer: Layer, scope: Scope) -> dict[Any, torch.Tensor]:
    """Runs the whole loop and gives all of its outputs."""
    definition, loop = scope.definition, layer.api.loop
    recurrences = _members(definition, loop, "RECURRENCE")
    outputs = _members(definition, loop, "LOOP_OUTPUT")
    body = _downstream(definition, recurrences + _members(definition, loop, "ITERATOR"), loop)
    trips, condition = _limits(layer, scope)
    state = {r.outputs[0]: scope.value(r.inputs[0]) for r in recurrences}
    collected: dict[Layer, list[torch.Tensor]] = {out: [] for out in outputs}
    iteration = 0
    while trips is None or iteration < trips:
        step = Scope(
            definition, dict(state), parent=scope, body=body, iteration=iteration, trips=trips
        )
        if condition is not None and not bool(step.value(condition)):
            break
        for out in outputs:
            if out.api.kind.name != "LAST_VALUE":
                collected[out].append(step.value(out.inputs[0]))
        check_assertions(step, body)
        state = {r.outputs[0]: _next_state(r, step) for r in recurrences}
        iteration += 1
    return {out.outputs[0]: _collect(out, scope, state, collected[out]) for out in outputs}


def _limits(layer: Layer, scope: Scope) -> tuple[int | None, Any]:
    """The trip count, and the tensor whose being false ends the loop; either may be None."""
    trips, condition = None, None
    for limit in _members(scope.definition, layer.api.loop, "TRIP_LIMIT"):
        if limit.api.kind.name == "COUNT":
            trips = int(scope.value(limit.inputs[0]))
        else:
            condition = limit.inputs[0]
    layer.check(trips is not None or condition is not None, "its loop has no trip limit")
    return trips, condition


def _next_state(recurrence: Layer, step: Scope) -> torch.Tensor:
    recurrence.check(len(recurrence.inputs) == 2, "its next value, input 1, is not set")
    old, new = step.value(recurrence.outputs[0]), step.value(recurrence.inputs[1])
    recurrence.check(
        old.shape == new.shape and old.dtype == new.dtype,
        f"expected a next value of {old.dtype} {tuple(old.shape)}, "
        f"got {new.dtype} {tuple(new.shape)}",
    )
    return new


def _collect(
    out: Layer, scope: Scope, state: dict[Any, torch.Tensor], values: list[torch.Tensor]
) -> torch.Tensor:
    """The final state, or the values of all iterations stacked along a new axis."""
    kind = out.api.kind.name
    if kind == "LAST_VALUE":
        out.check(out.inputs[0] in state, "LAST_VALUE needs the output of a recurrence of its loop")
        return state[out.inputs[0]]
    out.check(len(out.inputs) == 2, f"{kind} needs a length, input 1")
    length = int(scope.value(out.inputs[1]))
    out.check(
        len(values) == length and bool(values),
        f"the loop ran {len(values)} times and the length is {length}; the rest is undefined",
    )
    return torch.stack(values if kind == "CONCATENATE" else values[::-1], out.api.axis)


@rule("ITERATOR", "IIteratorLayer", lazy=True)
def iterator(layer: Layer, scope: Scope) -> dict[Any, torch.Tensor]:
    """The slice of its input that belongs to this iteration."""
    x = scope.value(layer.inputs[0])
    index = scope.iteration
    if layer.api.reverse:
        layer.check(scope.trips is not None, "a reverse iterator needs a trip limit of kind COUNT")
        index = scope.trips - 1 - index
    size = x.shape[layer.api.axis]
    layer.check(index < size, f"iteration {scope.iteration} reads element {index} of {size}")
    return {layer.outputs[0]: x.select(layer.api.axis, index)}


@rule("RECURRENCE", "IRecurrenceLayer", lazy=True)
def recurrence(layer: Layer, scope: Scope) -> dict[Any, torch.Tensor]:
    """Inside its loop the loop has set the value; this is reached from outside only."""
    layer.fail("its output is used outside of its loop, where only loop outputs have a value")


@rule("TRIP_LIMIT", "ITripLimitLayer")
def trip_limit(layer: Layer, limit: torch.Tensor) -> tuple:
    return ()


# --- conditionals ---------------------------------------------------------------------------------


@rule("CONDITIONAL_OUTPUT", "IIfConditionalOutputLayer", lazy=True)
def conditional_output(layer: Layer, scope: Scope) -> dict[Any, torch.Tensor]:
    """The value of the branch that the condition picks; the other branch is not computed."""
    conditions = _members(scope.definition, layer.api.conditional, "CONDITION")
    layer.check(len(conditions) == 1, f"expected one condition, got {len(conditions)}")
    chosen = scope.value(conditions[0].inputs[0])
    return {layer.outputs[0]: scope.value(layer.inputs[0 if bool(chosen) else 1])}


@rule("CONDITIONAL_INPUT", "IIfConditionalInputLayer")
def conditional_input(layer: Layer, x: torch.Tensor) -> torch.Tensor:
    return x


@rule("CONDITION", "IConditionLayer")
def condition(layer: Layer, value: torch.Tensor) -> tuple:
    return ()


# --- assertions -----------------------------------------------------------------------------------


@rule("ASSERTION", "IAssertionLayer")
def assertion(layer: Layer, condition: torch.Tensor) -> tuple:
    layer.check(bool(condition.all()), f"the assertion fails: {layer.api.message}")
    return ()


def check_assertions(scope: Scope, body: frozenset[Layer] | None = None) -> None:
    """Checks the assertions of a loop's body, or those outside of all loops and conditionals."""
    definition = scope.definition
    found = [layer for layer in definition.layers if layer.kind == "ASSERTION"]
    if found and body is None:
        inner = [
            x
            for x in definition.layers
            if x.kind in ("RECURRENCE", "ITERATOR", "CONDITIONAL_INPUT")
        ]
        body = frozenset(definition.layers) - _downstream(definition, inner)
    for layer in found:
        if layer in body:
            layer.rule.evaluate(layer, scope.value(layer.inputs[0]))
