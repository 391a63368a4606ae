"""Compiles Relay functions for a CPU and runs them with the graph executor.

Importing this module has ``relay.build`` add a launcher, for parallel loops on PyTorch's threads.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import torch
import tvm
from tvm import relay
from tvm.contrib import graph_executor

from ..errors import EngineBuildError, InputMismatchError
from .openmp import OPAQUE_POINTERS, addresses, launcher_functions, use_openmp

# By features, what a processor that this LLVM does not know is taken for.
_NEWEST = {"sse4a avx512vnni": "znver4", "avx512f": "skylake-avx512", "avx2": "core-avx2"}
_to_llvm = tvm.get_global_func("target.build.llvm", allow_missing=True)


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


def _with_launcher(module: tvm.IRModule, target: tvm.target.Target) -> Any:
    """LLVM's code of a module; programs, and what runs while they are built, get the launcher."""
    runs_now = all(v.name_hint.startswith("intrp_") for v in module.get_global_vars())
    program = module.get_attr("executor") and module.get_attr("runtime")
    if runs_now or (program and tvm.ir.structural_equal(program, relay.backend.Runtime("cpp"))):
        functions = launcher_functions(tvm.tir, target=tvm.target.Target(target, host=target))
        module.update(tvm.tir.transform.MakePackedAPI()(tvm.IRModule(functions)))
    code = _to_llvm(module, target)
    if runs_now:
        use_openmp(code, addresses())
    return code


if _to_llvm and tvm.target.codegen.llvm_version_major() >= OPAQUE_POINTERS:
    tvm.register_func("target.build.llvm", _with_launcher, override=True)


class GraphExecutor:
    """Calls what ``relay.build`` returned, or a loaded module of it, on copies of torch tensors.

    Attributes:
        input_names: the inputs in the order of the function, without the weights.
    """

    def __init__(self, factory: Any, device: torch.device) -> None:
        module = getattr(factory, "module", factory)
        place = tvm.device(device.type, device.index or 0)
        self._executor = graph_executor.GraphModule(module["default"](place))
        self._device, self._on_openmp = device, use_openmp(module, addresses())
        graph, weights = json.loads(module["get_graph_json"]()), module["get_graph_params"]()
        names = [graph["nodes"][i]["name"] for i in graph["arg_nodes"]]
        self.input_names = [name for name in names if name not in weights]

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
        threads = torch.get_num_threads()  # hands it to OpenMP, once for each thread of Python
        try:
            self._executor.run()
        finally:
            if not self._on_openmp:  # TVM's launcher may have told OpenMP another number
                torch.set_num_threads(threads)
        count = self._executor.get_num_outputs()
        outputs = [self._executor.get_output(i).numpy() for i in range(count)]
        return [torch.from_numpy(y).to(self._device) for y in outputs]
