"""simulate against TensorRT on a GPU: the networks of simulate_networks, built and run."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from itertools import groupby

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
_REFUSED = (RuntimeError, AttributeError, TypeError, ValueError)
Outputs = dict[str, torch.Tensor]


@functools.cache
def _builder():
    return trt_api.create_builder()


def _network(cases: list[Case]):
    network = trt_api.create_network(_builder())
    for case in cases:
        define(network, case, f"{case.name}/")
    return network


def _inputs(cases: list[Case]) -> Outputs:
    return {f"{c.name}/in{i}": value for c in cases for i, value in enumerate(c.inputs)}


def _device_input(engine, name: str, value: torch.Tensor) -> torch.Tensor:
    """Where TensorRT wants it, on the host or on the device, and never without an address."""
    host = engine.get_tensor_location(name) == trt_api.trt().TensorLocation.HOST
    value = value.contiguous() if host else value.contiguous().cuda()
    return value if value.numel() else torch.empty(1, dtype=value.dtype, device=value.device)


def _device_output(engine, context, name: str) -> torch.Tensor:
    """Room for an output, as much as it can take where its shape depends on the data."""
    shape, dtype = tuple(context.get_tensor_shape(name)), engine.get_tensor_dtype(name)
    if -1 in shape:
        shape = (context.get_max_output_size(name) // dtype.itemsize,)
    return torch.zeros(shape, dtype=trt_api.torch_dtype(dtype), device="cuda")


def _run(plan, network, inputs: Outputs) -> Outputs:
    runtime = trt_api.trt().Runtime(trt_api.logger())
    recorder = trt_api.record_errors(runtime)
    engine = runtime.deserialize_cuda_engine(plan)
    context = None if engine is None else engine.create_execution_context()
    if context is None:
        raise RuntimeError(f"no engine or no context: {recorder.messages}")
    held, outputs = [], {}
    for name in (network.get_input(i).name for i in range(network.num_inputs)):
        held.append(_device_input(engine, name, inputs[name]))
        context.set_input_shape(name, tuple(inputs[name].shape))
        context.set_tensor_address(name, held[-1].data_ptr())
    for name in (network.get_output(i).name for i in range(network.num_outputs)):
        outputs[name] = _device_output(engine, context, name)
        held.append(outputs[name] if outputs[name].numel() else torch.empty(1, device="cuda"))
        context.set_tensor_address(name, held[-1].data_ptr())
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    if not context.execute_async_v3(stream.cuda_stream):
        raise RuntimeError("execute_async_v3 failed")
    stream.synchronize()
    return {name: value.cpu() for name, value in outputs.items()}


def _outputs(cases: list[Case]) -> dict[str, Outputs | str]:
    """Per case the outputs of TensorRT, or why there are none.

    A build takes seconds, so the cases share a network; where that fails, each half is tried.
    """
    try:
        network = _network(cases)
        plan = build(_builder(), network, [(f"{c.name}/", c) for c in cases])
        errors = trt_api.take_errors(_builder())
        if plan is None:
            raise RuntimeError("; ".join(errors) or "no reason given")
        found = _run(plan, network, _inputs(cases))
        return {case.name: found for case in cases}
    except _REFUSED as error:
        if len(cases) == 1:
            return {cases[0].name: f"{type(error).__name__}: {error}"}
    middle = len(cases) // 2
    return _outputs(cases[:middle]) | _outputs(cases[middle:])


def _groups() -> Iterator[list[Case]]:
    """Cases that may share a network: those that need the same builder flags."""

    def flags(case: Case) -> list[str]:
        return [] if trt_api.strongly_typed() else sorted(case.builder_flags())

    cases = [case for case in CASES if not case.missing() and not case.unlike]
    for _, alike in groupby(sorted(cases, key=flags), flags):
        group = list(alike)
        yield from (group[i : i + _TOGETHER] for i in range(0, len(group), _TOGETHER))


@pytest.fixture(scope="module")
def engine_outputs() -> dict[str, Outputs | str]:
    results: dict[str, Outputs | str] = {}
    for group in _groups():
        results |= _outputs(group)
    return results


def _with_values(got: torch.Tensor, want: torch.Tensor, text: str) -> str:
    return f"{text}\ngot {got.flatten()[:24]}\nwant {want.flatten()[:24]}"


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
    for name, want in simulate(_network([case]), _inputs([case])).items():
        got = found[name].flatten()[: want.numel()].reshape(want.shape)
        torch.testing.assert_close(
            got,
            want,
            rtol=max(case.rtol, 1e-4),
            atol=max(case.atol, 1e-5),
            equal_nan=True,
            msg=functools.partial(_with_values, got, want),
        )
