"""Worker processes with a time limit: one that dies or hangs costs one sample, not the run."""

from __future__ import annotations

import contextlib
import json
import os
import queue
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from .table import ENGINE

_ROOT = Path(__file__).resolve().parents[2]
_JOBS_PER_PROCESS = 80

Record = dict[str, Any]


class Worker:
    """One process that runs a module; begun anew when it died, and now and then for its memory."""

    def __init__(self, module: str) -> None:
        self.module = module
        self.process: subprocess.Popen[str] | None = None
        self.lines: queue.SimpleQueue[str | None] = queue.SimpleQueue()
        self.jobs = 0

    def _start(self) -> subprocess.Popen[str]:
        path = os.pathsep.join([str(_ROOT), str(_ROOT / "tests"), os.environ.get("PYTHONPATH", "")])
        threads = {"OMP_NUM_THREADS": "1", "TVM_NUM_THREADS": "1"}
        environment = {**os.environ, "PYTHONPATH": path, **threads}
        process = subprocess.Popen(
            [sys.executable, "-m", self.module], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL, text=True, cwd=_ROOT, env=environment,
        )  # fmt: skip
        self.lines = queue.SimpleQueue()
        threading.Thread(target=_read, args=(process, self.lines), daemon=True).start()
        self.jobs = 0
        return process

    def stop(self) -> None:
        """End the process."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            self.process = None

    def call(self, job: Record, limit: float) -> tuple[list[Record], str, int]:
        """The records of a job; what went wrong with the process, if anything; its last step."""
        if self.process is None or self.jobs >= _JOBS_PER_PROCESS:
            self.stop()
            self.process = self._start()
        self.jobs += 1
        self.process.stdin.write(json.dumps(job) + "\n")
        self.process.stdin.flush()
        records, step = [], job["skip"]
        while True:
            try:
                line = _next(self.lines, limit)
            except queue.Empty:
                self.stop()
                return records, f"no answer within {limit:.0f} s", step
            if line is None:
                code = self.process.wait()
                self.process = None
                return records, f"the process died with code {code}", step
            message = json.loads(line)
            if "done" in message:
                return records, "", step
            if "step" in message:
                step = message["step"]
            else:
                records.append(message)

    def finish(self, job: Record, limit: float) -> list[Record]:
        """The records of a job, step by step if its process dies or hangs otherwise."""
        if not job["alone"]:
            records, problem, _ = self.call(job, limit)
            if not problem:
                return records
        records, skip = [], 0
        while True:
            found, problem, step = self.call({**job, "alone": True, "skip": skip}, limit)
            records += found
            if not problem:
                return records
            records.append(_broken(job, step, problem, records))
            skip = step + 1


def _next(lines: queue.SimpleQueue[str | None], limit: float) -> str | None:
    """The next line; seconds in which this process is stopped do not count as waiting."""
    for _ in range(round(limit) - 1):
        with contextlib.suppress(queue.Empty):
            return lines.get(timeout=1)
    return lines.get(timeout=1)


def _read(process: subprocess.Popen[str], lines: queue.SimpleQueue[str | None]) -> None:
    for line in process.stdout:
        lines.put(line)
    lines.put(None)


def _broken(job: Record, step: int, problem: str, before: Sequence[Record]) -> Record:
    sample, index = divmod(step, len(job["backends"]))
    backend, call = job["backends"][index], ""
    if before and (before[-1].get("sample"), before[-1].get("backend")) == (sample, backend):
        backend, call = ENGINE, before[-1]["call"]  # simulated, so that the build is what broke
    return {
        "op": job["op"], "dtype": job["dtype"], "sample": sample, "call": call, "backend": backend,
        "outcome": "failed", "detail": problem, "kinds": [],
    }  # fmt: skip


class Pool:
    """Several workers over a list of jobs.

    Args:
        workers: how many processes.
        limit: seconds that a job may be silent, a whole number.
        module: what a process runs.
    """

    def __init__(self, workers: int, limit: float, module: str = "tests.conformance.worker"):
        self.workers, self.limit, self.module = workers, limit, module

    def run(self, jobs: Sequence[Record]) -> Iterator[list[Record]]:
        """The records of each job, in the order in which the jobs end."""
        waiting: queue.SimpleQueue[Record] = queue.SimpleQueue()
        for job in jobs:
            waiting.put(job)
        ended: queue.SimpleQueue[list[Record] | BaseException] = queue.SimpleQueue()
        for _ in range(self.workers):
            threading.Thread(target=self._serve, args=(waiting, ended), daemon=True).start()
        for _ in jobs:
            records = ended.get()
            if isinstance(records, BaseException):
                raise records
            yield records

    def _serve(self, waiting: queue.SimpleQueue[Record], ended: queue.SimpleQueue[Any]) -> None:
        worker = Worker(self.module)
        try:
            while not waiting.empty():
                ended.put(worker.finish(waiting.get(timeout=1), self.limit))
        except queue.Empty:
            return
        except BaseException as error:
            ended.put(error)
        finally:
            worker.stop()
