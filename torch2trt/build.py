"""From a network definition to a serialised TensorRT engine."""

from __future__ import annotations

import ctypes
import inspect
import json
import logging
import os
import re
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from typing import Any

from .backends import trt_api
from .backends.tensorrt_types import types_of
from .errors import EngineBuildError
from .files import locked, write_atomic
from .progress import BuildMonitor, Progress

log = logging.getLogger("torch2trt.build")

Range = tuple[tuple[int, ...], tuple[int, ...], tuple[int, ...]]
Profile = tuple[tuple[str, Range], ...]

# A symbol that a working library has, to tell it from a missing one or one that only satisfies the
# loader.
_TACTIC_LIBRARIES = {
    "CUBLAS": (("libcublas.so.12", "libcublas.so.11"), "cublasGetVersion_v2"),
    "CUBLAS_LT": (("libcublasLt.so.12", "libcublasLt.so.11"), "cublasLtGetVersion"),
    "CUDNN": (("libcudnn.so.8",), "cudnnGetVersion"),
}

# In a CUDA graph layers beside each other cost the host nothing; TensorRT takes what it can use.
GRAPH_STREAMS = 7


@dataclass(frozen=True)
class BuildOptions:
    """How an engine is built. Everything but `timing_cache` is part of an engine's identity.

    Attributes:
        workspace: scratch memory that layers may use, in bytes; None leaves it to TensorRT (all
            there is).
        tf32: let float32 matrix products and convolutions round their inputs to TensorFloat-32.
        refit: keep the weights exchangeable, see ``Engine.refit``.
        optimization_level: 0 (fast build) to 5 (fast engine); None is TensorRT's default, 3.
        aux_streams: how many streams beside the caller's may run layers that do not wait for each
            other; None leaves it to TensorRT, which mostly takes none.
        detailed: keep every layer's description in the engine, for ``Engine.layers``.
        profiles: the ranges of dynamic inputs; one mapping, or several, of input name to (min, opt,
            max) shapes.
        flags: further ``BuilderFlag`` names.
        timing_cache: a file with TensorRT's kernel timings, read before a build and extended after
            it.
    """

    workspace: int | None = None
    tf32: bool = False
    refit: bool = False
    optimization_level: int | None = None
    aux_streams: int | None = None
    detailed: bool = False
    profiles: tuple[Profile, ...] | Mapping[str, Any] | Sequence[Mapping[str, Any]] = ()
    flags: tuple[str, ...] = ()
    timing_cache: str | os.PathLike[str] | None = None

    def __post_init__(self) -> None:
        profiles = [self.profiles] if isinstance(self.profiles, Mapping) else self.profiles
        object.__setattr__(self, "profiles", tuple(_frozen_profile(p) for p in profiles))
        object.__setattr__(self, "flags", tuple(sorted(self.flags)))

    def key(self) -> str:
        """A text that is equal for options that build the same engine."""
        return json.dumps(
            {k: v for k, v in asdict(self).items() if k != "timing_cache"}, sort_keys=True
        )


def _frozen_profile(profile: Any) -> Profile:
    items = profile.items() if isinstance(profile, Mapping) else profile
    frozen = []
    for name, shapes in sorted(items):
        low, best, high = (tuple(int(n) for n in shape) for shape in shapes)
        fits = len(low) == len(best) == len(high)
        if not fits or any(not 0 <= a <= b <= c for a, b, c in zip(low, best, high)):
            raise EngineBuildError(
                f"profile of input {name!r}: got min {low}, opt {best}, max {high};"
                " expected three shapes of one rank with 0 <= min <= opt <= max in each dimension"
            )
        frozen.append((name, (low, best, high)))
    return tuple(frozen)


def build_engine(
    builder: Any,
    network: Any,
    options: BuildOptions = BuildOptions(),
    config_fn: Callable[..., Any] | None = None,
    progress: bool | Callable[[Progress], None] | None = None,
) -> memoryview:
    """Build a network into a serialised engine.

    Args:
        builder: from ``trt_api.create_builder``, or any ``tensorrt.Builder``.
        network: the ``INetworkDefinition`` with its outputs marked.
        options: see ``BuildOptions``.
        config_fn: called last with the ``IBuilderConfig``, or with builder and config if it takes
            two.
        progress: True for a tqdm bar (log lines without tqdm), or a function called with each
            ``Progress``.

    Returns:
        The plan: a bytes-like object, for ``Engine`` or for any TensorRT runtime.

    Raises:
        EngineBuildError: TensorRT refused; the message holds its own lines and the layers they
            name.
        KeyboardInterrupt: Ctrl-C; the build was cancelled and nothing is left behind.
    """
    if builder.error_recorder is None:
        trt_api.record_errors(builder)
    config = _config(builder, network, options)
    cache = _load_timing_cache(config, options.timing_cache)
    if config_fn is not None:
        _call_config_fn(config_fn, builder, config)
    with BuildMonitor(config, progress) as monitor:
        plan = builder.build_serialized_network(network, config)
    monitor.raise_if_interrupted()
    errors = list(dict.fromkeys(trt_api.take_errors(builder) + trt_api.take_errors(network)))
    if plan is None:
        raise EngineBuildError(_failure(network, options, errors, monitor.warnings))
    if cache is not None and options.timing_cache is not None:
        _store_timing_cache(config, options.timing_cache)
    return memoryview(plan).cast("B")


# --- configuration -------------------------------------------------------------------------------


def _config(builder: Any, network: Any, options: BuildOptions) -> Any:
    trt = trt_api.trt()
    config = builder.create_builder_config()
    if options.workspace is not None:
        config.set_memory_pool_limit(trt.MemoryPoolType.WORKSPACE, int(options.workspace))
    if options.optimization_level is not None:
        config.builder_optimization_level = options.optimization_level
    if options.aux_streams is not None:
        config.max_aux_streams = options.aux_streams
    if options.detailed:
        config.profiling_verbosity = trt.ProfilingVerbosity.DETAILED
    (config.set_flag if options.tf32 else config.clear_flag)(trt.BuilderFlag.TF32)
    wanted = (["REFIT"] if options.refit else []) + list(options.flags)
    if not trt_api.strongly_typed():
        wanted += _precision_flags(network)
        if trt_api.supports("PreviewFeature.PROFILE_SHARING_0806"):
            config.set_preview_feature(trt.PreviewFeature.PROFILE_SHARING_0806, True)
    for name in wanted:
        flag = getattr(trt.BuilderFlag, name, None)
        if flag is None:
            raise EngineBuildError(
                f"BuildOptions.flags: {trt_api.version()} has no BuilderFlag {name!r}"
            )
        config.set_flag(flag)
    _drop_missing_tactics(config)
    _add_profiles(builder, network, config, options.profiles)
    return config


def _precision_flags(network: Any) -> list[str]:
    """What a weakly typed library needs to keep to the types written in the network."""
    kinds = trt_api.trt().DataType
    used = types_of(network)
    flags = [name for name, kind in (("FP16", kinds.HALF), ("INT8", kinds.INT8)) if kind in used]
    return [*flags, "OBEY_PRECISION_CONSTRAINTS"] if flags else []


def _drop_missing_tactics(config: Any) -> None:
    sources = getattr(trt_api.trt(), "TacticSource", None)
    enabled = config.get_tactic_sources()
    kept = enabled
    for name, (libraries, symbol) in _TACTIC_LIBRARIES.items():
        source = getattr(sources, name, None)
        if source is not None and enabled & 1 << int(source) and not _has_symbol(libraries, symbol):
            log.info(
                "tactic source %s is left out: no working %s here", name, " or ".join(libraries)
            )
            kept &= ~(1 << int(source))
    if kept != enabled:
        config.set_tactic_sources(kept)


def _has_symbol(libraries: Sequence[str], symbol: str) -> bool:
    for library in libraries:
        with suppress(OSError):
            if hasattr(ctypes.CDLL(library), symbol):
                return True
    return False


def _add_profiles(builder: Any, network: Any, config: Any, profiles: Sequence[Profile]) -> None:
    inputs = {t.name: t for t in (network.get_input(i) for i in range(network.num_inputs))}
    dynamic = {name for name, tensor in inputs.items() if -1 in tuple(tensor.shape)}
    for number, profile in enumerate(profiles):
        given = dict(profile)
        unknown = sorted(given.keys() - inputs.keys())
        missing = sorted(dynamic - given.keys())
        if unknown or missing:
            raise EngineBuildError(
                f"profile {number}: got ranges for {sorted(given)}, expected one for each dynamic"
                f" input {sorted(dynamic)} of the network's inputs {sorted(inputs)}"
            )
        _add_profile(builder, config, given, inputs, number)
    if dynamic and not profiles:
        shapes = ", ".join(f"{name} {tuple(inputs[name].shape)}" for name in sorted(dynamic))
        raise EngineBuildError(
            f"inputs with dynamic dimensions (-1) need a range in BuildOptions.profiles: {shapes}"
        )
    if inputs and not profiles and _has_unknown_sizes(network):
        # without a profile TensorRT 8.6 makes no execution context for such an engine
        static = {name: (tuple(tensor.shape),) * 3 for name, tensor in inputs.items()}
        _add_profile(builder, config, static, inputs, 0)


def _has_unknown_sizes(network: Any) -> bool:
    """Whether there are layers whose results have a size that depends on values."""
    names = ("NON_ZERO", "NMS")
    kinds = {getattr(trt_api.trt().LayerType, name, None) for name in names}
    return any(network.get_layer(i).type in kinds for i in range(network.num_layers))


def _add_profile(
    builder: Any, config: Any, given: Mapping[str, Range], inputs: Mapping[str, Any], number: int
) -> None:
    profile = builder.create_optimization_profile()
    for name, shapes in given.items():
        shape = tuple(inputs[name].shape)
        for got in shapes:
            if len(got) != len(shape) or any(a not in (-1, b) for a, b in zip(shape, got)):
                raise EngineBuildError(
                    f"profile {number}, input {name!r}: got {got}, expected a shape that fits"
                    f" {shape}"
                )
        if inputs[name].is_shape_tensor:
            raise EngineBuildError(
                f"profile {number}, input {name!r} is a shape tensor: give its range in"
                " builder_config_fn with IOptimizationProfile.set_shape_input"
            )
        profile.set_shape(name, *shapes)
    if config.add_optimization_profile(profile) < 0:
        raise EngineBuildError(f"profile {number} is not valid: {trt_api.take_errors(builder)}")


def _call_config_fn(config_fn: Callable[..., Any], builder: Any, config: Any) -> None:
    required = [
        p
        for p in inspect.signature(config_fn).parameters.values()
        if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD) and p.default is p.empty
    ]
    config_fn(builder, config) if len(required) > 1 else config_fn(config)


# --- timing cache --------------------------------------------------------------------------------


def _load_timing_cache(config: Any, path: str | os.PathLike[str] | None) -> Any:
    if path is None or trt_api.is_rtx():
        return None
    try:
        with open(path, "rb") as file:
            data = file.read()
    except FileNotFoundError:
        data = b""
    cache = config.create_timing_cache(data)
    if cache is None or not config.set_timing_cache(cache, False):
        log.warning(
            "timing cache %s does not fit this TensorRT and GPU, or is damaged: starting a new one",
            path,
        )
        cache = config.create_timing_cache(b"")
        config.set_timing_cache(cache, False)
    return cache


def _store_timing_cache(config: Any, path: str | os.PathLike[str]) -> None:
    try:
        with locked(f"{os.fspath(path)}.lock"):
            cache = config.get_timing_cache()
            with suppress(FileNotFoundError), open(path, "rb") as file:
                cache.combine(config.create_timing_cache(file.read()), False)
            write_atomic(path, [memoryview(cache.serialize())])
    except OSError as error:
        log.warning("timing cache %s was not written: %s", path, error)


# --- failure -------------------------------------------------------------------------------------


def _failure(
    network: Any, options: BuildOptions, errors: Sequence[str], warnings: Sequence[str]
) -> str:
    text = "\n".join(errors)
    lines = [f"{trt_api.version()} could not build the network ({network.num_layers} layers)."]
    for layer in (network.get_layer(i) for i in range(network.num_layers)):
        if re.search(rf"(?<![\w.]){re.escape(layer.name)}(?!\w|\.\w)", text):
            lines.append(
                f"layer {layer.name}" + (f" from {layer.metadata}" if layer.metadata else "")
            )
    lines += errors or [
        "TensorRT gave no reason; its log is the Python logger 'torch2trt.tensorrt'."
    ]
    if options.workspace is not None:
        lines.append(f"layers had {options.workspace} bytes of workspace (BuildOptions.workspace)")
    lines += [f"warning: {line}" for line in warnings]
    return "\n  ".join(lines)
