"""simulate against TensorRT on a GPU: the networks of simulate_networks, built and run."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from simulate_networks import CASES, Case, build, define

from torch2trt.backends import trt_api
from torch2trt.simulate import simulate

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not trt_api.can_run(), reason=trt_api.why_not_run()),
]

_TOGETHER = 20
_Outputs = dict[str, torch.Tensor]


def _network(cases: list[Case]):
    builder = trt_api.create_builder()
    network = trt_api.create_network(builder)
    for case in cases:
        define(network, case, f"{case.name}/")
    return builder, network


def _inputs(cases: list[Case]) -> _Outputs:
    return {f"{c.name}/in{i}": value for c in cases for i, value in enumerate(c.inputs)}


def _run(plan, network, inputs: _Outputs) -> _Outputs:
    """Runs an engine on torch tensors; inputs that TensorRT wants on the host stay there."""
    trt = trt_api.trt()
    engine = trt.Runtime(trt_api.logger()).deserialize_cuda_engine(plan)
    context, outputs, held = engine.create_execution_context(), {}, []
    for i in range(network.num_inputs):
        name = network.get_input(i).name
        host = engine.get_tensor_location(name) == trt.TensorLocation.HOST
        value = inputs[name].contiguous() if host else inputs[name].cuda().contiguous()
        value = value if value.numel() else torch.empty(1, dtype=value.dtype, device=value.device)
        context.set_input_shape(name, tuple(inputs[name].shape))
        context.set_tensor_address(name, value.data_ptr())
        held.append(value)
    for i in range(network.num_outputs):
        name = network.get_output(i).name
        shape, dtype = tuple(context.get_tensor_shape(name)), engine.get_tensor_dtype(name)
        if -1 in shape:
            shape = (context.get_max_output_size(name) // dtype.itemsize,)
        outputs[name] = torch.zeros(shape, dtype=trt_api.torch_dtype(dtype), device="cuda")
        context.set_tensor_address(name, outputs[name].data_ptr() or held[0].data_ptr())
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    if not context.execute_async_v3(stream.cuda_stream):
        raise RuntimeError("execute_async_v3 failed")
    stream.synchronize()
    return {name: value.cpu() for name, value in outputs.items()}


def _try(cases: list[Case]) -> _Outputs:
    """The engine's outputs of some cases, built as one network; raises where TensorRT refuses."""
    builder, network = _network(cases)
    plan = build(builder, network, [(f"{c.name}/", c) for c in cases])
    if plan is None:
        raise RuntimeError("; ".join(trt_api.take_errors(builder)) or "no reason given")
    return _run(plan, network, _inputs(cases))


@pytest.fixture(scope="module")
def engine_outputs() -> dict[str, _Outputs | str]:
    """Per case the outputs of TensorRT, or why there are none.

    A build takes seconds, so many cases share a network; where that fails, each is tried alone.
    """
    cases = [case for case in CASES if not case.missing() and not case.unlike]
    results: dict[str, _Outputs | str] = {}
    for start in range(0, len(cases), _TOGETHER):
        group = cases[start : start + _TOGETHER]
        try:
            found = _try(group)
            results.update({c.name: found for c in group})
        except (RuntimeError, AttributeError, TypeError, ValueError):
            results.update({c.name: _alone(c) for c in group})
    return results


def _alone(case: Case) -> _Outputs | str:
    try:
        return _try([case])
    except (RuntimeError, AttributeError, TypeError, ValueError) as error:
        return f"{type(error).__name__}: {error}"


@pytest.mark.parametrize("case", CASES, ids=str)
def test_engine_computes_what_simulate_does(case: Case, engine_outputs) -> None:
    missing = case.missing()
    if missing:
        pytest.skip(f"{trt_api.version()} has no {', '.join(missing)}")
    if case.unlike:
        pytest.skip(case.unlike)
    found = engine_outputs[case.name]
    if isinstance(found, str):
        pytest.fail(f"TensorRT did not build or run it: {found}")
    _, network = _network([case])
    simulated = simulate(network, _inputs([case]))
    loose = replace(case, rtol=max(case.rtol, 1e-4), atol=max(case.atol, 1e-5))
    for name, want in simulated.items():
        got = found[name].flatten()[: want.numel()].reshape(want.shape)
        assert got.dtype == want.dtype
        torch.testing.assert_close(got, want, rtol=loose.rtol, atol=loose.atol, equal_nan=True)
