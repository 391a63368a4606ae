"""The results as tables: outcomes per backend, and the failed calls."""

from __future__ import annotations

import sys
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

# The row of the engines that TensorRT builds: "equal" is built, "refused" has no kernel.
ENGINE = "engine"
OUTCOMES = ("equal", "refused", "failed", "untraceable", "excluded")
GOALS = {"torch": 100.0, "tvm": 97.0, "tensorrt": 95.0}  # % equal of the listed operators


def counts(results: Sequence[dict[str, Any]]) -> dict[str, Counter[str]]:
    """How often each outcome came, by backend."""
    found: dict[str, Counter[str]] = defaultdict(Counter)
    for record in results:
        found[record["backend"]][record["outcome"]] += 1
    return found


def share(count: Counter[str]) -> float:
    """The share of equal samples among those that trace."""
    total = count["equal"] + count["refused"] + count["failed"]
    return 100.0 * count["equal"] / total if total else 100.0


def missed(results: Sequence[dict[str, Any]], goals: Mapping[str, float] = GOALS) -> list[str]:
    """What the results lack: a sample that failed, or too few equal ones of listed operators."""
    failed = [f"{b}: {n['failed']} failed" for b, n in counts(results).items() if n["failed"]]
    listed = counts([r for r in results if r["listed"]])
    few = [
        f"{backend}: {share(listed[backend]):.2f} % of the listed operators, not {goal:.0f} %"
        for backend, goal in goals.items()
        if backend in listed and share(listed[backend]) < goal
    ]
    return failed + few


def print_table(results: Sequence[dict[str, Any]], backends: Sequence[str], show: str) -> None:
    """Write the calls of one outcome, then the outcomes per backend."""
    groups: dict[tuple[str, str], list[dict[str, Any]]] = defaultdict(list)
    for record in results:
        if record["outcome"] == show:
            groups[record["op"], record["backend"]].append(record)
    lines = []
    for (op, backend), records in sorted(groups.items()):
        kinds = ",".join(sorted({r["dtype"] for r in records}))
        first = records[0]
        lines.append(f"{backend} {op} {kinds}: {len(records)} samples {show}; {first['call']}")
        lines.append(f"    {first['detail']}")
    for title, listed in (("listed", True), ("others", False)):
        found = counts([r for r in results if r["listed"] == listed])
        if found:
            lines += _section(title, found, backends)
    sys.stdout.write("\n".join(lines) + "\n")


def _section(title: str, found: dict[str, Counter[str]], backends: Sequence[str]) -> list[str]:
    lines = [f"{title:10}" + "".join(f"{o:>13}" for o in OUTCOMES) + f"{'equal %':>10}"]
    for backend in backends:
        count = found[backend]
        numbers = "".join(f"{count[o]:13}" for o in OUTCOMES)
        lines.append(f"{backend:10}{numbers}{share(count):10.2f}")
    return lines
