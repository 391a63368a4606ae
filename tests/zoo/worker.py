"""A process that converts the networks named on its standard input; a line of JSON per result."""

from __future__ import annotations

import contextlib
import copy
import json
import logging
import sys
import time
import warnings
from collections.abc import Sequence
from typing import Any
from unittest import mock

import torch
from case import tensors

from torch2trt.core import GraphModule
from torch2trt.errors import UnsupportedOpError

from ..conformance.backends import BATCHES
from .models import calibrated, networks, other

TOLERANCE = 1e-4
_RESPONSE = 0.01  # how much the outputs change, at least, from the inputs of the trace to others
_LARGEST_IN_FLOAT64 = 100_000_000  # parameters


def relative_error(got: Sequence[torch.Tensor], expected: Sequence[torch.Tensor]) -> float:
    """The largest relative error (2-norm) of an output; infinite for other shapes and for NaN."""
    if [t.shape for t in got] != [t.shape for t in expected]:
        return float("inf")
    worst = 0.0
    for g, e in zip(got, expected):
        scale = e.double().norm().clamp_min(1e-30)
        error = float((g.double() - e.double()).norm() / scale)
        worst = max(worst, error if error == error else float("inf"))
    return worst


def smallest_response(outputs: Sequence[torch.Tensor], others: Sequence[torch.Tensor]) -> float:
    """How much, relatively, outputs differ from others: if hardly, equal ones prove nothing."""
    pairs = list(zip(outputs, others))
    return min(
        float((x.double() - y.double()).norm() / y.double().norm().clamp_min(1e-30))
        for x, y in pairs
    )


def _expected(net: torch.nn.Module, inputs: Sequence[torch.Tensor]) -> list[torch.Tensor]:
    """PyTorch's outputs, in float64 where the network takes it and fits into memory."""
    with torch.no_grad():
        if sum(p.numel() for p in net.parameters()) < _LARGEST_IN_FLOAT64:
            with contextlib.suppress(RuntimeError, TypeError):
                precise = copy.deepcopy(net).double()
                return tensors(
                    precise(*(x.double() if x.is_floating_point() else x for x in inputs))
                )
        return tensors(net(*inputs))


def why_untraceable(net: torch.nn.Module, inputs: Sequence[torch.Tensor]) -> str:
    """What ``torch.jit.trace`` says of a network; empty where it takes it."""
    try:
        torch.jit.trace(net, tuple(inputs), check_trace=False)
    except Exception as error:
        return f"{type(error).__name__}: {error}"
    return ""


def _normal(
    tensor: torch.Tensor, mean: float = 0.0, std: float = 1.0, *_: Any, **__: Any
) -> torch.Tensor:
    return torch.nn.init.normal_(tensor, mean, std)


class Zoo:
    """The network in work, made once for all backends."""

    def __init__(self) -> None:
        self.name = ""
        self.graph: GraphModule | str = ""
        self.inputs: tuple[torch.Tensor, ...] = ()
        self.expected: list[torch.Tensor] = []
        self.response = 0.0

    def load(self, name: str) -> None:
        """Make and trace a network; ``graph`` is the reason where it does not trace."""
        if name == self.name:
            return
        self.name, self.graph = name, ""
        torch.manual_seed(0)
        with mock.patch("torch.nn.init.trunc_normal_", _normal):  # the former takes minutes
            net, self.inputs = networks()[name].make()
        net = calibrated(net, self.inputs)
        traced, self.inputs = self.inputs, other(self.inputs)
        self.expected = _expected(net, self.inputs)
        with torch.no_grad():
            self.response = smallest_response(tensors(net(*traced)), self.expected)
        try:
            self.graph = GraphModule(net, traced)
        except Exception:
            self.graph = why_untraceable(net, traced)
            if not self.graph:
                self.name = ""
                raise

    def result(self, name: str, backend: str) -> dict[str, Any]:
        """Outcome and detail of a network on a backend; error and seconds where it ran."""
        try:
            self.load(name)
            if isinstance(self.graph, str):
                return {"outcome": "untraceable", "detail": self.graph[:300]}
            start = time.perf_counter()
            got = self._run(backend)
            seconds = time.perf_counter() - start
        except UnsupportedOpError as error:
            return {"outcome": "refused", "detail": str(error)[:600]}
        except Exception as error:
            return {"outcome": "failed", "detail": f"{type(error).__name__}: {error}"[:600]}
        error = relative_error(got, self.expected)
        outcome = "equal" if error <= TOLERANCE and self.response >= _RESPONSE else "failed"
        return {
            "outcome": outcome, "detail": "", "error": float(f"{error:.3g}"),
            "response": float(f"{self.response:.3g}"), "seconds": round(seconds, 2),
        }  # fmt: skip

    def _run(self, backend: str) -> list[torch.Tensor]:
        if backend == "torch":
            return tensors(self.graph(*self.inputs))
        batch = BATCHES[backend]()
        batch.add(self.graph, self.inputs)
        return batch.run()[0]


def main() -> None:
    """Serve jobs until the standard input ends; libraries that print get the standard error."""
    out, sys.stdout = sys.stdout, sys.stderr
    warnings.simplefilter("ignore")
    logging.disable(logging.CRITICAL)
    zoo = Zoo()

    def say(**fields: Any) -> None:
        out.write(json.dumps(fields) + "\n")
        out.flush()

    for line in sys.stdin:
        job = json.loads(line)
        for step, backend in enumerate(job["backends"]):
            if step >= job["skip"]:
                say(step=step)
                result = zoo.result(job["op"], backend)
                say(
                    op=job["op"], dtype=job["dtype"], sample=0, backend=backend, kinds=[],
                    call=str([list(x.shape) for x in zoo.inputs]), **result,
                )  # fmt: skip
        say(done=True)


if __name__ == "__main__":
    main()
