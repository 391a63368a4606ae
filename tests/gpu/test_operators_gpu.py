"""The operator table on a GPU: every case that this TensorRT can express, as engines, against PyTorch and ``simulate``.

A build costs seconds, so many cases share one network; a network that does not build is split until the case is found.
"""

from __future__ import annotations

import functools
import json
import os
import time
from collections import Counter
from dataclasses import dataclass

import pytest
import torch
from case import Case, assert_same
from test_ops import CASES

from torch2trt.backends import trt_api
from torch2trt.build import BuildOptions, build_engine
from torch2trt.context import use_context
from torch2trt.core import GraphModule
from torch2trt.engine import Engine
from torch2trt.errors import UnsupportedOpError
from torch2trt.inference import TorchInferenceContext
from torch2trt.simulate import simulate

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not trt_api.can_run(), reason=trt_api.why_not_run()),
]
TOGETHER = 32
SECONDS = 120.0  # the emission and the comparisons come on top


@dataclass
class Outcome:
    """What became of a case: its outputs on the GPU and in simulate, or why there are none."""

    engine: list[torch.Tensor] | None = None
    simulated: list[torch.Tensor] | None = None
    refused: str = ""
    failed: str = ""


@functools.cache
def _builder():
    return trt_api.create_builder()


def _emit(network, case: Case) -> int:
    """Add one case to a network; the number of its outputs."""
    from torch2trt.backends.tensorrt import TensorRTContext

    inputs = case.example()
    ctx = TensorRTContext(network)
    with use_context(ctx):
        tensors = [ctx.input(f"{case.name}.in{i}", list(x.shape), x.dtype) for i, x in enumerate(inputs)]
        outputs = [ctx.operand(y, "output") for y in GraphModule(case.program, inputs).run(tensors)]
        ctx.finish(outputs, [f"{case.name}.out{i}" for i in range(len(outputs))])
    return len(outputs)


def _tried(case: Case) -> Outcome:
    """The case in a network of its own, only defined: whether it is refused, or fails."""
    try:
        _emit(trt_api.create_network(_builder()), case)
    except UnsupportedOpError as error:
        return Outcome(refused=str(error))
    except Exception as error:  # one broken case must not take the others with it
        return Outcome(failed=f"{type(error).__name__}: {error}")
    return Outcome()


def _engine(network, feed: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """What an engine of the network computes on the GPU."""
    plan = build_engine(_builder(), network, BuildOptions(optimization_level=0, tf32=False))
    context = TorchInferenceContext(Engine.from_plan(plan, torch.cuda.current_device()))
    outputs = context.inference_async(**{name: x.cuda() for name, x in feed.items()})
    return {name: y.cpu() for name, y in outputs.items()}


def _together(cases: list[Case]) -> dict[str, Outcome]:
    """All cases as one network."""
    network = trt_api.create_network(_builder())
    counts = {case.name: _emit(network, case) for case in cases}
    feed = {f"{c.name}.in{i}": x for c in cases for i, x in enumerate(c.example())}
    if not trt_api.supports("DataType.INT64"):
        feed = {name: x.int() if x.dtype == torch.int64 else x for name, x in feed.items()}
    on_gpu = _engine(network, feed)
    simulated = simulate(network, feed)

    def outputs(values, name: str) -> list[torch.Tensor]:
        return [values[f"{name}.out{i}"] for i in range(counts[name])]

    return {c.name: Outcome(outputs(on_gpu, c.name), outputs(simulated, c.name)) for c in cases}


def _run(cases: list[Case], end: float) -> dict[str, Outcome]:
    """The outcome of every case; where their network fails, that of each half."""
    if time.monotonic() > end:
        return {case.name: Outcome(failed="not run: the time for this table is over") for case in cases}
    try:
        return _together(cases)
    except Exception as error:  # whatever it is, it belongs to a case
        if len(cases) == 1:
            return {cases[0].name: Outcome(failed=f"{type(error).__name__}: {error}")}
    half = len(cases) // 2
    return {**_run(cases[:half], end), **_run(cases[half:], end)}


def _find(cases: list[Case], seconds: float) -> dict[str, Outcome]:
    """The outcome of every case of a table, within about so many seconds."""
    end, outcomes = time.monotonic() + seconds, {case.name: _tried(case) for case in cases}
    runnable = [c for c in cases if not outcomes[c.name].refused and not outcomes[c.name].failed]
    for start in range(0, len(runnable), TOGETHER):
        outcomes.update(_run(runnable[start : start + TOGETHER], end))
    return outcomes


def _problem(case: Case, outcome: Outcome) -> str:
    """What is wrong with an outcome; empty for one that agrees, or is refused."""
    if outcome.refused or outcome.failed:
        return outcome.failed
    narrow = not hasattr(trt_api.trt().DataType, "INT64")
    expected = case.expected(case.example())
    for wanted, name in ((expected, "PyTorch"), (outcome.simulated, "simulate")):
        try:
            assert_same(outcome.engine, wanted, max(case.rtol, 2e-5), narrow)
        except AssertionError as error:
            return f"differs from {name}: {error}"
    return ""


def _report(problems: dict[str, str], outcomes: dict[str, Outcome]) -> str:
    """One line of counts; everything goes to the file that OPERATORS_JSON names."""
    words = {n: f"refused: {o.refused}" if o.refused else problems[n] or "agrees" for n, o in outcomes.items()}
    if os.environ.get("OPERATORS_JSON"):
        with open(os.environ["OPERATORS_JSON"], "w") as file:
            json.dump({"library": trt_api.version(), "outcomes": words}, file, indent=1)
    counts = Counter(word.split(":")[0].split(" ")[0] if word != "agrees" else word for word in words.values())
    return f"operators on {trt_api.version()}: " + ", ".join(f"{n} {word}" for word, n in counts.most_common())


@pytest.fixture(scope="module")
def found(request) -> tuple[dict[str, str], dict[str, Outcome]]:
    outcomes = _find(CASES, SECONDS)
    problems = {case.name: _problem(case, outcomes[case.name]) for case in CASES}
    with request.config.pluginmanager.getplugin("capturemanager").global_and_fixture_disabled():
        print("\n" + _report(problems, outcomes))
    return problems, outcomes


@pytest.mark.parametrize("case", CASES, ids=str)
def test_engine_agrees_with_pytorch_and_simulate(case: Case, found):
    problems, outcomes = found
    if outcomes[case.name].refused:
        pytest.skip(f"refused by {trt_api.version()}: {outcomes[case.name].refused}")
    assert not problems[case.name], problems[case.name]
