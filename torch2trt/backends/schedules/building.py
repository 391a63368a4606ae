"""From lowered functions to machine code: several threads compile a part of the program each."""

from __future__ import annotations

import contextlib
import ctypes
import os
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import tvm
from tvm import relax, tirx

from . import threads

_SMALLEST = 8  # functions of a part, so that what every part has besides does not count
_PARTS_PER_THREAD = 2


def build(mod: Any, target: Any, pipeline: str) -> Any:
    """The executable of a module whose functions are scheduled.

    Args:
        mod: after the passes that lower its calls.
        target: for all functions.
        pipeline: the name of the pipeline for tensor IR.
    """
    functions = {g: f for g, f in mod.functions_items() if isinstance(f, tirx.PrimFunc)}
    affinity = getattr(os, "sched_getaffinity", None)
    workers = len(affinity(0)) if affinity else os.cpu_count() or 1
    count = max(1, min(workers * _PARTS_PER_THREAD, len(functions) // _SMALLEST))
    parts = [dict(list(functions.items())[i::count]) for i in range(count)]
    for gvar, func in functions.items():
        mod[gvar] = relax.ExternFunc(_symbol(gvar, func))
    functions.clear()

    def library(number: int) -> Any:
        part, parts[number - 1] = parts[number - 1], {}
        return _library(part, number, mod.attrs, target, pipeline)

    _give_back_memory()
    with ThreadPoolExecutor(workers) as pool:
        libraries = list(pool.map(library, range(1, count + 1)))
    # Without any code of its own TVM would give the program an empty C file, and call a C compiler.
    mod.update(tvm.IRModule(threads.functions(0)))
    mod = mod.with_attr("external_mods", libraries)
    return relax.build(mod, target, relax_pipeline=None, tir_pipeline=pipeline)


def _library(part: dict[Any, Any], number: int, attrs: Any, target: Any, pipeline: str) -> Any:
    symbols = [_symbol(gvar, func) for gvar, func in part.items()]
    code = tvm.IRModule(part, attrs=attrs)
    part.clear()
    code.update(tvm.IRModule(threads.functions(number)))
    # The virtual machine checks the inputs of `main`; checking every argument of every function
    # again takes longer to compile than the functions themselves.
    with target, tvm.transform.PassContext(config={"tirx.disable_assert": True}):
        library = tirx.build(code, target, pipeline)
    for symbol in symbols[:1]:
        library.get_function(symbol)  # machine code is made when a function is asked for
    _give_back_memory()
    return library


def _give_back_memory() -> None:
    """Give what was freed back to the system; the C library keeps it, for each thread."""
    with contextlib.suppress(AttributeError, OSError):
        ctypes.CDLL(None).malloc_trim(0)


def _symbol(gvar: Any, func: Any) -> str:
    return str((func.attrs or {}).get("global_symbol", gvar.name_hint))
