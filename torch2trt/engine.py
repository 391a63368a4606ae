"""A TensorRT engine: what goes in and out, refit, files, inspection."""

from __future__ import annotations

import contextlib
import json
import os
import threading
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch

from . import container
from .backends import trt_api
from .backends.trt_api import known_dims
from .build import BuildOptions, Range, build_engine
from .container import EngineFileError
from .errors import BackendUnavailableError, EngineBuildError, InputMismatchError, Torch2TrtError

__all__ = [
    "BuildOptions",
    "Engine",
    "EngineFileError",
    "TensorSpec",
    "build_engine",
    "describe",
    "network_specs",
]


@dataclass(frozen=True)
class TensorSpec:
    """An input or output of an engine.

    Attributes:
        name: its name in the network.
        is_input: input or output.
        dtype: the torch dtype of its buffer.
        shape: -1 where dynamic; None where TensorRT does not say even the number of dimensions.
        on_host: TensorRT reads it from host memory (a shape tensor).
        ranges: of an input, per optimization profile its (min, opt, max) shapes.
    """

    name: str
    is_input: bool
    dtype: torch.dtype
    shape: tuple[int, ...] | None
    on_host: bool = False
    ranges: tuple[Range, ...] = ()

    def as_json(self) -> dict[str, Any]:
        """The same as plain JSON values."""
        return {**asdict(self), "dtype": str(self.dtype).removeprefix("torch.")}


def network_specs(network: Any, options: BuildOptions = BuildOptions()) -> tuple[TensorSpec, ...]:
    """Inputs and outputs of a network definition, inputs first."""
    specs = []
    for count, get in (
        (network.num_inputs, network.get_input),
        (network.num_outputs, network.get_output),
    ):
        for tensor in (get(i) for i in range(count)):
            ranges = tuple(dict(p)[tensor.name] for p in options.profiles if tensor.name in dict(p))
            dtype, shape = trt_api.torch_dtype(tensor.dtype), known_dims(tensor.shape)
            specs.append(
                TensorSpec(tensor.name, tensor.is_network_input, dtype, shape, ranges=ranges)
            )
    return tuple(specs)


def describe(
    specs: tuple[TensorSpec, ...], device: int | None, extra: Mapping[str, Any]
) -> dict[str, Any]:
    """The description of an engine file: library, GPU (None: any), inputs, outputs, `extra`."""
    return {
        "library": trt_api.version(),
        "torch": str(torch.__version__),
        "gpu": None if device is None else _gpu(device),
        "inputs": [s.as_json() for s in specs if s.is_input],
        "outputs": [s.as_json() for s in specs if not s.is_input],
        "extra": dict(extra),
    }


def names_in(description: Mapping[str, Any]) -> list[str]:
    """The names of the inputs and outputs of an engine file, in network order."""
    return [spec["name"] for spec in (*description["inputs"], *description["outputs"])]


def _gpu(device: int) -> dict[str, Any]:
    capability = ".".join(map(str, torch.cuda.get_device_capability(device)))
    return {"name": torch.cuda.get_device_name(device), "compute_capability": capability}


def _check_fits(path: str, description: Mapping[str, Any], device: int) -> None:
    if description["library"] != trt_api.version():
        raise EngineFileError(
            f"{path} was built by {description['library']}, and here is {trt_api.version()}:"
            " build it again"
        )
    here = _gpu(device)
    if description["gpu"] not in (None, here):
        raise EngineFileError(
            f"{path} was built for {description['gpu']}, and here is {here}: build it again"
        )


class Engine:
    """A TensorRT engine on one CUDA device.

    Attributes:
        cuda_engine: the ``tensorrt.ICudaEngine``.
        device: index of the CUDA device it lives on.
        specs: its inputs and outputs, inputs first, each in network order.
        extra: what ``save`` was given besides, JSON values.
        generation: counts refits; captured CUDA graphs of an older generation are stale.
        guard: held while lanes are added, and by ``exclusive``.
    """

    def __init__(
        self, cuda_engine: Any, device: int | None = None, extra: Mapping[str, Any] | None = None,
        names: Sequence[str] = (),
    ):  # fmt: skip
        self.cuda_engine = cuda_engine
        self.device = torch.cuda.current_device() if device is None else device
        self.specs = _in_network_order(_engine_specs(cuda_engine), names)
        self.extra = dict(extra or {})
        self.generation = 0
        self._gates: list[Any] = []
        self.guard = threading.RLock()

    @classmethod
    def from_plan(
        cls, plan: Any, device: Any = None, extra: Mapping[str, Any] | None = None,
        names: Sequence[str] = (),
    ) -> Engine:  # fmt: skip
        """Deserialise a plan onto a device.

        Args:
            plan: bytes-like, from ``build_engine``.
            device: a CUDA device; by default torch's current one.
            extra: see ``Engine.extra``.
            names: the inputs and outputs in network order, which an engine of 8.6 may not keep. By
                default outputs named "output0", "output1", ... are in the order of their numbers,
                others as the engine has them.

        Raises:
            BackendUnavailableError: engines do not run on this machine.
            EngineFileError: TensorRT does not accept the plan.
            InputMismatchError: `names` leaves an output out.
        """
        if not trt_api.can_run():
            raise BackendUnavailableError(
                f"a TensorRT engine cannot be loaded here: {trt_api.why_not_run()}. Without a"
                " GPU, `torch2trt.simulate` evaluates the network and `build` makes the engine"
                " file ahead of time."
            )
        index = cuda_index(device)
        runtime = trt_api.trt().Runtime(trt_api.logger())
        recorder = trt_api.record_errors(runtime)
        with torch.cuda.device(index):
            cuda_engine = runtime.deserialize_cuda_engine(plan)
        trt_api.share_recorder(runtime, cuda_engine)
        if cuda_engine is None:
            raise EngineFileError(
                "TensorRT does not accept the plan: " + "; ".join(recorder.messages)
            )
        return cls(cuda_engine, index, extra, names)

    @classmethod
    def load(cls, path: str | os.PathLike[str], device: Any = None) -> Engine:
        """Load an engine file.

        Raises:
            EngineFileError: damaged, or made for another TensorRT version or GPU.
            BackendUnavailableError: engines do not run on this machine.
        """
        description, plan = container.read(path, "library", "gpu", "inputs", "outputs", "extra")
        if trt_api.can_run():
            _check_fits(os.fspath(path), description, cuda_index(device))
        return cls.from_plan(plan, device, description["extra"], names_in(description))

    def save(self, path: str | os.PathLike[str], extra: Mapping[str, Any] | None = None) -> None:
        """Write the engine, with the weights it has now, to a file, see ``container``."""
        description = describe(self.specs, self.device, {**self.extra, **(extra or {})})
        container.write(path, description, self.cuda_engine.serialize())

    @property
    def torch_device(self) -> torch.device:
        """The device as torch names it."""
        return torch.device("cuda", self.device)

    @property
    def inputs(self) -> tuple[TensorSpec, ...]:
        """The inputs in network order."""
        return tuple(s for s in self.specs if s.is_input)

    @property
    def outputs(self) -> tuple[TensorSpec, ...]:
        """The outputs in network order."""
        return tuple(s for s in self.specs if not s.is_input)

    # --- running together ------------------------------------------------------------------------

    def create_gate(self) -> Any:
        """A lock to hold while launching on this engine, so that ``refit`` can wait for them."""
        gate = threading.Lock()
        with self.guard:
            self._gates.append(gate)
        return gate

    @contextlib.contextmanager
    def exclusive(self) -> Iterator[None]:
        """Nothing is launched while the block runs, and nothing launched before runs still."""
        with contextlib.ExitStack() as stack:
            stack.enter_context(self.guard)
            for gate in self._gates:
                stack.enter_context(gate)
            torch.cuda.synchronize(self.device)
            yield

    # --- weights ---------------------------------------------------------------------------------

    @property
    def refittable(self) -> bool:
        """Whether weights can be exchanged."""
        return bool(self.cuda_engine.refittable)

    def weight_names(self) -> tuple[str, ...]:
        """The names of the weights that ``refit`` can exchange."""
        refitter = trt_api.trt().Refitter(self.cuda_engine, trt_api.logger())
        return tuple(name for name in refitter.get_all_weights() if name)

    def refit(self, weights: Mapping[str, torch.Tensor]) -> None:
        """Exchange weights in place. Waits for running inferences; later ones use the new weights.

        Args:
            weights: new values by weight name, of the dtype and number of elements they were built
                with.

        Raises:
            EngineBuildError: not built with ``refit=True``, a name that the engine cannot exchange,
                a weight that is missing, or of another size or type. The engine then keeps what it
                had.
        """
        if not self.refittable:
            raise EngineBuildError("the engine was not built with BuildOptions(refit=True)")
        refitter = trt_api.trt().Refitter(self.cuda_engine, trt_api.logger())
        recorder = trt_api.record_errors(refitter)
        unknown = sorted(weights.keys() - set(refitter.get_all_weights()))
        if unknown:
            raise EngineBuildError(f"the engine has no exchangeable weights named {unknown}")
        held = []
        for name, tensor in weights.items():
            value, owner = _host_weights(tensor)
            held.append((value, owner))
            if not refitter.set_named_weights(name, value):
                raise EngineBuildError(
                    f"weight {name!r} was refused: got {tuple(tensor.shape)} {tensor.dtype},"
                    " expected the number of elements and the type it was built with."
                    f" {'; '.join(recorder.messages)}"
                )
        missing = [name or "(unnamed)" for name in refitter.get_missing_weights()]
        if missing:
            raise EngineBuildError(
                f"these weights are needed too, for they were merged with others: {missing}"
            )
        with self.exclusive(), torch.cuda.device(self.device):
            done = refitter.refit_cuda_engine()
            self.generation += 1
        if not done:
            raise EngineBuildError("TensorRT could not refit: " + "; ".join(recorder.messages))

    # --- inspection ------------------------------------------------------------------------------

    def layers(self) -> list[dict[str, Any]]:
        """The engine's layers after TensorRT's fusions, in order.

        Each has at least ``Name``; the rest needs an engine built with
        ``BuildOptions(detailed=True)``.
        """
        inspector = self.cuda_engine.create_engine_inspector()
        forms = trt_api.trt().LayerInformationFormat
        try:
            found = json.loads(inspector.get_engine_information(forms.JSON))["Layers"]
        except ValueError:  # some releases write JSON that is none
            lines = range(self.cuda_engine.num_layers)
            found = [inspector.get_layer_information(i, forms.ONELINE).strip() for i in lines]
        return [layer if isinstance(layer, dict) else {"Name": layer} for layer in found]


def cuda_index(device: Any) -> int:
    """The index of a CUDA device given as None (the current one), index, string or device."""
    if isinstance(device, int):
        return device
    index = None if device is None else torch.device(device).index
    return torch.cuda.current_device() if index is None else index


def _engine_specs(engine: Any) -> list[TensorSpec]:
    trt = trt_api.trt()
    specs = []
    for name in (engine.get_tensor_name(i) for i in range(engine.num_io_tensors)):
        is_input = engine.get_tensor_mode(name) == trt.TensorIOMode.INPUT
        on_host = engine.get_tensor_location(name) == trt.TensorLocation.HOST
        dtype = trt_api.torch_dtype(engine.get_tensor_dtype(name))
        shape = known_dims(engine.get_tensor_shape(name))
        ranges: tuple[Range, ...] = ()
        if is_input and not on_host:
            profiles = range(engine.num_optimization_profiles)
            ranges = tuple(_profile_shapes(engine, name, shape, profile) for profile in profiles)
            if shape is None:
                sizes = zip(*(size for sizes in ranges for size in sizes))
                shape = tuple(n[0] if len(set(n)) == 1 else -1 for n in sizes)
        specs.append(TensorSpec(name, is_input, dtype, shape, on_host, ranges))
    return specs


def _in_network_order(specs: list[TensorSpec], names: Sequence[str]) -> tuple[TensorSpec, ...]:
    """Inputs, then outputs, in the order of `names`: an engine of 8.6 has constant outputs last.

    Without `names`, outputs named "output0", "output1", ... are in that order.
    """
    outputs = [spec.name for spec in specs if not spec.is_input]
    order = names or [f"output{i}" for i in range(len(outputs))]
    if not set(outputs) <= set(order):
        if names:
            raise InputMismatchError(f"names: got {list(names)}, expected the outputs {outputs}")
        order = []
    place = {name: i for i, name in enumerate(order)}
    return tuple(sorted(specs, key=lambda s: (not s.is_input, place.get(s.name, 0))))


def _profile_shapes(engine: Any, name: str, shape: tuple[int, ...] | None, profile: int) -> Range:
    if shape is not None and -1 not in shape:
        return shape, shape, shape
    shapes = tuple(map(known_dims, engine.get_tensor_profile_shape(name, profile)))
    if len(shapes) != 3 or None in shapes:
        raise Torch2TrtError(
            f"input {name!r}: the engine does not tell its shape. Where sizes depend on values,"
            " TensorRT 8.6 needs an optimization profile for inputs of fixed shape too"
        )
    return shapes


def _host_weights(tensor: torch.Tensor) -> tuple[Any, Any]:
    """TensorRT weights over host memory, and what keeps that memory alive."""
    host = tensor.detach().cpu().contiguous()
    if host.dtype == torch.bfloat16:
        kind = trt_api.trt_dtype(host.dtype)
        return trt_api.trt().Weights(kind, host.data_ptr(), host.numel()), host
    array = np.ascontiguousarray(host.numpy()).reshape(-1)
    return trt_api.trt().Weights(array), array
