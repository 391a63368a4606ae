"""The time of each step of a plan."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch

from .plan import Plan


def step_seconds(plan: Plan, arguments: Sequence[torch.Tensor], repeats: int) -> list[float]:
    """The fastest of `repeats` runs of each step; on CUDA between events around it.

    A step that is launched slower than it runs looks longer than it is: a long run is enqueued
    before, so that the
    device always has work waiting.
    """
    plan.run(arguments)
    best = [float("inf")] * len(plan.steps)
    for _ in range(repeats):
        times = (
            _on_cuda(plan, arguments) if plan.device.type == "cuda" else _on_cpu(plan, arguments)
        )
        best = [min(a, b) for a, b in zip(best, times)]
    return best


def _on_cpu(plan: Plan, arguments: Sequence[torch.Tensor]) -> list[float]:
    times: list[float] = []

    @contextmanager
    def timed(at: int, given: Sequence[torch.Tensor]) -> Iterator[None]:
        start = time.perf_counter()
        yield
        times.append(time.perf_counter() - start)

    plan.run(arguments, timed)
    return times


def _on_cuda(plan: Plan, arguments: Sequence[torch.Tensor]) -> list[float]:
    events = [torch.cuda.Event(enable_timing=True) for _ in range(2 * len(plan.steps))]
    stream = torch.cuda.current_stream(plan.device)
    torch.cuda._sleep(20_000_000)  # about 10 ms of the device's clock, for the host to get ahead

    @contextmanager
    def timed(at: int, given: Sequence[torch.Tensor]) -> Iterator[None]:
        events[2 * at].record(stream)
        yield
        events[2 * at + 1].record(stream)

    plan.run(arguments, timed)
    stream.synchronize()
    return [1e-3 * start.elapsed_time(end) for start, end in zip(events[::2], events[1::2])]
