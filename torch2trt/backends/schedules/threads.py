"""Parallel loops of compiled programs on PyTorch's own threads.

TVM brings a thread pool of its own. The idle threads of both pools wait actively for a while after
each use, and where PyTorch and TVM run in turns each pool takes the processors from the other. So
the loops run in the pool of OpenMP that PyTorch uses. Where there is none, TVM's pool is used.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import tvm
from tvm import tirx

from ..openmp import addresses as _openmp
from ..openmp import launcher_functions, use_openmp


def functions(part: int) -> dict[str, Any]:
    """The functions that a part of a program needs to run on PyTorch's threads, by name."""
    return launcher_functions(tirx, part)


def install(executable: Any) -> Callable[[], object]:
    """Have the loops of a compiled program run on PyTorch's threads, or at least on as many.

    Returns:
        What to call before each run.
    """
    if not use_openmp(getattr(executable, "mod", executable), _openmp()):
        return _resize_pool
    return torch.get_num_threads  # hands the number to OpenMP, once for each thread of Python


_pool_size = 0  # what the thread pool of TVM, one for the process, was last set to


def _resize_pool() -> None:
    """Give TVM's thread pool the size of PyTorch's."""
    global _pool_size
    wanted = torch.get_num_threads()
    if wanted != _pool_size:
        big_cores = 1  # the mode that prefers the fast cores where cores differ
        tvm.get_global_func("runtime.config_threadpool")(big_cores, wanted)
        _pool_size = wanted
