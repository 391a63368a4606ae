"""Which rule served each fused function, and the share of the time that it takes."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Row:
    """One line of a report.

    Attributes:
        function: the fused function, named after the operators in it.
        rule: the rule that served it; "general" is the one for what has no vector code, "none"
            means it is not scheduled.
        calls: how often one run calls it.
        seconds: the time of all its calls in one run.
        share: `seconds` as a part of the time of all functions.
    """

    function: str
    rule: str
    calls: int
    seconds: float
    share: float


class Stopwatch:
    """Adds up the time of every function that a virtual machine calls."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self.calls: dict[str, int] = {}
        self._started = 0.0

    def __call__(self, func: Any, name: str, before: bool, value: Any, *args: Any) -> None:
        """What the virtual machine calls before and after each function."""
        now = time.perf_counter()
        if before:
            self._started = time.perf_counter()
            return
        self.seconds[name] = self.seconds.get(name, 0.0) + now - self._started
        self.calls[name] = self.calls.get(name, 0) + 1


def measure(vm: Any, run: Callable[[], Any], rules: Mapping[str, str], repeats: int) -> list[Row]:
    """Run `repeats` times under a stopwatch that stays in `vm`.

    The rows come with the slowest function first.
    """
    run()
    watch = Stopwatch()
    vm.set_instrument(watch)
    for _ in range(repeats):
        run()
    names = set(rules) | {n for n in watch.seconds if not n.startswith("vm.builtin")}
    whole = sum(watch.seconds.get(n, 0.0) for n in names) or 1.0
    rows = [
        Row(
            function=name,
            rule=rules.get(name, "runtime"),
            calls=watch.calls.get(name, 0) // repeats,
            seconds=watch.seconds.get(name, 0.0) / repeats,
            share=watch.seconds.get(name, 0.0) / whole,
        )
        for name in names
    ]
    return sorted(rows, key=lambda row: -row.seconds)


def table(rows: Sequence[Row]) -> str:
    """The rows as text."""
    width = max([len(r.function) for r in rows] + [8])
    lines = [f"{'function':{width}}  {'rule':9} calls      ms  share"]
    lines += [
        f"{r.function:{width}}  {r.rule:9} {r.calls:5} {1e3 * r.seconds:7.3f} {r.share:6.1%}"
        for r in rows
    ]
    return "\n".join(lines)
