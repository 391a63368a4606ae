"""torch2trt: PyTorch modules and functions, as they are, to TensorRT engines and TVM programs.

One traced graph, one walk, several backends: see ``GraphModule`` for networks of your own,
``TensorRTModule`` and ``TVMModule`` for modules that train in PyTorch and run an engine in
``eval()``.
"""

from __future__ import annotations

import importlib
from typing import Any

from . import core
from .context import (
    current_context,
    has_torch_tensor,
    has_trt_tensor,
    has_tvm_tensor,
    torch_network,
    trt_network,
    tvm_network,
)
from .core import GraphModule, get_node_handler, register_node_handler, torch2trt, torch2tvm
from .coverage import coverage
from .errors import (
    BackendUnavailableError,
    ConversionError,
    EngineBuildError,
    InputMismatchError,
    Torch2TrtError,
    UnsupportedOpError,
)
from .simulate import simulate

__version__ = "1.0.0"

_LAZY = {
    "TensorRTModule": "module",
    "TensorRTModuleWrapper": "module",
    "TVMModule": "module",
    "TVMModuleWrapper": "module",
    "InferenceContext": "inference",
    "TorchInferenceContext": "inference",
    "TVMInference": "inference",
    "load": "saved",
    "save": "saved",
}

__all__ = [
    "BackendUnavailableError",
    "ConversionError",
    "EngineBuildError",
    "GraphModule",
    "InputMismatchError",
    "Torch2TrtError",
    "UnsupportedOpError",
    "core",
    "coverage",
    "current_context",
    "get_node_handler",
    "has_torch_tensor",
    "has_trt_tensor",
    "has_tvm_tensor",
    "register_node_handler",
    "simulate",
    "torch2trt",
    "torch2tvm",
    "torch_network",
    "trt_network",
    "tvm_network",
    *_LAZY,
]


def __getattr__(name: str) -> Any:
    if name in _LAZY:
        return getattr(importlib.import_module(f"{__name__}.{_LAZY[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
