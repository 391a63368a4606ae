"""The operator table on a GPU: every case that this TensorRT can express, as engines, against PyTorch and ``simulate``.

A build costs seconds, so many cases share one network; a network that does not build is split until the case is found.
"""

from __future__ import annotations

import functools
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
from torch2trt.errors import EngineBuildError, UnsupportedOpError
from torch2trt.inference import TorchInferenceContext
from torch2trt.simulate import simulate

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not trt_api.can_run(), reason=trt_api.why_not_run()),
]
TOGETHER = 25


@dataclass
class Outcome:
    """What became of a case: its outputs on the GPU and in simulate, or why there are none."""

    engine: list[torch.Tensor] | None = None
    simulated: list[torch.Tensor] | None = None
    refused: str = ""
    failed: str = ""


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
        _emit(trt_api.create_network(trt_api.create_builder()), case)
    except UnsupportedOpError as error:
        return Outcome(refused=str(error))
    except Exception as error:  # one broken case must not take the others with it
        return Outcome(failed=f"{type(error).__name__}: {error}")
    return Outcome()


def _run(cases: list[Case]) -> dict[str, Outcome]:
    builder = trt_api.create_builder()
    network = trt_api.create_network(builder)
    counts = {case.name: _emit(network, case) for case in cases}
    try:
        plan = build_engine(builder, network, BuildOptions(optimization_level=0, tf32=False))
        context = TorchInferenceContext(Engine.from_plan(plan, torch.cuda.current_device()))
        feed = {f"{c.name}.in{i}": x for c in cases for i, x in enumerate(c.example())}
        on_gpu = context.inference_async(**{name: x.cuda() for name, x in feed.items()})
        on_gpu = {name: y.cpu() for name, y in on_gpu.items()}
    except (EngineBuildError, RuntimeError) as error:
        if len(cases) == 1:
            return {cases[0].name: Outcome(failed=f"{type(error).__name__}: {error}")}
        half = len(cases) // 2
        return {**_run(cases[:half]), **_run(cases[half:])}
    simulated = simulate(network, feed)

    def outputs(values, name: str) -> list[torch.Tensor]:
        return [values[f"{name}.out{i}"] for i in range(counts[name])]

    return {c.name: Outcome(outputs(on_gpu, c.name), outputs(simulated, c.name)) for c in cases}


@functools.cache
def _outcomes() -> dict[str, Outcome]:
    outcomes, runnable = {}, []
    for case in CASES:
        outcomes[case.name] = outcome = _tried(case)
        if not outcome.refused and not outcome.failed:
            runnable.append(case)
    for start in range(0, len(runnable), TOGETHER):
        outcomes.update(_run(runnable[start : start + TOGETHER]))
    return outcomes


@pytest.mark.parametrize("case", CASES, ids=str)
def test_engine_agrees_with_pytorch_and_simulate(case: Case):
    outcome = _outcomes()[case.name]
    if outcome.refused:
        pytest.skip(f"refused by TensorRT {trt_api.version()}: {outcome.refused}")
    assert not outcome.failed, outcome.failed
    narrow = not hasattr(trt_api.trt().DataType, "INT64")
    assert_same(outcome.engine, case.expected(case.example()), max(case.rtol, 2e-5), narrow)
    assert_same(outcome.engine, outcome.simulated, max(case.rtol, 2e-5), narrow)
