"""Runs a compiled TVM program on numpy arrays or torch tensors."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch

from ..backends import tvm_module
from ..backends.tensors import aligned
from ..errors import BackendUnavailableError, InputMismatchError, Torch2TrtError


class TVMInference:
    """Runs a compiled TVM program.

    Torch tensors are handed over without a copy, unless they are not contiguous or not aligned to
    64 bytes; numpy arrays likewise. Torch tensors give torch tensors, numpy arrays give numpy
    arrays. Several threads may call it; they take turns.

    Args:
        program: what ``relax.build``, ``tvm.compile`` or ``relay.build`` returned, a loaded runtime
            module of it, or a callable of torch tensors.
        params: weights by parameter name, torch tensors or arrays; the other parameters are the
            inputs.
        device: a torch device; by default "cpu".
        input_names: names of the inputs, in order; by default those of the program, or "input0",
            "input1", ... of what ``compile_cpu`` gave.
        function: the function of the program to run.

    Example:
        with torch2trt.tvm_network() as context:
            trace, graph_module = torch2trt.torch2tvm(net, x)
            module = context.finish([graph_module.get_resolved_outputs()])
        program = compile_cpu(module, params=list(context.tvm_weight_dict.values()))
        y = torch2trt.TVMInference(program, input_names=["image"])(x)["output0"]
    """

    def __init__(
        self,
        program: Any,
        params: Mapping[str, Any] | None = None,
        device: Any = None,
        input_names: Sequence[str] | None = None,
        function: str = "main",
    ):
        self.device = torch.device(device or "cpu")
        if self.device.type == "cuda" and not torch.cuda.is_available():
            raise BackendUnavailableError(
                f"device: got {self.device}, and no NVIDIA GPU is visible"
            )
        self._program = program
        self._lock = threading.Lock()
        names = list(input_names or _numbered(program))
        self._function: Callable[..., Any] = program
        self._parameters = [*names, *(params or {})]
        if type(program).__module__.split(".")[0] in ("tvm", "tvm_ffi"):
            self._function, self._parameters = _loaded(program, self.device, function)
        self.set_params(params or {})
        free = [name for name in self._parameters if name not in self._params]
        if names and len(names) != len(free):
            raise InputMismatchError(f"input_names: got {names}, expected names for {free}")
        self.input_names = tuple(names or free)

    def set_params(self, params: Mapping[str, Any]) -> None:
        """Exchange the weights.

        Args:
            params: new values by parameter name.

        Raises:
            InputMismatchError: a name that the program does not have.
        """
        unknown = sorted(params.keys() - set(self._parameters))
        if unknown:
            raise InputMismatchError(f"params: got {unknown}, expected some of {self._parameters}")
        self._params = {name: self._weight(value) for name, value in params.items()}

    def run(self, *inputs: Any) -> list[Any]:
        """Run on inputs in order.

        Args:
            *inputs: torch tensors or numpy arrays.

        Returns:
            The outputs in order, torch tensors if any input was one, else numpy arrays.

        Raises:
            InputMismatchError: the number, shape, dtype or device of the inputs does not fit.
        """
        if len(inputs) != len(self.input_names):
            expected = ", ".join(self.input_names) or "a callable names none, give input_names="
            raise InputMismatchError(
                f"got {len(inputs)} inputs, expected {len(self.input_names)}: {expected}"
            )
        from_torch = any(isinstance(x, torch.Tensor) for x in inputs)
        given = iter([self._usable(n, x) for n, x in zip(self.input_names, inputs)])
        arguments = [
            self._params[name] if name in self._params else next(given) for name in self._parameters
        ]
        with self._lock:
            outputs = self._call(arguments)
        return outputs if from_torch else [y.cpu().numpy() for y in outputs]

    def inference(self, *inputs: Any, **named: Any) -> dict[str, Any]:
        """Run on inputs by position or name.

        Args:
            *inputs: torch tensors or numpy arrays.
            **named: further inputs by name.

        Returns:
            The outputs as ``output0``, ``output1``, ..., in the kind of array that came in.

        Raises:
            InputMismatchError: the number, name, shape, dtype or device of the inputs does not fit.
        """
        unknown = [name for name in named if name not in self.input_names[len(inputs) :]]
        if unknown:
            expected = ", ".join(self.input_names)
            raise InputMismatchError(
                f"inputs {unknown} are unknown or given twice, expected {expected}"
            )
        rest = [named[name] for name in self.input_names[len(inputs) :] if name in named]
        return {f"output{i}": y for i, y in enumerate(self.run(*inputs, *rest))}

    __call__ = inference_async = inference

    def _call(self, arguments: Sequence[torch.Tensor]) -> list[torch.Tensor]:
        try:
            result = self._function(*arguments)
        except Torch2TrtError:
            raise
        except (TypeError, ValueError, RuntimeError) as error:
            got = ", ".join(f"{x.dtype} {tuple(x.shape)}" for x in arguments)
            refused = "ErrorContext" in str(error)  # TVM's check of the arguments
            kind = InputMismatchError if refused else Torch2TrtError
            raise kind(f"TVM could not run {self._parameters} with {got}: {error}") from error
        return [_as_torch(y) for y in _flat(result)]

    def _usable(self, name: str, value: Any) -> torch.Tensor:
        if isinstance(value, torch.Tensor):
            if value.device.type != self.device.type:
                raise InputMismatchError(
                    f"input {name!r}: got a tensor on {value.device}, expected {self.device}"
                )
            return aligned(value.detach())
        if not isinstance(value, (np.ndarray, np.generic)):
            kind = type(value).__name__
            raise InputMismatchError(
                f"input {name!r}: got {kind}, expected a torch tensor or numpy array"
            )
        return self._weight(value)

    def _weight(self, value: Any) -> torch.Tensor:
        if not isinstance(value, torch.Tensor):
            array = value.numpy() if hasattr(value, "numpy") else np.asarray(value)
            value = torch.from_numpy(np.array(array, order="C"))
        return aligned(value.detach().to(self.device))


def _numbered(program: Any) -> list[str]:
    """The names of the inputs of a program that says how many it has."""
    inputs = getattr(program, "inputs", ())
    return [f"input{i}" for i in range(len(inputs))] if isinstance(inputs, tuple) else []


def _flat(result: Any) -> list[Any]:
    if isinstance(result, torch.Tensor) or hasattr(result, "__dlpack__"):
        return [result]
    return [leaf for item in result for leaf in _flat(item)]


def _as_torch(value: Any) -> torch.Tensor:
    return value if isinstance(value, torch.Tensor) else torch.from_dlpack(value)


def _loaded(
    program: Any, device: torch.device, function: str
) -> tuple[Callable[..., Any], list[str]]:
    if "GraphExecutorFactory" not in getattr(program, "type_key", type(program).__name__):
        return _virtual_machine(program, device, function)
    from ..backends.relay_build import GraphExecutor

    executor = GraphExecutor(program, device)
    return executor, executor.input_names


def _virtual_machine(
    program: Any, device: torch.device, function: str
) -> tuple[Callable[..., Any], list[str]]:
    tvm = tvm_module()
    try:
        machine_class = tvm.relax.VirtualMachine
    except AttributeError as error:
        raise BackendUnavailableError(
            f"TVM {tvm.__version__} has no Relax virtual machine; pass a callable"
        ) from error
    devices = [tvm.cpu()]
    if device.type == "cuda":
        devices.insert(0, tvm.cuda(device.index or 0))
    machine = machine_class(program, devices)
    try:
        count = machine.module["get_function_arity"](function)
    except (AttributeError, RuntimeError, ValueError) as error:
        raise Torch2TrtError(f"the TVM program has no function {function!r}: {error}") from error
    name_of = machine.module["get_function_param_name"]
    return machine[function], [str(name_of(function, i)) for i in range(count)]
