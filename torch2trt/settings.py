"""How a ``TensorRTModule`` is converted and built."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
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
    """A cache given as one, as a folder, or as a bool."""
    if cache is None or cache is False:
        return None
    if cache is True:
        return EngineCache()
    return EngineCache(cache) if isinstance(cache, (str, os.PathLike)) else cache


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
    if not isinstance(max_batchsize, int) or max_batchsize < 1:
        raise ConversionError(f"max_batchsize: got {max_batchsize!r}, expected a positive integer")
    if workspace is not None and workspace < 0:
        raise ConversionError(f"workspace: got {workspace!r}, expected a number of bytes")
    kind, tf32 = parse_dtype(dtype)
    return Settings(
        max_batchsize=max_batchsize,
        workspace=workspace,
        dtype=kind,
        tf32=tf32,
        precision={name: parse_dtype(value)[0] for name, value in (precision or {}).items()},
        input_names=tuple(input_names) if input_names else None,
        dynamic=(dynamic or {},) if isinstance(dynamic or {}, Mapping) else tuple(dynamic),
        cache=parse_cache(cache),
        **rest,
    )
