"""The operator table on a GPU: every case that this TensorRT can express, as engines, against
PyTorch and ``simulate``.

Building is bound by the CPU, so several processes build at once, many cases in one network. A
network that fails, or takes its process with it, is split until the case is found. OPERATORS_JSON
names a file for what became of each case, OPERATORS_ONLY one with the names of the only cases to
run, a line each.
"""

from __future__ import annotations

import json
import os
import queue
import threading
import time
from collections import Counter
from typing import Any

import pytest
from case import Case
from conformance.pool import Worker
from test_ops import CASES

from torch2trt.backends import trt_api

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not trt_api.can_run(), reason=trt_api.why_not_run()),
]
TOGETHER = 16
ONLY = os.environ.get("OPERATORS_ONLY")
SELECTED = CASES
if ONLY:
    with open(ONLY) as chosen:
        NAMES = set(chosen.read().split())
    SELECTED = [case for case in CASES if case.name in NAMES]
    UNKNOWN = sorted(NAMES - {case.name for case in CASES})
    if UNKNOWN:
        raise ValueError(f"{ONLY} names cases that the table does not have: {UNKNOWN}")
SECONDS = float(os.environ.get("OPERATORS_SECONDS", "200"))
SILENCE = 90.0  # seconds for one network
MODULE = "gpu.operator_worker"
Outcome = dict[str, Any]


class Table:
    """The cases on several processes, until all have an outcome or the time is over."""

    def __init__(self, names: list[str], seconds: float, module: str = MODULE):
        self.names, self.module = names, module
        self.end = time.monotonic() + seconds
        self.outcomes: dict[str, Outcome] = {}
        self.waiting: queue.SimpleQueue[list[str]] = queue.SimpleQueue()
        count = -(-len(names) // TOGETHER)
        for first in range(count):  # every network gets cases from all over the table
            self.waiting.put(names[first::count])

    def run(self, processes: int) -> dict[str, Outcome]:
        """The outcome of every case by name: agreed, refused, differs, failed or "not run"."""
        threads = [threading.Thread(target=self._serve, daemon=True) for _ in range(processes)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        late = {"outcome": "not run", "detail": "the time for this table is over"}
        return {name: self.outcomes.get(name, late) for name in self.names}

    def _serve(self) -> None:
        worker = Worker(self.module)
        try:
            while len(self.outcomes) < len(self.names) and time.monotonic() < self.end:
                try:
                    names = self.waiting.get(timeout=0.2)
                except queue.Empty:
                    continue
                left = self.end - time.monotonic()
                records, problem, _ = worker.call(
                    {"names": names, "skip": 0}, max(min(SILENCE, left), 1)
                )
                if time.monotonic() < self.end:
                    self._take(names, records, problem)
        finally:
            worker.stop()

    def _take(self, names: list[str], records: list[Outcome], problem: str) -> None:
        for record in records:
            if "split" not in record:
                self.outcomes[record["name"]] = record
        left = [name for name in names if name not in self.outcomes]
        if problem and len(left) == 1:
            self.outcomes[left[0]] = {"outcome": "failed", "detail": problem}
        elif left:
            half = (len(left) + 1) // 2
            for part in filter(None, (left[:half], left[half:])):
                self.waiting.put(part)


def _report(outcomes: dict[str, Outcome], seconds: float) -> str:
    """One line of counts; everything goes to the file that OPERATORS_JSON names."""
    counts = Counter(outcome["outcome"] for outcome in outcomes.values())
    if os.environ.get("OPERATORS_JSON"):
        with open(os.environ["OPERATORS_JSON"], "w") as file:
            table = {name: [o["outcome"], o["detail"]] for name, o in outcomes.items()}
            report = {
                "library": trt_api.version(),
                "seconds": seconds,
                "counts": counts,
                "outcomes": table,
            }
            json.dump(report, file, indent=1)
    words = ", ".join(f"{number} {word}" for word, number in counts.most_common())
    return f"operators on {trt_api.version()} in {seconds:.0f} s: {words}"


@pytest.fixture(scope="module")
def outcomes(request: pytest.FixtureRequest) -> dict[str, Outcome]:
    start = time.monotonic()
    processes = max(1, min(14, len(os.sched_getaffinity(0)) - 1))
    found = Table([case.name for case in SELECTED], SECONDS).run(processes)
    with request.config.pluginmanager.getplugin("capturemanager").global_and_fixture_disabled():
        print("\n" + _report(found, time.monotonic() - start))
    return found


@pytest.mark.parametrize("case", SELECTED, ids=str)
def test_engine_agrees_with_pytorch_and_simulate(case: Case, outcomes: dict[str, Outcome]):
    outcome = outcomes[case.name]
    if outcome["outcome"] == "refused":
        pytest.skip(f"refused by {trt_api.version()}: {outcome['detail']}")
    assert outcome["outcome"] == "agreed", f"{outcome['outcome']}: {outcome['detail']}"
