"""A process that runs jobs from its standard input and writes a line of JSON per result.

A job is one operator and dtype. Its samples are compiled together; `alone` compiles each by itself,
and announces each step before it is taken, so that the parent knows what a crash was.
"""

from __future__ import annotations

import json
import logging
import sys
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, TextIO
from unittest import mock

import torch

if __package__ in (None, ""):
    raise SystemExit("run it as python -m tests.conformance.worker")

from case import tensors  # noqa: E402

from torch2trt.core import GraphModule  # noqa: E402
from torch2trt.errors import (  # noqa: E402
    ConversionError,
    EngineBuildError,
    Torch2TrtError,
    UnsupportedOpError,
)

from .backends import BATCHES  # noqa: E402
from .judge import difference  # noqa: E402
from .samples import EXCLUDED, TIES, Sample, operators, samples  # noqa: E402
from .table import ENGINE, OUTCOMES  # noqa: E402

EQUAL, REFUSED, FAILED, UNTRACEABLE, LEFT_OUT = OUTCOMES
_NO_KERNEL = "has no runners that implement it"  # TensorRT defines the layer and cannot run it
_BOOKKEEPING = ("prim::", "aten::Int", "aten::size", "aten::detach")


@dataclass
class Prepared:
    """A sample with PyTorch's answers, and its graph."""

    sample: Sample
    expected: list[torch.Tensor]
    precise: list[torch.Tensor]
    graph: GraphModule

    @property
    def kinds(self) -> list[str]:
        """The operators of the traced graph."""
        nodes = self.graph.trace.graph.nodes
        return sorted({n.kind for n in nodes if not n.kind.startswith(_BOOKKEEPING)})


Outcome = tuple[str, str]


def _eager(sample: Sample, kind: torch.dtype | None = None) -> list[torch.Tensor]:
    torch.manual_seed(0)
    inputs = [x.to(kind) if kind and x.is_floating_point() else x.clone() for x in sample.inputs]
    with torch.no_grad():
        return tensors(sample.program(*inputs))


def _seeded(sample: Sample, seed: int) -> list[torch.Tensor]:
    """PyTorch's answers with another seed; many entries of the database set it themselves."""
    torch.manual_seed(seed)
    with mock.patch("torch.manual_seed"):
        return _eager(sample)


def _precise(sample: Sample, expected: list[torch.Tensor]) -> list[torch.Tensor]:
    try:
        precise = _eager(sample, kind=torch.float64)
    except (RuntimeError, TypeError, ValueError, IndexError):
        return expected
    return precise if len(precise) == len(expected) else expected


def _same(one: Sequence[torch.Tensor], other: Sequence[torch.Tensor]) -> bool:
    return all(
        a.shape == b.shape and torch.equal(a.nan_to_num() if a.is_floating_point() else a,
                                           b.nan_to_num() if b.is_floating_point() else b)
        for a, b in zip(one, other)
    )  # fmt: skip


def prepare(name: str, sample: Sample) -> Prepared | Outcome:
    """Run a sample in PyTorch and trace it, or say why it is no sample for a network."""
    if name.split(".")[0] in EXCLUDED or name in EXCLUDED:
        return LEFT_OUT, EXCLUDED.get(name) or EXCLUDED[name.split(".")[0]]
    try:
        expected = _eager(sample)
        if any(not _same(expected, _seeded(sample, seed)) for seed in range(1, 7)):
            return LEFT_OUT, "random"
    except Exception as error:
        return LEFT_OUT, f"PyTorch itself raises {type(error).__name__}"
    if not expected:
        return UNTRACEABLE, "it returns no tensor"
    try:
        graph = GraphModule(sample.program, sample.inputs)
    except UnsupportedOpError as error:
        return REFUSED, _line(error)
    except ConversionError as error:
        return UNTRACEABLE, _line(error)
    except Exception as error:
        return (FAILED if _traces(sample) else UNTRACEABLE), _line(error)
    return Prepared(sample, expected, _precise(sample, expected), graph)


def _traces(sample: Sample) -> bool:
    try:
        torch.jit.trace(sample.program, sample.inputs, check_trace=False)
    except Exception:
        return False
    return True


def _line(error: BaseException) -> str:
    text = " ".join(str(error).split())
    name = "" if isinstance(error, Torch2TrtError) else f"{type(error).__name__}: "
    return name + text[:400]


def _judged(prepared: Prepared, got: list[torch.Tensor], op: Any, note: str = "") -> Outcome:
    source = prepared.sample.inputs[0] if op.name in TIES else None
    wrong = difference(got, prepared.expected, prepared.precise, op, source)
    return (FAILED, wrong) if wrong else (EQUAL, note)


def _note(constants: bool) -> str:
    return "its other tensors are constants" if constants else ""


def debug(prepared: Prepared, op: Any) -> Outcome:
    """The sample in debug mode."""

    def run() -> Outcome:
        inputs = [x.clone() for x in prepared.sample.inputs]
        return _judged(prepared, tensors(prepared.graph(*inputs)), op)

    return _tried(run)


def _tried(run: Callable[[], Outcome]) -> Outcome:
    try:
        return run()
    except UnsupportedOpError as error:
        return REFUSED, _line(error)
    except EngineBuildError as error:
        return (REFUSED if _NO_KERNEL in str(error) else FAILED), _line(error)
    except Exception as error:
        return FAILED, _line(error)


def emits(prepared: Prepared, backend: str) -> tuple[Outcome | None, bool]:
    """None if the backend takes the sample, and whether only with all tensors but one constant."""

    def attempt(constants: bool) -> Outcome:
        BATCHES[backend]().add(prepared.graph, prepared.sample.inputs, constants)
        return EQUAL, ""

    outcome = _tried(lambda: attempt(False))
    if outcome[0] == REFUSED and len(prepared.sample.inputs) > 1:
        retry = _tried(lambda: attempt(True))
        if retry[0] != REFUSED:
            return (None if retry[0] == EQUAL else retry), True
    return (None if outcome[0] == EQUAL else outcome), False


def alone(prepared: Prepared, backend: str, constants: bool, op: Any) -> Outcome:
    """One sample as a network of its own."""

    def run() -> Outcome:
        batch = BATCHES[backend]()
        batch.add(prepared.graph, prepared.sample.inputs, constants)
        return _judged(prepared, batch.run()[0], op, _note(constants))

    return _tried(run)


def together(group: Sequence[tuple[Prepared, bool]], backend: str, op: Any) -> list[Outcome] | None:
    """All samples as one network; None if that fails, which says nothing about any of them."""
    try:
        batch = BATCHES[backend]()
        for prepared, constants in group:
            batch.add(prepared.graph, prepared.sample.inputs, constants)
        results = batch.run()
    except Exception:
        return None
    return [
        _tried(lambda p=p, got=got, constants=constants: _judged(p, got, op, _note(constants)))
        for (p, constants), got in zip(group, results)
    ]


def built(group: Sequence[tuple[Prepared, bool]]) -> list[Outcome]:
    """Whether the engines of samples can be built: of all as one network, or else of each."""

    def build(members: Sequence[tuple[Prepared, bool]]) -> Outcome:
        batch = BATCHES["tensorrt"]()
        for prepared, constants in members:
            batch.add(prepared.graph, prepared.sample.inputs, constants)
        batch.build()
        return EQUAL, ""

    outcome = _tried(lambda: build(group))
    if outcome[0] == EQUAL or len(group) == 1:
        return [outcome] * len(group)
    return [_tried(lambda member=member: build([member])) for member in group]


class Job:
    """One operator and dtype, as the parent describes it."""

    def __init__(self, request: dict[str, Any], out: TextIO):
        self.request, self.out = request, out
        self.name, self.backends, self.build = request["op"], request["backends"], request["build"]
        self.op = operators()[self.name]

    def say(self, **fields: Any) -> None:
        self.out.write(json.dumps(fields) + "\n")
        self.out.flush()

    def record(
        self, index: int, sample: Sample, backend: str, outcome: Outcome, kinds: Sequence[str] = ()
    ) -> None:
        self.say(
            op=self.name, dtype=self.request["dtype"], sample=index, call=sample.text,
            backend=backend, outcome=outcome[0], detail=outcome[1], kinds=list(kinds),
        )  # fmt: skip

    def run(self) -> None:
        """Write the results of all samples, then a line that says done."""
        found = samples(self.op, getattr(torch, self.request["dtype"]), self.request["limit"])
        if self.request["alone"]:
            for step, work in enumerate(self._steps(found)):
                if step >= self.request["skip"]:
                    self.say(step=step)
                    work()
        else:
            self._all(found)
        self.say(done=True)

    def _all(self, found: Sequence[Sample]) -> None:
        ready = []
        for index, sample in enumerate(found):
            prepared = prepare(self.name, sample)
            if not isinstance(prepared, Prepared):
                self._same_everywhere(index, sample, prepared)
                continue
            ready.append((index, prepared))
            if "torch" in self.backends:
                self.record(index, sample, "torch", debug(prepared, self.op), prepared.kinds)
        for backend in (b for b in self.backends if b != "torch"):
            self._backend(backend, ready)

    def _same_everywhere(self, index: int, sample: Sample, outcome: Outcome) -> None:
        for backend in self.backends:
            self.record(index, sample, backend, outcome)

    def _backend(self, backend: str, ready: Sequence[tuple[int, Prepared]]) -> None:
        group = []
        for index, prepared in ready:
            outcome, constants = emits(prepared, backend)
            if outcome is not None:
                self.record(index, prepared.sample, backend, outcome, prepared.kinds)
            else:
                group.append((index, prepared, constants))
        outcomes = together([(p, c) for _, p, c in group], backend, self.op) if group else []
        if outcomes is None:
            outcomes = [alone(p, backend, c, self.op) for _, p, c in group]
        for (index, prepared, _), outcome in zip(group, outcomes):
            self.record(index, prepared.sample, backend, outcome, prepared.kinds)
        if self.build and backend == "tensorrt":
            self._engines([m for m, outcome in zip(group, outcomes) if outcome[0] == EQUAL])

    def _engines(self, group: Sequence[tuple[int, Prepared, bool]]) -> None:
        outcomes = built([(p, c) for _, p, c in group]) if group else []
        for (index, prepared, _), outcome in zip(group, outcomes):
            self.record(index, prepared.sample, ENGINE, outcome, prepared.kinds)

    def _steps(self, found: Sequence[Sample]) -> Iterator[Callable[[], None]]:
        for index, sample in enumerate(found):
            for backend in self.backends:
                yield partial(self._one, index, sample, backend)

    def _one(self, index: int, sample: Sample, backend: str) -> None:
        prepared = prepare(self.name, sample)
        if not isinstance(prepared, Prepared):
            self.record(index, sample, backend, prepared)
        elif backend == "torch":
            self.record(index, sample, backend, debug(prepared, self.op), prepared.kinds)
        else:
            outcome, constants = emits(prepared, backend)
            outcome = outcome or alone(prepared, backend, constants, self.op)
            self.record(index, sample, backend, outcome, prepared.kinds)
            if self.build and backend == "tensorrt" and outcome[0] == EQUAL:
                self._engines([(index, prepared, constants)])


def main() -> None:
    """Serve jobs until the standard input ends; libraries that print get the standard error."""
    out, sys.stdout = sys.stdout, sys.stderr
    warnings.simplefilter("ignore")
    logging.disable(logging.CRITICAL)
    torch.set_num_threads(1)
    for line in sys.stdin:
        job = Job(json.loads(line), out)
        job.run()


if __name__ == "__main__":
    main()
