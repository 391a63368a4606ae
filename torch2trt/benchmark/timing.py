"""Timing that stands on a noisy machine: interleaved turns, medians, quartiles."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import torch

Calls = Mapping[str, Callable[[], object]]
_LEAST = 3  # turns that even a very slow contender gets
_REST = 0.005  # seconds in which the waiting threads of the contender before go to sleep
_TRAIN = 20  # calls in a row on a GPU


@dataclass(frozen=True)
class Timing:
    """The times of one contender in milliseconds, one for each turn.

    Attributes:
        samples: the time of a call; on a GPU the mean of a train of calls that is waited for once.
        latencies: on a GPU, the time of one call that is waited for.
    """

    samples: tuple[float, ...]
    latencies: tuple[float, ...] = ()

    @property
    def median(self) -> float:
        return statistics.median(self.samples)

    @property
    def best(self) -> float:
        return min(self.samples)

    @property
    def rounds(self) -> int:
        return len(self.samples)

    @property
    def latency(self) -> float | None:
        return statistics.median(self.latencies) if self.latencies else None

    def ratio(self, other: Timing) -> tuple[float, float, float]:
        """Quartiles (lower, median, upper) of the ratio to `other`, turn by turn."""
        ratios = [a / b for a, b in zip(self.samples, other.samples)]
        if len(ratios) < 2:
            return (ratios[0],) * 3
        low, middle, high = statistics.quantiles(ratios, n=4, method="inclusive")
        return low, middle, high


@dataclass
class _Clock:
    """Takes the turns of one contender."""

    call: Callable[[], object]
    cuda: bool
    samples: list[float] = field(default_factory=list)
    latencies: list[float] = field(default_factory=list)
    spent: float = 0.0

    def warm_up(self, calls: int) -> None:
        start = time.perf_counter()
        for _ in range(calls):
            self.time(1)
            if time.perf_counter() - start > 1:
                return

    def turn(self) -> None:
        """Rest, one call that does not count, and the calls that do."""
        start = time.perf_counter()
        time.sleep(_REST)
        if not self.samples or self.samples[-1] < 500:
            self.time(1)
        if self.cuda:
            self.latencies.append(self.time(1))
        self.samples.append(self.time(_TRAIN if self.cuda else 1))
        self.spent += time.perf_counter() - start

    def time(self, count: int) -> float:
        """Milliseconds per call."""
        start = time.perf_counter()
        for _ in range(count):
            self.call()
        if self.cuda:
            torch.cuda.synchronize()
        return 1e3 * (time.perf_counter() - start) / count


def interleave(
    calls: Calls, seconds: float = 3.0, warmup: int = 3, cuda: bool = False
) -> dict[str, Timing]:
    """Time several functions in turns, so that a slow moment of the machine meets all of them.

    Before each turn the machine rests for a moment, for thread pools wait busily after a call and
    would slow down the next contender; and one call goes before, which finds the caches as the
    others left them.

    Args:
        calls: what to time, by name.
        seconds: how long to measure, all contenders together; at least five rounds are taken. One
            that takes longer than this in three turns gets no more.
        warmup: calls of each before the first turn; less where they take more than a second.
        cuda: wait for the GPU.
    """
    clocks = {name: _Clock(call, cuda) for name, call in calls.items()}
    for clock in clocks.values():
        clock.warm_up(warmup)
    deadline = time.perf_counter() + seconds
    rounds = 0
    while rounds < 5 or time.perf_counter() < deadline:
        for clock in clocks.values():
            if rounds < _LEAST or clock.spent < seconds:
                clock.turn()
        rounds += 1
    return {name: Timing(tuple(c.samples), tuple(c.latencies)) for name, c in clocks.items()}
