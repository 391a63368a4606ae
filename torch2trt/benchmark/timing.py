"""Timing that stands on a noisy machine: interleaved rounds, medians, ratios."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch


@dataclass(frozen=True)
class Timing:
    """The times of one contender in milliseconds: median, fastest, and how many rounds were taken."""

    median: float
    best: float
    rounds: int


def interleave(
    calls: Mapping[str, Callable[[], object]], seconds: float = 3.0, warmup: int = 3, cuda: bool = False
) -> dict[str, Timing]:
    """Time several functions in turns, so that a slow moment of the machine meets all of them.

    Args:
        calls: what to time, by name.
        seconds: how long to measure, all contenders together; at least five rounds are taken.
        warmup: calls of each before the first measured one.
        cuda: wait for the GPU after each call.
    """
    finish = torch.cuda.synchronize if cuda else lambda: None
    for call in calls.values():
        for _ in range(warmup):
            call()
    finish()
    times: dict[str, list[float]] = {name: [] for name in calls}
    deadline = time.perf_counter() + seconds
    rounds = 0
    while rounds < 5 or time.perf_counter() < deadline:
        for name, call in calls.items():
            start = time.perf_counter()
            call()
            finish()
            times[name].append(1e3 * (time.perf_counter() - start))
        rounds += 1
    return {name: Timing(statistics.median(t), min(t), rounds) for name, t in times.items()}
