"""A fused Relax function as a list of steps over torch tensors.

Memory comes from torch's allocator and goes back to it after the last reader, so that a CUDA graph
that records a run
owns all of it.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any

import torch
from tvm import relax, tirx

from ...errors import Torch2TrtError
from .library import Library
from .workspace import Space

Around = Callable[[int, Sequence[torch.Tensor]], AbstractContextManager[Any]]


class Unplannable(Torch2TrtError):
    """The program holds what a plan cannot express."""


@dataclass(frozen=True)
class Fresh:
    """A tensor that a step writes."""

    shape: tuple[int, ...]
    dtype: torch.dtype


@dataclass(frozen=True)
class Step:
    """One step: values are numbered, inputs and weights first.

    Attributes:
        name: the function, or the library call, or "view".
        kind: "kernel", "library" or "view".
        run: takes the arguments, and for a kernel also the memory it writes; gives the result
            otherwise.
        arguments: the numbers of the values it reads.
        results: the numbers of the values it makes.
        fresh: the memory it writes, results first.
        last: the values that nobody reads after it.
    """

    name: str
    kind: str
    run: Callable[..., Any]
    arguments: tuple[int, ...]
    results: tuple[int, ...]
    fresh: tuple[Fresh, ...] = ()
    last: tuple[int, ...] = ()


@dataclass(frozen=True)
class Plan:
    """A program as steps.

    Attributes:
        inputs: the number of inputs and weights, which are the first values.
        literals: small constants by the number of their value.
        outputs: the numbers of the values given out.
        count: how many values there are.
    """

    steps: tuple[Step, ...]
    inputs: int
    literals: Mapping[int, torch.Tensor]
    outputs: tuple[int, ...]
    count: int
    device: torch.device

    def run(
        self, arguments: Sequence[torch.Tensor], around: Around | None = None
    ) -> list[torch.Tensor]:
        """All steps on the current stream; each inside what `around` gives for it.

        `around` is given the number of the step and the tensors it reads.
        """
        values: list[Any] = [*arguments, *[None] * (self.count - self.inputs)]
        for number, tensor in self.literals.items():
            values[number] = tensor
        for at, step in enumerate(self.steps):
            given = [values[n] for n in step.arguments]
            with nullcontext() if around is None else around(at, given):
                made = self._made(step, given)
            for number, tensor in zip(step.results, made):
                values[number] = tensor
            del given, made
            for number in step.last:
                values[number] = None
        return [values[n] for n in self.outputs]

    def _made(self, step: Step, given: Sequence[torch.Tensor]) -> list[torch.Tensor]:
        if step.kind != "kernel":
            return [step.run(*given)]
        made = [torch.empty(f.shape, dtype=f.dtype, device=self.device) for f in step.fresh]
        step.run(*given, *made)
        return made


def make_plan(
    main: Any,
    functions: Mapping[str, Callable[..., Any]],
    libraries: Mapping[str, Library],
    spaces: Mapping[str, Sequence[Space]],
    device: torch.device,
    views: Collection[str] = (),
) -> Plan:
    """The plan of a fused function; `views` are the functions that only give another shape.

    Raises:
        Unplannable: a dynamic shape, or an expression that is no step.
    """
    planner = _Planner(functions, libraries, spaces, device, views)
    return planner.plan(main)


class _Planner:
    def __init__(
        self, functions: Any, libraries: Any, spaces: Any, device: torch.device, views: Any
    ) -> None:
        self.functions, self.libraries, self.spaces = functions, libraries, spaces
        self.device, self.views = device, views
        self.env: dict[Any, Any] = {}  # a number, or a list of such
        self.literals: dict[int, torch.Tensor] = {}
        self.steps: list[Step] = []
        self._next = itertools.count()

    def plan(self, main: Any) -> Plan:
        for param in main.params:
            _fresh(param.ty)
            self.env[param] = next(self._next)
        inputs = len(main.params)
        for block in main.body.blocks:
            for binding in block.bindings:
                self.env[binding.var] = self._value(binding.value)
        outputs = tuple(_flat(self._value(main.body.body)))
        count = next(self._next)
        steps = _with_last(self.steps, {*range(inputs), *self.literals, *outputs})
        return Plan(tuple(steps), inputs, self.literals, outputs, count, self.device)

    def _value(self, expr: Any) -> Any:
        if isinstance(expr, relax.Var):
            return self.env[expr]
        if isinstance(expr, relax.Tuple):
            return [self._value(f) for f in expr.fields]
        if isinstance(expr, relax.TupleGetItem):
            return self._value(expr.tuple_value)[int(expr.index)]
        if type(expr).__name__ == "GenericConst":
            number = next(self._next)
            self.literals[number] = torch.from_numpy(expr.value.numpy().copy()).to(self.device)
            return number
        if isinstance(expr, relax.Call):
            return self._call(expr)
        raise Unplannable(f"a plan has no {type(expr).__name__}: {expr}")

    def _call(self, call: Any) -> Any:
        name = getattr(call.op, "name", "")
        if name == "relax.call_tir":
            if len(call.args) > 2:
                raise Unplannable(f"{call.args[0].name_hint} takes a dynamic size")
            if call.args[0].name_hint in self.views:
                return self._view(call.args[1], call.ty)
            return self._kernel(call)
        if name == "relax.call_dps_packed":
            symbol = str(call.args[0].global_symbol)
            if symbol in self.libraries:
                library = self.libraries[symbol]
                return self._step(library.name, "library", library, call.args[1], call.ty)
        if name == "relax.reshape":
            return self._view(call.args[0], call.ty)
        raise Unplannable(f"a plan has no {name or call.op}")

    def _kernel(self, call: Any) -> Any:
        name = call.args[0].name_hint
        out = call.ty_args[0]
        types = list(out.fields) if isinstance(out, relax.TupleType) else [out]
        fresh = [_fresh(t) for t in types]
        fresh += [Fresh(s.shape, getattr(torch, s.dtype)) for s in self.spaces.get(name, ())]
        arguments = tuple(_flat(self._value(call.args[1])))
        results = tuple(next(self._next) for _ in types)
        self.steps.append(
            Step(name, "kernel", self.functions[name], arguments, results, tuple(fresh))
        )
        return list(results) if isinstance(out, relax.TupleType) else results[0]

    def _view(self, argument: Any, type_: Any) -> int:
        shape = _fresh(type_).shape
        return self._step("view", "view", lambda x: x.reshape(shape), [argument], type_)

    def _step(
        self, name: str, kind: str, run: Callable[..., Any], arguments: Any, type_: Any
    ) -> int:
        _fresh(type_)
        numbers = tuple(n for a in arguments for n in _flat(self._value(a)))
        result = next(self._next)
        self.steps.append(Step(name, kind, run, numbers, (result,)))
        return result


def _fresh(type_: Any) -> Fresh:
    shape = getattr(type_, "shape", None)
    values = getattr(shape, "values", shape)
    if values is None or not all(isinstance(v, (int, tirx.IntImm)) for v in values):
        raise Unplannable(f"a plan needs tensors of static shape, got {type_}")
    return Fresh(tuple(int(v) for v in values), getattr(torch, str(type_.dtype)))


def _flat(value: Any) -> list[int]:
    return [n for v in value for n in _flat(v)] if isinstance(value, list) else [value]


def _with_last(steps: Sequence[Step], kept: set[int]) -> list[Step]:
    """The steps, each with the values to let go after it."""
    done, found = set(kept), []
    for step in reversed(steps):
        last = tuple(dict.fromkeys(n for n in (*step.arguments, *step.results) if n not in done))
        done.update(last)
        found.append(
            Step(step.name, step.kind, step.run, step.arguments, step.results, step.fresh, last)
        )
    return found[::-1]
