"""The backends, behind the protocol of ``base.py``; importing them imports no backend package."""

from __future__ import annotations

import importlib
import os
from functools import lru_cache
from types import ModuleType
from typing import Any

from ..errors import BackendUnavailableError
from .tvm_import import import_tvm


@lru_cache
def tvm_module() -> ModuleType:
    """The installed ``tvm`` package.

    Raises:
        BackendUnavailableError: TVM is not installed.
    """
    # Left alone, TVM takes half of the cores for its thread pool and pins the calling thread to one
    # core, PyTorch's threads with it. Both are read once, when the pool is made.
    os.environ.setdefault("TVM_NUM_THREADS", str(os.cpu_count() or 1))
    os.environ.setdefault("TVM_BIND_THREADS", "0")
    try:
        return import_tvm()
    except ImportError as error:
        raise BackendUnavailableError(
            f"TVM is needed here and could not be imported ({error}); `pip install "
            "torch2trt[tvm]` brings it"
        ) from error


@lru_cache
def _dialect_module(dialect: str) -> ModuleType | None:
    tvm_module()
    try:
        return importlib.import_module(f"tvm.{dialect}")
    except ImportError:
        return None


def tvm_context_class(dialect: str | None = None) -> type:
    """The context class of a TVM dialect, by default the newest that the installed TVM has.

    Raises:
        BackendUnavailableError: no TVM, or a TVM without that dialect.
    """
    if dialect not in (None, "relax", "relay"):
        raise BackendUnavailableError(
            f"dialect: got {dialect!r}, expected 'relax', 'relay' or None"
        )
    for name in [dialect] if dialect else ["relax", "relay"]:
        if name == "relax" and _dialect_module("tirx") is not None:
            return importlib.import_module(f"{__name__}.relax").RelaxContext
        if name == "relay" and _dialect_module("relay") is not None:
            return importlib.import_module(f"{__name__}.relay").RelayContext
    raise BackendUnavailableError(
        f"the installed TVM {tvm_module().__version__} has no {dialect or 'Relax or Relay'}"
    )


def is_tvm_expr(value: Any) -> bool:
    """Whether `value` is a tensor expression of one of the TVM dialects."""
    dialects = [_dialect_module(name) for name in ("relax", "relay")]
    return any(module is not None and isinstance(value, module.Expr) for module in dialects)
