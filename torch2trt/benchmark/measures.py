"""What the benchmarks have in common: errors, the machine, JSON."""

from __future__ import annotations

import json
import platform
from pathlib import Path
from typing import Any

import torch

from ..backends import trt_api


def relative_error(result: Any, expected: torch.Tensor) -> float:
    """The 2-norm of the difference to `expected` over the 2-norm of `expected`."""
    tensor = result if isinstance(result, torch.Tensor) else torch.from_dlpack(result)
    return float((tensor.detach().cpu().double() - expected).norm() / expected.norm())


def machine(device: str) -> dict[str, Any]:
    """What the figures were measured on."""
    facts = {
        "torch": torch.__version__,
        "threads": torch.get_num_threads(),
        "processor": _processor(),
    }
    if device == "cuda":
        facts["gpu"] = torch.cuda.get_device_name()
        if trt_api.available():
            facts["tensorrt"] = trt_api.version()
    return facts


def _processor() -> str:
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text().splitlines() if cpuinfo.exists() else []
    names = [line.split(":")[1].strip() for line in lines if "model name" in line]
    return names[0] if names else platform.processor()


def as_json(content: Any) -> str:
    """JSON with one line for each innermost list and object."""
    return _text(content, "") + "\n"


def _text(content: Any, indent: str) -> str:
    nested = (dict, list, tuple)
    values = content.values() if isinstance(content, dict) else content
    if not isinstance(content, nested) or not any(isinstance(v, nested) for v in values):
        return json.dumps(content)
    inner = indent + " "
    if isinstance(content, dict):
        parts = [
            f"{inner}{json.dumps(key)}: {_text(value, inner)}" for key, value in content.items()
        ]
        return "{\n" + ",\n".join(parts) + f"\n{indent}}}"
    return "[\n" + ",\n".join(inner + _text(value, inner) for value in content) + f"\n{indent}]"
