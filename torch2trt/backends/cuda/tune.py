"""The best way to run a library operator: measured once for each operator and shape."""

from __future__ import annotations

import logging
import time
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

import torch

from .library import Convolution, Epilogue, Library, Operator, candidates

_LOG = logging.getLogger(__name__)
Facts = Sequence[tuple[tuple[int, ...], str]]
_SECONDS = 8.0  # for all measurements of one program
# relative differences, in the 2-norm, between ways to compute the same in one precision
_TOLERANCE = {torch.float64: 1e-12, torch.float32: 1e-5, torch.float16: 2e-3, torch.bfloat16: 1e-2}
_TF32 = 2e-3
_REPEATS = 10
measured: dict[Any, list[tuple[str, Epilogue, float]]] = {}


def chooser(device: torch.device) -> Callable[[Operator, Facts, Epilogue], tuple[str, Epilogue]]:
    """The function that chooses.

    The first candidate, the plain one, serves off CUDA and under
    `torch.use_deterministic_algorithms` or
    `torch.backends.cudnn.deterministic`. Else the fastest of those that agree with it, which
    another process may find
    to be another one; when the time for measuring is used up, the way that won most often for such
    operators.
    """
    deadline = time.monotonic() + _SECONDS

    def choose(operator: Operator, facts: Facts, epilogue: Epilogue) -> tuple[str, Epilogue]:
        found = candidates(operator, [s for s, _ in facts], epilogue)
        fixed = torch.are_deterministic_algorithms_enabled() or torch.backends.cudnn.deterministic
        if device.type != "cuda" or len(found) == 1 or fixed:
            return found[0]
        key = (operator, tuple(facts), epilogue, device, precision())
        if key not in measured:
            if time.monotonic() > deadline:
                return _usual(operator, epilogue, found)
            measured[key] = _measure(operator, facts, epilogue, found, device)
        best = min(measured[key], key=lambda row: row[2], default=None)
        return found[0] if best is None else best[:2]

    return choose


def _usual(
    operator: Operator, epilogue: Epilogue, found: Sequence[tuple[str, Epilogue]]
) -> tuple[str, Epilogue]:
    """What won most often for such operators, if this one can be run so."""
    wins: Counter[tuple[str, Epilogue]] = Counter()
    for (other, _, wanted, *_), rows in measured.items():
        if type(other) is type(operator) and wanted == epilogue and rows:
            wins[min(rows, key=lambda row: row[2])[:2]] += 1
    return next(
        (way for way, _ in wins.most_common() if way in found and way[0] != "fused"), found[0]
    )


def precision() -> tuple[Any, ...]:
    """PyTorch's settings on which the numbers of a library call depend."""
    return torch._C._get_cudnn_allow_tf32(), torch._C._get_cublas_allow_tf32()


def _measure(
    operator: Operator,
    facts: Facts,
    epilogue: Epilogue,
    found: Sequence[tuple[str, Epilogue]],
    device: torch.device,
) -> list[tuple[str, Epilogue, float]]:
    """Each candidate that gives the numbers of the first one, with its time in microseconds."""
    generator = torch.Generator(device).manual_seed(0)
    tensors = [
        torch.randn(shape, generator=generator, device=device).to(getattr(torch, dtype))
        for shape, dtype in facts
    ]
    spoilt = [tensors[0].clone(), *tensors[1:]]
    spoilt[0].view(-1)[::7] = float("nan")
    rounded = precision()[0 if isinstance(operator, Convolution) else 1]
    rows: list[tuple[str, Epilogue, float]] = []
    expected: list[torch.Tensor] = []
    for way, taken in found:
        try:
            with torch.no_grad():
                got = [
                    _candidate(operator, way, taken, epilogue, given)()
                    for given in (tensors, spoilt)
                ]
                expected = expected or got
                if all(_agrees(a, b, rounded) for a, b in zip(got, expected)):
                    call = _candidate(operator, way, taken, epilogue, tensors, one=True)
                    rows.append((way, taken, graph_microseconds(call, device)))
                else:
                    _LOG.debug("%s %s gives other numbers than the plain way", operator, way)
        except RuntimeError as error:  # an epilogue that this cuDNN or cuBLAS does not have
            _LOG.debug("%s %s: %s", operator, way, error)
    return rows


def _candidate(
    operator: Operator,
    way: str,
    taken: Epilogue,
    wanted: Epilogue,
    tensors: list[torch.Tensor],
    one: bool = False,
) -> Callable[[], torch.Tensor]:
    """The library call, and what it leaves of the epilogue by plain operators.

    With `one`, a single elementwise kernel stands for them, as in a program, where TVM fuses them.
    """
    count = len(tensors) - wanted.bias - wanted.residual
    operands, rest = tensors[:count], tensors[count:]
    library = Library(operator, way, taken, operands[0].dtype, search=way == "plain")
    bias = rest[: int(wanted.bias)]
    residual = rest[int(wanted.bias) :]
    now = (bias if taken.bias else []) + (residual if taken.residual else [])
    later = ([] if taken.bias else bias) + ([] if taken.residual else residual)
    left = Epilogue(
        bias=wanted.bias and not taken.bias, residual=wanted.residual and not taken.residual,
        relu=wanted.relu and not taken.relu,
    )  # fmt: skip
    channels = 1 if isinstance(operator, Convolution) and not operator.last else -1
    if left == Epilogue():
        return lambda: library(*operands, *now)
    if one:
        return lambda: (
            torch.add(library(*operands, *now), residual[0])
            if residual
            else library(*operands, *now).relu_()
        )
    return lambda: left.apply(library(*operands, *now), later, channels)


def _agrees(got: torch.Tensor, expected: torch.Tensor, tf32: bool) -> bool:
    """Whether two results differ by rounding only, and are NaN in the same places."""
    if got.shape != expected.shape or not got.isnan().equal(expected.isnan()):
        return False
    tolerance = _TOLERANCE[got.dtype]
    if got.dtype == torch.float32 and tf32:
        tolerance = _TF32
    got, expected = got.double().nan_to_num(0.0), expected.double().nan_to_num(0.0)
    return bool((got - expected).norm() <= tolerance * expected.norm())


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
