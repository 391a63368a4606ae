"""The CPU that code is made for: as a TVM target, and as far as tile sizes depend on it."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

_INSTRUCTIONS = re.compile(r"(sse|ssse|avx|fma|f16c|bmi|amx|neon|sve|sme|dotprod|i8mm)[\w.-]*$")
# LLVM's name for each restriction, with a feature that it needs.
_RESTRICTIONS = {"default": ("x86-64", "sse2"), "avx2": ("core-avx2", "avx2")}
_CACHES = Path("/sys/devices/system/cpu/cpu0/cache")


@dataclass(frozen=True)
class Cpu:
    """What the schedules need to know of a processor.

    Attributes:
        lanes: float32 elements of a vector register.
        registers: number of vector registers.
        cores: threads that run at once.
        l1: bytes of first level data cache of one core.
        l2: bytes of second level cache of one core.
    """

    lanes: int
    registers: int
    cores: int
    l1: int = 32 * 1024
    l2: int = 512 * 1024


@dataclass(frozen=True)
class CodeTarget:
    """What a piece of code was made for, in a form that can be written to a file.

    Attributes:
        text: the TVM target.
        features: the instruction set features that the code may use, by LLVM's names.
    """

    text: str
    features: frozenset[str]

    @classmethod
    def of(cls, target: Any) -> CodeTarget:
        """That of a TVM target."""
        used = (f for f in target_features(target) if _INSTRUCTIONS.match(f))
        return cls(str(target), frozenset(used))

    def missing(self) -> list[str]:
        """The features that this machine does not have."""
        return sorted(self.features - host_features())


def host_target(mcpu: str | None = None, cores: int | None = None) -> Any:
    """The TVM target of this machine, or of the processor that LLVM calls `mcpu`.

    Where the environment variable `ATEN_CPU_CAPABILITY` restricts PyTorch to fewer instructions
    than this machine has, the target keeps to them too.

    Args:
        mcpu: LLVM's name of a processor, such as "core-avx2"; this machine's by default.
        cores: the number of threads to divide the work for; `torch.get_num_threads()` by default.
    """
    import torch
    import tvm

    mcpu = mcpu or _restriction()
    name = mcpu or tvm.get_global_func("tvm.codegen.llvm.GetHostCPUName")()
    target = {"kind": "llvm", "mcpu": name, "num-cores": cores or torch.get_num_threads()}
    if not mcpu and not _known(tvm, name):
        target.pop("mcpu")
        target["mattr"] = [f"+{feature}" for feature in sorted(host_features())]
    return tvm.target.Target(target)


def _restriction() -> str | None:
    """LLVM's name of the processor that PyTorch was told to use the instructions of.

    It is None without such a wish.
    """
    name, needed = _RESTRICTIONS.get(os.environ.get("ATEN_CPU_CAPABILITY", ""), (None, ""))
    return name if needed in host_features() else None


def _known(tvm: Any, name: str) -> bool:
    known = tvm.get_global_func("target.llvm_get_cpu_archlist")(tvm.target.Target("llvm"))
    return name in {str(n) for n in known}


def host_features() -> set[str]:
    """The instruction set features of this machine, by LLVM's names."""
    import tvm

    found = tvm.get_global_func("tvm.codegen.llvm.GetHostCPUFeatures")()
    return {str(name) for name, present in found.items() if bool(present)}


def target_features(target: Any) -> set[str]:
    """The instruction set features that code for `target` may use, by LLVM's names."""
    import tvm

    with target:
        found = tvm.get_global_func("target.llvm_get_cpu_features")(target)
    return {str(name) for name in found}


def cpu_of(target: Any) -> Cpu:
    """The processor that a TVM target describes."""
    cores = int(target.attrs.get("num-cores", 0)) or os.cpu_count() or 1
    features = target_features(target)
    l1, l2 = _cache_size(1, 32 * 1024), _cache_size(2, 512 * 1024)
    if "avx512f" in features:
        return Cpu(lanes=16, registers=32, cores=cores, l1=l1, l2=l2)
    if "avx" in features:
        return Cpu(lanes=8, registers=16, cores=cores, l1=l1, l2=l2)
    registers = 32 if "neon" in features else 16
    return Cpu(lanes=4, registers=registers, cores=cores, l1=l1, l2=l2)


def _cache_size(level: int, default: int) -> int:
    for entry in sorted(_CACHES.glob("index*")):
        try:
            kind = (entry / "type").read_text().strip()
            if int((entry / "level").read_text()) == level and kind != "Instruction":
                return int((entry / "size").read_text().strip().rstrip("K")) * 1024
        except (OSError, ValueError):
            continue
    return default
