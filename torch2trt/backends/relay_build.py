"""Compiles Relay functions for a CPU and runs them with the graph executor."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
import tvm
from tvm import relay
from tvm.contrib import graph_executor

from ..errors import EngineBuildError, InputMismatchError

# By features, what a processor that this LLVM does not know is taken for.
_NEWEST = {"sse4a avx512vnni": "znver4", "avx512f": "skylake-avx512", "avx2": "core-avx2"}


def relay_target(mcpu: str | None = None) -> tvm.target.Target:
    """The TVM target of this machine, or of the processor that LLVM calls `mcpu`, named in full."""
    triple, host, features = (
        tvm.get_global_func(f"tvm.codegen.llvm.Get{what}")()
        for what in ("ProcessTriple", "HostCPUName", "HostCPUFeatures")
    )
    if host == "generic":
        present = {str(name) for name, has in features.items() if has}
        known = [cpu for needs, cpu in _NEWEST.items() if present.issuperset(needs.split())]
        host = known[0] if known else host
    return tvm.target.Target(f"llvm -mtriple={triple} -mcpu={mcpu or host}")


@contextmanager
def _threads_of_torch() -> Iterator[None]:
    """Gives PyTorch back its number of threads: this TVM sets that of OpenMP, which both use."""
    threads = torch.get_num_threads()
    try:
        yield
    finally:
        torch.set_num_threads(threads)


@_threads_of_torch()
def build_relay(
    module: Any, params: Mapping[str, Any], target: Any = None, opt_level: int = 3
) -> Any:
    """``relay.build`` with clear errors.

    Args:
        module: an ``IRModule`` or a ``relay.Function``.
        params: the weights by name; they become a part of the program, in its kernels' layout.
        target: by default this machine.
        opt_level: of TVM's ``PassContext``.

    Raises:
        EngineBuildError: TVM refused.
    """
    target = target or relay_target()
    try:
        with tvm.transform.PassContext(opt_level=opt_level):
            return relay.build(module, target, params=dict(params))
    except (tvm.TVMError, RuntimeError, ValueError, TypeError, AssertionError) as error:
        raise EngineBuildError(f"TVM could not compile for {target}: {error}") from error


class GraphExecutor:
    """Calls what ``relay.build`` returned, or a loaded runtime module of it, on torch tensors.

    These are copied.

    Attributes:
        input_names: the inputs in the order of the function, without the weights.
    """

    def __init__(self, factory: Any, device: torch.device) -> None:
        module = getattr(factory, "module", factory)
        place = tvm.device(device.type, device.index or 0)
        self._executor = graph_executor.GraphModule(module["default"](place))
        self._device = device
        graph, weights = json.loads(module["get_graph_json"]()), module["get_graph_params"]()
        names = [graph["nodes"][i]["name"] for i in graph["arg_nodes"]]
        self.input_names = [name for name in names if name not in weights]

    @_threads_of_torch()
    def __call__(self, *inputs: torch.Tensor) -> list[torch.Tensor]:
        """Run on inputs in order.

        Raises:
            InputMismatchError: a shape or dtype does not fit.
        """
        for name, value in zip(self.input_names, inputs):
            slot, given = self._executor.get_input(name), value.cpu().numpy()
            got, expected = (f"{array.dtype}{list(array.shape)}" for array in (given, slot))
            if got != expected:
                raise InputMismatchError(f"input {name!r}: got {got}, expected {expected}")
            slot.copyfrom(given)
        self._executor.run()
        count = self._executor.get_num_outputs()
        outputs = [self._executor.get_output(i).numpy() for i in range(count)]
        return [torch.from_numpy(y).to(self._device) for y in outputs]
