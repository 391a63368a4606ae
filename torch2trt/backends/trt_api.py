"""The one place that knows how TensorRT 8.6, 10, 11 and TensorRT-RTX differ.

Everything else asks here: ``trt()`` for the library, ``supports()`` for a feature,
``create_builder()`` and ``create_network()`` for the objects that need version dependent flags.
Features are found by attribute, never by version number, because TensorRT-RTX 1.x carries the
programming interface of TensorRT 11.
"""

from __future__ import annotations

import collections
import contextlib
import functools
import importlib
import logging
import os
import threading
import weakref
from collections.abc import Iterator
from types import ModuleType
from typing import Any

import torch

from ..errors import BackendUnavailableError, ConversionError, Torch2TrtError

_CANDIDATES = ("tensorrt", "tensorrt_rtx", "tensorrt_rtx_bindings")
_NO_DRIVER = (
    "cudaError 35",
    "CUDA driver version is insufficient",
    "CUDA initialization failure with error: 35",
    "Unable to determine GPU memory usage",
)
_TORCH_NAMES = {
    "FLOAT": torch.float32,
    "HALF": torch.float16,
    "BF16": torch.bfloat16,
    "FP8": torch.float8_e4m3fn,
    "INT64": torch.int64,
    "INT32": torch.int32,
    "INT8": torch.int8,
    "UINT8": torch.uint8,
    "BOOL": torch.bool,
}

log = logging.getLogger("torch2trt.tensorrt")


# --- the library ---------------------------------------------------------------------------------


@functools.cache
def trt() -> ModuleType:
    """The TensorRT library: ``tensorrt``, else ``tensorrt_rtx``, else ``tensorrt_rtx_bindings``.

    The environment variable ``TORCH2TRT_TENSORRT`` names the module to load instead.

    Raises:
        BackendUnavailableError: no such module, or it does not load on this machine.
    """
    chosen = os.environ.get("TORCH2TRT_TENSORRT")
    failures = []
    for name in (chosen,) if chosen else _CANDIDATES:
        try:
            module = importlib.import_module(name)
        except (ImportError, OSError) as error:
            failures.append(f"{name}: {error}")
            continue
        if hasattr(module, "Builder"):
            return module
        failures.append(f"{name}: has no Builder (a lean or dispatch runtime)")
    raise BackendUnavailableError(
        "TensorRT is needed and cannot be loaded: install it with `pip install 'torch2trt[rtx]'` "
        f"(TensorRT-RTX) or `pip install 'torch2trt[tensorrt]'`. Tried {'; '.join(failures)}"
    )


def available() -> bool:
    """Whether a TensorRT library can be loaded."""
    try:
        trt()
    except BackendUnavailableError:
        return False
    return True


def is_rtx() -> bool:
    """Whether the loaded library is TensorRT-RTX, which builds engines without a GPU."""
    return hasattr(trt(), "ComputeCapability")


def version() -> str:
    """Name and version of the loaded library, for example ``tensorrt 8.6.0``."""
    return f"{'tensorrt_rtx' if is_rtx() else 'tensorrt'} {trt().__version__}"


def supports(feature: str) -> bool:
    """Whether the loaded library has a feature.

    Args:
        feature: a dotted name (``"DataType.INT64"``, ``"IBuilderConfig.progress_monitor"``), or a
            network method alone (``"add_squeeze"``).
    """
    owner: Any = trt()
    path = f"INetworkDefinition.{feature}" if feature.startswith("add_") else feature
    for name in path.split("."):
        owner = getattr(owner, name, None)
        if owner is None:
            return False
    return True


def strongly_typed() -> bool:
    """Whether networks are strongly typed; else (8.6) layers carry precision constraints."""
    return supports("NetworkDefinitionCreationFlag.STRONGLY_TYPED")


# --- log and errors ------------------------------------------------------------------------------


def _level(severity: Any, message: str) -> int:
    levels = {"VERBOSE": 5, "INFO": logging.DEBUG, "WARNING": logging.WARNING}
    if is_no_driver(message):
        return logging.DEBUG
    return levels.get(severity.name, logging.ERROR)


def is_no_driver(message: str) -> bool:
    """Whether a line only says that there is no GPU driver, as it does after every error then."""
    return any(text in message for text in _NO_DRIVER)


@functools.cache
def logger() -> Any:
    """The one ``ILogger`` of the process; its lines go to the Python logger ``torch2trt.tensorrt``.

    TensorRT's ``INFO`` arrives as ``DEBUG`` and ``VERBOSE`` as level 5.
    """
    base = trt().ILogger

    class PythonLogger(base):
        def __init__(self) -> None:
            base.__init__(self)

        def log(self, severity: Any, message: str) -> None:
            level = _level(severity, message)
            if log.isEnabledFor(level):
                log.log(level, "%s", message)

    return PythonLogger()


@contextlib.contextmanager
def muted() -> Iterator[None]:
    """No TensorRT log lines from this thread while the block runs."""
    thread = threading.get_ident()

    def keep(record: logging.LogRecord) -> bool:
        return record.thread != thread

    log.addFilter(keep)
    try:
        yield
    finally:
        log.removeFilter(keep)


@functools.cache
def _recorder_class() -> type:
    base = trt().IErrorRecorder

    class Recorder(base):
        def __init__(self) -> None:
            base.__init__(self)
            self.messages: list[str] = []
            self.codes: list[Any] = []

        def num_errors(self) -> int:
            return len(self.messages)

        get_num_errors = num_errors  # the name that the bindings of 8.6 look for

        def get_error_code(self, index: int) -> Any:
            return self.codes[index]

        def get_error_desc(self, index: int) -> str:
            return self.messages[index]

        def has_overflowed(self) -> bool:
            return False

        def clear(self) -> None:
            self.messages.clear()
            self.codes.clear()

        def report_error(self, code: Any, message: str) -> bool:
            if is_no_driver(message):
                return False
            self.codes.append(code)
            self.messages.append(message)
            log.debug("%s", message)
            return True

    return Recorder


_RECORDERS: weakref.WeakKeyDictionary[Any, list[Any]] = weakref.WeakKeyDictionary()
_MADE: collections.deque[Any] = collections.deque(maxlen=256)


def create_recorder() -> Any:
    """A new ``IErrorRecorder``; its ``messages`` is the list of errors reported to it so far."""
    return _recorder_class()()


def record_errors(owner: Any) -> Any:
    """Give a builder, network, runtime, context or refitter a new recorder, and return it.

    TensorRT 8.6 does not keep the recorder, and asks it even while the owner and what it made are
    deleted: it lives as long as the owner, and some time longer.
    """
    owner.error_recorder = recorder = create_recorder()
    _MADE.append(recorder)
    _RECORDERS.setdefault(owner, []).append(recorder)
    return recorder


def share_recorder(owner: Any, made: Any) -> None:
    """What `owner` made reports to the same recorder, so it lives as long as `made` too."""
    if made is not None and owner in _RECORDERS:
        _RECORDERS.setdefault(made, []).extend(_RECORDERS[owner])


def take_errors(owner: Any) -> list[str]:
    """The errors reported for a builder, network or context since the last call, oldest first."""
    recorder = getattr(owner, "error_recorder", None)
    messages = list(dict.fromkeys(getattr(recorder, "messages", ())))
    if messages:
        recorder.clear()
    return messages


# --- builder and network -------------------------------------------------------------------------


def create_builder() -> Any:
    """A new ``Builder`` whose errors are collected, see ``take_errors``.

    Raises:
        BackendUnavailableError: the library cannot make one here (regular TensorRT needs a GPU to
            build).
    """
    try:
        builder = trt().Builder(logger())
    except (TypeError, RuntimeError) as error:
        raise BackendUnavailableError(_no_builder(str(error))) from error
    if builder is None:
        raise BackendUnavailableError(_no_builder("it returned nothing"))
    record_errors(builder)
    return builder


def _no_builder(why: str) -> str:
    text = f"{version()} cannot create a builder on this machine: {why.strip()}."
    if not torch.cuda.is_available() and not is_rtx():
        text += (
            " It needs an NVIDIA GPU, and none is visible. TensorRT-RTX builds without one:"
            " pip install 'torch2trt[rtx]' and set TORCH2TRT_TENSORRT=tensorrt_rtx."
        )
    return text


def create_network(builder: Any) -> Any:
    """A new network with explicit batch, strongly typed where the library has that.

    It does not take over the builder's error recorder: an ``OnnxParser`` would keep the recorder it
    finds on a network, and use it again when network and parser are gone.
    """
    flags = trt().NetworkDefinitionCreationFlag
    wanted = [getattr(flags, name, None) for name in ("EXPLICIT_BATCH", "STRONGLY_TYPED")]
    network = builder.create_network(sum(1 << int(flag) for flag in wanted if flag is not None))
    if network is None:
        details = "; ".join(take_errors(builder)) or "no reason given"
        raise Torch2TrtError(f"{version()} returned no network: {details}")
    share_recorder(builder, network)
    network.error_recorder = None
    return network


def known_dims(dims: Any) -> tuple[int, ...] | None:
    """TensorRT dimensions as a tuple; None where it does not know their number."""
    try:
        return tuple(dims)
    except ValueError:  # the bindings take a number of -1 for a length
        return None


# --- data types ----------------------------------------------------------------------------------


@functools.cache
def _dtypes() -> tuple[dict[Any, torch.dtype], dict[torch.dtype, Any]]:
    kinds = trt().DataType
    known = {n: t for n, t in _TORCH_NAMES.items() if hasattr(kinds, n)}
    to_torch = {getattr(kinds, name): dtype for name, dtype in known.items()}
    to_trt = {dtype: kind for kind, dtype in to_torch.items()}
    to_trt.setdefault(torch.int64, kinds.INT32)
    return to_torch, to_trt


def torch_dtype(dtype: Any) -> torch.dtype:
    """The torch dtype of a TensorRT ``DataType``.

    Raises:
        ConversionError: torch has no such type (4-bit and scale-only types).
    """
    found = _dtypes()[0].get(dtype)
    if found is None:
        raise ConversionError(f"torch has no dtype for TensorRT's {dtype}")
    return found


def trt_dtype(dtype: torch.dtype) -> Any:
    """The ``DataType`` of a torch dtype; int64 is INT32 where the library has no INT64 (8.6).

    Raises:
        ConversionError: the library has no such type (float64, complex, int16; bfloat16 on 8.6).
    """
    found = _dtypes()[1].get(dtype)
    if found is None:
        names = ", ".join(str(known).removeprefix("torch.") for known in _dtypes()[1])
        raise ConversionError(
            f"{version()} has no data type for {dtype}; it has {names}. Cast to one of them first."
        )
    return found


# --- running -------------------------------------------------------------------------------------


@functools.cache
def can_run() -> bool:
    """Whether engines run here: a CUDA device is visible and the library's runtime accepts it."""
    if not available() or not torch.cuda.is_available():
        return False
    try:
        runtime = trt().Runtime(logger())
        if runtime is None or not is_rtx():
            return runtime is not None
        return runtime.deserialize_cuda_engine(_smallest_plan()) is not None
    except (TypeError, RuntimeError) as error:
        log.debug("the runtime does not start: %s", error)
        return False


def why_not_run() -> str:
    """One sentence that says why ``can_run()`` is False here."""
    if not available():
        return "no TensorRT library is installed"
    if not torch.cuda.is_available():
        return "no NVIDIA GPU is visible to PyTorch (torch.cuda.is_available() is False)"
    major, minor = torch.cuda.get_device_capability()
    return (
        f"the runtime of {version()} does not accept this GPU"
        f" ({torch.cuda.get_device_name()}, compute capability {major}.{minor})"
    )


def _smallest_plan() -> Any:
    builder = create_builder()
    network = create_network(builder)
    layer = network.add_identity(network.add_input("x", trt().float32, (1,)))
    network.mark_output(layer.get_output(0))
    plan = builder.build_serialized_network(network, builder.create_builder_config())
    if plan is None:
        raise RuntimeError("; ".join(take_errors(builder)))
    return plan
