"""A compiled function with its weights, run from a CUDA graph."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager, ExitStack, nullcontext
from typing import Any

import torch

from ..flags import set_tf32
from ..schedules.packing import pack
from ..schedules.report import Row
from ..tensors import aligned
from .branches import Branches
from .pipeline import Lowered
from .recording import Recording
from .tune import precision


class Compiled:
    """A function compiled for one device: its plan, its weights, and the CUDA graph of one run.

    The precision of convolutions and products is that of PyTorch eager:
    `torch.backends.cudnn.allow_tf32` and
    `torch.backends.cuda.matmul.allow_tf32` as they are at a call; the graph is recorded again when
    they change. With
    `tf32` both count as set.
    """

    def __init__(
        self, lowered: Lowered, device: torch.device, graph: bool, tf32: bool = False
    ) -> None:
        self.plan, self.recipes, self.rules = lowered.plan, lowered.recipes, lowered.rules
        self.device, self.graph, self.tf32 = device, graph, tf32
        self._branches = Branches(self.plan)
        self._weights: list[torch.Tensor] = []
        self._recordings: dict[Any, Recording] = {}
        self._lock = threading.Lock()  # of the recordings

    def prepare(self, params: Iterable[torch.Tensor]) -> None:
        """Use `params` from the next call on, in the order of the function's parameters."""
        with torch.no_grad(), self._lock, ExitStack() as turns:
            for recording in self._recordings.values():
                turns.enter_context(recording.turn())
            made = (new.detach() for new in pack(self.recipes, params))
            if not self._weights:
                self._weights = [new.to(self.device) for new in made]
                return
            for own, new in zip(self._weights, made, strict=True):
                own.copy_(new)

    def __call__(self, *inputs: torch.Tensor) -> list[torch.Tensor]:
        """Run on the current stream; the outputs are memory of their own."""
        with torch.no_grad():
            if not self.graph or torch.cuda.is_current_stream_capturing():
                return self.run(inputs)
            key = self._precision()
            with self._lock:
                if key not in self._recordings:
                    self._recordings.clear()
                    functions = [self.run, *[self._run_branches] * self._branches.several]
                    self._recordings[key] = Recording(functions, inputs, self.device)
                return self._recordings[key](inputs)

    def launch(self, *inputs: torch.Tensor) -> list[torch.Tensor]:
        """A call without its checks: all inputs are on the device and of the right types."""
        recording = self._recordings.get(self._precision())
        if recording is None or torch.cuda.is_current_stream_capturing():
            return self(*inputs)
        with self._lock:
            return recording.run(*inputs)

    def _precision(self) -> Any:
        return None if self.tf32 else precision()

    def run(self, inputs: Sequence[torch.Tensor]) -> list[torch.Tensor]:
        """Run step by step, without a graph."""
        return self._run(self.plan.run, inputs)

    def _run_branches(self, inputs: Sequence[torch.Tensor]) -> list[torch.Tensor]:
        return self._run(self._branches.run, inputs)

    def _run(
        self, run: Callable[..., list[torch.Tensor]], inputs: Sequence[torch.Tensor]
    ) -> list[torch.Tensor]:
        inputs = [aligned(x) for x in inputs]
        with _on_current_stream(self.device), set_tf32(True) if self.tf32 else nullcontext():
            outputs = run([*inputs, *self._weights])
        given = {
            t.untyped_storage().data_ptr()
            for t in (*inputs, *self._weights, *self.plan.literals.values())
        }
        return [y.clone() if y.untyped_storage().data_ptr() in given else y for y in outputs]

    def report(self, *inputs: torch.Tensor, repeats: int = 20) -> list[Row]:
        """What served each step and what share of the time it takes, the slowest first.

        Steps of one name are one row.

        Args:
            inputs: as for a call.
            repeats: the number of runs to take the time of.
        """
        from .measure import step_seconds

        rows: dict[str, tuple[str, int, float]] = {}
        given = [aligned(x) for x in inputs]
        with torch.no_grad(), _on_current_stream(self.device):
            times = step_seconds(self.plan, [*given, *self._weights], repeats)
        for step, seconds in zip(self.plan.steps, times):
            rule = self.rules.get(step.name, "") if step.kind == "kernel" else step.kind
            _, calls, before = rows.get(step.name, (rule, 0, 0.0))
            rows[step.name] = rule, calls + 1, before + seconds
        rows = {name: row for name, row in rows.items() if row[0] != "view"}  # no work of theirs
        whole = sum(seconds for _, _, seconds in rows.values()) or 1.0
        made = [Row(n, rule, calls, s, s / whole) for n, (rule, calls, s) in rows.items()]
        return sorted(made, key=lambda row: -row.seconds)


def _on_current_stream(device: torch.device) -> AbstractContextManager[Any]:
    """TVM's kernels are launched on torch's current stream."""
    if device.type != "cuda":
        return nullcontext()
    import tvm_ffi

    return tvm_ffi.use_torch_stream(torch.cuda.stream(torch.cuda.current_stream(device)))
