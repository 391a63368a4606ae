"""How a ``TensorRTModule`` is converted and built."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from difflib import get_close_matches
from numbers import Integral, Real
from typing import Any

import torch

from .cache import EngineCache
from .errors import ConversionError

_NAMES = {
    "float32": torch.float32, "fp32": torch.float32, "float": torch.float32,
    "float16": torch.float16, "fp16": torch.float16, "half": torch.float16,
    "bfloat16": torch.bfloat16, "bf16": torch.bfloat16,
}  # fmt: skip
# relative error (2-norm) against PyTorch above which a build warns
TOLERANCE = {"float32": 1e-4, "tf32": 5e-3, "float16": 2e-2, "bfloat16": 1e-1}

Dynamic = Mapping[str, Mapping[int, tuple[int, int, int]]]


@dataclass(frozen=True)
class Settings:
    """The constructor arguments of ``TensorRTModule``, checked; see there.

    Attributes:
        dtype: the type of matrix products and convolutions.
        tf32: whether float32 ones may round their inputs to TensorFloat-32.
        exact: how many of them, from the first on, stay in float32.
    """

    max_batchsize: int
    workspace: int | None
    dtype: torch.dtype
    tf32: bool
    precision: Mapping[str, torch.dtype]
    builder_config_fn: Callable[..., Any] | None
    net_post_fn: Callable[..., Any] | None
    input_names: tuple[str, ...] | None
    dynamic: tuple[Dynamic, ...]
    refit: bool | None
    cache: EngineCache | None
    cuda_graph: bool
    optimization_level: int | None
    check: bool
    progress: Any
    verbose: bool
    accuracy: float | None = None
    exact: int = 0

    @property
    def type_name(self) -> str:
        """The precision in one word: float32, tf32, float16 or bfloat16."""
        return "tf32" if self.tf32 else str(self.dtype).removeprefix("torch.")

    def names(self, count: int) -> tuple[str, ...]:
        """The names of `count` inputs.

        Raises:
            ConversionError: ``input_names`` has another number of names.
        """
        names = self.input_names or tuple(f"input{i}" for i in range(count))
        if len(names) != count:
            raise ConversionError(
                f"input_names: got {len(names)} names, expected {count}, one for each tensor input"
            )
        unknown = sorted({name for ranges in self.dynamic for name in ranges} - set(names))
        if unknown:
            raise ConversionError(f"dynamic: got {unknown}, expected names among {list(names)}")
        return names


def parse_dtype(dtype: Any) -> tuple[torch.dtype, bool]:
    """A dtype given as torch dtype, TensorRT ``DataType`` or name; and whether it means TF32.

    Raises:
        ConversionError: it is none of float32, tf32, float16, bfloat16.
    """
    if isinstance(dtype, str):
        if dtype == "tf32":
            return torch.float32, True
        found = _NAMES.get(dtype)
    elif isinstance(dtype, torch.dtype):
        found = dtype
    else:
        trt_names = {"FLOAT": "float32", "HALF": "float16", "BF16": "bfloat16"}
        found = _NAMES.get(trt_names.get(getattr(dtype, "name", ""), ""))
    if found not in (torch.float32, torch.float16, torch.bfloat16):
        raise ConversionError(
            f"dtype: got {dtype!r}, expected float32, 'tf32', float16 or bfloat16"
            " (a torch dtype, a TensorRT DataType or a name)"
        )
    return found, False


def parse_cache(cache: Any) -> EngineCache | None:
    """A cache given as one, as a folder, or as a bool.

    Raises:
        ConversionError: it is none of these.
    """
    if cache is None or cache is False:
        return None
    if cache is True:
        return EngineCache()
    if isinstance(cache, EngineCache):
        return cache
    if isinstance(cache, (str, os.PathLike)):
        return EngineCache(cache)
    raise ConversionError(f"cache: got {cache!r}, expected a bool, a folder or an EngineCache")


def parse_dynamic(dynamic: Any) -> tuple[Dynamic, ...]:
    """Dynamic dimensions given as one mapping or as several.

    Raises:
        ConversionError: it is not made of ``{name: {axis: (min, opt, max)}}``.
    """
    given = [dynamic or {}] if isinstance(dynamic or {}, Mapping) else dynamic
    if not isinstance(given, Sequence) or not all(map(_is_dynamic, given)):
        raise ConversionError(
            f"dynamic: got {dynamic!r}, expected {{name: {{axis: (min, opt, max)}}}} with axes from"
            " 0 on and 0 <= min <= opt <= max, or a list of such"
        )
    return tuple({name: dict(axes) for name, axes in one.items()} for one in given) or ({},)


def _is_dynamic(given: Any) -> bool:
    return isinstance(given, Mapping) and all(
        isinstance(axes, Mapping) and all(_is_size(a) and _is_range(r) for a, r in axes.items())
        for axes in given.values()
    )


def _is_range(given: Any) -> bool:
    if not isinstance(given, Sequence) or len(given) != 3 or not all(map(_is_size, given)):
        return False
    return given[0] <= given[1] <= given[2]


def _is_size(given: Any) -> bool:
    return isinstance(given, Integral) and not isinstance(given, bool) and given >= 0


def _parse_precision(precision: Any) -> dict[str, torch.dtype]:
    if precision is None:
        return {}
    if not isinstance(precision, Mapping):
        raise ConversionError(
            f"precision: got {precision!r}, expected {{module path or node kind: type}}"
        )
    return {name: parse_dtype(value)[0] for name, value in precision.items()}


def settings_of(module: Any) -> Settings:
    """The settings of a module; paths of `precision` that lie in a wrapped module begin with "net".

    Raises:
        ConversionError: `precision` names what is no submodule.
    """
    known = {name for name, _ in module.named_modules(remove_duplicate=False)}
    found = {}
    for name, dtype in module.settings.precision.items():
        path = name if "::" in name or name in known else f"net.{name}"
        if "::" not in name and path not in known:
            near = get_close_matches(name, known, 3, 0.4) or sorted(known)[1:4]
            raise ConversionError(
                f"precision: got {name!r}, expected the path of a submodule, such as {near}, or a"
                ' node kind, such as "aten::softmax"'
            )
        found[path] = dtype
    return replace(module.settings, precision=found)


def _check_options(options: Mapping[str, Any]) -> None:
    for name in ("builder_config_fn", "net_post_fn"):
        if options[name] is not None and not callable(options[name]):
            raise ConversionError(f"{name}: got {options[name]!r}, expected a function")
    level = options["optimization_level"]
    if level is not None and level not in range(6):
        raise ConversionError(f"optimization_level: got {level!r}, expected 0 to 5")
    if options["refit"] not in (None, True, False):
        raise ConversionError(f"refit: got {options['refit']!r}, expected True, False or None")
    if not (options["progress"] in (None, True, False) or callable(options["progress"])):
        raise ConversionError(f"progress: got {options['progress']!r}, expected a bool or function")


def _check_accuracy(accuracy: Any, dtype: torch.dtype, options: Mapping[str, Any]) -> None:
    if isinstance(accuracy, bool) or not isinstance(accuracy, Real) or not accuracy > 0:
        raise ConversionError(f"accuracy: got {accuracy!r}, expected a relative error such as 5e-3")
    if dtype == torch.float32 or not options["check"]:
        got = f"dtype={str(dtype).removeprefix('torch.')!r}, check={options['check']}"
        raise ConversionError(f"accuracy: got {got}, expected a type of 16 bits and check=True")
    if options["net_post_fn"] is not None:
        raise ConversionError(
            "accuracy: got a net_post_fn too, whose outputs PyTorch does not have"
        )


def parse_settings(
    max_batchsize: int,
    workspace: int | None,
    dtype: Any,
    input_names: Sequence[str] | None,
    cache: Any,
    precision: Mapping[str, Any] | None,
    dynamic: Dynamic | Sequence[Dynamic] | None,
    **rest: Any,
) -> Settings:
    """Check the constructor arguments.

    Raises:
        ConversionError: an argument has a value that means nothing.
    """
    if not _is_size(max_batchsize) or max_batchsize < 1:
        raise ConversionError(f"max_batchsize: got {max_batchsize!r}, expected a positive integer")
    if workspace is not None and not (isinstance(workspace, (int, float)) and workspace >= 0):
        raise ConversionError(f"workspace: got {workspace!r}, expected a number of bytes")
    if isinstance(input_names, str):
        raise ConversionError(f"input_names: got {input_names!r}, expected a sequence of names")
    _check_options(rest)
    kind, tf32 = parse_dtype(dtype)
    accuracy = rest.get("accuracy")
    if accuracy is not None:
        _check_accuracy(accuracy, kind, rest)
    return Settings(
        max_batchsize=max_batchsize,
        workspace=workspace,
        dtype=kind,
        tf32=tf32,
        precision=_parse_precision(precision),
        input_names=tuple(input_names) if input_names else None,
        dynamic=parse_dynamic(dynamic),
        cache=parse_cache(cache),
        **rest,
    )
