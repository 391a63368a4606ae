"""Which way a library operator is run best: measured once for each operator and shape on the device."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from typing import Any

import torch

from .library import Epilogue, Library, Operator, candidates

_LOG = logging.getLogger(__name__)
Facts = Sequence[tuple[tuple[int, ...], str]]
_SECONDS = 20.0  # for all measurements of one program
_REPEATS = 10
measured: dict[Any, list[tuple[str, Epilogue, float]]] = {}


def chooser(device: torch.device) -> Callable[[Operator, Facts, Epilogue], tuple[str, Epilogue]]:
    """The function that chooses; off CUDA it takes the first candidate."""
    if device.type != "cuda":
        return lambda operator, facts, epilogue: candidates(operator, [s for s, _ in facts], epilogue)[0]
    deadline = time.monotonic() + _SECONDS

    def choose(operator: Operator, facts: Facts, epilogue: Epilogue) -> tuple[str, Epilogue]:
        found = candidates(operator, [s for s, _ in facts], epilogue)
        key = (operator, tuple(facts), epilogue, device, precision())
        if len(found) == 1:
            return found[0]
        if key not in measured:
            if time.monotonic() > deadline:
                return found[0]
            measured[key] = _measure(operator, facts, epilogue, found, device)
        best = min(measured[key], key=lambda row: row[2], default=None)
        return found[0] if best is None else best[:2]

    return choose


def precision() -> tuple[Any, ...]:
    """PyTorch's settings on which the numbers of a library call depend."""
    return torch._C._get_cudnn_allow_tf32(), torch._C._get_cublas_allow_tf32()


def _measure(
    operator: Operator, facts: Facts, epilogue: Epilogue, found: Sequence[tuple[str, Epilogue]], device: torch.device
) -> list[tuple[str, Epilogue, float]]:
    """Each candidate that gives the numbers of the first one, with its time in microseconds."""
    generator = torch.Generator(device).manual_seed(0)
    tensors = [
        torch.randn(shape, generator=generator, device=device).to(getattr(torch, dtype)) for shape, dtype in facts
    ]
    rows: list[tuple[str, Epilogue, float]] = []
    expected = None
    for way, taken in found:
        call = _candidate(operator, way, taken, epilogue, tensors)
        try:
            with torch.no_grad():
                got = call()
                expected = got if expected is None else expected
                if _agrees(got, expected):
                    rows.append((way, taken, graph_microseconds(call, device)))
        except RuntimeError as error:  # an epilogue that this cuDNN or cuBLAS does not have
            _LOG.debug("%s %s: %s", operator, way, error)
    return rows


def _candidate(
    operator: Operator, way: str, taken: Epilogue, wanted: Epilogue, tensors: list[torch.Tensor]
) -> Callable[[], torch.Tensor]:
    """The library call, and one elementwise kernel for what it leaves of the epilogue."""
    x, weight, *rest = tensors
    library = Library(operator, way, taken, x.dtype, search=way == "plain")
    bias = [rest.pop(0)] if wanted.bias else []
    first = (bias if taken.bias else []) + (rest if taken.residual else [])
    left = taken != wanted

    def call() -> torch.Tensor:
        y = library(x, weight, *first)
        if not left:
            return y
        if wanted.residual:
            return torch.add(y, rest[0])
        return y.add_(bias[0]) if bias and not taken.bias else y.relu_()

    return call


def _agrees(got: torch.Tensor, expected: torch.Tensor) -> bool:
    """Always for now: candidates with and without the whole epilogue differ."""
    return bool(got.isfinite().all()) and got.shape == expected.shape


def graph_microseconds(call: Callable[[], Any], device: torch.device) -> float:
    """The time of a call on the GPU alone, from a CUDA graph of several."""
    stream = torch.cuda.Stream(device)
    stream.wait_stream(torch.cuda.current_stream(device))
    graph = torch.cuda.CUDAGraph()
    start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    with torch.cuda.stream(stream), torch.no_grad():
        for _ in range(2):
            call()
        stream.synchronize()
        graph.capture_begin(capture_error_mode="thread_local")
        try:
            for _ in range(_REPEATS):
                call()
        finally:
            graph.capture_end()
        graph.replay()
        best = float("inf")
        for _ in range(3):
            start.record()
            graph.replay()
            end.record()
            end.synchronize()
            best = min(best, start.elapsed_time(end) * 1e3 / _REPEATS)
    return best
