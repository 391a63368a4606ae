"""Progress and cancelling of an engine build."""

from __future__ import annotations

import logging
import signal
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from .backends import trt_api

log = logging.getLogger("torch2trt.build")


@dataclass(frozen=True)
class Progress:
    """One report of a running build.

    Attributes:
        phase: TensorRT's name of the phase, with the phases around it: ``Building Engine /
            Timing``.
        done: steps done in this phase.
        total: steps of this phase.
    """

    phase: str
    done: int
    total: int


class _Bar:
    """A tqdm bar that shows the innermost running phase; log lines where tqdm is not installed."""

    def __init__(self) -> None:
        self._bar: Any = None
        self._shown = 0.0
        with suppress(ImportError):
            from tqdm.auto import tqdm

            self._bar = tqdm(desc="TensorRT build", unit="step", leave=False)

    def __call__(self, report: Progress) -> None:
        if self._bar is None:
            log.info("%s: %d of %d", report.phase, report.done, report.total)
            return
        now = time.monotonic()
        if now - self._shown < 0.1:
            return
        self._shown = now
        self._bar.set_description(" / ".join(report.phase.split(" / ")[-2:]), refresh=False)
        self._bar.total, self._bar.n = report.total, report.done
        self._bar.refresh()

    def close(self) -> None:
        if self._bar is not None:
            self._bar.close()


class _Phases:
    """The phases that are running, from the callbacks of an ``IProgressMonitor``."""

    def __init__(self, report: Callable[[Progress], None] | None):
        self._report = report
        self._running: dict[str, tuple[str, int]] = {}

    def start(self, name: str, parent: str | None, steps: int) -> None:
        path = f"{self._running[parent][0]} / {name}" if parent in self._running else name
        self._running[name] = (path, steps)
        self._send(name, 0)

    def step(self, name: str, step: int) -> None:
        self._send(name, step + 1)

    def finish(self, name: str) -> None:
        self._running.pop(name, None)

    def _send(self, name: str, done: int) -> None:
        if self._report is not None and name in self._running:
            self._report(Progress(self._running[name][0], done, self._running[name][1]))


def _monitor(owner: BuildMonitor, phases: _Phases) -> Any:
    base = trt_api.trt().IProgressMonitor

    class Monitor(base):
        def __init__(self) -> None:
            base.__init__(self)

        def phase_start(self, name: str, parent: str | None, steps: int) -> None:
            owner.guard(phases.start, name, parent, steps)

        def step_complete(self, name: str, step: int) -> bool:
            owner.guard(phases.step, name, step)
            return not owner.cancelled

        def phase_finish(self, name: str) -> None:
            owner.guard(phases.finish, name)

    return Monitor()


class BuildMonitor:
    """Around a build: shows progress, lets Ctrl-C cancel it, keeps TensorRT's warnings.

    While it is active, Ctrl-C in the main thread does not raise inside TensorRT, where an exception
    could not pass; it asks TensorRT to stop. TensorRT 8.6 cannot be asked: there Ctrl-C takes
    effect when the build ends.
    """

    def __init__(self, config: Any, progress: bool | Callable[[Progress], None] | None):
        self.cancelled = False
        self.warnings: list[str] = []
        self._error: BaseException | None = None
        self._bar = _Bar() if progress is True else None
        self._config = config
        self._phases = _Phases(self._bar or (progress if callable(progress) else None))
        self._interrupted = False
        self._handler: Any = None
        self._restore: Any = None

    def guard(self, function: Callable[..., None], *args: Any) -> None:
        """Run a callback; its exception cancels the build and is raised after it."""
        try:
            function(*args)
        except BaseException as error:  # nothing may pass through TensorRT's C++ frames below
            self._error = self._error or error
            self.cancelled = True

    def __enter__(self) -> BuildMonitor:
        if getattr(self._config, "progress_monitor", True) is None:
            self._config.progress_monitor = _monitor(self, self._phases)
        self._handler = _Collect(self.warnings)
        trt_api.log.addHandler(self._handler)
        if threading.current_thread() is threading.main_thread():
            self._restore = signal.signal(signal.SIGINT, self._interrupt)
        return self

    def __exit__(self, *exception: object) -> None:
        if self._restore is not None:
            signal.signal(signal.SIGINT, self._restore)
        trt_api.log.removeHandler(self._handler)
        if self._bar is not None:
            self._bar.close()

    def _interrupt(self, number: int, frame: Any) -> None:
        self.cancelled = self._interrupted = True
        if not hasattr(self._config, "progress_monitor"):
            log.warning("%s cannot cancel a build: stopping when it is done", trt_api.version())

    def raise_if_interrupted(self) -> None:
        """Raise what stopped the build, if anything did.

        Raises:
            KeyboardInterrupt: Ctrl-C was pressed while TensorRT was at work.
        """
        if self._interrupted:
            raise KeyboardInterrupt("the engine build was cancelled")
        if self._error is not None:
            raise self._error


class _Collect(logging.Handler):
    """Keeps the warnings that TensorRT logs while a build runs."""

    def __init__(self, lines: list[str]):
        super().__init__(logging.WARNING)
        self._lines = lines

    def emit(self, record: logging.LogRecord) -> None:
        message = record.getMessage()
        if message not in self._lines and len(self._lines) < 20:
            self._lines.append(message)
