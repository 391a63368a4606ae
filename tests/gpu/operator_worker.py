"""A process that builds and runs cases of the operator table on the GPU, a list of names at a time.

It reads a line of JSON per list and writes one per case: what became of it. Cases share a network,
    as a build costs seconds; a network that does not build or run is given back to be split.
"""

from __future__ import annotations

import functools
import json
import logging
import sys
import warnings
from collections.abc import Sequence
from typing import Any

import torch
from case import Case, assert_same
from test_ops import CASES

from torch2trt.backends import trt_api
from torch2trt.backends.tensorrt_types import types_of
from torch2trt.build import BuildOptions, build_engine
from torch2trt.context import use_context
from torch2trt.core import GraphModule
from torch2trt.engine import Engine
from torch2trt.errors import UnsupportedOpError
from torch2trt.inference import TorchInferenceContext
from torch2trt.simulate import simulate

AGREED, REFUSED, DIFFERS, FAILED = "agreed", "refused", "differs", "failed"
_WORKSPACE = 512 << 20

Record = dict[str, Any]
Tensors = dict[str, torch.Tensor]


@functools.cache
def _builder() -> Any:
    return trt_api.create_builder()


class Prepared:
    """A case that can be added to networks: its trace, its inputs, its outputs and whether it has
    float16 parts.

    Cases with and without do not share a network: TensorRT 8.6 rounds float32 outputs of fused
        parts to float16 where anything in the network is float16.
    """

    def __init__(self, case: Case):
        self.case = case
        self.inputs = case.example()
        self.graph = GraphModule(case.program, self.inputs)
        self.outputs: list[str] = []
        self.half = False

    def emit(self, network: Any) -> None:
        """Add the case to a network, its inputs and outputs named after it."""
        from torch2trt.backends.tensorrt import TensorRTContext

        ctx, name = TensorRTContext(network), self.case.name
        with use_context(ctx):
            tensors = [
                ctx.input(f"{name}.in{i}", list(x.shape), x.dtype)
                for i, x in enumerate(self.inputs)
            ]
            results = [ctx.operand(y, "output") for y in self.graph.run(tensors)]
            self.outputs = [f"{name}.out{i}" for i in range(len(results))]
            ctx.finish(results, self.outputs)

    def feed(self) -> Tensors:
        """The inputs by name, as the network declares them."""
        narrow = not trt_api.supports("DataType.INT64")
        named = {f"{self.case.name}.in{i}": x for i, x in enumerate(self.inputs)}
        return {n: x.int() if narrow and x.dtype == torch.int64 else x for n, x in named.items()}

    def verdict(self, engine: Tensors, simulated: Tensors) -> tuple[str, str]:
        """Whether the engine computed what PyTorch and simulate do."""
        got, alike = ([values[name] for name in self.outputs] for values in (engine, simulated))
        narrow = not trt_api.supports("DataType.INT64")
        problems = []
        for wanted, oracle in ((self.case.expected(self.inputs), "PyTorch"), (alike, "simulate")):
            try:
                assert_same(got, wanted, max(self.case.rtol, 2e-5), narrow)
            except AssertionError as error:
                problems.append(
                    f"from {oracle}: {error}; got {_some(got)}, expected {_some(wanted)}"
                )
        return (DIFFERS, "; ".join(problems)) if problems else (AGREED, "")


def _some(values: Sequence[torch.Tensor]) -> list[list[Any]]:
    return [value.flatten()[:8].tolist() for value in values]


def _line(error: BaseException) -> str:
    return f"{type(error).__name__}: {' '.join(str(error).split())[:600]}"


def _prepare(name: str) -> Prepared | tuple[str, str]:
    """The case, defined once in a network of its own; or the outcome if it is refused or fails."""
    try:
        prepared = Prepared(next(case for case in CASES if case.name == name))
        network = trt_api.create_network(_builder())
        prepared.emit(network)
        prepared.half = trt_api.trt().DataType.HALF in types_of(network)
    except UnsupportedOpError as error:
        return REFUSED, " ".join(str(error).split())[:600]
    except Exception as error:  # one broken case must not take the others with it
        return FAILED, _line(error)
    return prepared


def run_engine(network: Any, feed: Tensors) -> Tensors:
    """What an engine of the network computes on the GPU."""
    options = BuildOptions(optimization_level=0, tf32=False, workspace=_WORKSPACE)
    plan = build_engine(_builder(), network, options)
    context = TorchInferenceContext(Engine.from_plan(plan, torch.cuda.current_device()))
    outputs = context.inference_async(**{name: x.cuda() for name, x in feed.items()})
    return {name: y.cpu() for name, y in outputs.items()}


def _together(cases: Sequence[Prepared]) -> list[Record]:
    """All cases as one network."""
    network = trt_api.create_network(_builder())
    feed: Tensors = {}
    for prepared in cases:
        prepared.emit(network)
        feed.update(prepared.feed())
    engine, simulated = run_engine(network, feed), simulate(network, feed)
    return [_record(p.case.name, *p.verdict(engine, simulated)) for p in cases]


def _record(name: str, outcome: str, detail: str) -> Record:
    return {"name": name, "outcome": outcome, "detail": detail}


def run(names: Sequence[str]) -> list[Record]:
    """The outcome of each case; {"split": names} for those whose common network failed."""
    prepared = {name: _prepare(name) for name in names}
    records = [
        _record(name, *found) for name, found in prepared.items() if isinstance(found, tuple)
    ]
    ready = [found for found in prepared.values() if isinstance(found, Prepared)]
    for half in (False, True):
        records += _group([found for found in ready if found.half == half])
    return records


def _group(cases: Sequence[Prepared]) -> list[Record]:
    """What became of cases that share a network."""
    try:
        return _together(cases) if cases else []
    except Exception as error:  # whatever it is, it belongs to a case
        if len(cases) == 1:
            return [_record(cases[0].case.name, FAILED, _line(error))]
    return [{"split": [one.case.name for one in cases]}]


def main() -> None:
    """Serve lists of names until the standard input ends; libraries that print get the standard
    error."""
    out, sys.stdout = sys.stdout, sys.stderr
    warnings.simplefilter("ignore")
    logging.disable(logging.CRITICAL)
    torch.set_num_threads(1)
    for line in sys.stdin:
        for record in [*run(json.loads(line)["names"]), {"done": True}]:
            out.write(json.dumps(record) + "\n")
        out.flush()


if __name__ == "__main__":
    main()
