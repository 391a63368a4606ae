"""Steps of a plan that do not wait for each other, on CUDA streams of their own.

The streams are forked from the current one and joined to it again, so that a CUDA graph that
records a run has these steps beside each other. Memory that crosses streams is not handed out again
before the recording ends.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch

from .plan import Plan, Step

_STREAMS = 4  # the current one included


def place(steps: Sequence[Step], inputs: int) -> list[int]:
    """The stream of each step: that of a step it reads from, unless another one went on there.

    Args:
        steps: in an order in which they can run.
        inputs: the number of values that are there before the first step.
    """
    makers: dict[int, int] = {}
    before: list[int] = []  # of each step the steps it waits for, directly or not, as bits
    placed: list[int] = []
    latest: dict[int, int] = {}  # the last step on each stream
    for at, step in enumerate(steps):
        direct = sorted({makers[n] for n in step.arguments if n in makers})
        ancestors = 0
        for other in direct:
            ancestors |= before[other] | 1 << other
        idle = [s for s in range(_STREAMS) if s not in latest or ancestors >> latest[s] & 1]
        own = [placed[other] for other in direct if latest[placed[other]] == other]
        stream = min(own or idle or [placed[o] for o in direct] or [0])
        placed.append(stream)
        before.append(ancestors)
        latest[stream] = at
        makers.update((n, at) for n in step.results)
    return placed


class Branches:
    """Runs a plan on several streams; see ``place``."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.streams = place(plan.steps, plan.inputs)
        self._makers = {n: at for at, step in enumerate(plan.steps) for n in step.results}

    @property
    def several(self) -> bool:
        """Whether there is anything to run beside something else."""
        return len(set(self.streams)) > 1

    def run(self, arguments: Sequence[torch.Tensor]) -> list[torch.Tensor]:
        """All steps, forked from and joined to the current stream."""
        device = self.plan.device
        main = torch.cuda.current_stream(device)
        streams = [main, *(torch.cuda.Stream(device) for _ in range(max(self.streams)))]
        for side in streams[1:]:
            side.wait_stream(main)
        done: dict[int, Any] = {}

        @contextmanager
        def around(at: int, given: Sequence[torch.Tensor]) -> Iterator[None]:
            import tvm_ffi

            stream = streams[self.streams[at]]
            for other in self._waits(at):
                stream.wait_event(done[other])
            with tvm_ffi.use_torch_stream(torch.cuda.stream(stream)):
                yield
                done[at] = stream.record_event()
            for number, tensor in zip(self.plan.steps[at].arguments, given):
                if number in self._makers:
                    tensor.record_stream(stream)

        outputs = self.plan.run(arguments, around)
        for side in streams[1:]:
            main.wait_stream(side)
        return outputs

    def _waits(self, at: int) -> list[int]:
        """The steps on other streams whose results a step reads."""
        found = {self._makers[n] for n in self.plan.steps[at].arguments if n in self._makers}
        return sorted(other for other in found if self.streams[other] != self.streams[at])
